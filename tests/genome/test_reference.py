from __future__ import annotations

import gzip
import hashlib
import multiprocessing
import os
import pickle
import random
import struct
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import pysam
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basecast.errors import InputError
from basecast.genome.reference import Genome
from basecast.genome.sequence import decode

SEED = random.Random(1)
CONTIGS = {
    "chr1": "".join(SEED.choices("ACGTacgtNR", k=200_003)),
    "chr2": "".join(SEED.choices("ACGT", k=61)),
    "chrM": "ACGTA" * 12,
}


def upper(sequence: str) -> str:
    return sequence.upper().replace("R", "N")


def fasta(contigs: dict[str, str], width: int = 60, newline: str = "\n") -> bytes:
    lines = []
    for name, sequence in contigs.items():
        lines.append(f">{name} a description: with = signs")
        lines += [sequence[at : at + width] for at in range(0, len(sequence), width)]
    return (newline.join(lines) + newline).encode()


def bgzip(path: Path, text: bytes) -> Path:
    with pysam.BGZFile(str(path), "wb", index=None) as handle:
        handle.write(text)
    return path


def twobit(path: Path, contigs: dict[str, str]) -> Path:
    """A 2bit file without blocks of N; see test_twobit for all of the format."""
    index, records = b"", b""
    offset = 16 + sum(5 + len(name) for name in contigs)
    for name, sequence in contigs.items():
        index += bytes([len(name)]) + name.encode() + struct.pack("<I", offset + len(records))
        bits = "".join(f"{'TCAG'.index(base):02b}" for base in sequence.ljust(-(-len(sequence) // 4) * 4, "T"))
        packed = bytes(int(bits[at : at + 8], 2) for at in range(0, len(bits), 8))
        records += struct.pack("<4I", len(sequence), 0, 0, 0) + packed
    path.write_bytes(struct.pack("<4I", 0x1A412743, 0, len(contigs), 0) + index + records)
    return path


@pytest.fixture(params=["plain", "crlf", "bgzip", "gzip", "indexed", "indexed bgzip"])
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The same genome in every form of FASTA, always under a name that says nothing."""
    path = tmp_path / "genome"
    if "bgzip" in request.param:
        bgzip(path, fasta(CONTIGS))
    else:
        text = fasta(CONTIGS, newline="\r\n" if request.param == "crlf" else "\n")
        path.write_bytes(gzip.compress(text) if request.param == "gzip" else text)
    if "indexed" in request.param:
        pysam.faidx(str(path))
    return path


def test_every_form_says_the_same(path: Path) -> None:
    there = sorted(path.parent.iterdir())
    path.parent.chmod(0o555)
    try:
        genome = Genome(path)
        assert genome.path == path
        assert list(genome.lengths.items()) == [(name, len(sequence)) for name, sequence in CONTIGS.items()]
        for name, sequence in CONTIGS.items():
            assert decode(genome.tokens(name, -3, len(sequence) + 4)) == "NNN" + upper(sequence) + "NNNN"
    finally:
        path.parent.chmod(0o755)
    assert sorted(path.parent.iterdir()) == there


def test_2bit(tmp_path: Path) -> None:
    genome = Genome(twobit(tmp_path / "genome", {"1": "ACGTA", "2": "GG"}))
    assert genome.lengths == {"1": 5, "2": 2}
    assert decode(genome.tokens("chr1", -1, 7)) == "NACGTANN"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    st.lists(st.text("ACGTN", min_size=1, max_size=60), min_size=1, max_size=3),
    st.integers(1, 70),
    st.sampled_from(["plain", "bgzip", "gzip"]),
    st.lists(st.tuples(st.integers(-20, 80), st.integers(0, 60)), max_size=5),
)
def test_any_window_of_any_fasta(
    tmp_path: Path, sequences: list[str], width: int, form: str, windows: list[tuple[int, int]]
) -> None:
    contigs = {f"c{number}": sequence for number, sequence in enumerate(sequences)}
    text = fasta(contigs, width)
    path = tmp_path / "a.fa"
    if form == "bgzip":
        bgzip(path, text)
    else:
        path.write_bytes(gzip.compress(text) if form == "gzip" else text)
    genome = Genome(path)
    for name, sequence in contigs.items():
        for start, length in windows:
            expected = ("N" * 20 + sequence + "N" * 200)[start + 20 :][:length]
            assert decode(genome.tokens(name, start, start + length)) == expected


def test_contigs_by_other_names(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(fasta({"chr1": "ACGT", "chrM": "GG"}))
    table = tmp_path / "aliases.tsv"
    table.write_text("chr1\tCM000663.2\n")
    for aliases in (table, str(table), {"CM000663.2": "chr1"}):
        genome = Genome(path, aliases=aliases)
        assert [genome.resolve(name) for name in ("1", "CM000663.2", "MT", "chr2")] == ["chr1", "chr1", "chrM", None]
        assert decode(genome.tokens("CM000663.2", 0, 4)) == "ACGT"
    with pytest.raises(InputError, match=r"contig 'chr2' is not in .*a\.fa, which has 'chr1', 'chrM': pass"):
        genome.tokens("chr2", 0, 1)


def test_the_digest_is_the_files(tmp_path: Path) -> None:
    path = tmp_path / "a.fa.gz"
    path.write_bytes(gzip.compress(fasta({"1": "ACGT"})))
    assert Genome(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()


WINDOWS = [(start, start + 500) for start in SEED.choices(range(-300, 200_100), k=300)]


def _read(genome: Genome, seed: int) -> list[str]:
    """Letters of all windows, read in an order of the seed's own."""
    order = random.Random(seed).sample(range(len(WINDOWS)), len(WINDOWS))
    letters = {number: decode(genome.tokens("chr1", *WINDOWS[number])) for number in order}
    return [letters[number] for number in range(len(WINDOWS))]


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_a_fork_inherits_an_open_genome(path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    genome = Genome(path)
    expected = [upper("N" * 300 + CONTIGS["chr1"] + "N" * 600)[start + 300 : end + 300] for start, end in WINDOWS]
    assert _read(genome, 0) == expected
    wrong = tmp_path_factory.mktemp("fork")

    def child(seed: int) -> None:
        for again in range(5):
            if _read(genome, seed + again) != expected:
                (wrong / str(seed)).touch()

    children = [multiprocessing.get_context("fork").Process(target=child, args=(seed,)) for seed in range(3)]
    for process in children:
        process.start()
    child(100)
    for process in children:
        process.join()
    assert [process.exitcode for process in children] == [0, 0, 0]
    assert list(wrong.iterdir()) == []


def test_threads_and_spawned_processes_share_a_genome(tmp_path: Path) -> None:
    genome = Genome(bgzip(tmp_path / "a.fa.gz", fasta(CONTIGS)))
    expected = _read(genome, 0)
    threads = ThreadPoolExecutor(4)
    processes = ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))
    with threads, processes:
        answers = [pool.submit(_read, genome, seed) for pool in (threads, processes) for seed in range(4)]
        assert all(answer.result() == expected for answer in answers)


def test_it_pickles_small_and_with_its_aliases(path: Path) -> None:
    genome = Genome(path, aliases={"one": "chr1"})
    genome.tokens("chr1", 0, 10)
    assert len(pickle.dumps(genome)) < 1000
    again = pickle.loads(pickle.dumps(genome))
    assert decode(again.tokens("one", 0, 10)) == upper(CONTIGS["chr1"][:10])


def stale(index: Path, seconds: int) -> None:
    then = index.stat().st_mtime + seconds
    os.utime(index, (then, then))


@pytest.mark.parametrize("compressed", [False, True])
def test_an_index_beside_the_file_is_not_taken_on_trust(tmp_path: Path, compressed: bool) -> None:
    path = tmp_path / "a.fa"

    def write(contigs: dict[str, str]) -> None:
        if compressed:
            bgzip(path, fasta(contigs))
        else:
            path.write_bytes(fasta(contigs))

    write({"b": "TTTT" * 30, "a": "ACGT" * 30})
    pysam.faidx(str(path))
    write({"a": "ACGT" * 30, "b": "TTTT" * 30})
    for index in tmp_path.glob("a.fa.*"):
        stale(index, 60)
    genome = Genome(path)
    assert list(genome.lengths) == ["a", "b"]
    assert decode(genome.tokens("a", 0, 8)) == "ACGTACGT"
    assert decode(genome.tokens("b", 0, 8)) == "TTTTTTTT"


def test_a_good_index_beside_the_file_is_used_unless_it_is_older(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "a.fa"
    path.write_bytes(fasta(CONTIGS))
    pysam.faidx(str(path))
    assert decode(Genome(path).tokens("chr2", 0, 61)) == CONTIGS["chr2"]
    assert not (tmp_path / "cache").exists()
    stale(Path(f"{path}.fai"), -60)
    assert decode(Genome(path).tokens("chr2", 0, 61)) == CONTIGS["chr2"]
    assert (tmp_path / "cache" / "indexes").exists()


def test_a_replaced_fasta_gets_a_new_index(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(fasta({"a": "ACGT"}))
    assert Genome(path).lengths == {"a": 4}
    path.write_bytes(fasta({"a": "ACGTAC", "b": "A"}))
    assert Genome(path).lengths == {"a": 6, "b": 1}


def test_a_fasta_cut_short_while_in_use(tmp_path: Path) -> None:
    path = tmp_path / "a.fa"
    path.write_bytes(fasta({"a": "ACGT" * 100_000}))
    genome = Genome(path)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"a\.fa is damaged or has changed at a:300001-300100"):
        genome.tokens("a", 300_000, 300_100)


@pytest.mark.parametrize("form", ["plain", "bgzip"])
def test_a_letter_that_is_no_nucleotide(tmp_path: Path, form: str) -> None:
    path = tmp_path / "protein.fa"
    text = fasta({"a": "ACGT" * 20, "b": "ACGT" * 20 + "LACGT"})
    if form == "bgzip":
        bgzip(path, text)
    else:
        path.write_bytes(text)
    genome = Genome(path)
    assert decode(genome.tokens("b", 76, 80)) == "ACGT"
    with pytest.raises(InputError, match=r"protein\.fa has 'L' at position 81 of contig 'b'"):
        genome.tokens("b", 70, 90)


def test_damaged_bgzip(tmp_path: Path) -> None:
    path = bgzip(tmp_path / "a.fa.gz", fasta({"a": "".join(random.Random(2).choices("ACGT", k=300_000))}))
    content = path.read_bytes()
    path.write_bytes(content[:-100])
    with pytest.raises(InputError, match=r"a\.fa\.gz is truncated: bgzip's end marker is missing"):
        Genome(path)
    path.write_bytes(content[:40_000] + bytes(1000) + content[41_000:])
    with pytest.raises(InputError, match=r"a\.fa\.gz cannot be decompressed"):
        Genome(path)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is empty"),
        (b"##fileformat=VCFv4.2\n", "is no FASTA"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (gzip.compress(b"##fileformat=VCFv4.2\n", mtime=0), "is no FASTA"),
        (gzip.compress(b">a\nACGT\n", mtime=0)[:-4], "cannot be decompressed"),
        (gzip.compress(b">a\nACGT\n>a\nAC\n", mtime=0), "genome: a second contig named 'a'"),
        (b">a\nACGT\n>a\nAC\n", "genome: a second contig named 'a'"),
        (b"\x43\x27\x41\x1a\x00\x00", "truncated or damaged"),
    ],
)
def test_refused_files(tmp_path: Path, content: bytes, complaint: str) -> None:
    (tmp_path / "genome").write_bytes(content)
    with pytest.raises(InputError, match=complaint) as caught:
        Genome(tmp_path / "genome")
    assert str(tmp_path / "genome") in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"there is no reference .*missing\.fa"):
        Genome(tmp_path / "missing.fa")
    with pytest.raises(InputError, match="is not a regular file"):
        Genome(tmp_path)


def test_a_window_that_ends_before_it_starts(path: Path) -> None:
    with pytest.raises(ValueError, match=r"8\.\.4"):
        Genome(path).tokens("chr1", 8, 4)
    assert Genome(path).tokens("chr1", 4, 4).size == 0


@pytest.mark.parametrize("name", ["GRCh38_regions.fa.gz", "hg38_chr1_1_1000000.fa.gz"])
def test_shared_human_genomes(shared_data: Path, name: str) -> None:
    """One is plain gzip, one bgzip; read whole and by windows they must agree with what gzip says."""
    path = shared_data / "human" / name
    with gzip.open(path) as text:
        first = text.read(2_000_000).split(b">")[1].split(b"\n")
    sequence = b"".join(first[1:]).decode().upper()
    genome = Genome(path)
    contig = first[0].split()[0].decode()
    assert genome.lengths[contig] >= len(sequence)
    assert decode(genome.tokens(contig, 0, len(sequence))) == sequence
    assert decode(genome.tokens(contig, 12_345, 12_999)) == sequence[12_345:12_999]
