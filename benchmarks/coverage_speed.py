"""Time and memory of ``basecast coverage`` on a simulated genome of 3.1 Gb.

    python benchmarks/coverage_speed.py [--alignments N] [--threads N]

Reads lie evenly over contigs as long as the human chromosomes; one in twenty has six places, told by NH. Three things
are timed: what an alignment costs to read, beside a plain loop over pysam that finds the same 5' ends in the same file
(both in one process, in seconds of CPU); what a round of sharing costs for a read with six places; and the whole
command, with the most memory that it and its processes ever held. The loop's sum of 5' ends is held against ours first.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pysam

from basecast.coverage.events import Counting, Tally
from basecast.coverage.layout import Layout
from basecast.coverage.multireads import shares
from basecast.coverage.settings import CoverageSettings
from basecast.genome.alignments import Alignments
from running import run_basecast

# bases of the human chromosomes (GRCh38), rounded
SIZES = [248, 242, 198, 190, 182, 171, 159, 145, 138, 134, 135, 133, 114, 107, 102, 90, 83, 80, 59, 64, 47, 51, 156, 57]
LENGTHS = {f"chr{number}": 1_000_000 * size for number, size in enumerate(SIZES, 1)}
TWO_BASES = np.array([one << 4 | two for one in (1, 2, 4, 8) for two in (1, 2, 4, 8)], np.uint8)
READ, PLACES, MULTI = 75, 6, 0.05
PUBLISHED_READ, PUBLISHED_ROUND = 14.0, 25.0  # microseconds of Basenji's bam_cov.py, measured on two such cores


def write_bam(path: Path, n_reads: int, seed: int = 0) -> None:
    """Reads of random bases and of qualities as sequencers bin them."""
    rng = np.random.default_rng(seed)
    n_multi = int(n_reads * MULTI)
    read = np.concatenate([np.arange(n_multi).repeat(PLACES), np.arange(n_multi, n_reads)])
    places = np.where(read < n_multi, PLACES, 1)
    bounds = np.cumsum([0, *LENGTHS.values()])
    at = rng.integers(0, bounds[-1], len(read))
    contig = np.searchsorted(bounds, at, "right") - 1
    at = np.minimum(at, bounds[contig + 1] - READ)
    order = np.argsort(at)
    is_other = np.append(False, read[1:] == read[:-1])[order]
    read, places, at, contig = read[order], places[order], at[order], contig[order]
    fixed: list[tuple[str, str] | tuple[str, str, int]] = [
        *(("size", "<i4"), ("contig", "<i4"), ("pos", "<i4"), ("name_size", "u1"), ("mapq", "u1"), ("bin", "<u2")),
        *(("n_cigar", "<u2"), ("flag", "<u2"), ("length", "<i4"), ("mate_contig", "<i4"), ("mate", "<i4")),
        *(("tlen", "<i4"), ("name", "S24"), ("cigar", "<u4"), ("bases", "u1", (READ + 1) // 2), ("quals", "u1", READ)),
        *(("as_", "S3"), ("as_value", "u1"), ("xn", "S3"), ("xn_value", "u1"), ("nm", "S3"), ("nm_value", "u1")),
        *(("md", "S6"), ("yt", "S6"), ("nh", "S3"), ("nh_value", "u1")),
    ]
    kind = np.dtype(fixed)
    text = b"@HD\tVN:1.6\tSO:coordinate\n"
    head = b"BAM\1" + len(text).to_bytes(4, "little") + text + len(LENGTHS).to_bytes(4, "little")
    for name, size in LENGTHS.items():
        head += (len(name) + 1).to_bytes(4, "little") + name.encode() + b"\0" + size.to_bytes(4, "little")
    raw = path.with_suffix(".raw")
    with pysam.BGZFile(str(raw), "wb") as out:
        out.write(head)
        for first in range(0, len(read), 250_000):
            some = slice(first, first + 250_000)
            n = len(read[some])
            records = np.zeros(n, kind)
            records["size"], records["name_size"], records["n_cigar"], records["length"] = (
                kind.itemsize - 4,
                24,
                1,
                READ,
            )
            records["contig"], records["pos"] = contig[some], at[some] - bounds[contig[some]]
            records["mapq"], records["mate_contig"], records["mate"] = 40, -1, -1
            records["flag"] = 16 * rng.integers(0, 2, n) + 256 * is_other[some]
            names = np.char.zfill(read[some].astype("S10"), 10)
            records["name"] = np.char.add(b"SRR1234567.01", names)  # 23 letters, and a NUL that numpy adds
            records["cigar"] = READ << 4
            records["bases"] = rng.choice(TWO_BASES, (n, (READ + 1) // 2))
            records["quals"] = rng.choice(np.array([2, 12, 23, 37]), (n, READ), p=[0.02, 0.05, 0.08, 0.85])
            for tag, value in (("as_", b"ASC"), ("xn", b"XNC"), ("nm", b"NMC"), ("nh", b"NHC")):
                records[tag] = value
            records["md"], records["yt"], records["nh_value"] = b"MDZ75", b"YTZUU", places[some]
            end = records["pos"] + READ - 1
            for shift, offset in ((26, 1), (23, 9), (20, 73), (17, 585), (14, 4681)):  # SAM specification, section 5.3
                same = records["pos"] >> shift == end >> shift
                records["bin"] = np.where(same, offset + (records["pos"] >> shift), records["bin"])
            out.write(records.tobytes())
    pysam.view("-b", "-o", str(path), str(raw), catch_stdout=False)  # with blocks as samtools cuts them
    raw.unlink()
    pysam.index(str(path))


def plain_loop(path: Path) -> tuple[int, int, float]:
    """Alignments, the sum of their 5' ends, and seconds of CPU."""
    began, count, total = time.process_time(), 0, 0
    with pysam.AlignmentFile(str(path)) as file:
        for record in file:
            if record.is_unmapped or record.is_duplicate:
                continue
            if record.has_tag("NH") and record.get_tag("NH") > 10:
                continue
            total += record.reference_end - 1 if record.is_reverse else record.reference_start
            count += 1
    return count, total, time.process_time() - began


