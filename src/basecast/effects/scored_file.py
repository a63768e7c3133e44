"""A file of scores: what an earlier run wrote, or Illumina's own. Held against the run, then looked up by place."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

import pysam

from basecast.effects.header import MASKS, run_lines, runs_in
from basecast.effects.scorer import Scorer
from basecast.effects.scores import MaskName
from basecast.effects.splicing import LABELS, Delta, Four, Places
from basecast.errors import InputError, UsageError
from basecast.genome import bgzip
from basecast.genome.bcf import quiet_htslib
from basecast.genome.vcf_header import declared, text
from basecast.zoo.importers.spliceai_keras import is_published

_EQUAL = (  # what it is called, and which fields of a header say it
    ("model", "run.Model", "run.ModelSha256"),
    ("rules", "run.Rules"),
    ("distance (-D)", "run.D"),
    ("mask (-M)", "run.M"),
    ("annotation", "annotation.File", "annotation.Sha256"),
    ("choice of transcripts", "annotation.Transcripts"),
    ("reference", "reference.File", "reference.Sha256"),
    ("precision", "run.Precision"),
)
_SHORT = 12  # letters of a digest that are shown
_GAP = 2000  # bases that are read over rather than looked for anew: an index knows places to 16 kb only
_TRIED = 10_000
_NAN = (float("nan"),) * 4
ROUNDED = 4
"""Decimals to which Basecast's rules round."""


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says of a file whose header does not."""

    distance: int
    mask: MaskName

    @classmethod
    def parse(cls, words: str) -> Said:
        """``spliceai,D=50,M=0``.

        Raises:
            UsageError: it is not that.
        """
        found = re.fullmatch(r"spliceai,D=(\d+),M=([01])", words.replace(" ", ""))
        if not found:
            raise UsageError(f"--precomputed-as {words!r} is not spliceai,D=N,M=0 (or M=1), such as spliceai,D=50,M=0")
        return cls(int(found[1]), "masked" if found[2] == "1" else "raw")


@dataclass(frozen=True, slots=True)
class Line:
    """A record of the file; ``start`` is 0-based."""

    start: int
    ref: str
    alts: tuple[str, ...]
    info: str


@dataclass(frozen=True, slots=True)
class Entry:
    """Scores of an allele in a gene. ``names`` are gene, transcript and strand; None where the file has but symbols."""

    symbol: str
    names: tuple[str, str, str] | None
    delta: Delta


class ScoredFile:
    """A bgzipped VCF with its index whose scores are those that the run would compute.

    Args:
        scorer: of the run.
        decimals: that scores must have at least.
        probabilities: whether REF and ALT probabilities are needed.
        said: of a file whose header does not say how it was made.

    Raises:
        InputError: it cannot be read, or is of another model, rules, distance, mask, annotation, reference or
            precision (the message names the first that differs), or has not all that is needed.
    """

    def __init__(
        self, path: Path, scorer: Scorer, *, decimals: int, probabilities: bool, said: Said | None = None
    ) -> None:
        self.path, self._decimals = path, decimals
        self._file = _opened(path)
        with self._named_errors():
            header = [line.encode("latin-1") for line in self._file.header]
        if not any(line.startswith(b"#CHROM") for line in header):
            raise InputError(f"{path} has no header that can be read: it is damaged or no VCF; fetch it again")
        key = self._key(runs_in(header), scorer, said)
        masks = scorer.settings.masks
        self.keys = {mask: f"{key}_masked" if len(masks) == 2 and mask == "masked" else key for mask in masks}
        about = text(declared(header, "INFO").get(key, b""))
        names = about.rpartition("Format: ")[2].rstrip('">').split("|")
        self._columns = {name: column for column, name in enumerate(names)}
        if not {"ALLELE", "SYMBOL", *(f"{kind}_{x}" for kind in ("DS", "DP") for x in LABELS)} <= set(names):
            raise InputError(f"{path} does not declare {key} with the fields ALLELE|SYMBOL|DS_AG|...: it has no scores")
        self.has_probabilities = "REF_AG" in names
        if probabilities and not self.has_probabilities:
            raise InputError(f"{path} has no probabilities: make it with --probabilities, or leave that out here")
        self._contigs = {scorer.genome.resolve(name): name for name in self._file.contigs}
        self._check_decimals()

    def _key(self, runs: dict[str, dict[str, str]], scorer: Scorer, said: Said | None) -> str:
        """The INFO key of a run like this one."""
        ours = runs_in(line.encode() for line in run_lines(scorer, "X", ""))["X"]
        if not runs and said is None:
            raise InputError(
                f"{self.path} does not say how its scores were made: of Illumina's own files say what they are with "
                "--precomputed-as spliceai,D=50,M=0"
            )
        if not runs and said is not None:
            if not is_published(scorer.package):
                raise InputError(
                    f"{self.path} is of Illumina's published models, and {scorer.package.spec.name} is another: "
                    "give theirs, or leave --precomputed out"
                )
            theirs = ours | {"run.Rules": "spliceai", "run.D": str(said.distance), "run.M": MASKS[said.mask]}
            runs = {"SpliceAI": theirs | {"run.Precision": "fp32"}}
        differences = {key: _difference(run, ours) for key, run in runs.items()}
        for key, difference in differences.items():
            if difference is None:
                return key
        raise InputError(f"{self.path} cannot be used: {next(iter(differences.values()))}")

    def _check_decimals(self) -> None:
        """Look at the first entry that there is."""
        with self._named_errors():
            for row in islice(self._file.fetch(), _TRIED):
                line = _line(row)
                if any(self.entries(line, alt, mask) for alt in line.alts for mask in self.keys):
                    return

    def lines(self, contig: str, starts: Collection[int]) -> dict[int, list[Line]]:
        """The records that begin at any of these places of a contig of the genome, by place, in the file's order."""
        found: dict[int, list[Line]] = {}
        name = self._contigs.get(contig)
        if name is None:
            return found
        with self._named_errors():
            for low, high in _stretches(starts):
                for row in self._file.fetch(name, low, high):
                    start = int(row.split("\t", 2)[1]) - 1
                    if start in starts:
                        found.setdefault(start, []).append(_line(row))
        return found

    def entries(self, line: Line, alt: str, mask: MaskName) -> list[Entry]:
        """The scores of one of a record's ALTs, gene by gene.

        Raises:
            InputError: they are no scores, or of too few decimals.
        """
        head = f"{self.keys[mask]}="
        value = next((part[len(head) :] for part in line.info.split(";") if part.startswith(head)), "")
        found = []
        for entry in value.split(",") if value else ():
            fields = entry.split("|")
            if fields[2:3] == ["."]:  # not scored
                continue
            if len(fields) != len(self._columns):
                raise InputError(
                    f"{self.path}, POS {line.start + 1}: {entry!r} has not the fields that the header says"
                )
            if fields[self._columns["ALLELE"]].upper() == alt.upper():
                found.append(self._entry(line, fields))
        return found

    def _entry(self, line: Line, fields: list[str]) -> Entry:
        def four(kind: str) -> list[str]:
            return [fields[self._columns[f"{kind}_{label}"]] for label in LABELS]

        def name(column: str) -> str:
            written = fields[self._columns[column]]
            return "" if written == "." else unquote(written.encode("latin-1").decode(errors="replace"))

        try:
            scores = four("DS")
            places = [place.partition("+")[::2] for place in four("DP")]
            ref, alt = (_floats(four(kind)) if self.has_probabilities else _NAN for kind in ("REF", "ALT"))
            position, offset = _whole(place for place, _ in places), _whole(n or "0" for _, n in places)
            delta = Delta(_floats(scores), position, offset, ref, alt)
        except ValueError:
            raise InputError(f"{self.path}, POS {line.start + 1}: {'|'.join(fields)!r} holds no scores") from None
        if (n := min(len(score.partition(".")[2]) for score in scores)) < self._decimals:
            raise InputError(
                f"{self.path} has scores of {n} decimals, and this run needs {self._decimals}: make it again with "
                f"--decimals {self._decimals}, or ask for fewer (under basecast rules never below {ROUNDED})"
            )
        is_full = "TRANSCRIPT" in self._columns
        names = (name("GENE_ID"), name("TRANSCRIPT"), name("STRAND")) if is_full else None
        return Entry(name("SYMBOL"), names, delta)

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            with quiet_htslib():
                yield
        except (OSError, ValueError, IndexError) as error:
            raise InputError(f"{self.path} is damaged or not its index's ({error}): fetch both again") from error


