"""Annotated variant files: nothing but our additions differs from the input, and nothing half-made takes a name."""

from __future__ import annotations

import builtins
import errno
import gzip
import io
import re
import resource
import shutil
import subprocess
import tracemalloc
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pysam
import pytest

from basecast.errors import BasecastError, InputError, UsageError
from basecast.genome.annotated import AnnotatedWriter, check_target, percent_encode
from basecast.genome.variants import VariantReader

COLUMNS = b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO"
SITES = b"##fileformat=VCFv4.2\n" + COLUMNS + b"\n"
DECLARED = b'##fileformat=VCFv4.3\n##contig=<ID=chr1,length=1000>\n##INFO=<ID=AF,Number=A,Type=Float,Description="f">\n'
GENOTYPES = " ".join(f"{i % 2}|{i % 3 % 2}:{i}" for i in range(100))
SAMPLES = b"\tFORMAT\t" + b"\t".join(b"s%d" % i for i in range(100)) + b"\n"


def vcf(*records: str, header: bytes = SITES) -> bytes:
    return header + "".join(record.replace(" ", "\t") + "\n" for record in records).encode()


def windows(content: bytes) -> bytes:
    return content.replace(b"\n", b"\r\n")


TYPED = DECLARED + COLUMNS + b"\n"
TWO_SAMPLES = DECLARED + COLUMNS + b"\tFORMAT\ta\tb\n"
NASTY = {
    "no contigs, undeclared INFO and FILTER": vcf("chrUn_1 7 . A C,G 1e2 made_up;q10 ODD=1,x;EVEN"),
    "numbers as written": vcf("chr1 0007 . A C 30.00 PASS AF=0.10", "chr1 8 . A C . . AF=1e-03", header=TYPED),
    "100 samples": vcf(f"chr1 7 . A C . . AF=.5 GT:XX {GENOTYPES}", header=DECLARED + COLUMNS + SAMPLES),
    "samples short of trailing fields": vcf("chr1 7 . A C . . . GT:DP 0/1 .", header=TWO_SAMPLES),
    "Windows": windows(vcf("chr1 7 . A C . . AF=0.1", "chr1 8 . A C . . .", header=TYPED)),
    "Windows with samples": windows(vcf("chr1 7 . A C . . F GT 0/1 0/1", header=TWO_SAMPLES)),
    "percent, flags, odd ends": vcf(
        "1 7 . A C . . FLAG", "1 7 . A C . . X=a%3Bb%25;Y=\u00e9;", "1 8 a;b a C . . A=b=c"
    ),
    "symbolic alleles, END": vcf("1 7 . A <DEL>,* . . END=9", "1 8 . A <NON_REF> . . END=8", "1 8 . A N[2:3[ . . ."),
    "not sorted, no file format": vcf("2 9 . A C . . .", "2 3 . A C . . .", "1 1 . A C . . .", header=COLUMNS + b"\n"),
    "header alone": TYPED,
}
NO_BCF = {
    "FORMAT without samples": vcf("chr1 7 . A C . . DP=1 GT", header=COLUMNS + b"\tFORMAT\n"),
    "empty FILTER, no UTF-8": vcf("1 7 . A C .  A=b").replace(b"A=b", b"A=\xff"),
}
ADDED_HEADER = [
    '##INFO=<ID=BasecastSplice,Number=.,Type=String,Description="ours">',
    '##INFO=<ID=BasecastSplice_DS_MAX,Number=A,Type=Float,Description="ours">',
    "##basecast_run=<version=1>",
]
ADDITIONS = (("BasecastSplice", "T|GENE|0.10"), ("BasecastSplice_DS_MAX", "0.10"))


def annotate(
    source: Path | str,
    target: Path | str,
    additions: Sequence[tuple[str, str]] = ADDITIONS,
    header: list[str] = ADDED_HEADER,
    remove_keys: frozenset[str] = frozenset(),
) -> AnnotatedWriter:
    with (
        VariantReader(source) as reader,
        AnnotatedWriter(target, reader, header_lines=header, remove_keys=remove_keys) as writer,
    ):
        for record in reader:
            writer.write(record, additions)
    return writer