def ours(path: Path) -> tuple[int, int, float]:
    began = time.process_time()
    source = Alignments(path)
    layout = Layout(source.lengths)
    counting, total, count = Counting(CoverageSettings(), layout, path.name), 0, 0
    for part in range(len(layout.parts)):
        tally = Tally()
        for records in source.batches(layout.parts[part]):
            counting.add(tally, records)
        for at, events in (each.sums() for each in tally.events):
            total += int(((at - layout.bounds[layout.contig_of(at)]) * events).sum())
        for places in tally.places:
            total += int((places["at"] - layout.bounds[layout.contig_of(places["at"])]).sum())
        count += tally.counts["alignments"]
    return count, total, time.process_time() - began


def a_round(n_reads: int, rounds: int = 4) -> float:
    """Microseconds of CPU of a read with six places and a round."""
    rng = np.random.default_rng(0)
    step = 4
    keys = rng.integers(0, sum(LENGTHS.values()) // step, n_reads * PLACES)
    keys[: len(keys) // 2] %= len(keys) // 8  # half of them close together, as in repeats
    firsts = np.arange(0, len(keys), PLACES)
    asked = {"sigma": 32 / step, "prior": lambda where: (where % 97 == 0) * 0.5}
    seconds = []
    for iterations in (1, 1 + rounds):
        began = time.process_time()
        found = shares(keys, firsts, iterations=iterations, **asked)  # type: ignore[arg-type]
        seconds.append(time.process_time() - began)
        assert len(found.moved) == iterations
    return 1e6 * (seconds[1] - seconds[0]) / rounds / n_reads


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--alignments", type=int, default=4_000_000)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "reads.bam")
        write_bam(path, int(options.alignments / (1 + MULTI * (PLACES - 1))))
        theirs, mine = plain_loop(path), ours(path)
        assert theirs[:2] == mine[:2], (theirs, mine)
        count = theirs[0]
        loop, read = (1e6 * each[2] / count for each in (theirs, mine))
        print(f"an alignment, one process: {read:.2f} us; plain pysam loop {loop:.2f} us ({loop / read:.1f}x)")
        print(f"  Basenji's published code: {PUBLISHED_READ:.0f} us ({PUBLISHED_READ / read:.1f}x)")
        each = a_round(200_000)
        print(f"a read of {PLACES} places and a round: {each:.2f} us")
        print(f"  Basenji's published code: {PUBLISHED_ROUND:.0f} us ({PUBLISHED_ROUND / each:.1f}x)")
        ran = run_basecast("coverage", path, "-o", f"{folder}/out.bw", "--threads", options.threads)
        size = sum(LENGTHS.values()) / 1e9
        print(
            f"{count:,} alignments to a genome of {size:.1f} Gb, {options.threads} processes: {ran.wall:.0f} s, "
            f"{ran.cpu:.0f} s of CPU, {1e6 * ran.cpu / count:.2f} us of CPU an alignment, "
            f"{ran.memory / 2**30:.2f} GiB at most"
        )
        assert ran.memory <= 4 * 2**30


if __name__ == "__main__":
    main()
