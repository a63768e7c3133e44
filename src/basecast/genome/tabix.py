"""The index of a bgzipped, sorted file: ``.tbi``, or ``.csi`` where a contig is too long for that (SAM format)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any, Literal

import pysam

from basecast.files import whole_file

TBI_END = 1 << 29  # bases that a .tbi can address


def write_index(
    data: Path, name: str, preset: Literal["vcf", "bcf", "bed"], largest: int, later: contextlib.ExitStack
) -> None:
    """Index ``data``, which is to be called ``name``; ``later`` gives the index its name once the data has its own.

    Args:
        data: the finished file, still under another name.
        largest: bases of the longest contig, or the end of the farthest record if that is more. A BCF has a ``.csi``
            in any case, the others from 2^29 on.

    Raises:
        OSError: the file is not sorted, or the disk is full. An index of an earlier file of that name is gone then.
    """
    remove_indexes(name)
    is_csi = preset == "bcf" or largest >= TBI_END
    kind: Any = preset  # pysam's types do not know bcf
    with contextlib.ExitStack() as building:
        index = str(building.enter_context(whole_file(name + (".csi" if is_csi else ".tbi"))))
        try:
            pysam.tabix_index(str(data), force=True, preset=kind, csi=is_csi, index=index)
        except OSError:
            if preset != "bcf":
                raise
            # htslib takes the depth from the lengths in a BCF's header: where they are short, a bin is a contig
            pysam.tabix_index(str(data), force=True, preset=kind, csi=True, index=index, min_shift=largest.bit_length())
        later.push(building.pop_all())


def remove_indexes(name: str) -> None:
    """Remove what indexes a file of an earlier run's."""
    for suffix in (".tbi", ".csi"):
        Path(name + suffix).unlink(missing_ok=True)
