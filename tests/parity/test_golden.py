"""Basecast gives what OpenSpliceAI 0.0.7 and SpliceAI 1.3.1 gave on the same formula-made weights, genome and variants.

``benchmarks/make_golden.py`` ran the peers; no file of theirs is needed here.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checkpoints import write_keras, write_openspliceai
from scene import GENES, make_contig, make_records, one_hot, probe, write_scene

from basecast.cli.main import main
from basecast.effects.splicing import spliceai_delta_scores
from basecast.zoo.catalogue import load_model

HERE = Path(__file__).parent
SALTS = ("first ", "second ")
CASES = [(80, 40), (400, 50), (400, 10)]


def golden(peer: str) -> tuple[dict[str, list[list[str]]], dict[str, np.ndarray]]:
    scores = json.loads((HERE / f"golden_{peer}.json").read_text())["scores"]
    with np.load(HERE / f"golden_{peer}.npz") as arrays:
        return scores, dict(arrays)


@pytest.fixture(scope="module")
def openspliceai(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("openspliceai")
    for context in (80, 400):
        (folder / str(context)).mkdir()
        for number, salt in enumerate(SALTS):
            write_openspliceai(folder / str(context) / f"{number}.pt", context, salt)
    return {context: folder / str(context) for context in (80, 400)}


@pytest.fixture(scope="module")
def spliceai(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spliceai") / "spliceai1.h5"
    write_keras(path)
    return path


def run(folder: Path, model: Path, distance: int) -> tuple[list[list[str]], list[list[str]]]:
    """Raw and masked entries of each record, as the command line writes them."""
    fasta, genes, vcf = write_scene(folder)
    out = folder / "out.vcf"
    options = {"-I": vcf, "-O": out, "-R": fasta, "-A": genes, "-D": distance, "-M": "both", "--rules": "spliceai"}
    options |= {"--model": model, "--decimals": 6, "--device": "cpu"}
    assert main(["variant", *(str(word) for pair in options.items() for word in pair)]) == 0
    lines = [line.split("\t") for line in out.read_text().splitlines() if not line.startswith("#")]
    assert [int(line[1]) for line in lines] == [record[0] for record in make_records(make_contig())]
    infos = [dict(item.partition("=")[::2] for item in line[7].split(";")) for line in lines]
    raw, masked = (
        [i.get(key, "").split(",") if key in i else [] for i in infos] for key in ("SpliceAI", "SpliceAI_masked")
    )
    return raw, masked


def assert_same(wanted: list[list[str]], found: list[list[str]], tolerance: float) -> int:
    """Every entry of every record has the same allele, gene and places, and scores within ``tolerance``; how many.

    Where the score is float noise, not nil, its place is not compared.
    """
    scored = 0
    for want, got, record in zip(wanted, found, make_records(make_contig()), strict=True):
        assert [e.split("|")[:2] for e in want] == [e.split("|")[:2] for e in got], record
        for a, b in zip((e.split("|")[2:] for e in want), (e.split("|")[2:] for e in got), strict=True):
            if "." in a:
                assert a == b, record
                continue
            want_scores, got_scores = ([float(x) for x in entry[:4]] for entry in (a, b))
            np.testing.assert_allclose(got_scores, want_scores, rtol=0, atol=tolerance, err_msg=str(record))
            noise = [0 < abs(score) < 1e-5 for score in want_scores]
            differ = [there != here and not lost for there, here, lost in zip(a[4:], b[4:], noise, strict=True)]
            assert not any(differ), (record, a, b)
            scored += 1
    return scored


@pytest.mark.parametrize("context", [80, 400])
@pytest.mark.parametrize("member", [0, 1])
def test_openspliceai_logits(openspliceai: dict[int, Path], context: int, member: int) -> None:
    network = load_model(openspliceai[context]).networks[member]
    window = torch.from_numpy(one_hot(probe(make_contig(), context))[None])
    _, arrays = golden("openspliceai")
    found = network(window)[0].numpy()
    assert found.std() > 1
    np.testing.assert_allclose(found, arrays[f"logits_{context}_{member}"], rtol=0, atol=2e-5)


@pytest.mark.parametrize(("context", "distance"), CASES)
def test_openspliceai_variant(openspliceai: dict[int, Path], tmp_path: Path, context: int, distance: int) -> None:
    scores, _ = golden("openspliceai")
    for mask, found in enumerate(run(tmp_path, openspliceai[context], distance)):
        assert assert_same(scores[f"context={context} D={distance} M={mask}"], found, 5e-6) >= 25


def test_spliceai_probabilities(spliceai: Path) -> None:
    network = load_model(spliceai).network
    window = torch.from_numpy(one_hot(probe(make_contig(), 10_000))[None])
    _, arrays = golden("spliceai")
    found = network(window)[0].softmax(dim=0).T.numpy()
    assert found[:, 1].max() > 0.5
    np.testing.assert_allclose(found, arrays["probabilities"], rtol=0, atol=2e-5)


def nearest_boundary(gene: str, pos: int) -> int:
    """By the gene table of the scene: the exon boundary nearest to ``pos``; of two, the smaller coordinate."""
    exons = next(exons for name, _, exons in GENES if name == gene)
    boundaries = sorted({start + 1 for start, _ in exons} | {end for _, end in exons})
    return min((b - pos for b in boundaries), key=abs)


def peer_windows() -> Iterator[tuple[int, str, Any, Any, list[str], list[str]]]:
    """Position, REF, the peer's REF and ALT probabilities, and its raw and masked entry, of all that it scored."""
    scores, arrays = golden("spliceai")
    windows = iter(np.split(arrays["windows"], np.cumsum(arrays["window_lengths"])[:-1]))
    raw, masked = (scores[f"context=10000 D=50 M={mask}"] for mask in (0, 1))
    steps = {name: 1 if strand == "+" else -1 for name, strand, _ in GENES}
    for (pos, _, ref, _), entries, hidden in zip(make_records(make_contig()), raw, masked, strict=True):
        for entry, masked_entry in zip(entries, hidden, strict=True):
            if not entry.endswith("."):
                step = steps[entry.split("|")[1]]
                yield pos, ref, next(windows)[::step], next(windows)[::step], entry.split("|"), masked_entry.split("|")


