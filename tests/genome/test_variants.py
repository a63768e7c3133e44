"""Every shape a variant file comes in, and every way it is broken."""

from __future__ import annotations

import gzip
import io
import random
import subprocess
import sys
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pysam
import pytest

from basecast.errors import InputError
from basecast.genome.variants import VariantReader, VariantRecord, info_keys_in

HEADER = (
    b"##fileformat=VCFv4.2\n"
    b'##INFO=<ID=DP,Number=1,Type=Integer,Description="Depth, as in ID=XX,length=9">\n'
    b"##contig=<ID=chr1,length=248956422>\n"
    b"##contig=<assembly=x,ID=HLA:A*01>\n"
    b"#CHROM\tPOS\tID\tREF\tALT\tQUAL\tFILTER\tINFO\tFORMAT\ts1\ts2\n"
)
BODY = b"chr1\t5\trs1\tA\tC,<DEL>\t.\tPASS\tDP=3;NEW;OLD=a=b\tGT\t0/1\t0/0\nchr1\t9\t.\tacN\t.\t.\t.\t.\tGT\t0/1\t0/0\n"


def records_of(path: Path | str) -> list[VariantRecord]:
    with VariantReader(path) as reader:
        return list(reader)


def bgzipped(content: bytes, path: Path) -> bytes:
    with pysam.BGZFile(str(path), "wb") as out:
        out.write(content)
    return path.read_bytes()


def random_body(n_records: int) -> bytes:
    rng = random.Random(2)
    return b"".join(b"chr1\t%d\trs%d\tA\tC\t.\t.\t.\n" % (i + 1, rng.randrange(10**9)) for i in range(n_records))


def as_bcf(content: bytes, folder: Path) -> bytes:
    text, path = folder / "x.vcf", folder / "x.bcf"
    declared = b'##FORMAT=<ID=GT,Number=1,Type=String,Description="x">\n#CHROM'
    text.write_bytes(content.replace(b"NEW;OLD=a=b", b"DP=4").replace(b"C,<DEL>", b"C,G").replace(b"#CHROM", declared))
    with pysam.VariantFile(str(text)) as source, pysam.VariantFile(str(path), "wb", header=source.header) as out:
        for record in source:
            out.write(record)
    return path.read_bytes()


@pytest.mark.parametrize("pack", [lambda content, _: content, lambda content, _: gzip.compress(content), bgzipped])
def test_vcf_is_known_by_its_content(tmp_path: Path, pack: Callable[[bytes, Path], bytes]) -> None:
    path = tmp_path / "misnamed.txt"
    path.write_bytes(pack(HEADER + BODY, path))
    with VariantReader(path) as reader:
        first, second = reader
    assert reader.kind == "vcf"
    assert reader.name == str(path)
    assert b"".join(line + b"\n" for line in reader.header) == HEADER
    assert reader.contigs == {"chr1": 248956422, "HLA:A*01": None}
    assert reader.info_keys == {"DP"}
    assert reader.samples == ("s1", "s2")
    assert first == VariantRecord(1, "chr1", 4, "A", ("C", "<DEL>"), BODY.splitlines()[0])
    assert first.position == 5
    assert (second.number, second.ref, second.alts) == (2, "acN", ())
    assert info_keys_in(first) == {"DP", "NEW", "OLD"}
    assert info_keys_in(second) == set()


