"""Alignments to tallies, part by part of the genome."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from basecast.coverage.events import BLOCK, KINDS, PLACE, Counting, Tally
from basecast.coverage.layout import Layout
from basecast.coverage.settings import CoverageSettings
from basecast.genome.alignments import Alignments

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """What was found in a part, as it is kept: see ``Tally``, whose positions these are."""

    events: list[tuple[Ints, Ints]]
    edges: list[tuple[Ints, Ints]]
    places: NDArray[np.void]
    blocks: NDArray[np.void]
    templates: Ints
    spans: Ints
    counts: Counter[str]
    needs_names: bool


def read(
    alignments: Alignments,
    layout: Layout,
    settings: CoverageSettings,
    parts: list[int] | None,
    grouped: NDArray[np.void] | None = None,
    threads: int = 1,
) -> Iterator[tuple[int, bytes]]:
    """Numbers of parts and their content, as `unpacked` takes it.

    Args:
        parts: those to read, which takes an index; None: all of them, in one go.
        grouped: as ``Counting`` has it.
        threads: that decompress.

    Raises:
        InputError: the file is damaged, or its records contradict themselves.
    """
    counting = Counting(settings, layout, alignments.path.name, grouped)
    last = len(layout.parts) - 1
    if parts is not None:
        for part in parts:
            tally = Tally()
            for records in alignments.batches(layout.parts[part], threads=threads):
                counting.add(tally, records)
            if part == last:
                tally.counts.update(dict.fromkeys(("alignments", "unmapped"), alignments.unplaced))
            yield part, _packed(tally, layout.start(part))
        return
    tallies = {0: Tally()}
    done = 0
    for records in alignments.batches(threads=threads):
        contigs = records.fields["contig"].astype(np.int64)
        numbers = np.where(contigs < 0, last, layout.part_of(contigs))  # records without a contig come last
        for part in np.unique(numbers).tolist():
            counting.add(tallies.setdefault(part, Tally()), records[numbers == part])
        while alignments.is_sorted and done < numbers[-1]:
            yield done, _packed(tallies.pop(done, Tally()), layout.start(done))
            done += 1
    for part in range(done, len(layout.parts)):
        yield part, _packed(tallies.pop(part, Tally()), layout.start(part))


def _packed(tally: Tally, start: int) -> bytes:
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, positions in (("event", tally.events), ("edge", tally.edges)):
        for number, each in enumerate(positions):
            at, weights = each.sums()
            arrays[f"{name}{number}"] = (at - start).astype(np.uint32)
            arrays[f"{name}{number}n"] = weights.astype(np.int32)
    arrays["places"] = np.concatenate([np.empty(0, PLACE), *tally.places])
    arrays["blocks"] = np.concatenate([np.empty(0, BLOCK), *tally.blocks])
    arrays["templates"], arrays["spans"] = tally.templates, tally.spans
    told = json.dumps([tally.counts, tally.needs_names]).encode()
    arrays["told"] = np.frombuffer(told, np.uint8)
    content = io.BytesIO()
    np.savez(content, allow_pickle=False, **arrays)
    return content.getvalue()


def unpacked(content: bytes, start: int) -> Part:
    """A part that `read` gave; ``start`` is where it begins on the line."""
    with np.load(io.BytesIO(content)) as arrays:

        def positions(name: str, count: int) -> list[tuple[Ints, Ints]]:
            return [
                (arrays[f"{name}{i}"].astype(np.int64) + start, arrays[f"{name}{i}n"].astype(np.int64))
                for i in range(count)
            ]

        counts, needs_names = json.loads(arrays["told"].tobytes())
        return Part(
            events=positions("event", KINDS),
            edges=positions("edge", 2),
            places=arrays["places"],
            blocks=arrays["blocks"],
            templates=arrays["templates"],
            spans=arrays["spans"],
            counts=Counter(counts),
            needs_names=needs_names,
        )
