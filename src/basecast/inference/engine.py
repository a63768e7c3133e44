"""The only place where a model is run for a user.

A request names outputs on a contig and a strand; the engine fetches the bases they need through the request's source,
runs every member, and gives values in the order of the contig. Equal windows are run once.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from basecast.errors import InputError, OutOfMemoryError, UsageError
from basecast.genome.sequence import Tokens, reverse_complement
from basecast.genome.source import Source
from basecast.inference.delta import (
    altered_embedding,
    batches,
    change_between,
    is_one_stretch,
    levels_of,
    reference_embedding,
    stretches,
)
from basecast.inference.device import available_memory, available_threads, choose_device, is_out_of_memory
from basecast.inference.ensemble import Answer, Values
from basecast.inference.remembered import Remembered
from basecast.inference.request import Altered, Request, Window, asked, flip
from basecast.inference.threads import Threads
from basecast.inference.tiling import Tile, preferred_tile, tiles
from basecast.models.layers import Convolution, make_one_hot, padded
from basecast.models.network import Network
from basecast.spec import Input, LocalReach, Member
from basecast.zoo.package import Package

Mode = Literal["delta", "valid", "full"]
_CACHE_SHARE = 8
_IN_CACHE = 8_000  # bases of a batch, beyond which a CPU gains nothing from more windows
_LIVE_TENSORS = 8


class Engine:
    """Runs one package on one device.

    Args:
        package: the model.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32`` (TF32 off), ``bf16`` (autocast) or ``fp64``.
        mode: ``valid`` computes what the outputs need, layer by layer; ``delta`` of a request with a ``base`` only what
            differs from it as well; ``full`` keeps each layer at the window's length by zero padding, as published code
            does. All give the same values.
        memory: bytes that activations and remembered values may take; by default half of what is free.
        threads: CPU threads; by default all that the process may use.
        tile: bases of output that are computed at once; by default what memory allows.
        calibrated: whether the temperatures of the spec are applied.
    """

    def __init__(
        self,
        package: Package,
        *,
        device: str = "auto",
        precision: Literal["fp32", "bf16", "fp64"] = "fp32",
        mode: Mode = "delta",
        memory: int | None = None,
        threads: int | None = None,
        tile: int | None = None,
        calibrated: bool = True,
    ) -> None:
        self.package, self.spec = package, package.spec
        self.device, self.precision, self.mode, self.calibrated = choose_device(device), precision, mode, calibrated
        self.threads = threads or available_threads()
        self.memory, self.tile = memory or available_memory() // 2, tile
        if mode == "full" and not isinstance(self.spec.reach, LocalReach):
            raise UsageError(f"{self.spec.name} sees whole windows: there is no mode 'full' beside 'valid' for it")
        shared = {"device": str(self.device), "precision": precision, "mode": mode, "calibrated": calibrated}
        self._nodes: dict[str, Engine] = {}
        self._runner = self
        for name, node in package.nodes.items():
            self._runner = Engine(node, memory=self.memory, threads=self.threads, tile=tile, **shared)  # type: ignore[arg-type]
            self._runner._nodes |= self._nodes
            self._nodes[name] = self._runner
        if self._runner is not self:
            return
        dtype = torch.float64 if precision == "fp64" else torch.float32
        self._dtype = dtype
        self._networks = [copy.deepcopy(network).to(self.device, dtype).eval() for network in package.networks]
        self._members = list(zip(self.spec.members, self._networks, strict=True))
        widest = max(
            (m.out_channels for n in self._networks for m in n.modules() if isinstance(m, Convolution)), default=64
        )
        self._bytes_a_base = dtype.itemsize * widest * _LIVE_TENSORS
        n_levels = max(len(network.stages()) for network in self._networks) + 1
        self._bytes_a_level = dtype.itemsize * widest * n_levels
        fit = self.memory // (2 * self.longest_stretch * self._bytes_a_level + 1)  # at once, a stretch a thread
        is_parallel = self.device.type == "cpu" and mode != "full"
        self._pool = Threads(min(self.threads, max(fit, 1)) if is_parallel else 1)
        self._remembered = Remembered(self.memory // _CACHE_SHARE)
        self.largest_batch = 64 if self.device.type == "cuda" else 8
        self._shares = mode == "delta" and is_one_stretch(self.spec) and all(n.stages() for n in self._networks)

    @property
    def longest_stretch(self) -> int:
        """Bases of reference that altered windows share: every level of one network is kept at once."""
        return min(self.memory // 2 // self._runner._bytes_a_level, 40_000)

    @property
    def longest_tile(self) -> int:
        """Bases of output that are computed at once, by default a share of memory that does not depend on the batch."""
        if self.tile is not None:
            return self.tile
        fits = self.memory // self._runner._bytes_a_base // 2
        return max(min(fits, preferred_tile(self.spec, self.device.type)), 1000)

    def forget(self) -> None:
        """Drop remembered values, so that what comes next does not depend on what was asked before."""
        for engine in (self._runner, *self._nodes.values()):
            engine._remembered.clear()

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
            UsageError: an output, track, condition or input track is not the model's, or is missing.
            OutOfMemoryError: a single window does not fit the device.
        """
        if self._runner is not self:
            return self._runner.evaluate(requests, outputs, tracks)
        names, chosen = asked(self.spec, outputs, tracks)
        plan = [self._windows(request, repr((names, chosen)).encode()) for request in requests]
        done: dict[bytes, Values] = {}
        missing: dict[bytes, Window] = {}
        for window in (window for windows in plan for window in windows):
            if (values := self._remembered.get(window.key)) is not None:
                done[window.key] = values
            else:
                missing.setdefault(window.key, window)
        for key, values in self._altered(requests, plan, missing, names, chosen) if self._shares else ():
            done[key] = values
            del missing[key]
            self._remembered.put(key, values)
        together = list(self._batches(list(missing.values())))
        ran = self._pool.each([partial(self._run, batch, names, chosen) for batch in together])
        for batch, found in zip(together, ran, strict=True):
            for window, values in zip(batch, found, strict=True):
                done[window.key] = values
                self._remembered.put(window.key, values)
        return [
            {name: self._assemble(name, windows, [done[w.key][name] for w in windows], chosen) for name in names}
            for windows in plan
        ]

    def _windows(self, request: Request, salt: bytes) -> list[Window]:
        for condition in self.spec.conditions:
            if request.conditions.get(condition.name) not in condition.values:
                raise UsageError(f"{self.spec.name} needs {condition.name}, one of {', '.join(condition.values)}")
        windows = []
        for tile in tiles(self.spec, request.start, request.end, self.longest_tile, request.strand):
            tokens = request.source.tokens(request.contig, tile.window_start, tile.window_end)
            if request.strand == "-":
                tokens = reverse_complement(tokens)
            digest = hashlib.blake2b(tokens.tobytes(), key=hashlib.sha256(salt).digest(), digest_size=16)
            digest.update(repr(sorted(request.conditions.items())).encode())
            inputs = {item.name: self._input(item, request, tile) for item in self.spec.inputs[1:]}
            for values in inputs.values():
                digest.update(values.tobytes())
            windows.append(Window(request, tile, tokens, inputs, digest.digest()))
        return windows

    def _batches(self, windows: list[Window]) -> Iterator[list[Window]]:
        """Windows of one length together, in order, as many as the memory takes."""
        by_length: dict[int, list[Window]] = {}
        for window in windows:
            by_length.setdefault(window.tokens.size, []).append(window)
        for length, alike in by_length.items():
            fits = self.memory // 2 // (self._bytes_a_base * length * self._pool.n)
            useful = _IN_CACHE // length if self.device.type == "cpu" else self.largest_batch
            size = max(min(fits, useful, self.largest_batch), 1)
            yield from (alike[i : i + size] for i in range(0, len(alike), size))

    def _run(self, batch: list[Window], names: tuple[str, ...], chosen: Mapping[str, list[int]]) -> list[Values]:
        """Values of each window, in the window's own orientation; a batch too large for the device is halved."""
        if len(batch) > (size := self.largest_batch):
            parts = [batch[i : i + size] for i in range(0, len(batch), size)]
            return [values for part in parts for values in self._run(part, names, chosen)]
        try:
            return self._forward(batch, names, chosen)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if len(batch) == 1:
                raise OutOfMemoryError(
                    f"one window of {batch[0].tokens.size} bases does not fit {self.device}: "
                    "use another device or --memory with a smaller amount"
                ) from error
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.largest_batch = len(batch) // 2
        return self._run(batch, names, chosen)

    def _forward(self, batch: list[Window], names: tuple[str, ...], chosen: Mapping[str, list[int]]) -> list[Values]:
        conditions = self._conditions(batch)
        one_hot = self._one_hot(np.stack([window.tokens for window in batch]))
        answer = Answer(self.spec, names, chosen, self.calibrated, self.device)

        def given(member: Member, network: Network) -> dict[str, Tensor]:
            with self._arithmetic():
                return answer.of(member, network, partial(network.embed, one_hot, conditions))

        for values in self._pool.each([partial(given, *pair) for pair in self._members]):
            answer.add(values)
        return answer.values()

    def _altered(
        self,
        requests: Sequence[Request],
        plan: Sequence[Sequence[Window]],
        missing: Mapping[bytes, Window],
        names: tuple[str, ...],
        chosen: Mapping[str, list[int]],
    ) -> Iterator[tuple[bytes, Values]]:
        """Missing windows that alter others, and those others, by their keys."""
        index = {id(request): i for i, request in enumerate(requests)}
        groups: dict[tuple[Source, str, str], dict[bytes, Altered]] = {}
        for request, windows in zip(requests, plan, strict=True):
            base = request.base
            if base is None or id(base) not in index or windows[0].key not in missing:
                continue
            references = plan[index[id(base)]]
            if len(windows) == len(references) == 1 and references[0].tokens.size <= self.longest_stretch:
                ref, alt = references[0], windows[0]
                change = change_between(ref.tokens, alt.tokens)
                if change.is_inside:
                    groups.setdefault((base.source, base.contig, base.strand), {})[alt.key] = Altered(ref, alt, change)
        given: set[bytes] = set()
        for group in groups.values():
            pairs = list(group.values())
            spans = [(pair.ref.tile.window_start, pair.ref.tile.window_end) for pair in pairs]
            cut = [
                partial(self._stretch, start, end, [pairs[i] for i in members], names, chosen)
                for start, end, members in stretches(spans, self.longest_stretch)
            ]
            for found in self._pool.each(cut):
                for key, values in found:
                    if key in missing and key not in given:
                        given.add(key)
                        yield key, values

    def _stretch(
        self, start: int, end: int, pairs: Sequence[Altered], names: tuple[str, ...], chosen: Mapping[str, list[int]]
    ) -> list[tuple[bytes, Values]]:
        """Values of reference and altered windows within one stretch; none where it does not fit the device."""
        first = pairs[0].ref.request
        tokens = first.source.tokens(first.contig, start, end)
        if first.strand == "-":
            tokens = reverse_complement(tokens)
        offsets = [
            end - pair.ref.tile.window_end if first.strand == "-" else pair.ref.tile.window_start - start
            for pair in pairs
        ]
        sizes = [pair.ref.tokens.size for pair in pairs]
        together = list(batches([pair.change for pair in pairs], sizes, self.largest_batch))
        whole, *parts = (
            Answer(self.spec, names, chosen, self.calibrated, self.device) for _ in range(len(together) + 1)
        )
        one_hot = self._one_hot(tokens[None])

        def given(member: Member, network: Network) -> list[dict[str, Tensor]]:
            with self._arithmetic():
                levels = levels_of(network, one_hot)
                found = [whole.of(member, network, partial(reference_embedding, network, levels))]
                for part, indices in zip(parts, together, strict=True):
                    change = pairs[indices[0]].change
                    gained = [pairs[i].alt.tokens[change.start : change.start + change.gained] for i in indices]
                    patch, shifts = self._one_hot(np.stack(gained)), [offsets[i] for i in indices]
                    embed = partial(altered_embedding, network, levels, shifts, patch, change)
                    found.append(part.of(member, network, embed))
                return found

        try:
            for found in self._pool.each([partial(given, *pair) for pair in self._members]):
                for answer, values in zip((whole, *parts), found, strict=True):
                    answer.add(values)
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return []  # these windows are run whole
        reference = whole.values()[0]
        context = tokens.size - len(next(iter(reference.values())))
        answers = [
            (pair.ref.key, {name: x[offset : offset + size - context].copy() for name, x in reference.items()})
            for pair, offset, size in zip(pairs, offsets, sizes, strict=True)
        ]
        for part, indices in zip(parts, together, strict=True):
            answers += [(pairs[i].alt.key, values) for i, values in zip(indices, part.values(), strict=True)]
        return answers

    def _one_hot(self, tokens: Tokens) -> Tensor:
        return make_one_hot(torch.from_numpy(tokens).to(self.device), self._dtype)

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
            if self.device.type == "cuda":  # of the whole process: not from several threads
                stack.enter_context(torch.backends.cudnn.flags(enabled=True, allow_tf32=False))
            stack.enter_context(autocast)
            torch.set_num_threads(1)  # windows and members have their threads: see Threads
            try:
                yield
            finally:
                torch.set_num_threads(before)

    def _conditions(self, batch: list[Window]) -> dict[str, Tensor]:
        """What the networks take beside the sequence, in the windows' orientation."""
        given: dict[str, Tensor] = {}
        for condition in self.spec.conditions:
            indices = [condition.values.index(window.request.conditions[condition.name]) for window in batch]
            given[condition.name] = torch.tensor(indices, device=self.device)
        for item in self.spec.inputs[1:]:
            stacked = np.stack([window.inputs[item.name] for window in batch])
            given[item.name] = torch.from_numpy(stacked).to(self.device, self._dtype)
        return given

    def _input(self, item: Input, request: Request, tile: Tile) -> Float[np.ndarray, "channels bins"]:
        if item.node is not None and item.output is not None:
            if item.node not in self._nodes:
                raise UsageError(f"{self.spec.name} is fed with scores of {item.node!r}: run the graph that has both")
            node = self._nodes[item.node]
            output = node.spec.output(item.output)
            wrapped = abs(output.reverse_complement.shift) if request.strand == "-" else 0
            extra = wrapped * output.resolution
            wider = replace(request, start=tile.window_start - extra, end=tile.window_end + extra)
            values = node.evaluate([wider], [item.output])[0][item.output]
            if request.strand == "-":
                values = flip(values, output)
            return np.ascontiguousarray(values[wrapped : len(values) - wrapped].T)
        if item.name not in request.tracks:
            raise UsageError(f"{self.spec.name} needs the input track {item.name!r}")
        found = request.tracks[item.name].values(request.contig, tile.window_start, tile.window_end)
        found = np.where(np.isnan(found), item.missing, found)
        return np.ascontiguousarray(found[:, ::-1] if request.strand == "-" else found)

    def _assemble(
        self, name: str, windows: list[Window], values: list[np.ndarray], chosen: Mapping[str, list[int]]
    ) -> Float[np.ndarray, ...]:
        """One array of a request's tiles, in the order of the contig."""
        output = self.spec.output(name)
        pieces = []
        for window, value in zip(windows, values, strict=True):
            tile = window.tile
            if window.request.strand == "-":
                value = flip(value, output, chosen.get(name))
            if output.axes in ("position", "position_pair"):
                first, last = (at // output.resolution for at in (tile.seen_start, tile.seen_end))
                if len(value) != last - first - 2 * output.crop:
                    raise InputError(
                        f"{self.spec.name} gives {len(value)} bins of {name} where its config promises "
                        f"{last - first - 2 * output.crop}: reach, resolution or crop is wrong"
                    )
                begin, stop = (
                    (at - tile.seen_start) // output.resolution - output.crop for at in (tile.start, tile.end)
                )
                value = value[begin:stop] if output.axes == "position" else value[begin:stop, begin:stop]
            pieces.append(value)
        if output.axes != "position" and len(pieces) > 1:
            stretch = windows[0].request
            raise UsageError(
                f"{name} of {self.spec.name} is given a window at a time: "
                f"[{stretch.start}, {stretch.end}) needs several"
            )
        return np.concatenate(pieces)  # a copy: what is remembered stays as it is
