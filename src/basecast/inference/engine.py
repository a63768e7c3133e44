"""The only place where a model is run for a user.

A request names outputs on a contig and a strand; the engine fetches the bases they need through the request's source,
runs every member, and gives values in the order of the contig. Equal windows are run once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from basecast.errors import OutOfMemoryError, UsageError
from basecast.genome.sequence import reverse_complement
from basecast.inference.device import available_memory, available_threads, choose_device, is_out_of_memory
from basecast.inference.ensemble import Answer, Values
from basecast.inference.members import LoadedMember, Members, Precision
from basecast.inference.remembered import Remembered
from basecast.inference.request import Request, Window, asked, flip, joined
from basecast.inference.sharing import Placed, Stretch, batches, is_one_stretch, shared, together, windows_of
from basecast.inference.threads import Threads
from basecast.inference.tiling import Tile, grain, preferred_tile, tiles, usual_window, whole_window
from basecast.inference.tuning import Tuning, measured
from basecast.spec import Input, LocalReach
from basecast.zoo.package import Package

Mode = Literal["delta", "valid", "full"]
_CACHE_SHARE = 8
_IN_CACHE = 20_000  # bases of a batch, beyond which a CPU gains nothing from more windows
_PATCHES = 160_000  # bases of altered windows that a CPU runs at once


class Engine:
    """Runs one package on one device.

    Args:
        package: the model.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: ``fp32`` (TF32 off), ``bf16`` (compiled kernels compute fp32 then, which is faster) or ``fp64``.
        mode: ``valid`` computes what the outputs need, layer by layer; ``delta`` of a request with a ``base`` only what
            differs from it as well; ``full`` keeps each layer at the window's length by zero padding, as published code
            does. All give the same values.
        memory: bytes that activations and remembered values may take; by default half of what is free.
        threads: CPU threads; by default all that the process may use.
        tile: bases of output that are computed at once; by default what memory allows.
        calibrated: whether the temperatures of the spec are applied.
        tuning: the kernels; by default the fastest that are found here.
    """

    def __init__(
        self,
        package: Package,
        *,
        device: str = "auto",
        precision: Precision = "fp32",
        mode: Mode = "delta",
        memory: int | None = None,
        threads: int | None = None,
        tile: int | None = None,
        calibrated: bool = True,
        tuning: Tuning | None = None,
    ) -> None:
        self.package, self.spec = package, package.spec
        self.device, self.precision, self.mode, self.calibrated = choose_device(device), precision, mode, calibrated
        self.threads = threads or available_threads()
        self.memory, self.tile = memory or available_memory(self.device) // 2, tile
        if mode == "full" and not isinstance(self.spec.reach, LocalReach):
            raise UsageError(f"{self.spec.name} sees whole windows: there is no mode 'full' beside 'valid' for it")
        shared = {"device": str(self.device), "precision": precision, "mode": mode, "calibrated": calibrated}
        self._tuning, self._is_tuned, self.batch_was_halved = tuning, False, False
        self.is_pinned = tuning is not None
        self._nodes: dict[str, Engine] = {}
        self._final = self
        for name, node in package.nodes.items():
            self._final = Engine(node, memory=self.memory, threads=self.threads, tile=tile, **shared)  # type: ignore[arg-type]
            self._final._nodes |= self._nodes
            self._nodes[name] = self._final
        if self._final is not self:
            return
        self._members = Members(package, self.device, precision, is_padded=mode == "full")
        a_thread = self.longest_stretch * self._members.bytes_a_level
        if not self._members.are_stretches:
            a_thread = usual_window(self.spec, self.device.type) * self._members.bytes_a_base
        fit = self.memory // (2 * a_thread + 1)
        is_parallel = self.device.type == "cpu" and (mode != "full" or self._members.are_stretches)
        self._pool = Threads(min(self.threads, max(fit, 1)) if is_parallel else 1)
        self._remembered = Remembered(self.memory // _CACHE_SHARE)
        self.largest_batch = 256
        self._shares = mode == "delta" and is_one_stretch(self.spec) and self._members.are_stretches

    @property
    def longest_stretch(self) -> int:
        """Bases of reference that altered windows share: every tensor of one network is kept at once."""
        return min(self.memory // 2 // self._final._members.bytes_a_level, 40_000)

    @property
    def longest_tile(self) -> int:
        """Bases of output that are computed at once, whole bins; where windows have a length, what the longest gives.

        By default it is a share of memory that does not depend on the batch.
        """
        if (whole := whole_window(self.spec)) is not None:
            return whole
        fits = self.memory // self._final._members.bytes_a_base // 2
        tile = self.tile or max(min(fits, preferred_tile(self.spec, self.device.type)), 1000)
        return max(tile // grain(self.spec), 1) * grain(self.spec)

    @property
    def tuning(self) -> Tuning:
        """The kernels that are used; where none are given, the fastest are found first."""
        if self._tuning is None:
            programs = [p for engine in {self._final, *self._nodes.values()} for p in engine._members.programs]
            self._tuning = measured(programs, self.device, self.precision)
        return self._tuning

    def use(self, tuning: Tuning) -> None:
        """Compute by these kernels from now on.

        Raises:
            UsageError: this machine does not have them.
        """
        self._tuning, self._is_tuned = tuning, False
        self._tune()

    def _tune(self) -> None:
        for engine in () if self._is_tuned else (self._final, *self._nodes.values()):
            engine._members.use(self.tuning)
            engine._tuning, engine._is_tuned = self.tuning, True
        self._is_tuned = True

    def forget(self) -> None:
        """Drop remembered values, so that what comes next does not depend on what was asked before."""
        for engine in (self._final, *self._nodes.values()):
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
        self._tune()
        if self._final is not self:
            return self._final.evaluate(requests, outputs, tracks)
        names, chosen = asked(self.spec, outputs, tracks)
        plan = [self._windows(request, repr((names, chosen)).encode()) for request in requests]
        done: dict[bytes, Values] = {}
        missing: dict[bytes, Window] = {}
        for window in (window for windows in plan for window in windows):
            if (values := self._remembered.get(window.key)) is not None:
                done[window.key] = values
            else:
                missing.setdefault(window.key, window)
        for key, values in self._altered(self._shared(requests, plan, missing), names, chosen):
            if key in missing:
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
            {name: joined(self.spec, name, windows, [done[w.key][name] for w in windows], chosen) for name in names}
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
            fits = self.memory // 2 // (self._members.bytes_a_base * length * self._pool.n)
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
        self._halve(len(batch))
        return self._run(batch, names, chosen)

    def _halve(self, size: int) -> None:
        """Go on with half a batch that did not fit."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        self.largest_batch, self.batch_was_halved = min(self.largest_batch, size // 2), True

    def _forward(self, batch: list[Window], names: tuple[str, ...], chosen: Mapping[str, list[int]]) -> list[Values]:
        conditions = self._conditions(batch)
        tokens = np.stack([window.tokens for window in batch])
        answer = self._answer(names, chosen)

        def given(one: LoadedMember) -> dict[str, Tensor]:
            with one.arithmetic():
                return answer.of(one.member, one.network, partial(one.embedding, tokens, conditions))

        for values in self._pool.each([partial(given, one) for one in self._members.each]):
            answer.add(values)
        return answer.values()

    def _altered(
        self, found: Sequence[Stretch], names: tuple[str, ...], chosen: Mapping[str, list[int]]
    ) -> Iterator[tuple[bytes, Values]]:
        """Windows of stretches, reference and altered, by their keys; none of stretches that do not fit."""
        if not found:
            return
        alike_only = self._members.alike_only
        groups = together(found, 0 if alike_only else self.longest_stretch)
        parted = [batches(group, self._largest(group), alike_only=alike_only) for group in groups]
        ran = self._pool.each(
            [
                partial(self._group, one, group, parts, names, chosen)
                for group, parts in zip(groups, parted, strict=True)
                for one in self._members.each
            ]
        )
        for group, parts in zip(groups, parted, strict=True):
            answers = [self._answer(names, chosen) for _ in range(len(group) + len(parts))]
            given = [next(ran) for _ in self._members.each]
            if any(values is None for values in given):
                largest = max(map(len, parts))
                if largest > 1:
                    self._halve(largest)
                if len(group) > 1 or largest > 1:
                    for stretch in group:
                        yield from self._altered([stretch], names, chosen)
                continue  # the reference itself does not fit: these windows are run whole
            for values in given:
                for answer, each in zip(answers, values or (), strict=True):
                    answer.add(each)
            yield from _by_key(group, parts, answers)

    def _group(
        self,
        one: LoadedMember,
        group: Sequence[Stretch],
        parts: Sequence[Sequence[Placed]],
        names: tuple[str, ...],
        chosen: Mapping[str, list[int]],
    ) -> list[dict[str, Tensor]] | None:
        """What one member gives for each stretch, then each batch of altered windows; None where it does not fit."""
        answer = self._answer(names, chosen)
        try:
            with one.arithmetic():
                growth = max(stretch.growth for stretch in group)
                levels, embeddings = one.runner.reference([stretch.tokens for stretch in group], growth)
                found = [answer.of(one.member, one.network, x.contiguous) for x in embeddings]
                for part in parts:
                    embed = partial(one.runner.embedding, windows_of(part), levels)
                    found.append(answer.of(one.member, one.network, embed))
                one.runner.release(levels)
                return found
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return None

    def _shared(
        self, requests: Sequence[Request], plan: Sequence[Sequence[Window]], missing: Mapping[bytes, Window]
    ) -> list[Stretch]:
        if not self._shares:
            return []
        program = self._members.programs[0]
        window = max((w.tokens.size for windows in plan for w in windows), default=0)
        return shared(requests, plan, missing, max(self.longest_stretch - window, 1), program.worth(window))

    def _answer(self, names: tuple[str, ...], chosen: Mapping[str, list[int]]) -> Answer:
        return Answer(self.spec, names, chosen, self.calibrated, self.device)

    def _largest(self, group: Sequence[Stretch]) -> int:
        """Altered windows at once: as many as memory takes, and on a CPU as leave their tensors in its cache."""
        size = max(pair.alt.tokens.size for stretch in group for pair, _ in stretch.pairs)
        fits = self.memory // 4 // (self._members.bytes_a_base * size * self._pool.n)
        useful = _PATCHES // size if self.device.type == "cpu" else self.largest_batch
        return max(min(fits, useful, self.largest_batch), 1)

    def _conditions(self, batch: list[Window]) -> dict[str, Tensor]:
        """What the networks take beside the sequence, in the windows' orientation."""
        given: dict[str, Tensor] = {}
        for condition in self.spec.conditions:
            indices = [condition.values.index(window.request.conditions[condition.name]) for window in batch]
            given[condition.name] = torch.tensor(indices, device=self.device)
        for item in self.spec.inputs[1:]:
            stacked = np.stack([window.inputs[item.name] for window in batch])
            given[item.name] = torch.from_numpy(stacked).to(self.device, self._members.each[0].dtype)
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


def _by_key(
    group: Sequence[Stretch], parts: Sequence[Sequence[Placed]], answers: Sequence[Answer]
) -> Iterator[tuple[bytes, Values]]:
    """Windows of stretches: of each reference cut from the whole, then altered ones batch by batch."""
    done: set[bytes] = set()
    for stretch, answer in zip(group, answers, strict=False):
        (reference,) = answer.values()
        context = stretch.tokens.size - len(next(iter(reference.values())))
        for pair, offset in stretch.pairs:
            if pair.ref.key in done:
                continue
            done.add(pair.ref.key)
            end = offset + pair.ref.tokens.size - context
            yield pair.ref.key, {name: x[offset:end].copy() for name, x in reference.items()}
    for part, answer in zip(parts, answers[len(group) :], strict=True):
        yield from zip((pair.alt.key for pair, *_ in part), answer.values(), strict=True)
