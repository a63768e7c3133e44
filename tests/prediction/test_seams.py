"""Where tiles, shards and workers begin and end changes nothing; the same holds for how a FASTA is written."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import pytest
from direct import (
    Asked,
    Gene,
    Site,
    assert_same,
    lively,
    predict,
    random_bases,
    read_beds,
    read_bigwigs,
    without_genes,
    write_fasta,
    write_genes,
    write_model,
)

from basecast.inference.shards import Parts
from basecast.prediction import predict as module

PACKAGE = lively()
N_WEIGHTS = sum(x.numel() for network in PACKAGE.networks for x in network.parameters())
CONTIGS = {"long": random_bases(3600, seed=8), "tile": random_bases(997, seed=9), "beyond": random_bases(998, seed=10)}
GENES: list[Gene] = [
    ("A", "long", "+", 0, 997),
    ("A", "long", "+", 500, 2991),
    ("B", "long", "-", 996, 1994),
    ("C", "long", "-", 0, 3600),
    ("D", "beyond", "+", 997, 998),
]
THRESHOLD = 0.0004
"""So low that every border has a site."""


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seams")
    write_fasta(folder / "genome.fa", CONTIGS)
    write_genes(folder / "genes.tsv", GENES)
    write_model(folder / "model", PACKAGE)
    return folder


@pytest.fixture(scope="module")
def wanted() -> dict[bool, dict[Site, float]]:
    """All sites, with and without genes."""
    return {masked: Asked(PACKAGE, CONTIGS, GENES if masked else None, masked).sites() for masked in (False, True)}


@pytest.fixture
def n_shards(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many shards a run had, once it has run."""
    found: list[int] = []
    save = Parts.save

    def counting(self: Parts, shard: int, payload: bytes) -> None:
        found.append(shard)
        save(self, shard, payload)

    monkeypatch.setattr(Parts, "save", counting)
    return found


def shards_of(bases: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Shards of so many bases, whole tiles of them."""
    monkeypatch.setattr(module, "WORK", {"cpu": bases * N_WEIGHTS})


@pytest.mark.parametrize("masked", [False, True], ids=["genomic", "gene"])
@pytest.mark.parametrize(("tile", "bases"), [(997, 997), (997, 2500), (250, 500), (10**6, 10)])
def test_borders_of_tiles_and_shards_change_nothing(
    tile: int,
    bases: int,
    masked: bool,
    files: Path,
    wanted: dict[bool, dict[Site, float]],
    n_shards: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    shards_of(bases, monkeypatch)
    genes = ("-A", files / "genes.tsv") if masked else ()
    code = predict(
        *("-R", files / "genome.fa", "-m", files / "model", "-O", tmp_path / "out", *genes),
        *("--tile-size", tile, "--threshold", THRESHOLD),
    )
    assert code == 0
    span = max(bases // tile, 1) * tile
    assert (len(n_shards) > 1) == (span < 3600)
    found = read_beds(tmp_path / "out")
    assert_same(found, wanted[masked], THRESHOLD)
    at_borders = {at for contig, at, *_ in found if contig == "long"} & {
        *range(0, 3600, tile),
        *range(tile - 1, 3600, tile),
    }
    assert len(at_borders) >= 2 * 3600 // tile
    assert_same(read_bigwigs(tmp_path / "out"), without_genes(wanted[masked]), 0.001)


@pytest.mark.parametrize("sizes", [(1,), (1, 7, 3, 2, 50), (2, 1000)], ids=str)
def test_shards_of_any_number_of_stretches_give_the_same_sites(
    sizes: tuple[int, ...],
    files: Path,
    wanted: dict[bool, dict[Site, float]],
    n_shards: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Stretches of genes that overlap fall into different parts."""

    def uneven(items: Iterator[Any], *_: int) -> Iterator[tuple[int, list[Any]]]:
        for number, size in enumerate(cycle(sizes)):
            if not (shard := list(islice(items, size))):
                return
            yield number, shard

    shards_of(500, monkeypatch)
    monkeypatch.setattr(module, "shards", uneven)
    code = predict(
        *("-R", files / "genome.fa", "-m", files / "model", "-A", files / "genes.tsv"),
        *("-O", tmp_path / "out", "--tile-size", "250", "--threshold", "0.01"),
    )
    assert code == 0
    assert len(n_shards) > 1
    assert_same(read_beds(tmp_path / "out"), wanted[True], 0.01)
    assert_same(read_bigwigs(tmp_path / "out"), without_genes(wanted[True]), 0.001)


# ---- the same genome in other letters


def test_lower_case_line_ends_wraps_and_compression_change_nothing(files: Path, tmp_path: Path) -> None:
    given = ("-m", files / "model", "--format", "bed", "--threshold", "0.1")
    assert predict(*given, "-R", files / "genome.fa", "-O", tmp_path / "as_is") == 0
    wanted = read_beds(tmp_path / "as_is")
    lower = {name: bases.lower() for name, bases in CONTIGS.items()}
    write_fasta(tmp_path / "lower.fa", lower)
    write_fasta(tmp_path / "crlf.fa", CONTIGS, width=61, newline="\r\n")
    write_fasta(tmp_path / "one_line.fa", CONTIGS, width=10_000)
    (tmp_path / "packed.fa.gz").write_bytes(gzip.compress((files / "genome.fa").read_bytes(), mtime=0))
    for name in ("lower.fa", "crlf.fa", "one_line.fa", "packed.fa.gz"):
        assert predict(*given, "-R", tmp_path / name, "-O", tmp_path / "out") == 0
        assert read_beds(tmp_path / "out") == wanted, name
    assert len(wanted) > 100


def test_ambiguous_letters_are_n(files: Path, tmp_path: Path) -> None:
    bases = random_bases(400, seed=11)
    given = ("-m", files / "model", "--format", "bed", "--threshold", "0.05")
    for name, letters in (("iupac", "RYKMSWBDHV" * 3 + "u"), ("n", "N" * 30 + "T")):
        write_fasta(tmp_path / f"{name}.fa", {"c": bases[:200] + letters + bases[200:]})
        assert predict(*given, "-R", tmp_path / f"{name}.fa", "-O", tmp_path / name) == 0
    assert read_beds(tmp_path / "iupac") == read_beds(tmp_path / "n") != {}


def test_no_iupac_letter_is_named_with_its_place(
    files: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    write_fasta(tmp_path / "odd.fa", {"c": "ACGT" * 20 + "!" + "ACGT" * 20})
    assert predict("-R", tmp_path / "odd.fa", "-m", files / "model", "-O", tmp_path / "out") == 1
    said = capfd.readouterr().err
    assert "has '!' at position 81 of contig 'c'" in said
    assert "Traceback" not in said
    assert not list(tmp_path.glob("out.*.bed.gz"))


def test_contigs_of_n_of_a_base_and_of_none(files: Path, tmp_path: Path) -> None:
    contigs = {"n": "N" * 500, "none": "", "one": "A", "two": "GT"}
    write_fasta(tmp_path / "genome.fa", contigs)
    given = ("-m", files / "model", "-R", tmp_path / "genome.fa", "-O", tmp_path / "out", "--threshold", "0")
    assert predict(*given) == 0
    assert read_beds(tmp_path / "out") == pytest.approx(Asked(PACKAGE, contigs).sites(), abs=1e-5)
