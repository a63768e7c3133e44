"""Reads whose truth is known: a genome with GC that varies, peaks, repeats, and what three aligners write of them.

A fragment is drawn by its centre (depth of the region, peaks), then kept by its GC share. A read that lies wholly in
a repeat could come from any copy and is aligned to all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import pysam
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Dialect = Literal["nh", "xa", "none"]
"""Who says how often a read was aligned: NH tags, BWA's XA tag in a record of its own, or nobody (Bowtie2 -k)."""

NEIGHBOURS = 1500  # bases at each side of a copy that share its depth
PEAK = 300  # bases where a peak has its fragments' centres


@dataclass(frozen=True)
class Copy:
    contig: str
    start: int
    forward: bool
    depth: float  # times the background's


@dataclass(frozen=True)
class Repeat:
    """Exact copies. Reads beside them have the depth of the copy, or are not there at all."""

    copies: tuple[Copy, ...]
    length: int
    has_neighbours: bool


@dataclass(frozen=True)
class Peaks:
    starts: Mapping[str, Ints]
    height: float  # times the background


def random_genome(rng: np.random.Generator, sizes: Mapping[str, int]) -> dict[str, NDArray[np.uint8]]:
    """Tokens of contigs whose GC content wanders between 0.25 and 0.7."""
    contigs = {}
    for name, size in sizes.items():
        knots = np.arange(0, size + 2000, 2000)
        share = np.interp(np.arange(size), knots, np.clip(rng.normal(0.45, 0.1, knots.size), 0.25, 0.7))
        is_gc = rng.random(size) < share
        contigs[name] = np.where(is_gc, rng.integers(1, 3, size), 3 * rng.integers(0, 2, size)).astype(np.uint8)
    return contigs


def planted_repeats(
    contigs: Mapping[str, NDArray[np.uint8]],
    n: int,
    length: int,
    depths: Sequence[float],
    *,
    end: int,
    has_neighbours: bool = True,
) -> list[Repeat]:
    """Copy sequence, in place, to ``n`` families of a copy for each depth, from ``end`` of the first contig down.

    Every second copy is on the other strand.
    """
    name = next(iter(contigs))
    tokens = contigs[name]
    apart = length + 2 * NEIGHBOURS + 1000
    last = end - apart
    repeats = []
    for family in range(n):
        starts = [last - apart * (family * len(depths) + i) for i in range(len(depths))]
        source = tokens[starts[0] : starts[0] + length].copy()
        for i, start in enumerate(starts):
            tokens[start : start + length] = source if i % 2 == 0 else 3 - source[::-1]
        copies = tuple(Copy(name, s, i % 2 == 0, d) for i, (s, d) in enumerate(zip(starts, depths, strict=True)))
        repeats.append(Repeat(copies, length, has_neighbours))
    return repeats


