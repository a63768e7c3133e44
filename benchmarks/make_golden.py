"""Make the golden numbers of ``tests/parity``: the peers' own code on weights, sequence and variants made by formula.

Each peer runs in an environment of its own, once; what it prints is committed, and nothing of the peer is:

    python3.11 -m venv osai && osai/bin/pip install torch==2.13.0 openspliceai==0.0.7
    osai/bin/python benchmarks/make_golden.py openspliceai

    python3.11 -m venv sai && sai/bin/pip install tensorflow-cpu==2.21.0 pandas pysam pyfaidx 'setuptools<81'
    sai/bin/pip install --no-deps spliceai==1.3.1
    sai/bin/python benchmarks/make_golden.py spliceai

SpliceAI 1.3.1 is of 2020: ``numpy.fromstring`` is given back to it while it runs, and its five model files are five
copies of the formula's. Nothing of its code is changed.
"""

from __future__ import annotations

import argparse
import json
import platform
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

PARITY = Path(__file__).parents[1] / "tests" / "parity"
sys.path.insert(0, str(PARITY))

from checkpoints import write_keras, write_openspliceai  # noqa: E402
from formula import DILATIONS, GROUPS, WIDTHS, formula_weight  # noqa: E402
from scene import make_contig, one_hot, probe, write_scene  # noqa: E402

DISTANCES = {80: (40, 10), 400: (50, 10)}  # by context: up to half of it
SALTS = ("first ", "second ")


def versions(*packages: str) -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in packages}


def openspliceai(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    import pysam
    import torch
    from openspliceai.train_base.openspliceai import SpliceAI
    from openspliceai.variant.utils import Annotator, get_delta_scores

    fasta, genes, vcf = write_scene(folder)
    arrays, scores = {}, {}
    for context, distances in DISTANCES.items():
        models = folder / str(context)
        models.mkdir()
        groups = GROUPS[context]
        for number, salt in enumerate(SALTS):
            path = models / f"{number}.pt"
            write_openspliceai(path, context, salt)
            network = SpliceAI(32, np.repeat(WIDTHS[:groups], 4), np.repeat(DILATIONS[:groups], 4), apply_softmax=False)
            network.load_state_dict(torch.load(path, weights_only=True))
            with torch.no_grad():
                window = torch.from_numpy(one_hot(probe(make_contig(), context))[None])
                arrays[f"logits_{context}_{number}"] = network.eval()(window)[0].numpy()
        annotator = Annotator(str(fasta), str(genes), str(models), "pytorch", context)
        for distance in distances:
            for mask in (0, 1):
                found = [
                    get_delta_scores(record, annotator, distance, mask, flanking_size=context, precision=6)
                    for record in pysam.VariantFile(str(vcf))
                ]
                scores[f"context={context} D={distance} M={mask}"] = found
    return {"versions": versions("openspliceai", "torch", "numpy"), "scores": scores}, arrays


class Recorder:
    """A model of the peer that keeps what it predicts."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.kept: list[Any] = []

    def predict(self, x: Any) -> Any:
        made = self.model.predict(x, verbose=0)
        self.kept.append(made[0])
        return made


def spliceai(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    np.fromstring = lambda text, dtype: np.frombuffer(text.encode("latin-1"), dtype)
    import pysam
    import spliceai.utils as peer

    fasta, genes, vcf = write_scene(folder)
    (folder / "models").mkdir()
    write_keras(folder / "models" / "spliceai1.h5")
    for number in range(2, 6):
        shutil.copy(folder / "models" / "spliceai1.h5", folder / "models" / f"spliceai{number}.h5")
    peer.resource_filename = lambda _, name: str(folder / name)
    annotator = peer.Annotator(str(fasta), str(genes))
    network = annotator.models[0]
    for layer in network.layers:
        for weight in layer.weights:
            name = f"{layer.name}/{weight.name.rpartition('/')[2].removesuffix(':0')}:0"
            if not np.array_equal(weight.numpy(), formula_weight(name, tuple(weight.shape))):
                raise SystemExit(f"Keras read {name} from another place of the file")
    first = Recorder(network)
    annotator.models = [first, *(Recorder(model) for model in annotator.models[1:])]
    window = one_hot(probe(make_contig(), 10_000)).T[None]
    arrays = {"probabilities": first.predict(window)[0]}
    scores = {}
    for mask in (0, 1):
        first.kept = []
        records = pysam.VariantFile(str(vcf))
        scores[f"context=10000 D=50 M={mask}"] = [peer.get_delta_scores(r, annotator, 50, mask) for r in records]
    arrays["windows"] = np.concatenate(first.kept)
    arrays["window_lengths"] = np.array([len(window) for window in first.kept], dtype=np.int16)
    return {"versions": versions("spliceai", "tensorflow", "keras", "numpy"), "scores": scores}, arrays


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", choices=["openspliceai", "spliceai"])
    parser.add_argument("--out", type=Path, default=PARITY, help="folder of golden_PEER.json and .npz")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        numbers, arrays = {"openspliceai": openspliceai, "spliceai": spliceai}[options.peer](Path(folder))
    text = json.dumps(numbers, indent=0, sort_keys=True)
    (options.out / f"golden_{options.peer}.json").write_text(text + "\n")
    np.savez_compressed(options.out / f"golden_{options.peer}.npz", **arrays)
    for path in sorted(options.out.glob(f"golden_{options.peer}.*")):
        print(path, path.stat().st_size, "bytes")


if __name__ == "__main__":
    main()
