"""What is told of a run: what became of every alignment, and how."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from basecast import __version__
from basecast.coverage.events import LONGEST
from basecast.coverage.gc import GCModel
from basecast.coverage.joining import Join
from basecast.coverage.tracks import Sums
from basecast.errors import counted
from basecast.figures.coverage import GC, Division, Fragments, page
from basecast.genome.alignments import Alignments

_LEFT_OUT = (
    "unmapped",
    "failed quality checks",
    "supplementary",
    "flagged as duplicates",
    "low mapping quality",
    "mates of what is counted",
    "too many places",
    "places of reads without their first record",
    "places of reads with too many",
    "places told twice",
)
_BINS = 20


def report(join: Join, source: Alignments, model: GCModel | None, sums: Sums) -> dict[str, Any]:
    """As plain JSON values. Under ``alignments`` every record of the file is told of once."""
    counts, settings = join.counts, join.settings
    single = counts["one place"] + counts["reads with one place after all"]
    shared = counts["reads with several places"]
    left_out = {name: counts[name] for name in _LEFT_OUT}
    of_shared = counts["more places"] - sum(left_out[name] for name in _LEFT_OUT[-3:])
    told = {
        "basecast": __version__,
        "input": str(source.path),
        "settings": settings.model_dump(mode="json"),
        "alignments": {
            "all": counts["alignments"],
            "of reads with one place": counts["one place"],
            "of reads with several places": of_shared + counts["other places listed"],
            "left out": left_out,
        },
        "reads": {
            "counted": single + shared,
            "with one place": single,
            "shared among places": shared,
            "shared, by number of places": {str(n): int(reads) for n, reads in sorted(join.places.items()) if reads},
            "with places that are not in the file": counts["reads with places that are not in the file"],
        },
        "sharing": {
            "rounds": len(join.shares.moved),
            "converged": join.shares.has_converged,
            "moved": join.shares.moved,
        },
        "fragment length": join.length,
        "depth": {"counted": sums.counted, "after clipping": sums.clipped},
        "gc": None
        if model is None
        else {"coefficients": model.coefficients, "low": model.low, "high": model.high, "level": model.level},
    }
    return told | {"warnings": _warnings(told)}


def _warnings(told: dict[str, Any]) -> list[str]:
    found = []
    reads, left_out = told["reads"], told["alignments"]["left out"]
    if not reads["counted"]:
        found.append("no read is counted: see what was left out in the report")
    if missing := reads["with places that are not in the file"]:
        found.append(f"{counted(missing, 'read')} have places that are not in the file: shared among those that are")
    if alone := left_out["places of reads without their first record"]:
        found.append(f"{counted(alone, 'alignment')} of reads whose first record is missing or left out")
    sharing = told["sharing"]
    if sharing["rounds"] and not sharing["converged"]:
        found.append(
            f"after {sharing['rounds']} rounds {sharing['moved'][-1]:.2%} of the reads with several places still move"
        )
    return found


def figure(join: Join, source: Alignments, model: GCModel | None) -> Figure:
    """The page."""
    places = dict(join.places)
    places[1] = join.counts["one place"] + join.counts["reads with one place after all"]
    places[join.settings.max_places + 1] = join.counts["reads with too many places"]
    division = None
    if join.counts["reads with several places"]:
        division = Division(*(np.histogram(each, _BINS, (0, 1))[0] for each in join.largest))
    return page(
        source.path.name,
        places=places,
        most_places=join.settings.max_places,
        fragments=_fragments(join),
        gc=None if model is None or not len(model.gc) else _gc(model),
        division=division,
        changes=join.shares.moved,
    )


def _fragments(join: Join) -> Fragments | None:
    if join.fragment is not None and join.length is not None:
        return Fragments(*join.fragment.curve, join.length)
    seen = join.templates[:LONGEST]
    if not seen.any():
        return None
    middle = int(np.searchsorted(np.cumsum(seen), seen.sum() / 2))
    return Fragments(np.arange(LONGEST), seen / seen.mean(), join.length or middle)


def _gc(model: GCModel) -> GC:
    return GC(
        share=model.gc,
        before=model.coverage,
        fitted=model.expected(model.gc),
        after=model.coverage * model.correction(model.gc),
        windows=model.windows,
    )