def test_bcf(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "misnamed.vcf"
    path.write_bytes(as_bcf(HEADER + BODY, tmp_path))
    with VariantReader(path) as reader:
        first, second = reader
    assert reader.kind == "bcf"
    assert reader.contigs["chr1"] == 248956422
    assert (first.contig, first.position, first.ref, first.alts) == ("chr1", 5, "A", ("C", "G"))
    assert (second.number, second.alts) == (2, ())
    assert first.line.split(b"\t")[9:] == [b"0/1", b"0/0"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["vcf", "bgzip", "bcf", "bcf -Ou", "tsv"])
def test_standard_input(tmp_path: Path, kind: str) -> None:
    content = {
        "vcf": lambda: HEADER + BODY,
        "bgzip": lambda: bgzipped(HEADER + BODY, tmp_path / "x"),
        "bcf": lambda: as_bcf(HEADER + BODY, tmp_path),
        "bcf -Ou": lambda: gzip.decompress(as_bcf(HEADER + BODY, tmp_path)),
        "tsv": lambda: b"chr1\t5\tA\tC,G\nchr1\t9\tacN\t.\n",
    }[kind]()
    script = (
        "from basecast.genome.variants import VariantReader\n"
        "with VariantReader('-') as reader:\n"
        "    print(reader.name, reader.kind, [(r.contig, r.position, r.ref, len(r.alts)) for r in reader])"
    )
    answer = subprocess.run([sys.executable, "-c", script], input=content, capture_output=True, check=True)
    expected = kind[:3] if kind[:3] in ("bcf", "tsv") else "vcf"
    assert answer.stdout.decode() == f"<stdin> {expected} [('chr1', 5, 'A', 2), ('chr1', 9, 'acN', 0)]\n"
    assert answer.stderr == b""


def test_standard_input_that_is_cut_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bgzipped(HEADER + BODY * 5000, tmp_path / "x")
    whole_bcf = as_bcf(HEADER + BODY * 5000, tmp_path)
    for cut in (whole[:-28], whole[:-40], whole[: len(whole) // 2], whole_bcf[:-28], whole_bcf[: len(whole_bcf) // 2]):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(cut)))
        with pytest.raises(InputError, match=r"<stdin> is cut off or damaged"):
            records_of("-")
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(whole)))
    assert len(records_of("-")) == 10000


def test_leaving_a_bcf_on_standard_input_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = as_bcf(HEADER + BODY * 50000, tmp_path)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    with VariantReader("-") as reader:
        assert next(iter(reader)).position == 5


def test_bgzip_without_its_end_stops_before_anything_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf.gz"
    whole = bgzipped(HEADER + random_body(50_000), path)
    for cut in (whole[:-28], whole[: len(whole) // 2]):
        path.write_bytes(cut)
        with pytest.raises(InputError, match=r"x\.vcf\.gz"):
            VariantReader(path)
    damaged = bytearray(whole)
    damaged[len(whole) // 2] ^= 0xFF
    path.write_bytes(bytes(damaged))
    with pytest.raises(InputError, match=r"x\.vcf\.gz is cut off or damaged"):
        records_of(path)


def test_plain_gzip_cut_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf.gz"
    whole = gzip.compress(HEADER + random_body(50_000))
    path.write_bytes(whole[:-200])
    with VariantReader(path) as reader, pytest.raises(InputError, match=r"damaged somewhere after line \d+ "):
        list(reader)


def test_windows_line_ends_stay_in_the_line_only(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf"
    path.write_bytes(HEADER.replace(b"\n", b"\r\n") + b"chr1\t5\trs1\tA\tC\t.\tPASS\tX\r\n\r\n")
    with VariantReader(path) as reader:
        (record,) = reader
    assert reader.samples == ("s1", "s2")
    assert reader.contigs["chr1"] == 248956422
    assert record.line.endswith(b"X\r")
    assert info_keys_in(record) == {"X"}


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (b"chr1\t5\tA\tC,T\nchr1\t6\tG\t.\n", b"chr1\t5\tA\tC,T"),
        (b"chr1\t5\trs1\tA\tC,T\r\nchr1\t6\t.\tG\t.\r\n", b"chr1\t5\trs1\tA\tC,T"),
        (b"#CHROM\tPOS\tID\tREF\tALT\nchr1\t5\trs1\tA\tC,T\nchr1\t6\t.\tG\t.", b"chr1\t5\trs1\tA\tC,T"),
        (b"gene\tAlt\tref\tpos\tchrom\nMYBPC3\tC,T\tA\t5\tchr1\nX\t.\tG\t6\tchr1\n", b"MYBPC3\tC,T\tA\t5\tchr1"),
    ],
)
def test_tables(tmp_path: Path, content: bytes, line: bytes) -> None:
    path = tmp_path / "table.vcf"
    path.write_bytes(content)
    with VariantReader(path) as reader:
        first, second = reader
    assert reader.kind == "tsv"
    assert (first.contig, first.start, first.ref, first.alts) == ("chr1", 4, "A", ("C", "T"))
    assert first.line == line
    assert (second.position, second.alts) == (6, ())
    assert len(reader.header) == (0 if content.startswith(b"chr1") else 1)
    assert reader.contigs == {}


def test_a_header_alone_has_no_records(tmp_path: Path) -> None:
    path = tmp_path / "x.vcf"
    path.write_bytes(HEADER)
    assert records_of(path) == []
    path.write_bytes(as_bcf(HEADER, tmp_path))
    assert records_of(path) == []
    path.write_bytes(b"chrom\tpos\tref\talt\n")
    assert records_of(path) == []


def test_a_vcf_that_only_lacks_the_names_of_its_columns_is_read(tmp_path: Path) -> None:
    path = tmp_path / "headless.vcf"
    path.write_bytes(b"##fileformat=VCFv4.2\nchr1\t5\trs1\tA\tC\t.\t.\nchr1\t9\trs2\tG\tT,C\t.\t.\n")
    assert [(r.contig, r.position, r.ref, r.alts) for r in records_of(path)] == [
        ("chr1", 5, "A", ("C",)),
        ("chr1", 9, "G", ("T", "C")),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"bad\.vcf is empty"),
        (gzip.compress(b"", mtime=0), r"bad\.vcf is empty"),
        (HEADER + BODY + b"chr1\tx5\t.\tA\tC\t.\t.\t.\n", r"bad\.vcf, line 8: POS is 'x5'"),
        (HEADER + BODY + b"chr1\t-5\t.\tA\tC\t.\t.\t.\n", r"bad\.vcf, line 8: POS is '-5'"),
        (HEADER + BODY + b"\nchr1\t5\t.\tA\tC\t.\t.\n", r"bad\.vcf, line 9: 7 of the 8 columns"),
        (HEADER + b"chr1 5 . A C . . .\n", r"bad\.vcf, line 6: 1 of the 8 columns a VCF has \(parted by tabs\)"),
        (b"##fileformat=VCFv4.2\nchr1\tx\n", r"bad\.vcf, line 2: the header does not end with a #CHROM line"),
        (b"##fileformat=VCFv4.2\nchr1\t5\t.\tA\n", r"bad\.vcf, line 2: the header does not end with a #CHROM line"),
        (b"##fileformat=VCFv4.2\n", r"bad\.vcf, line 1: the header does not end with a #CHROM line"),
        (b">chr1\nACGT\n", r"bad\.vcf is not a VCF or BCF"),
        (b"chr1\tfive\tA\tC\n", r"bad\.vcf is not a VCF or BCF"),
        (b"chr1,5,A,C\n", r"bad\.vcf is not a VCF or BCF.*tabs"),
        (bytes(range(256)), r"bad\.vcf is not a VCF or BCF"),
        (b"\x1f\x8bnonsense", r"bad\.vcf is cut off or damaged"),
        (b"BCF\x02\x02nonsense", r"bad\.vcf is cut off or damaged"),
        (b"chrom\tpos\tref\talt\nchr1\t5\tA\n", r"bad\.vcf, line 2: 3 of at least 4 columns"),
        (b"chr1\t5\tA\tC\nchr1\t\tA\tC\n", r"bad\.vcf, line 2: POS is ''"),
    ],
)
def test_bad_input_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.vcf"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        records_of(path)


def test_a_bcf_cut_between_two_records_names_the_record(tmp_path: Path) -> None:
    path = tmp_path / "x.bcf"
    whole = gzip.decompress(as_bcf(HEADER + BODY, tmp_path))
    path.write_bytes(whole[:-3])
    with pytest.raises(InputError, match=r"x\.bcf is cut off or damaged somewhere after record 1 "):
        records_of(path)


def test_no_such_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.vcf cannot be read \(No such file"):
        VariantReader(tmp_path / "none.vcf")
    with pytest.raises(InputError, match="cannot be read"):
        VariantReader(tmp_path)


def test_memory_does_not_grow_with_the_records(tmp_path: Path) -> None:
    peaks = []
    for n_records in (4_000, 12_000):
        path = tmp_path / "x.vcf.gz"
        bgzipped(HEADER + BODY.replace(b"DP=3", b"DP=" + b"3" * 2000) * (n_records // 2), path)
        tracemalloc.start()
        with VariantReader(path) as reader:
            assert sum(1 for _ in reader) == n_records
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