def _opened(path: Path) -> pysam.TabixFile:
    if not path.is_file():
        raise InputError(f"there is no file of scores {path}: check the path")
    with path.open("rb") as file:
        is_bgzip = bgzip.is_bgzip(file.read(bgzip.HEADER_SIZE))
    if is_bgzip:
        bgzip.require_end(path)
    if is_bgzip and not index_of(path).is_file():
        raise InputError(
            f"{path} has no index {path}.tbi: make it with 'tabix -p vcf {path}'; if it is not sorted, sort it first "
            "(bcftools sort)"
        )
    try:
        with quiet_htslib():
            return pysam.TabixFile(str(path), encoding="latin-1")
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path} is looked up by place: give a bgzipped VCF beside its index, as 'bgzip' and 'tabix -p vcf {path}' "
            "make them"
        ) from error


def index_of(path: Path) -> Path:
    """The index beside a file of scores."""
    csi = Path(f"{path}.csi")
    return csi if csi.exists() else Path(f"{path}.tbi")


def _difference(theirs: dict[str, str], ours: dict[str, str]) -> str | None:
    """The first of what must be equal that is not."""
    for name, *fields in _EQUAL:
        if theirs.get(fields[-1]) != ours[fields[-1]]:
            there, here = (
                " ".join(run.get(field, "not said")[: _SHORT if "Sha256" in field else None] for field in fields)
                for run in (theirs, ours)
            )
            verb = "are" if name == "rules" else "is"
            return f"its {name} {verb} {there}, and this run's {verb} {here}"
    return None


def _line(row: str) -> Line:
    _, position, _, ref, alt, _, _, info, *_ = row.split("\t", 8)
    return Line(int(position) - 1, ref, tuple(alt.split(",")), info)


def _stretches(starts: Collection[int]) -> Iterator[tuple[int, int]]:
    """[start, end) stretches that hold all of these places."""
    ordered = sorted(starts)
    low = ordered[0] if ordered else 0
    for start, following in zip(ordered, [*ordered[1:], None], strict=True):
        if following is None or following - start > _GAP:
            yield low, start + 1
            low = following or 0


def _floats(values: list[str]) -> Four:
    a, b, c, d = map(float, values)
    return a, b, c, d


def _whole(values: Iterator[str]) -> Places:
    a, b, c, d = map(int, values)
    return a, b, c, d
