from __future__ import annotations

import io
from pathlib import Path

import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basecast.errors import InputError
from basecast.genome import fasta_index
from basecast.genome.fasta_index import Entry, fits, read_entries, scan, write_entries

PATH = Path("a.fa")


def wrapped(sequence: str, width: int, newline: str) -> str:
    return "".join(sequence[at : at + width] + newline for at in range(0, len(sequence), width))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60)
@given(
    st.lists(st.text("ACGTN", max_size=20), min_size=1, max_size=3).filter(any),
    st.integers(1, 25),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(1, 30),
)
def test_entries_lead_to_the_bases(
    monkeypatch: pytest.MonkeyPatch, sequences: list[str], width: int, newline: str, cut_end: bool, chunk: int
) -> None:
    monkeypatch.setattr(fasta_index, "_CHUNK", chunk)
    text = "".join(
        f">c{number} some text{newline}{wrapped(sequence, width, newline)}" for number, sequence in enumerate(sequences)
    )
    text = text.rstrip("\r\n") if cut_end and sequences[-1] else text
    entries = scan(io.BytesIO(text.encode()), PATH)
    assert [entry.name for entry in entries] == [f"c{number}" for number in range(len(sequences))]
    for entry, sequence in zip(entries, sequences, strict=True):
        assert entry.length == len(sequence)
        assert text[entry.offset : entry.end].replace(newline, "") == sequence
        for at in range(entry.length):
            lines, column = divmod(at, entry.line_bases)
            assert text[entry.offset + lines * entry.line_bytes + column] == sequence[at]
    assert fits(entries, len(text), lambda start, end: text.encode()[start:end])


def test_the_index_is_that_of_samtools(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_text(">chr1 text\nACGTA\nCGTAC\nGT\n>chr2\nAC\n\n>chr3\nACGTACGT\n")
    pysam.faidx(str(path))
    with path.open("rb") as text:
        entries = scan(text, path)
    assert entries == read_entries(Path(f"{path}.fai"))
    write_entries(entries, tmp_path / "own.fai")
    assert (tmp_path / "own.fai").read_bytes() == Path(f"{path}.fai").read_bytes()


@pytest.mark.parametrize("chunk", [1, 2, 3, 7, 1 << 22])
@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "is empty"),
        (">chr1\n>chr2\n", "is empty"),
        (">chr1", "ends within a header"),
        (">chr1\r\nACGT\r\n>chr2", "ends within a header"),
        ("ACGT\n", "no FASTA"),
        ("@read\nACGT\n+\nIIII\n", "no FASTA"),
        (">a\nACGT\n>b\nA\n>a\nACGT\n", "line 5 of a.fa: a second contig named 'a'"),
        (">a\nAC\nACGT\n", "line 3 of a.fa: the lines of contig 'a' differ"),
        (">a\nACGT\nAC\nACGT\n>b\nA\n", "line 4 of a.fa: the lines of contig 'a' differ"),
        (">a\nACGT\n\nACGT\n", "line 4 of a.fa: the lines of contig 'a' differ"),
        (">a\nAC\nACGT", "line 3 of a.fa: the lines of contig 'a' differ"),
        (">a\n\nACGT\n", "line 3 of a.fa: the lines of contig 'a' differ"),
        (">a\r\nACGT\nACGT\r\n", "mixes line ends"),
        (">a\rACGT\rACGT\r", "its lines do not end in newlines"),
        (">\nACGT\n", "line 1 of a.fa: '>' without a name"),
        (">b\nACGT\n> a\nACGT\n", "line 3 of a.fa: '>' without a name"),
    ],
)
def test_what_cannot_be_indexed(monkeypatch: pytest.MonkeyPatch, text: str, complaint: str, chunk: int) -> None:
    monkeypatch.setattr(fasta_index, "_CHUNK", chunk)
    with pytest.raises(InputError, match=complaint):
        scan(io.BytesIO(text.encode()), PATH)


def test_a_name_in_another_encoding() -> None:
    with pytest.raises(InputError, match=r"line 1 of a\.fa: the contig's name is not UTF-8"):
        scan(io.BytesIO(b">\xff\nACGT\n"), PATH)


TEXT = b">a x\nACGTA\nCGTAC\nGT\n>b\nACGTA\n"
ENTRIES = [Entry("a", 12, 5, 5, 6), Entry("b", 5, 23, 5, 6)]


@pytest.mark.parametrize(
    ("text", "entries", "fit"),
    [
        (TEXT, ENTRIES, True),
        (TEXT + b"\n", ENTRIES, True),
        (TEXT.replace(b">b", b">c"), ENTRIES, False),
        (TEXT.replace(b"ACGTA\nCGTAC\nGT", b"ACGTAC\nGTACGT\n"), ENTRIES, False),
        (TEXT + b">c\nACGT\n", ENTRIES, False),
        (TEXT, ENTRIES[:1], False),
        (TEXT, ENTRIES[1:], False),
        (TEXT, ENTRIES[::-1], False),
        (TEXT, [], False),
        (TEXT[:-3], ENTRIES, False),
        (TEXT, [ENTRIES[0]._replace(length=11), ENTRIES[1]], False),
        (TEXT, [ENTRIES[0]._replace(line_bases=6, line_bytes=7), ENTRIES[1]], False),
    ],
)
def test_only_the_index_of_the_text_fits(text: bytes, entries: list[Entry], fit: bool) -> None:
    assert fits(entries, len(text), lambda start, end: text[start:end]) is fit


@pytest.mark.parametrize(
    "line", ["chr1\t10", "chr1\t10\t6\tx\t61", "chr1\t10\t6\t61\t60", "chr1\t-1\t6\t60\t61", "chr1\t9\t6\t0\t0"]
)
def test_a_line_that_is_no_entry(tmp_path: Path, line: str) -> None:
    (tmp_path / "a.fai").write_text(line + "\n")
    with pytest.raises(ValueError, match=r"a\.fai|unpack|int"):
        read_entries(tmp_path / "a.fai")