def without_additions(content: bytes) -> bytes:
    """Cut our keys and header lines out by their names alone."""
    content = re.sub(rb"##(INFO=<ID=BasecastSplice|basecast_)[^\n]*\n", b"", content)
    content = re.sub(rb"\tBasecastSplice=[^;\s]*;BasecastSplice_DS_MAX=[^;\s]*", b"\t.", content)
    return re.sub(rb";BasecastSplice=[^;\s]*;BasecastSplice_DS_MAX=[^;\s]*", b"", content)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".vcf.bgz"])
@pytest.mark.parametrize("content", [*NASTY.values(), *NO_BCF.values()], ids=[*NASTY, *NO_BCF])
def test_with_our_keys_cut_out_every_byte_is_the_inputs(tmp_path: Path, content: bytes, suffix: str) -> None:
    source, target = write(tmp_path / "in.vcf", content), tmp_path / f"out{suffix}"
    annotate(source, target)
    written = target.read_bytes() if suffix == ".vcf" else gzip.decompress(target.read_bytes())
    assert without_additions(written) == content
    assert written.count(b"BasecastSplice_DS_MAX=0.10") == len(re.findall(rb"^[^#\n]", content, re.MULTILINE))
    added = "".join(f"{line}\n" for line in ADDED_HEADER).encode()
    assert (added + b"#CHROM").replace(b"\n", b"\r\n" if b"\r" in content else b"\n") in written
    assert sorted(path.name for path in tmp_path.iterdir() if not path.name.endswith(".tbi")) == ["in.vcf", target.name]


def test_standard_output(tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    content = NASTY["numbers as written"]
    annotate(write(tmp_path / "in.vcf", content), "-")
    assert without_additions(capfdbinary.readouterr().out) == content


def test_no_additions_leave_the_record_alone(tmp_path: Path) -> None:
    content = NASTY["percent, flags, odd ends"]
    annotate(write(tmp_path / "in.vcf", content), tmp_path / "out.vcf", [], [])
    assert (tmp_path / "out.vcf").read_bytes() == content


def test_keys_to_overwrite_are_cut_first(tmp_path: Path) -> None:
    source = write(
        tmp_path / "in.vcf", NASTY["numbers as written"].replace(b"AF=0.10", b"SpliceAI;AF=0.10;SpliceAI_2=4")
    )
    annotate(source, tmp_path / "out.vcf", remove_keys=frozenset({"AF", "SpliceAI"}))
    written = (tmp_path / "out.vcf").read_bytes()
    assert b"##INFO=<ID=AF" not in written
    assert b"\tSpliceAI_2=4;BasecastSplice=T|GENE|0.10;" in written
    assert b"\t8\t.\tA\tC\t.\t.\tBasecastSplice=" in written
    annotate(source, tmp_path / "out.vcf", [], [], frozenset({"AF"}))
    assert (tmp_path / "out.vcf").read_bytes().endswith(b"\t8\t.\tA\tC\t.\t.\t.\n")


def test_table_becomes_vcf(tmp_path: Path) -> None:
    source = write(tmp_path / "in.tsv", b"Alt\tRef\tChrom\tId\tPos\nC,T\tA\tchr1\trs1\t5\n.\tG\tchr1\t\t6\n")
    annotate(source, tmp_path / "out.vcf")
    info = ";".join(f"{key}={value}" for key, value in ADDITIONS)
    assert (tmp_path / "out.vcf").read_text().splitlines() == [
        "##fileformat=VCFv4.2",
        *ADDED_HEADER,
        COLUMNS.decode(),
        f"chr1\t5\trs1\tA\tC,T\t.\t.\t{info}",
        f"chr1\t6\t.\tG\t.\t.\t.\t{info}",
    ]
    annotate(write(source, b"chr1\t5\tA\tC\n"), tmp_path / "out.vcf", [])
    assert (tmp_path / "out.vcf").read_text().splitlines()[-1] == "chr1\t5\t.\tA\tC\t.\t.\t."


def float_of(text: bytes) -> float | bytes:
    try:
        return float(np.float32(text))
    except ValueError:
        return text


def info_of(text: bytes) -> list[float | bytes]:
    return [float_of(value) for value in re.split(rb"[;=,]", text) if value]


@pytest.mark.parametrize("content", NASTY.values(), ids=NASTY.keys())
def test_bcf_holds_what_the_text_does(tmp_path: Path, content: bytes, capfd: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path / "in.vcf", content)
    annotate(source, tmp_path / "out.vcf")
    annotate(source, tmp_path / "out.bcf")
    assert capfd.readouterr() == ("", "")
    with VariantReader(tmp_path / "out.vcf") as text, VariantReader(tmp_path / "out.bcf") as encoded:
        rows = list(encoded)
        originals = list(text)
    assert encoded.kind == "bcf"
    assert len(rows) == len(originals)
    for row, original in zip(rows, originals, strict=True):
        assert (row.contig, row.start, row.ref, row.alts) == (
            original.contig,
            original.start,
            original.ref,
            original.alts,
        )
        before, after = original.line.rstrip(b"\r").split(b"\t"), row.line.split(b"\t")
        assert len(after) == len(before)
        assert (after[2], after[6]) == (before[2], before[6])
        assert float_of(after[5]) == float_of(before[5])
        assert info_of(after[7]) == info_of(before[7])
    assert all(path.name.startswith(("in.", "out.")) for path in tmp_path.iterdir())


def test_bcf_from_bcf(tmp_path: Path) -> None:
    annotate(write(tmp_path / "in.vcf", NASTY["100 samples"]), tmp_path / "one.bcf", [], [])
    annotate(tmp_path / "one.bcf", tmp_path / "two.bcf")
    with VariantReader(tmp_path / "two.bcf") as reader:
        (row,) = reader
    assert row.line.split(b"\t")[7] == b"AF=0.5;BasecastSplice=T|GENE|0.10;BasecastSplice_DS_MAX=0.1"
    assert row.line.split(b"\t")[8:] == [b"GT:XX", *GENOTYPES.encode().split(b" ")]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"chr1\t9\t.\tA\tC\tgood\t.\t.", "QUAL, as 'good' is no number"),
        (b"chr1\t9\t.\tA\tC\t.\t.\tAF=low", "value in INFO"),
        (b"chr1\t9\t.\tA\tC\t.\t.\t.\tGT\t0/1", "last columns"),
        (b"chr1\t9999999999\t.\tA\tC\t.\t.\t.", r"2\^31"),
    ],
)
def test_a_record_that_bcf_cannot_hold_is_named(
    tmp_path: Path, line: bytes, problem: str, capfd: pytest.CaptureFixture[str]
) -> None:
    source = write(tmp_path / "in.vcf", DECLARED + COLUMNS + b"\nchr1\t7\t.\tA\tC\t.\t.\t.\n" + line + b"\n")
    with pytest.raises(InputError, match=rf"in\.vcf cannot become BCF: record 2 \(chr1:9+\) .*{problem}.*\.vcf\.gz"):
        annotate(source, tmp_path / "out.bcf")
    assert [path.name for path in tmp_path.iterdir()] == ["in.vcf"]
    assert capfd.readouterr() == ("", "")
    annotate(source, tmp_path / "out.vcf.gz")


