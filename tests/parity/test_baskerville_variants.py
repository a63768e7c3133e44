"""Variant scores of a trained model against those that baskerville itself printed: 8 SNVs, 47 tracks, 10 statistics."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest

from basecast.effects.signal_scorer import SignalRow, SignalScorer, SignalSettings
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantRecord
from basecast.zoo.importers import baskerville
from basecast.zoo.package import Package

STATISTICS = ("SUM", "logSUM", "sqrtSUM", "SAX", "D1", "D2", "logD1", "logD2", "logSED", "JS")


@pytest.fixture(scope="module")
def peer(shared_data: Path) -> Path:
    folder = shared_data / "peers" / "baskerville"
    if not folder.is_dir():
        pytest.skip("needs the shared model and scores of baskerville")
    return folder


@pytest.fixture(scope="module")
def package(peer: Path) -> Package:
    return baskerville.load([peer / "model.h5"], targets=peer / "tiny_hg38" / "targets.txt")


def records(path: Path) -> list[VariantRecord]:
    """Their VCF has no #CHROM line."""
    lines = [line.split("\t") for line in path.read_text().splitlines() if not line.startswith("#")]
    return [VariantRecord(i, x[0], int(x[1]) - 1, x[3], (x[4],), b"") for i, x in enumerate(lines, 1)]


def scored(
    package: Package, shared_data: Path, found: list[VariantRecord], settings: SignalSettings
) -> list[list[SignalRow]]:
    genome = Genome(shared_data / "human" / "hg38_chr1_1_1000000.fa.gz")
    return SignalScorer(package, genome, None, settings).rows(found)


@pytest.fixture(scope="module")
def there(package: Package, peer: Path, shared_data: Path) -> list[list[SignalRow]]:
    settings = SignalSettings(rules="baskerville", statistics=STATISTICS, device="cpu")
    return scored(package, shared_data, records(peer / "eqtl.vcf"), settings)


@pytest.mark.parametrize("name", STATISTICS)
def test_their_numbers(name: str, there: list[list[SignalRow]], peer: Path) -> None:
    """To 1e-6 of what the two alleles sum up to and half a step of the float16 that theirs are kept in."""
    values = np.stack([row.values for (row,) in there]).astype(np.float64)  # type: ignore[arg-type]
    with h5py.File(peer / "golden" / "snp_scores.h5") as file:
        golden = file[name][:]
    half = np.maximum(np.spacing(np.abs(golden)).astype(np.float64) / 2, 2.0**-25)
    tolerance = 1e-6 * values[:, -2:].sum(axis=1) + half
    assert golden.shape == (8, 47)
    assert (np.abs(values[:, STATISTICS.index(name)] - golden) <= tolerance).all()
    assert (np.abs(golden) > half).mean() > 0.9


def test_their_order_and_names_of_tracks(package: Package, shared_data: Path, peer: Path) -> None:
    scorer = SignalScorer(
        package, shared_data / "human" / "hg38_chr1_1_1000000.fa.gz", None, SignalSettings(rules="baskerville")
    )
    with h5py.File(peer / "golden" / "snp_scores.h5") as file:
        assert [track.name for track in scorer.tracks] == [name.decode() for name in file["target_ids"]]
        assert [track.description for track in scorer.tracks] == [name.decode() for name in file["target_labels"]]


def test_a_record_the_other_way_round(
    package: Package, there: list[list[SignalRow]], peer: Path, shared_data: Path
) -> None:
    """REF is not the genome's, ALT is: the sign turns, distances stay."""
    settings = SignalSettings(rules="baskerville", statistics=("SUM", "D2"), device="cpu")
    back = scored(package, shared_data, records(peer / "eqtl_flip.vcf")[:1], settings)
    for (row,), (other,) in zip(there, back, strict=False):
        assert (row.status, other.status) == ("scored", "scored_genome_has_alt")
        assert row.values is not None
        assert other.values is not None
        sums, distances = row.values[STATISTICS.index("SUM")], row.values[STATISTICS.index("D2")]
        np.testing.assert_allclose(other.values[0], -sums, atol=1e-4 * np.abs(sums).max())
        np.testing.assert_allclose(other.values[1], distances, atol=1e-4 * distances.max())
        np.testing.assert_array_equal(other.values[2:], row.values[:-3:-1])


def test_merging_strands_first_differs_where_it_should(
    package: Package, there: list[list[SignalRow]], peer: Path, shared_data: Path
) -> None:
    """Our own rules add up strands before the statistic: sums are the same, distances of two strands are not."""
    kept = {track.name: track for track in package.spec.outputs[0].tracks}
    assert kept["CNhs10752+"].transform is not None
    assert kept["CNhs10752+"].transform.scale == 1
    names = ("CNhs10752+", "CNhs10853+")
    settings = SignalSettings(
        statistics=("SUM", "D2"), tracks=names, merge_strands=True, untransform=True, device="cpu"
    )
    ((row,),) = scored(package, shared_data, records(peer / "eqtl.vcf")[:1], settings)
    assert row.values is not None
    assert there[0][0].values is not None
    theirs = there[0][0].values[[STATISTICS.index("SUM"), STATISTICS.index("D2")], :2]
    np.testing.assert_allclose(row.values[0], theirs[0], rtol=1e-3)
    assert (np.abs(row.values[1] / theirs[1] - 1) > 0.05).all()
