"""A package's networks on a device: each as a module, and its convolutional stretch as a program where it is one."""

from __future__ import annotations

import contextlib
import copy
import math
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from basecast.genome.sequence import Tokens
from basecast.inference.compiled import CompiledKernels
from basecast.inference.device import without_tf32
from basecast.inference.native.library import available
from basecast.inference.native.library import padded as padded_channels
from basecast.inference.program import Program, program_of
from basecast.inference.runner import Kernels, Runner
from basecast.inference.torched import TorchKernels
from basecast.inference.tuning import Tuning
from basecast.inference.windows import Windows
from basecast.models.layers import Convolution, make_one_hot, padded
from basecast.models.network import Network
from basecast.spec import Member
from basecast.zoo.package import Package

Precision = Literal["fp32", "bf16", "fp64"]
_LIVE_TENSORS = 8


class LoadedMember:
    """One network on a device; ``program`` is None where the embedding is no convolutional stretch."""

    def __init__(
        self, member: Member, network: Network, device: torch.device, precision: Precision, is_padded: bool
    ) -> None:
        self.member, self.program = member, program_of(network)
        self._device, self._precision, self._is_padded = device, precision, is_padded
        self.dtype = torch.float64 if precision == "fp64" else torch.float32
        self.network = copy.deepcopy(network).to(device, self.dtype).eval()
        self._runner: Runner | None = None

    def use(self, tuning: Tuning) -> None:
        """Compute by these kernels."""
        if self.program is None:
            return
        kernels: Kernels
        if tuning.compiles(self.program, self._precision):
            kernels = CompiledKernels(self.program, self.dtype, tuning)
        else:
            dtype = torch.bfloat16 if self._precision == "bf16" else self.dtype
            kernels = TorchKernels(
                self.program, self._device, dtype, partial(tuning.is_flat, precision=self._precision)
            )
        self._runner = Runner(self.program, kernels, self._is_padded)

    @property
    def runner(self) -> Runner:
        """Runs the program by the kernels in use."""
        assert self._runner is not None
        return self._runner

    def embedding(self, tokens: Tokens, conditions: Mapping[str, Tensor]) -> Tensor:
        """What the heads read, of windows of one length."""
        if self.program is not None:
            return self.runner.embedding(Windows.whole(list(tokens)))
        one_hot = make_one_hot(torch.from_numpy(tokens).to(self._device), self.dtype)
        return self.network.embed(one_hot, conditions)

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        """Inference without gradients, at the precision and with the padding of this member."""
        before = torch.get_num_threads()
        is_mixed = self._precision == "bf16" and self.program is None
        with contextlib.ExitStack() as stack:
            if self._is_padded and self.program is None:
                stack.enter_context(padded(self.network))
            stack.enter_context(torch.inference_mode())
            stack.enter_context(without_tf32(self._device))
            stack.enter_context(torch.autocast(self._device.type, torch.bfloat16, enabled=is_mixed))
            torch.set_num_threads(1)  # windows and members have their threads: see Threads
            try:
                yield
            finally:
                torch.set_num_threads(before)


class Members:
    """All networks of a package."""

    def __init__(self, package: Package, device: torch.device, precision: Precision, is_padded: bool) -> None:
        pairs = zip(package.spec.members, package.networks, strict=True)
        self.each = [LoadedMember(member, network, device, precision, is_padded) for member, network in pairs]
        self.device, self.precision = device, precision
        networks = [member.network for member in self.each]
        widest = max((m.out_channels for n in networks for m in n.modules() if isinstance(m, Convolution)), default=64)
        itemsize = self.each[0].dtype.itemsize
        if device.type == "cpu" and available():
            widest = padded_channels(widest, available()[0], np.dtype(f"f{itemsize}"))
        told = [network.activations_a_base for network in networks]
        numbers = max(widest * _LIVE_TENSORS if x is None else x for x in told) if told else widest * _LIVE_TENSORS
        self.bytes_a_base = max(math.ceil(itemsize * numbers), 1)
        self.bytes_a_level = itemsize * widest * (1 + max((len(p.steps) for p in self.programs), default=1))

    @property
    def programs(self) -> list[Program]:
        """Those that there are."""
        return [member.program for member in self.each if member.program is not None]

    @property
    def are_stretches(self) -> bool:
        """Whether every network is a program."""
        return len(self.programs) == len(self.each)

    @property
    def alike_only(self) -> bool:
        """Whether windows that are run together must need the same positions."""
        return any(member.runner.kernels.alike_only for member in self.each)

    def use(self, tuning: Tuning) -> None:
        """Compute by these kernels.

        Raises:
            UsageError: this machine does not have them, or they are not of these networks.
        """
        tuning.check(self.programs, self.device, self.precision)
        for member in self.each:
            member.use(tuning)