def test_too_few_sample_columns_for_bcf(tmp_path: Path) -> None:
    content = DECLARED + COLUMNS + b"\tFORMAT\ta\tb\nchr1\t7\t.\tA\tC\t.\t.\t.\tGT\t0/1\n"
    with pytest.raises(InputError, match=r"record 1 \(chr1:7\) is no valid VCF line"):
        annotate(write(tmp_path / "in.vcf", content), tmp_path / "out.bcf")


def test_index(tmp_path: Path) -> None:
    rows = b"".join(b"chr%d\t%d\t.\tA\tC\t.\t.\t.\n" % (i // 500, 1 + i % 500 * 1000) for i in range(1000))
    writer = annotate(write(tmp_path / "in.vcf", SITES + rows), tmp_path / "out.vcf.gz")
    assert writer.not_sorted is None
    with pysam.TabixFile(str(tmp_path / "out.vcf.gz")) as table:
        assert [line.split("\t")[1] for line in table.fetch("chr1", 10_000, 12_001)] == ["10001", "11001", "12001"]
    annotate(tmp_path / "in.vcf", tmp_path / "out.bcf")
    with pysam.VariantFile(str(tmp_path / "out.bcf")) as encoded:
        assert [record.pos for record in encoded.fetch("chr1", 10_000, 12_001)] == [10001, 11001, 12001]
    for name in ("out.vcf.gz.tbi", "out.bcf.csi"):
        index, data = tmp_path / name, tmp_path / name.rpartition(".")[0]
        assert index.stat().st_mtime_ns >= data.stat().st_mtime_ns


@pytest.mark.parametrize("by", ["header", "record"])
def test_long_contigs_have_csi(tmp_path: Path, by: str) -> None:
    declared = b"##contig=<ID=1,length=536870912>\n" if by == "header" else b""
    at = 9 if by == "header" else 600_000_000
    content = SITES.replace(b"#CHROM", declared + b"#CHROM") + b"1\t%d\t.\tA\tC\t.\t.\t.\n" % at
    write(tmp_path / "out.vcf.gz.tbi", b"stale")
    annotate(write(tmp_path / "in.vcf", content), tmp_path / "out.vcf.gz")
    assert not (tmp_path / "out.vcf.gz.tbi").exists()
    with pysam.TabixFile(str(tmp_path / "out.vcf.gz"), index=str(tmp_path / "out.vcf.gz.csi")) as table:
        assert len(list(table.fetch("1", at - 1, at))) == 1


@pytest.mark.parametrize("suffix", [".vcf.gz", ".bcf"])
@pytest.mark.parametrize("declared", [b"", b"##contig=<ID=M,length=16569>\n"], ids=["no contig", "another contig"])
def test_a_far_record_on_a_contig_without_a_length(tmp_path: Path, declared: bytes, suffix: str) -> None:
    records = b"1\t9\t.\tA\tC\t.\t.\t.\n1\t600000000\t.\tA\tC\t.\t.\t.\n"
    source = write(tmp_path / "in.vcf", SITES.replace(b"#CHROM", declared + b"#CHROM") + records)
    assert annotate(source, tmp_path / f"out{suffix}").not_sorted is None
    with pysam.VariantFile(str(tmp_path / f"out{suffix}")) as found:
        assert [record.pos for record in found.fetch("1", 599_999_999, 600_000_000)] == [600_000_000]
        assert [record.pos for record in found.fetch("1", 0, 100)] == [9]
    assert {path.name for path in tmp_path.iterdir()} == {"in.vcf", f"out{suffix}", f"out{suffix}.csi"}


@pytest.mark.parametrize(
    ("places", "first"),
    [
        (["1:5", "1:9", "1:3", "1:2"], "record 3, 1:3, comes after 1:9"),
        (["1:5", "2:1", "1:9"], "record 3, 1:9, comes after other contigs"),
    ],
)
@pytest.mark.parametrize("suffix", [".vcf.gz", ".bcf"])
def test_not_sorted_is_whole_but_has_no_index(tmp_path: Path, places: list[str], first: str, suffix: str) -> None:
    rows = "".join("{}\t{}\t.\tA\tC\t.\t.\t.\n".format(*place.split(":")) for place in places)
    for stale in (".tbi", ".csi"):
        write(tmp_path / f"out{suffix}{stale}", b"stale")
    writer = annotate(write(tmp_path / "in.vcf", SITES + rows.encode()), tmp_path / f"out{suffix}")
    assert writer.not_sorted is not None
    assert first in writer.not_sorted
    assert "bcftools sort" in writer.not_sorted
    assert {path.name for path in tmp_path.iterdir()} == {"in.vcf", f"out{suffix}"}
    with VariantReader(tmp_path / f"out{suffix}") as reader:
        assert [f"{record.contig}:{record.position}" for record in reader] == places


class FullDisk(io.RawIOBase):
    """Takes so many bytes and no more."""

    def __init__(self, room: int) -> None:
        self.room = room

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        self.room -= len(content)
        if self.room < 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        return len(content)


@pytest.mark.parametrize("room", [0, 100, 300_000])
def test_disk_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    rows = b"".join(b"1\t%d\t.\tA\tC\t.\t.\t.\n" % (i + 1) for i in range(20_000))
    source, target = write(tmp_path / "in.vcf", SITES + rows), write(tmp_path / "out.vcf.gz", b"an earlier run's")
    monkeypatch.setattr(pysam, "BGZFile", lambda *_: FullDisk(room))
    with pytest.raises(BasecastError, match=r"out\.vcf\.gz could not be written \(No space left on device\)"):
        annotate(source, target)
    assert target.read_bytes() == b"an earlier run's"
    assert {path.name for path in tmp_path.iterdir()} == {"in.vcf", "out.vcf.gz"}


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
@pytest.mark.parametrize("room", [1, 20_000])
def test_a_file_that_the_system_will_not_let_grow(
    tmp_path: Path, suffix: str, room: int, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = b"".join(b"1\t%d\trs%d\tA\tC\t.\t.\t.\n" % (i + 1, i * 7919 % 1_000_003) for i in range(20_000))
    source, target = write(tmp_path / "in.vcf", SITES + rows), write(tmp_path / f"out{suffix}", b"an earlier run's")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(BasecastError, match=rf"out{suffix} could not be written"):
            annotate(source, target)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert target.read_bytes() == b"an earlier run's"
    assert {path.name for path in tmp_path.iterdir()} == {"in.vcf", f"out{suffix}"}
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix", [".vcf", ".vcf.gz", ".bcf"])
def test_a_run_that_fails_leaves_an_earlier_file(tmp_path: Path, suffix: str) -> None:
    source, target = write(tmp_path / "in.vcf", SITES), write(tmp_path / f"out{suffix}", b"earlier")
    with VariantReader(source) as reader:
        writer = AnnotatedWriter(target, reader, header_lines=ADDED_HEADER)
        with pytest.raises(KeyboardInterrupt), writer:
            raise KeyboardInterrupt
    assert target.read_bytes() == b"earlier"
    assert {path.name for path in tmp_path.iterdir()} == {"in.vcf", f"out{suffix}"}


def test_wrong_targets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "in.vcf", SITES)
    (tmp_path / "link.vcf").symlink_to(source)
    (tmp_path / "folder.vcf").mkdir()
    with VariantReader(source) as reader:
        for name, problem in {
            "in.vcf": "is the input itself",
            "link.vcf": "is the input itself",
            "none/out.vcf": "does not exist",
            "folder.vcf": "is a folder",
            "out.txt": "not clear from its name",
        }.items():
            with pytest.raises(UsageError, match=problem):
                AnnotatedWriter(tmp_path / name, reader, header_lines=[])
    monkeypatch.setattr(builtins, "open", None)
    check_target("-", source)
    check_target(tmp_path / "out.tsv", None)
    assert source.read_bytes() == SITES


def test_percent_encode() -> None:
    assert percent_encode("GENE-1.2_(x)é") == "GENE-1.2_(x)é"
    assert percent_encode("a|b,c;d=e%f&g:h i\tj\nk\u00a0l") == "a%7Cb%2Cc%3Bd%3De%25f%26g%3Ah%20i%09j%0Ak%C2%A0l"


@pytest.mark.parametrize("suffix", [".vcf.gz", ".bcf"])
def test_memory_does_not_grow_with_the_records(tmp_path: Path, suffix: str) -> None:
    peaks = []
    for n_records in (2_000, 6_000):
        rows = b"".join(b"1\t%d\t.\tA\tC\t.\t.\tX=%s\n" % (i + 1, b"x" * 1000) for i in range(n_records))
        source = write(tmp_path / "in.vcf", SITES + rows)
        tracemalloc.start()
        annotate(source, tmp_path / f"out{suffix}")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        del rows
    assert peaks[1] < 1.2 * peaks[0]


@pytest.mark.skipif(shutil.which("bcftools") is None, reason="needs bcftools")
@pytest.mark.parametrize("suffix", [".vcf.gz", ".bcf"])
def test_bcftools_takes_it(tmp_path: Path, suffix: str) -> None:
    rows = b"".join(b"1\t%d\t.\tA\tC\t.\tq\tODD=4;AF=0.10\n" % (i + 1) for i in range(1000))
    source, target = write(tmp_path / "in.vcf", SITES + rows), tmp_path / f"out{suffix}"
    with VariantReader(source) as reader, AnnotatedWriter(target, reader, header_lines=ADDED_HEADER) as writer:
        for record in reader:
            scores = [("BasecastSplice", f"C|G|{percent_encode('a;b')}")]
            writer.write(record, [*scores, ("BasecastSplice_DS_MAX", f"{record.number / 1000:.2f}")])

    def bcftools(*arguments: str) -> str:
        return subprocess.run(["bcftools", *arguments], capture_output=True, text=True, check=True).stdout

    assert len(bcftools("view", "-H", str(target)).splitlines()) == 1000
    assert bcftools("index", "--stats", str(target)) == "1\t.\t1000\n"
    query = [
        "query",
        "-f",
        "%POS\t%BasecastSplice\n",
        "-i",
        "BasecastSplice_DS_MAX>=0.2",
        "-r",
        "1:100-197",
        str(target),
    ]
    assert bcftools(*query) == "195\tC|G|a%3Bb\n196\tC|G|a%3Bb\n197\tC|G|a%3Bb\n"