def planted_peaks(
    rng: np.random.Generator,
    contigs: Mapping[str, NDArray[np.uint8]],
    n: int,
    height: float,
    *,
    follow_gc: bool,
    share: float = 0.6,
) -> Peaks:
    """``n`` peaks in the first ``share`` of each contig, at random or where GC is the highest of some places."""
    starts = {}
    for name, tokens in contigs.items():
        of_it = max(n // len(contigs), 1)
        places = np.linspace(2000, share * len(tokens), 4 * of_it).astype(np.int64)
        before = np.concatenate([[0], np.cumsum((tokens == 1) | (tokens == 2))])
        gc = before[places + PEAK] - before[places]
        chosen = np.argsort(gc)[-of_it:] if follow_gc else rng.choice(places.size, of_it, replace=False)
        starts[name] = np.sort(places[chosen])
    return Peaks(starts, height)


@dataclass
class Reads:
    """Fragments, and where their reads could have come from; ``contig`` counts the contigs of the genome."""

    genome: Mapping[str, NDArray[np.uint8]]
    read_length: int
    paired: bool
    contig: Ints
    start: Ints  # of the fragment
    length: Ints  # of the fragment
    reverse: NDArray[np.bool_]  # which strand the read, or the first mate, is on
    repeats: Sequence[Repeat] = ()
    seed: int = 0

    @cached_property
    def _names(self) -> list[str]:
        return list(self.genome)

    def ends(self, name: str, *, multi: bool | None = None) -> tuple[Ints, Ints]:
        """True 5' ends of forward and reverse reads by base, each shape (contig,); of all, unique or multi-reads."""
        size = len(self.genome[name])
        mine = self.contig == self._names.index(name)
        if multi is not None:
            mine &= (self.family >= 0) == multi
        first, last = self.start, self.start + self.length - 1
        forward = mine if self.paired else mine & ~self.reverse
        backward = mine if self.paired else mine & self.reverse
        return np.bincount(first[forward], minlength=size), np.bincount(last[backward], minlength=size)

    @property
    def span(self) -> tuple[Ints, Ints]:
        """Start and end of what decides where a read can lie: the read, or the fragment of a pair."""
        if self.paired:
            return self.start, self.start + self.length
        first = np.where(self.reverse, self.start + self.length - self.read_length, self.start)
        return first, first + self.read_length

    @cached_property
    def _within(self) -> tuple[Ints, Ints]:
        family, copy = np.full((2, self.start.size), -1)
        first, last = self.span
        for i, repeat in enumerate(self.repeats):
            for j, one in enumerate(repeat.copies):
                inside = (first >= one.start) & (last <= one.start + repeat.length)
                inside &= self.contig == self._names.index(one.contig)
                family[inside], copy[inside] = i, j
        return family, copy

    @property
    def family(self) -> Ints:
        """The repeat that a read lies in, -1 for a read with one place."""
        return self._within[0]

    @property
    def copy(self) -> Ints:
        """The copy that it was drawn from."""
        return self._within[1]

    def moved(self, to: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        """Contig, fragment start and strand of each read at copy ``to`` of its repeat."""
        contig, start, reverse = self.contig.copy(), self.start.copy(), self.reverse.copy()
        for i, repeat in enumerate(self.repeats):
            for j, source in enumerate(repeat.copies):
                for k, target in enumerate(repeat.copies):
                    mine = (self.family == i) & (self.copy == j) & (to == k)
                    offset = self.start[mine] - source.start
                    same = source.forward == target.forward
                    start[mine] = target.start + (offset if same else repeat.length - offset - self.length[mine])
                    reverse[mine] ^= not same
                    contig[mine] = self._names.index(target.contig)
        return contig, start, reverse

    def write_fasta(self, path: Path) -> Path:
        letters = np.frombuffer(b"ACGTN", np.uint8)
        with path.open("wb") as out:
            for name, tokens in self.genome.items():
                out.write(b">" + name.encode() + b"\n")
                text = letters[tokens].tobytes()
                out.writelines(text[i : i + 80] + b"\n" for i in range(0, len(text), 80))
        return path

    def write_bam(self, path: Path, dialect: Dialect) -> Path:
        """A coordinate-sorted BAM with its index; the primary place of a multi-read is any of its copies."""
        rng = np.random.default_rng(self.seed)
        n_copies = np.array([len(r.copies) for r in self.repeats] + [1])[self.family]
        primary = rng.integers(0, n_copies)
        parts, extra = [], []
        for rank in range(int(n_copies.max())):
            aligned = np.flatnonzero(rank < n_copies)
            to = ((primary + rank) % n_copies)[aligned]
            contig, start, reverse = (values[aligned] for values in self._at(to, aligned))
            if dialect == "xa" and rank:
                extra.append((aligned, contig, start, reverse))
                continue
            for mate in range(1 + self.paired):
                parts.append(self._records(aligned, contig, start, reverse, rank, mate, n_copies, dialect == "nh"))
        records = np.concatenate(parts)
        tags = self._xa(extra) if dialect == "xa" else {}
        order = np.lexsort((records["read"], records["pos"], records["contig"]))
        records = records[order]
        body = _packed(records, self.genome, self._names, self.read_length, tags)
        sizes = {name: len(tokens) for name, tokens in self.genome.items()}
        header = pysam.AlignmentHeader.from_dict(
            {"HD": {"VN": "1.6", "SO": "coordinate"}, "SQ": [{"SN": n, "LN": s} for n, s in sizes.items()]}
        )
        text = str(header).encode()
        head = b"BAM\1" + len(text).to_bytes(4, "little") + text + len(sizes).to_bytes(4, "little")
        for name, size in sizes.items():
            head += (len(name) + 1).to_bytes(4, "little") + name.encode() + b"\0" + size.to_bytes(4, "little")
        with pysam.BGZFile(str(path), "wb") as out:
            out.write(head)
            out.write(body)
        pysam.index(str(path))
        return path

    def _at(self, to: Ints, aligned: Ints) -> tuple[Ints, Ints, NDArray[np.bool_]]:
        everywhere = np.zeros(self.start.size, np.int64)
        everywhere[aligned] = to
        return self.moved(everywhere)

    def _records(
        self,
        aligned: Ints,
        contig: Ints,
        start: Ints,
        reverse: NDArray[np.bool_],
        rank: int,
        mate: int,
        n_copies: Ints,
        has_nh: bool,
    ) -> NDArray[np.void]:
        """A row for each alignment of the rank."""
        length, read = self.length[aligned], self.read_length
        backward = reverse ^ (mate == 1)
        left, right = start, start + length - read
        flag = 16 * backward + 256 * (rank > 0)
        if self.paired:
            flag = flag + 1 + 2 + 32 * ~backward + (128 if mate else 64)
        rows = np.zeros(aligned.size, _ROW)
        rows["read"], rows["contig"], rows["pos"] = aligned, contig, np.where(backward, right, left)
        rows["flag"], rows["nh"] = flag, n_copies[aligned] if has_nh else 0
        rows["hi"], rows["mapq"] = rank + 1, np.where(n_copies[aligned] > 1, 1, 42)
        rows["mate"] = np.where(backward, left, right) if self.paired else -1
        rows["tlen"] = np.where(backward, -length, length) if self.paired else 0
        return rows

    def _xa(self, extra: Sequence[tuple[Ints, Ints, Ints, NDArray[np.bool_]]]) -> dict[tuple[int, bool], bytes]:
        """The XA tag by read and whether it is the second mate."""
        tags: dict[tuple[int, bool], bytes] = {}
        for aligned, contig, start, reverse in extra:
            rows = zip(aligned.tolist(), contig.tolist(), start.tolist(), reverse.tolist(), strict=True)
            for read, where, first, is_reverse in rows:
                for second in (False, True)[: 1 + self.paired]:
                    backward = is_reverse ^ second
                    pos = first + int(self.length[read]) - self.read_length if backward else first
                    place = f"{self._names[where]},{'-' if backward else '+'}{pos + 1},{self.read_length}M,0;"
                    tags[read, second] = tags.get((read, second), b"XAZ") + place.encode()
        return {key: tag + b"\0" for key, tag in tags.items()}


_ROW = np.dtype([(name, np.int64) for name in ["read", "contig", "pos", "flag", "nh", "hi", "mapq", "mate", "tlen"]])


def _packed(
    rows: NDArray[np.void],
    genome: Mapping[str, NDArray[np.uint8]],
    names: Sequence[str],
    read_length: int,
    tags: Mapping[tuple[int, bool], bytes],
) -> bytes:
    """BAM records of rows: all of one size, but for the XA tags."""
    fixed: list[tuple[str, str] | tuple[str, str, int]] = [
        *(("size", "<i4"), ("contig", "<i4"), ("pos", "<i4"), ("name_size", "u1"), ("mapq", "u1"), ("bin", "<u2")),
        *(("n_cigar", "<u2"), ("flag", "<u2"), ("length", "<i4"), ("mate_contig", "<i4"), ("mate", "<i4")),
        *(("tlen", "<i4"), ("name", "S12"), ("cigar", "<u4"), ("bases", "u1", (read_length + 1) // 2)),
        *(("qualities", "u1", read_length), ("nm", "S3"), ("nm_value", "u1")),
    ]
    has_nh = bool(rows["nh"].any())
    nh = [("nh", "S3"), ("nh_value", "u1"), ("hi", "S3"), ("hi_value", "u1")] if has_nh else []
    records = np.zeros(rows.size, np.dtype(fixed + nh))
    records["size"] = records.dtype.itemsize - 4
    for name in ("contig", "pos", "mapq", "flag", "mate", "tlen"):
        records[name] = rows[name]
    records["mate_contig"] = np.where(rows["mate"] >= 0, rows["contig"], -1)
    records["name_size"], records["n_cigar"], records["length"] = 12, 1, read_length
    # eleven letters and a NUL, which numpy adds
    records["name"] = np.char.add(b"r", np.char.zfill(rows["read"].astype("S10"), 10))
    records["cigar"], records["qualities"] = read_length << 4, 40
    records["nm"], records["nm_value"] = b"NMC", 0
    if has_nh:
        records["nh"], records["nh_value"], records["hi"], records["hi_value"] = b"NHC", rows["nh"], b"HIC", rows["hi"]
    end = rows["pos"] + read_length - 1
    offset, shift = 0, 0
    bins = np.zeros(rows.size, np.int64)
    for shift, offset in ((26, 1), (23, 9), (20, 73), (17, 585), (14, 4681)):  # SAM specification, section 5.3
        bins = np.where(rows["pos"] >> shift == end >> shift, offset + (rows["pos"] >> shift), bins)
    records["bin"] = bins
    codes = np.array([1, 2, 4, 8, 15], np.uint8)
    for i, name in enumerate(names):
        mine = np.flatnonzero(rows["contig"] == i)
        for some in np.array_split(mine, mine.size // 100_000 + 1):
            bases = np.zeros((some.size, (read_length + 1) // 2 * 2), np.uint8)
            bases[:, :read_length] = codes[genome[name][rows["pos"][some, None] + np.arange(read_length)]]
            records["bases"][some] = bases[:, ::2] << 4 | bases[:, 1::2]
    if not tags:
        return records.tobytes()
    content = []
    for record, read, flag in zip(records, rows["read"].tolist(), rows["flag"].tolist(), strict=True):
        tag = tags.get((read, bool(flag & 128)), b"")
        size = records.dtype.itemsize - 4 + len(tag)
        content.append(size.to_bytes(4, "little") + record.tobytes()[4:] + tag)
    return b"".join(content)


def simulate(
    genome: Mapping[str, NDArray[np.uint8]],
    n: int,
    *,
    rng: np.random.Generator,
    slope: float = 0.0,
    peaks: Sequence[Peaks] = (),
    repeats: Sequence[Repeat] = (),
    fragment: float = 180,
    spread: float = 15,
    read_length: int = 50,
    paired: bool = False,
) -> Reads:
    """``n`` fragments.

    Args:
        slope: of log2 depth over the GC share of a fragment.
        fragment, spread: mean and standard deviation of fragment lengths, bases.
    """
    names = list(genome)
    sizes = np.array([len(tokens) for tokens in genome.values()])
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    depth = np.ones(offsets[-1])
    quiet = np.zeros(offsets[-1] + 1, bool)
    for one in peaks:
        for name, starts in one.starts.items():
            for start in starts + offsets[names.index(name)]:
                depth[start : start + PEAK] = one.height
    for repeat in repeats:
        for copy in repeat.copies:
            first = copy.start + offsets[names.index(copy.contig)]
            around = slice(first - NEIGHBOURS, first + repeat.length + NEIGHBOURS)
            depth[around] = copy.depth if repeat.has_neighbours else 0
            depth[first : first + repeat.length] = copy.depth
            quiet[around] |= not repeat.has_neighbours
    chance = np.cumsum(depth)
    is_gc = np.concatenate([(tokens == 1) | (tokens == 2) for tokens in genome.values()])
    gc_before = np.concatenate([[0], np.cumsum(is_gc)])
    kept: list[tuple[Ints, ...]] = []
    found = 0
    while found < n:
        centre = np.searchsorted(chance, rng.random(2 * n + 1000) * chance[-1], "right")
        length = np.maximum(rng.normal(fragment, spread, centre.size).round().astype(np.int64), read_length)
        first = centre - length // 2
        contig = np.searchsorted(offsets, centre, "right") - 1
        good = (first >= offsets[contig]) & (first + length <= offsets[contig + 1])
        centre, length, first, contig = (values[good] for values in (centre, length, first, contig))
        gc = (gc_before[first + length] - gc_before[first]) / length
        keep = rng.random(gc.size) < 2.0 ** (slope * gc - max(slope * 0.2, slope * 0.8))
        reverse = rng.random(gc.size) < 0.5
        one = Reads(genome, read_length, paired, contig, first - offsets[contig], length, reverse, repeats)
        keep &= ~(quiet[first] | quiet[first + length - 1]) | (one.family >= 0)
        kept.append((contig[keep], one.start[keep], length[keep], reverse[keep]))
        found += int(keep.sum())
    contig, start, length, reverse = (np.concatenate(values)[:n] for values in zip(*kept, strict=True))
    return Reads(genome, read_length, paired, contig, start, length, reverse, repeats, int(rng.integers(2**31)))
