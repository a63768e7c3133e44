"""What a bigWig file is made of: the records of its header, its trees, its blocks of values and of summaries.

Format: Kent et al. 2010, Bioinformatics 26:2204, supplement. A tree leads from contig names to numbers, another from
regions to blocks of values; a few coarser resolutions ("zoom levels") have blocks of summaries and a tree each.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

SIGNATURE, CONTIG_TREE, REGION_TREE = 0x888FFC26, 0x78CA8C91, 0x2468ACE0
LONGEST = 2**32 - 1  # bases of a contig

HEADER = struct.Struct("<IHHQQQHHQQIQ")
ZOOM_HEADER = struct.Struct("<IIQQ")
TOTALS = struct.Struct("<Qdddd")
CONTIG_TREE_HEADER = struct.Struct("<IIIIQQ")
REGION_TREE_HEADER = struct.Struct("<IIQIIIIQII")
NODE = struct.Struct("<BBH")
SECTION = struct.Struct("<IIIIIBBH")  # contig, start, end, step, span, kind, nothing, count
INTERVAL = np.dtype([("start", "<u4"), ("end", "<u4"), ("value", "<f4")])
POINT = np.dtype([("start", "<u4"), ("value", "<f4")])
INTERVALS, POINTS, FIXED_STEPS = 1, 2, 3  # kinds of section
ITEMS = {INTERVALS: INTERVAL, POINTS: POINT, FIXED_STEPS: np.dtype([("value", "<f4")])}
REGION = np.dtype([("contig", "<u4"), ("start", "<u4"), ("last_contig", "<u4"), ("end", "<u4"), ("child", "<u8")])
BLOCK = np.dtype([*REGION.descr, ("size", "<u8")])

MOMENTS = ("min", "max", "sum", "squares")
_PLACE = [("contig", "<u4"), ("start", "<u4"), ("end", "<u4"), ("covered", "<u4")]
# a block's summary, and the same as it is reckoned
ZOOM, SUMMARY = (np.dtype([*_PLACE, *((moment, kind) for moment in MOMENTS)]) for kind in ("<f4", "<f8"))

Records = NDArray[np.void]
Kinds = tuple[np.dtype[np.void], np.dtype[np.void]]


def contig_kinds(key_size: int) -> Kinds:
    """Items of the leaves and of the other nodes of the contig tree."""
    key = ("key", f"S{key_size}")
    return np.dtype([key, ("number", "<u4"), ("length", "<u4")]), np.dtype([key, ("child", "<u8")])
