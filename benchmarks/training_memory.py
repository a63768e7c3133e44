"""What training keeps of one window of each size, with and without activations made again; nothing is computed.

    python benchmarks/training_memory.py

Every tensor that autograd keeps is counted once by its storage, on PyTorch's ``meta`` device. Of a network that is
``checkpointed`` it is what lies between blocks, and the largest block while that is made again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from basecast.models.network import Network
from basecast.models.registry import families
from basecast.models.signal import SignalConfig
from basecast.spec import LocalReach

LABELLED = 32_768  # bases of a window where any length can be run
GIB = 2**30


def kept(call: Callable[[], Any]) -> int:
    """Bytes that the way back needs of a call, weights aside."""
    storages: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if not isinstance(tensor, nn.Parameter):
            storages[id(tensor.untyped_storage())] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        call()
    return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())


def largest_block(network: Network, window: Tensor) -> int:
    sizes = []

    def through(block: nn.Module, *inputs: Tensor) -> Any:
        sizes.append(kept(lambda: block(*inputs)))
        return block(*inputs)

    network.through = through  # type: ignore[method-assign]
    network(window)
    del network.through
    return max(sizes)


def main() -> None:
    print("family size window_bp weights_GiB a_window_GiB a_window_checkpointed_GiB")
    for name, family in families().items():
        for size, make in family.sizes.items():
            config = make()
            if not isinstance(config, SignalConfig) or size == "tiny":
                continue
            reach = config.reach
            is_local = isinstance(reach, LocalReach)
            length = reach.left + reach.right + LABELLED if is_local else reach.lengths[0]
            with torch.device("meta"):
                network, window = family.network(config).train(), torch.zeros(1, 4, length)
            weights = sum(4 * p.numel() for p in network.parameters())
            whole, block = kept(lambda n=network, w=window: n(w)), largest_block(network, window)
            network.checkpointed = True
            less = kept(lambda n=network, w=window: n(w)) + block
            print(f"{name} {size} {length:,} {weights / GIB:.2f} {whole / GIB:.2f} {less / GIB:.2f}")


if __name__ == "__main__":
    main()
