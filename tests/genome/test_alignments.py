from __future__ import annotations

import pickle
import struct
import zlib
from pathlib import Path

import numpy as np
import pysam
import pytest
from made_alignments import LENGTHS, line, write

from basecast.errors import InputError
from basecast.genome import alignments as alignments_module
from basecast.genome.alignments import Alignments
from basecast.genome.bam import REVERSE, UNMAPPED, Records
from basecast.genome.bgzip import END

CIGARS = ["50M", "5S45M", "20M1000N30M", "10M2I38M", "10M5D40M", "3H10M20N10M2D5M7N25M2S", "50=", "20M10N5I30M", "1M"]
TAGS = ["NH:i:3", "HI:i:-2", "AS:A:c", "MD:Z:", "RG:Z:a longer text of any kind", "xf:f:0.5", "YH:H:1AE3", "NM:i:70000"]
ARRAYS = ["ba:B:c,1,-2", "bi:B:I,1,2,3", "bf:B:f,0.5"]


def some_lines(n: int, seed: int = 0, contigs: tuple[str, ...] = ("chr1", "chr2", "chr3")) -> list[str]:
    rng = np.random.default_rng(seed)
    lines = []
    for number in range(n):
        tags = [*rng.permutation(TAGS)[: rng.integers(0, len(TAGS))], *rng.permutation(ARRAYS)[: rng.integers(0, 3)]]
        rng.shuffle(tags)
        contig = str(rng.choice(contigs))
        start = int(rng.integers(0, LENGTHS[contig] - 2000))
        name = f"{'x' * int(rng.integers(0, 40))}{number}"
        cigar, flag = str(rng.choice(CIGARS)), 16 * int(rng.integers(0, 2))
        lines.append(
            line(name, flag, contig, start, cigar, int(rng.integers(0, 61)), int(rng.integers(-500, 500)), 7, tags)
        )
    return lines


def same(records: Records, expected: list[pysam.AlignedSegment]) -> None:
    assert len(records) == len(expected)
    for field, attribute in [
        ("flag", "flag"),
        ("mapq", "mapping_quality"),
        ("contig", "reference_id"),
        ("start", "reference_start"),
        ("template", "template_length"),
        ("mate_start", "next_reference_start"),
    ]:
        assert records.fields[field].tolist() == [getattr(each, attribute) for each in expected]
    assert [records.name(row) for row in range(len(records))] == [each.query_name for each in expected]
    mapped = [row for row, each in enumerate(expected) if not each.is_unmapped]
    assert records.ends[mapped].tolist() == [expected[row].reference_end for row in mapped]
    assert records.has(REVERSE).tolist() == [each.is_reverse for each in expected]
    owner, starts, ends = records.blocks()
    for row, each in enumerate(expected):
        merged: list[list[int]] = []
        is_intron = True
        at = each.reference_start
        for operation, length in each.cigartuples or ():
            if operation in (0, 2, 7, 8):
                if is_intron:
                    merged.append([at, at])
                merged[-1][1] = at + length
                is_intron = False
            is_intron |= operation == 3
            at += length if operation in (0, 2, 3, 7, 8) else 0
        assert list(zip(starts[owner == row].tolist(), ends[owner == row].tolist(), strict=True)) == [
            tuple(block) for block in merged
        ]
    tags = records.tags("NH", "MD", "NM", "RG", "XX")
    for name in ("NH", "NM"):
        rows, at = tags[name]
        order = np.argsort(rows)
        found = dict(zip(rows[order].tolist(), records.integers(at)[order].tolist(), strict=True))
        assert found == {row: each.get_tag(name) for row, each in enumerate(expected) if each.has_tag(name)}
    for name in ("RG", "MD"):
        rows, at = tags[name]
        found = {row: records.text(place) for row, place in zip(rows.tolist(), at.tolist(), strict=True)}
        assert found == {row: each.get_tag(name) for row, each in enumerate(expected) if each.has_tag(name)}
    assert not len(tags["XX"][0])


def all_of(source: Alignments) -> list[tuple[str, int, int, int]]:
    found = []
    for records in source.batches():
        names = [records.name(row) for row in range(len(records))]
        rows = [records.fields[field].tolist() for field in ("flag", "contig", "start")]
        found += list(zip(names, *rows, strict=True))
    return found


@pytest.mark.parametrize("n", [0, 1, 500])
def test_records_are_those_of_htslib(tmp_path: Path, n: int) -> None:
    path = write(tmp_path / "a.bam", [*some_lines(n), line("u", UNMAPPED, "*", 0, "*")])
    batches = list(Alignments(path).batches())
    assert len(batches) == 1
    with pysam.AlignmentFile(str(path)) as file:
        same(batches[0], list(file))
        assert Alignments(path).lengths == dict(zip(file.references, file.lengths, strict=True))