def test_spliceai_rules_on_the_peers_own_probabilities() -> None:
    scored = 0
    for pos, ref, y_ref, y_alt, *entries in peer_windows():
        for entry, mask in zip(entries, (False, True), strict=True):
            boundary = nearest_boundary(entry[1], pos) if mask else None
            delta = spliceai_delta_scores(y_ref, y_alt, len(ref), len(entry[0]), boundary)
            assert [f"{x:.2f}".replace("-0.00", "0.00") for x in delta.score] == [
                x.replace("-0.00", "0.00") for x in entry[2:6]
            ]
            assert [str(x) for x in delta.position] == entry[6:]
            scored += 1
    assert scored >= 50


def test_spliceai_variant(spliceai: Path, tmp_path: Path) -> None:
    scores, _ = golden("spliceai")
    raw, masked = run(tmp_path, spliceai, 50)
    for mask, found in enumerate((raw, masked)):
        assert assert_same(scores[f"context=10000 D=50 M={mask}"], found, 0.0051) >= 25
    finer = [entry.split("|") for entries in raw for entry in entries if not entry.endswith(".")]
    for (pos, ref, y_ref, y_alt, entry, _), got in zip(peer_windows(), finer, strict=True):
        delta = spliceai_delta_scores(y_ref, y_alt, len(ref), len(entry[0]), None)
        np.testing.assert_allclose([float(x) for x in got[2:6]], delta.score, rtol=0, atol=2e-5, err_msg=str(pos))
