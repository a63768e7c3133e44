"""The only place where a model is run for a user.

A request names outputs on a contig and a strand; the engine fetches the bases they need through the request's source,
runs every member, and gives values in the order of the contig. Equal windows are run once.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from basecast.errors import OutOfMemoryError, UsageError
from basecast.genome.sequence import Tokens, reverse_complement
from basecast.genome.source import Source
from basecast.inference.device import available_memory, available_threads, choose_device
from basecast.inference.ensemble import mean_values
from basecast.inference.tiling import Tile, tiles
from basecast.models.layers import Convolution, make_one_hot, padded
from basecast.models.network import Network
from basecast.spec import Input, LocalReach, Output
from basecast.zoo.package import Package

Mode = Literal["valid", "full"]
Values = dict[str, Float[np.ndarray, "..."]]
_CACHE_SHARE = 8
_LIVE_TENSORS = 8


class TrackSource(Protocol):
    """Where an input track comes from."""

    def values(self, contig: str, start: int, end: int) -> Float[np.ndarray, "channels bins"]:
        """Bins of [start, end); NaN where there is no value."""


@dataclass(frozen=True, eq=False)
class Request:
    """Outputs at [start, end) of a contig, read on ``strand``."""

    source: Source
    contig: str
    start: int
    end: int
    strand: str = "+"
    conditions: Mapping[str, str] = field(default_factory=dict)
    tracks: Mapping[str, TrackSource] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class _Window:
    request: Request
    tile: Tile
    tokens: Tokens
    key: bytes


class Engine:
    """Runs one package on one device.

    Args:
        package: the model.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32`` (TF32 off), ``bf16`` (autocast) or ``fp64``.
        mode: ``valid`` computes what the outputs need, layer by layer; ``full`` keeps each layer at the window's
            length by zero padding, as published code does. Both give the same values.
        memory: bytes that activations and remembered values may take; by default half of what is free.
        threads: CPU threads; by default all that the process may use.
        calibrated: whether the temperatures of the spec are applied.
    """

    def __init__(
        self,
        package: Package,
        *,
        device: str = "auto",
        precision: Literal["fp32", "bf16", "fp64"] = "fp32",
        mode: Mode = "valid",
        memory: int | None = None,
        threads: int | None = None,
        calibrated: bool = True,
    ) -> None:
        self.package, self.spec = package, package.spec
        self.device, self.precision, self.mode, self.calibrated = choose_device(device), precision, mode, calibrated
        self.threads = threads or available_threads()
        self.memory = memory or available_memory() // 2
        if mode == "full" and not isinstance(self.spec.reach, LocalReach):
            raise UsageError(f"{self.spec.name} sees whole windows: there is no mode 'full' beside 'valid' for it")
        shared = {"device": str(self.device), "precision": precision, "mode": mode, "calibrated": calibrated}
        self._nodes = {
            name: Engine(node, memory=self.memory, threads=self.threads, **shared)  # type: ignore[arg-type]
            for name, node in package.nodes.items()
        }
        if self._nodes:
            last = self.spec.nodes[-1].name
            self._runner: Engine = self._nodes[last]
            self._runner._nodes = {name: node for name, node in self._nodes.items() if name != last}
            return
        self._runner = self
        dtype = torch.float64 if precision == "fp64" else torch.float32
        self._dtype = dtype
        self._networks = [copy.deepcopy(network).to(self.device, dtype).eval() for network in package.networks]
        widest = max(
            (m.out_channels for n in self._networks for m in n.modules() if isinstance(m, Convolution)), default=64
        )
        self._bytes_a_base = dtype.itemsize * widest * _LIVE_TENSORS
        self._remembered: OrderedDict[bytes, Values] = OrderedDict()
        self._remembered_bytes = 0
        self.largest_batch = 64 if self.device.type == "cuda" else 8

    @property
    def longest_tile(self) -> int:
        """Bases of output that are computed at once, a share of the memory that does not depend on the batch."""
        return max(min(self.memory // self._bytes_a_base // 2, 200_000 if self.device.type == "cuda" else 50_000), 1000)

    def evaluate(
        self,
        requests: Sequence[Request],
        outputs: Sequence[str] | None = None,
        tracks: Mapping[str, Sequence[int]] | None = None,
    ) -> list[Values]:
        """The named outputs (all by default) of each request, or only some of their ``tracks``.

        Returns:
            For each request, name -> values in the order of the contig: (bins, tracks) for position outputs. Tracks
            are those of the spec: on the minus strand of a strand-paired model they are permuted back.

        Raises:
            UsageError: an output, condition or input track is not the model's, or is missing.
            OutOfMemoryError: a single window does not fit the device.
        """
        runner = self._runner
        if runner is not self:
            return runner.evaluate(requests, outputs, tracks)
        names = tuple(outputs) if outputs is not None else tuple(output.name for output in self.spec.outputs)
        for name in names:
            if name not in {output.name for output in self.spec.outputs}:
                raise UsageError(f"{self.spec.name} has no output {name!r}, only {[o.name for o in self.spec.outputs]}")
        chosen = {name: list(indices) for name, indices in (tracks or {}).items()}
        plan = [self._windows(request, repr((names, chosen)).encode()) for request in requests]
        done: dict[bytes, Values] = {}
        missing: OrderedDict[bytes, _Window] = OrderedDict()
        for window in (window for windows in plan for window in windows):
            if window.key in self._remembered:
                self._remembered.move_to_end(window.key)
                done[window.key] = self._remembered[window.key]
            else:
                missing.setdefault(window.key, window)
        for batch in self._batches(list(missing.values())):
            for window, values in zip(batch, self._run(batch, names, chosen), strict=True):
                done[window.key] = values
                self._remember(window.key, values)
        return [
            {name: self._assemble(name, windows, [done[w.key][name] for w in windows], chosen) for name in names}
            for windows in plan
        ]

    def _windows(self, request: Request, salt: bytes) -> list[_Window]:
        for condition in self.spec.conditions:
            if request.conditions.get(condition.name) not in condition.values:
                raise UsageError(f"{self.spec.name} needs {condition.name}, one of {', '.join(condition.values)}")
        windows = []
        for tile in tiles(self.spec, request.start, request.end, self.longest_tile):
            tokens = request.source.tokens(request.contig, tile.window_start, tile.window_end)
            if request.strand == "-":
                tokens = reverse_complement(tokens)
            digest = hashlib.blake2b(tokens.tobytes(), key=hashlib.sha256(salt).digest(), digest_size=16)
            digest.update(repr(sorted(request.conditions.items())).encode())
            if request.tracks or self._nodes:
                digest.update(repr((id(request), tile)).encode())
            windows.append(_Window(request, tile, tokens, digest.digest()))
        return windows

    def _batches(self, windows: list[_Window]) -> Iterator[list[_Window]]:
        """Windows of one length together, in order, as many as the memory takes."""
        by_length: dict[int, list[_Window]] = {}
        for window in windows:
            by_length.setdefault(window.tokens.size, []).append(window)
        for length, alike in by_length.items():
            i = 0
            while i < len(alike):
                fits = max(self.memory // 2 // (self._bytes_a_base * length), 1)
                size = min(fits, self.largest_batch)
                yield alike[i : i + size]
                i += size

    def _run(self, batch: list[_Window], names: tuple[str, ...], chosen: Mapping[str, list[int]]) -> list[Values]:
        """Values of each window, in the window's own orientation; a batch too large for the device is halved."""
        try:
            return self._forward(batch, names, chosen)
        except (torch.OutOfMemoryError, MemoryError) as error:
            if len(batch) == 1:
                raise OutOfMemoryError(
                    f"one window of {batch[0].tokens.size} bases does not fit {self.device}: "
                    "use another device or --memory with a smaller amount"
                ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.largest_batch = len(batch) // 2
        half = len(batch) // 2
        return self._run(batch[:half], names, chosen) + self._run(batch[half:], names, chosen)

    def _forward(self, batch: list[_Window], names: tuple[str, ...], chosen: Mapping[str, list[int]]) -> list[Values]:
        tokens = torch.from_numpy(np.stack([window.tokens for window in batch])).to(self.device)
        conditions = self._conditions(batch)
        tracks = {name: torch.tensor(indices, device=self.device) for name, indices in chosen.items()}
        linear = {name: index for name, index in tracks.items() if self.spec.output(name).link != "softmax"}

        def logits_of(network: Network, wanted: tuple[str, ...]) -> dict[str, Tensor]:
            needed = [o.name for o in self.spec.outputs if o.name in wanted or o.name in self._fed(wanted)]
            return network.heads(network.embed(one_hot, conditions), needed, linear, {})

        with self._arithmetic():
            one_hot = make_one_hot(tokens, self._dtype)
            values = mean_values(self.spec, self._networks, logits_of, names, self.calibrated, tracks)
            arrays = {name: value.movedim(1, -1).cpu().numpy() for name, value in values.items()}
        return [{name: array[i] for name, array in arrays.items()} for i in range(len(batch))]

    def _fed(self, wanted: tuple[str, ...]) -> set[str]:
        return {other for name in wanted for other in self.spec.output(name).auxiliary}

    @contextlib.contextmanager
    def _arithmetic(self) -> Iterator[None]:
        """Inference without gradients, at the precision and with the padding of this engine."""
        before = torch.get_num_threads()
        autocast = torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16")
        with contextlib.ExitStack() as stack:
            if self.mode == "full":
                for network in self._networks:
                    stack.enter_context(padded(network))
            stack.enter_context(torch.inference_mode())
            stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            stack.enter_context(autocast)
            torch.set_num_threads(self.threads)
            try:
                yield
            finally:
                torch.set_num_threads(before)

    def _conditions(self, batch: list[_Window]) -> dict[str, Tensor]:
        """What the networks take beside the sequence, in the windows' orientation."""
        given: dict[str, Tensor] = {}
        for condition in self.spec.conditions:
            indices = [condition.values.index(window.request.conditions[condition.name]) for window in batch]
            given[condition.name] = torch.tensor(indices, device=self.device)
        for item in self.spec.inputs[1:]:
            stacked = np.stack([self._input(item, window) for window in batch])
            given[item.name] = torch.from_numpy(stacked).to(self.device, self._dtype)
        return given

    def _input(self, item: Input, window: _Window) -> Float[np.ndarray, "channels bins"]:
        request, tile = window.request, window.tile
        if item.kind == "scores":
            assert item.node is not None
            assert item.output is not None
            node = self._nodes[item.node]
            stretch = Request(
                request.source, request.contig, tile.window_start, tile.window_end, request.strand, request.conditions
            )
            values = node.evaluate([stretch], [item.output])[0][item.output]
            if request.strand == "-":
                values = flip(values, node.spec.output(item.output))
            return np.ascontiguousarray(values.T)
        if item.name not in request.tracks:
            raise UsageError(f"{self.spec.name} needs the input track {item.name!r}")
        found = request.tracks[item.name].values(request.contig, tile.window_start, tile.window_end)
        found = np.where(np.isnan(found), item.missing, found)
        return np.ascontiguousarray(found[:, ::-1] if request.strand == "-" else found)

    def _assemble(
        self, name: str, windows: list[_Window], values: list[np.ndarray], chosen: Mapping[str, list[int]]
    ) -> Float[np.ndarray, ...]:
        """One array of a request's tiles, in the order of the contig."""
        output = self.spec.output(name)
        pieces = []
        for window, value in zip(windows, values, strict=True):
            tile = window.tile
            if window.request.strand == "-":
                value = flip(value, output, chosen.get(name))
            if output.axes == "position":
                first = tile.seen_start + output.crop * output.resolution
                value = value[(tile.start - first) // output.resolution : (tile.end - first) // output.resolution]
            pieces.append(value)
        if output.axes != "position" and len(pieces) > 1:
            stretch = windows[0].request
            raise UsageError(
                f"{name} of {self.spec.name} is given a window at a time: "
                f"[{stretch.start}, {stretch.end}) needs several"
            )
        return np.concatenate(pieces) if len(pieces) > 1 else pieces[0]

    def _remember(self, key: bytes, values: Values) -> None:
        self._remembered[key] = values
        self._remembered_bytes += sum(array.nbytes for array in values.values())
        while self._remembered_bytes > self.memory // _CACHE_SHARE and len(self._remembered) > 1:
            _, oldest = self._remembered.popitem(last=False)
            self._remembered_bytes -= sum(array.nbytes for array in oldest.values())


def flip(values: Float[np.ndarray, ...], output: Output, chosen: Sequence[int] | None = None) -> Float[np.ndarray, ...]:
    """Values of the reverse-complemented window as those of the window; done twice it changes nothing.

    Raises:
        UsageError: the tracks chosen are not closed under the permutation.
    """
    rule = output.reverse_complement
    if rule.permutation:
        kept = list(chosen) if chosen is not None else list(range(len(output.tracks)))
        if not {rule.permutation[i] for i in kept} <= set(kept):
            raise UsageError(
                f"tracks {kept} of {output.name} swap with others on the minus strand: choose both strands"
            )
        values = values[..., [kept.index(rule.permutation[i]) for i in kept]]
    for axis in range(values.ndim - 1):
        values = np.flip(values, axis)
        if rule.shift:
            values = np.roll(values, rule.shift, axis)
    return values