@pytest.mark.parametrize("block", [40, 1000, 65280])
@pytest.mark.parametrize("at_once", [1 << 12, 1 << 22])
def test_records_may_lie_across_blocks(
    tmp_path: Path, block: int, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Java's programs write them, and with little read at once."""
    whole = write(tmp_path / "a.bam", some_lines(300), index=False)
    with pysam.BGZFile(str(whole), "r") as text:
        content = text.read()
    packed = b""
    for at in range(0, len(content), block):
        some = content[at : at + block]
        deflate = zlib.compressobj(1, zlib.DEFLATED, -15)
        body = deflate.compress(some) + deflate.flush()
        head = struct.pack("<4BI2BH2B2H", 31, 139, 8, 4, 0, 0, 255, 6, 66, 67, 2, len(body) + 25)
        packed += head + body + struct.pack("<II", zlib.crc32(some), len(some))
    path = tmp_path / "b.bam"
    path.write_bytes(packed + END)
    monkeypatch.setattr(alignments_module, "_AT_ONCE", at_once)
    assert all_of(Alignments(path)) == all_of(Alignments(whole))


def test_equal_names_alone_have_equal_digests(tmp_path: Path) -> None:
    names = ["a", "ab", "abcdefgh", "abcdefghi", "abcdefgh" * 4, "abcdefgh" * 4 + "x", "b", "a", "r1", "r2", "1r"]
    path = write(tmp_path / "a.bam", [line(name, start=i) for i, name in enumerate(names)])
    (records,) = Alignments(path).batches()
    digests = [tuple(each) for each in records.name_digests().tolist()]
    for one, name in zip(digests, names, strict=True):
        assert [other == one for other in digests] == [other == name for other in names]
    assert len({first for first, _ in digests}) == len({second for _, second in digests}) == len(set(names))
    backwards = records[np.arange(len(records))[::-1]].name_digests()  # not what stands behind the name
    assert (backwards[::-1] == records.name_digests()).all()


@pytest.mark.parametrize("threads", [1, 3])
def test_parts_by_the_index(tmp_path: Path, threads: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alignments_module, "_AT_ONCE", 1 << 12)
    lines = [*some_lines(700), line("mate", 4 | 1, "chr2", 77, "*"), *[line("u", 4, "*", 0, "*")] * 3]
    source = pickle.loads(pickle.dumps(Alignments(write(tmp_path / "a.bam", lines))))
    whole = all_of(source)
    assert source.unplaced == 3
    for contigs in (range(0, 1), range(1, 2), range(2, 3), range(1, 4), range(0, 4)):
        batches = source.batches(contigs, threads=threads)
        found = [records.name(row) for records in batches for row in range(len(records))]
        assert found == [name for name, _, contig, _ in whole if contig in contigs]


def test_contigs_of_gigabases(tmp_path: Path) -> None:
    lengths = {"short": 1000, "long": 2**31 - 1, "last": 600_000_000}
    starts = [0, 2**29 + 5, 2**31 - 60]
    lines = [line(f"r{at}", contig="long", start=at) for at in starts] + [line("x", contig="last", start=599_999_900)]
    source = Alignments(write(tmp_path / "a.bam", lines, lengths=lengths))
    assert source.index is not None
    assert source.index.suffix == ".csi"
    assert source.lengths == lengths
    (records,) = source.batches(range(1, 2))
    assert records.starts.tolist() == starts
    assert records.ends.tolist() == [at + 50 for at in starts]


def test_cram_and_sam_are_read_as_bam_is(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    fasta = tmp_path / "g.fa"
    fasta.write_text("".join(f">{name}\n{''.join(rng.choice(list('ACGT'), n))}\n" for name, n in LENGTHS.items()))
    bases = f"\t{''.join(rng.choice(list('ACGT'), 50))}\t{'I' * 50}"
    lines = [each.replace("\t*\t*", bases) for each in some_lines(600) if "\t50M\t" in each and "RG:Z" not in each]
    bam = write(tmp_path / "a.bam", lines)
    sam = write(tmp_path / "a.sam", lines, mode="wh")
    cram = write(tmp_path / "a.cram", lines, mode="wc", reference_filename=str(fasta))
    for path in (sam, cram):
        source = pickle.loads(pickle.dumps(Alignments(path, fasta)))
        assert source.lengths == LENGTHS
        assert source.is_sorted
        assert source.index is None
        assert all_of(source) == all_of(Alignments(bam))
    (records,) = Alignments(cram, fasta).batches()
    with pysam.AlignmentFile(str(bam)) as file:
        assert records.ends.tolist() == [each.reference_end for each in file]
    fasta.unlink()
    with pytest.raises(InputError, match=r"give the FASTA that it was made with \(-R\), or fetch or make it again"):
        list(Alignments(cram).batches())


# --- bad input


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no file of alignments .*a\.bam: give a BAM or a CRAM"):
        Alignments(tmp_path / "a.bam")


@pytest.mark.parametrize("content", [b"", b"chr1\t5\n", b"\x89PNG\r\n", END], ids=["empty", "text", "image", "bgzip"])
def test_no_alignments(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.bam"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.bam (cannot be read as BAM|is truncated|names no contigs)"):
        Alignments(path)


def test_no_contigs(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bam", [line("u", 4, "*", 0, "*")], lengths={"x": 5}, index=False)
    unaligned = tmp_path / "b.bam"
    with (
        pysam.AlignmentFile(str(path)) as file,
        pysam.AlignmentFile(str(unaligned), "wb", text="@CO\tx\n", reference_names=[], reference_lengths=[]) as out,
    ):
        assert file.nreferences == 1
        out.write(next(file.fetch(until_eof=True)))
    with pytest.raises(InputError, match=r"names no contigs \(no @SQ lines\): align its reads"):
        Alignments(unaligned)


def test_truncated_anywhere(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bam", some_lines(200), index=False)
    content = path.read_bytes()
    for size in (3, 30, 200, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(InputError, match=r"a\.bam (is truncated|is damaged|cannot be read)"):
            list(Alignments(path).batches())
        path.write_bytes(content[:size] + END)
        with pytest.raises(InputError, match=r"a\.bam (is truncated|is damaged|cannot be read)"):
            list(Alignments(path).batches())


def test_it_ends_within_a_record(tmp_path: Path) -> None:
    whole = write(tmp_path / "a.bam", some_lines(20), index=False)
    with pysam.BGZFile(str(whole), "r") as text:
        content = text.read()
    with pysam.BGZFile(str(tmp_path / "b.bam"), "w") as out:
        out.write(content[:-10])
    with pytest.raises(InputError, match=r"b\.bam is truncated: it ends within a record"):
        list(Alignments(tmp_path / "b.bam").batches())


def test_a_flipped_bit_is_seen(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bam", some_lines(200), index=False)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a\.bam is truncated or damaged"):
        list(Alignments(path).batches())


def test_a_cram_that_is_cut(tmp_path: Path) -> None:
    path = write(tmp_path / "a.cram", some_lines(100), mode="wc", format_options=[b"no_ref=1"])
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(InputError, match=r"a\.cram cannot be read as BAM, CRAM or SAM \(.*\): .*make it again"):
        list(Alignments(path).batches())


def test_a_header_that_says_sorted_of_what_is_not(tmp_path: Path) -> None:
    lines = [line("a", start=500), line("b", start=400)]
    path = write(tmp_path / "a.bam", lines, order=None, index=False)
    assert not Alignments(path).is_sorted
    assert [name for name, *_ in all_of(Alignments(path))] == ["a", "b"]
    with pysam.BGZFile(str(path), "r") as text:
        content = text.read()
    told = b"@HD\tVN:1.6\tSO:coordinate\n"
    size = struct.unpack_from("<i", content, 4)[0]
    sq = content[8 : 8 + size].split(b"\n", 1)[1]
    with pysam.BGZFile(str(tmp_path / "b.bam"), "w") as out:
        out.write(b"BAM\1" + struct.pack("<i", len(told + sq)) + told + sq + content[8 + size :])
    with pytest.raises(
        InputError, match=r"b\.bam is not sorted, though its header says so \(record 'b' .*samtools sort"
    ):
        list(Alignments(tmp_path / "b.bam").batches())


def test_an_index_of_another_file(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bam", some_lines(100))
    stale = (tmp_path / "a.bam.bai").read_bytes()
    write(path, some_lines(90))
    (tmp_path / "a.bam.bai").write_bytes(stale)
    with pytest.raises(InputError, match=r"a\.bam(\.bai)? (is not the index of|is truncated or damaged)"):
        list(Alignments(path).batches(range(0, 4)))
    write(tmp_path / "b.bam", [], lengths={"one": 100})
    (tmp_path / "b.bam.bai").replace(tmp_path / "a.bam.bai")
    with pytest.raises(InputError, match=r"a\.bam\.bai is no index of this BAM \(it has 1 contigs, and the BAM 4\)"):
        list(Alignments(path).batches(range(0, 4)))
    (tmp_path / "a.bam.bai").write_bytes(stale[:100])
    with pytest.raises(InputError, match=r"is no index of this BAM .*samtools index"):
        list(Alignments(path).batches(range(0, 4)))
