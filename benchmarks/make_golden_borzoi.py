"""Runs borzoi-pytorch (Apache-2.0) once on weights made by formula; the tests hold basecast against its numbers.

pip install borzoi-pytorch==0.5.1
PYTHONPATH=tests/parity python benchmarks/make_golden_borzoi.py tests/parity/golden_borzoi.npz
"""

from __future__ import annotations

import sys

import borzoi_pytorch.pytorch_borzoi_transformer as transformer
import numpy as np
import torch
from borzoi_files import CROP, DEPTH, DIM, HEADS, KEY, LENGTH, TRACKS, VALUE, borzoi_shapes, borzoi_weight
from borzoi_pytorch.config_borzoi import BorzoiConfig
from borzoi_pytorch.pytorch_borzoi_model import Borzoi
from formula import formula_uniform


def main(out: str) -> None:
    features = transformer.get_positional_embed
    # it has the limits of 4,096 positions whatever the window: here those of the positions that there are
    transformer.get_positional_embed = lambda n, _, size, device: features(n, n, size, device)
    sizes = {"dim": DIM, "depth": DEPTH, "heads": HEADS, "attn_dim_key": KEY, "attn_dim_value": VALUE}
    config = BorzoiConfig(**sizes, bins_to_return=LENGTH // 32 - 2 * CROP)
    network = Borzoi(config)
    network.human_head = torch.nn.Conv1d(1920, TRACKS, 1)
    weights = {name: torch.from_numpy(borzoi_weight(name, shape)) for name, shape in borzoi_shapes()}
    network.load_state_dict(weights)
    letters = torch.from_numpy(np.floor((formula_uniform("window", LENGTH) + 1) * 2).astype(np.int64))
    with torch.no_grad():
        values = network.eval()(torch.eye(4)[letters].T[None])
    np.savez_compressed(out, values=values[0].T.numpy())


if __name__ == "__main__":
    main(*sys.argv[1:])
