"""The training loop: from windows to weights. It knows outputs, losses and links, and no model family."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from basecast.data.loader import Batch, Source, watched_workers
from basecast.data.windows import Augment, Sampling, Windows, augmented, epoch_windows, every_window
from basecast.errors import BasecastError, InputError, UsageError
from basecast.files import whole_file
from basecast.interruption import finish_first
from basecast.models.layers import make_one_hot
from basecast.models.network import Network
from basecast.spec.model import Frozen, Output
from basecast.training.checkpoint import State, copied
from basecast.training.distributed import Ranks
from basecast.training.losses import Loss
from basecast.training.optimisers import Optimiser
from basecast.training.schedules import Schedule
from basecast.training.validation import score_of

_DTYPES = {"fp32": torch.float32, "bf16": torch.float32, "fp64": torch.float64}
_TOLD = 10  # steps from one line of metrics to the next
_NAMED = 5


class LoopSettings(Frozen):
    """What decides the weights that come out, besides data and network."""

    sampling: Sampling = Sampling()
    augment: Augment = Augment()
    epochs: int = Field(10, ge=1)
    batch_size: int = Field(36, ge=1, description="windows a step, over all processes")
    accumulate: int = Field(1, ge=1, description="parts in which a process computes its windows of a step")
    loss: Loss = Loss()
    optimiser: Optimiser = Optimiser()
    schedule: Schedule = Schedule()
    average: float | None = Field(None, gt=0, lt=1, description="decay of a moving average of the weights")
    patience: int | None = Field(None, ge=1, description="epochs without a better validation loss before training ends")
    data_weights: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] | None = Field(
        None, description="how often each dataset is seen in an epoch"
    )
    precision: Literal["fp32", "bf16", "fp64"] = "fp32"


Teller = Callable[[dict[str, Any]], None]
Penalty = Callable[[nn.Module], Tensor]


class Loop:
    """One network's training, which can be killed and taken up again, to the same weights.

    Args:
        network: on its device, in the precision of ``settings``; its trainable parameters are those that require
            gradients.
        outputs: what the network gives and the data has targets for.
        training, validation: the windows; validation goes over all of its positions.
        groups: parameter groups for the optimiser, each with a ``factor`` of the learning rate; by default one.
        penalty: what is added to the loss.
        stem: path of the checkpoint and the metrics, without their suffixes.
        tell: is given each line of the metrics.
    """

    def __init__(
        self,
        network: Network,
        outputs: Sequence[Output],
        training: Source,
        validation: Source,
        settings: LoopSettings,
        *,
        seed: int,
        stem: Path,
        ranks: Ranks,
        workers: int = 0,
        groups: Sequence[dict[str, Any]] | None = None,
        penalty: Penalty | None = None,
        every: float = 120.0,
        tell: Teller | None = None,
    ) -> None:
        for output in outputs:
            settings.loss.check(output)
            settings.augment.check(output)
        self.network, self.outputs, self.settings = network, outputs, settings
        self.training, self.validation = training, validation
        self.seed, self.ranks, self.workers = seed, ranks, workers
        self.penalty, self.every, self.tell = penalty, every, tell
        self.device = next(network.parameters()).device
        self.checkpoint, self.metrics = Path(f"{stem}.checkpoint"), Path(f"{stem}.metrics.jsonl")
        self.parameters = [p for p in network.parameters() if p.requires_grad]
        given = groups or [{"params": self.parameters, "factor": 1.0}]
        self.optimiser = settings.optimiser.over(given, settings.schedule.rate)
        is_random = settings.sampling.kind == "random-phase"  # cut anew, an epoch may have a few windows more or less
        counts = [len(self._windows(epoch)) for epoch in range(settings.epochs if is_random else 1)]
        self.steps = [-(-n // settings.batch_size) for n in (counts if is_random else counts * settings.epochs)]
        self.state = State()
        ranks.share_norms(network)

    def run(self) -> State:
        """Train to the end, from where the checkpoint stands.

        Raises:
            InputError: the checkpoint is damaged, or of another network.
            BasecastError: the loss is no number, and the checkpoint is the last good one; or a worker was killed.
        """
        self._take_up()
        state = self.state
        self._began, saved = time.monotonic() - state.seconds, time.monotonic()
        try:
            with watched_workers(), torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
                while not state.is_done:
                    windows, first = self._windows(state.epochs), state.step - sum(self.steps[: state.epochs])
                    for batch in self._batches(self.training, windows, first):
                        with finish_first(), self._changing():
                            self._step(batch)
                        if time.monotonic() - saved > self.every:
                            self._save()
                            saved = time.monotonic()
                    with finish_first():
                        self._end_epoch()
                        self._save()
        except KeyboardInterrupt:
            if self._is_whole:
                self._save()
            raise
        return state

    _is_whole = True

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        """What is interrupted within the block is not worth keeping."""
        self._is_whole = False
        yield
        self._is_whole = True

    def _windows(self, epoch: int) -> Windows:
        settings = self.settings
        windows = epoch_windows(self.training.places, settings.sampling, self.seed, epoch, settings.data_weights)
        return augmented(windows, settings.augment, self.seed, epoch)

    def _batches(self, source: Source, windows: Windows, first: int = 0, is_weighted: bool = True) -> Iterator[Batch]:
        batches = source.batches(
            windows,
            self.settings.batch_size,
            first=first,
            rank=self.ranks.rank,
            world=self.ranks.world,
            workers=self.workers,
            pinned=self.device.type == "cuda",
            is_weighted=is_weighted,
        )
        return (batch.to(self.device) for batch in batches)

    def _step(self, batch: Batch) -> None:
        settings, state = self.settings, self.state
        torch.manual_seed((self.seed << 32) + state.step)  # what a network draws depends on the step alone
        done = (state.step - sum(self.steps[: state.epochs])) / self.steps[state.epochs]
        rate = settings.schedule.at(state.step, state.epochs + done, settings.epochs)
        for group in self.optimiser.param_groups:
            group["lr"] = rate * group["factor"]
        self.network.train()
        self.optimiser.zero_grad(set_to_none=True)
        weights = torch.stack([_weights(batch, output).double().sum() for output in self.outputs]).sum()
        counted, n = self.ranks.total(torch.stack([weights, weights.new_tensor(len(batch.windows))])).tolist()
        losses = []
        logits: dict[str, Tensor] = {}
        # as many parts in every rank, for their norms meet in each
        for part in batch.parts(min(settings.accumulate, -(-int(n) // self.ranks.world))):
            logits = self._logits(part)
            each = self._losses(logits, part)
            (each.sum() / max(counted, 1.0)).backward()
            losses.append(each.detach().double())
        if self.penalty is not None:
            (self.penalty(self.network) / self.ranks.world).backward()  # type: ignore[no-untyped-call]
        self.ranks.sum_gradients(self.parameters)
        total = float(self.ranks.total(torch.cat(losses).sum()))
        norm = settings.optimiser.clipped(self.parameters)
        if not math.isfinite(total) or not bool(torch.isfinite(norm)):
            bad = self._places(self.training, batch, torch.cat(losses))
            if not any(self.ranks.gather(bad)):
                bad = self._places(self.training, batch, torch.full((len(batch.windows),), math.nan))
            self._refuse(f"the loss or its gradient is no number at step {state.step + 1} (loss {total})", bad)
        self.optimiser.step()
        if settings.average:
            self._average(settings.average)
        state.step += 1
        state.loss, state.counted = state.loss + total, state.counted + counted
        state.seconds = time.monotonic() - self._began
        if state.step % _TOLD == 0 or state.step == 1:
            self._write(
                kind="step",
                step=state.step,
                epoch=state.epochs + 1,
                loss=total / max(counted, 1.0),
                **_brief(logits, part, self.outputs),
                rate=rate,
                seconds=round(state.seconds, 3),
            )

    def _logits(self, batch: Batch) -> dict[str, Tensor]:
        with self._precision():
            given = self.network(make_one_hot(batch.inputs["sequence"], _DTYPES[self.settings.precision]))
        named = {self.outputs[0].name: given} if isinstance(given, Tensor) else dict(given)
        return {name: x if x.dtype == torch.float64 else x.float() for name, x in named.items()}

    def _precision(self) -> contextlib.AbstractContextManager[None]:
        if self.settings.precision == "bf16":
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def _losses(self, logits: Mapping[str, Tensor], batch: Batch) -> Tensor:
        """The loss of each window, summed over what has a label in it, shape (batch,)."""
        loss = self.settings.loss
        each = [loss.each(logits[o.name], batch.targets[o.name], _weights(batch, o), o.link) for o in self.outputs]
        return torch.stack(each).sum(0)

    def _average(self, decay: float) -> None:
        decay = min(decay, (1 + self.state.step) / (10 + self.state.step))  # young averages forget their start
        now = self.network.state_dict()
        self.state.average = self.state.average or {name: x.detach().clone() for name, x in now.items()}
        for name, x in now.items():
            kept = self.state.average[name]
            if x.is_floating_point():
                kept.lerp_(x, 1 - decay)
            else:
                kept.copy_(x)

    def _end_epoch(self) -> None:
        """Validate, and remember the weights if they are the best so far."""
        settings, state = self.settings, self.state
        own = copied(self.network.state_dict())
        self._is_whole = False
        try:
            if settings.average:
                self.network.load_state_dict(state.average)
            found = self.validate()
            shown = copied(self.network.state_dict())
        finally:
            self.network.load_state_dict(own)
            self._is_whole = True
        with self._changing():
            state.patience += 1
            if found["loss"] < state.best_loss:
                state.best, state.best_loss, state.best_epoch, state.patience = shown, found["loss"], state.epochs, 0
            trained, state.loss, state.counted = state.loss / max(state.counted, 1.0), 0.0, 0.0
            state.epochs += 1
            is_stale = settings.patience is not None and state.patience >= settings.patience
            state.is_done = state.epochs == settings.epochs or is_stale
            state.seconds = time.monotonic() - self._began
            self._write(
                kind="epoch",
                epoch=state.epochs,
                step=state.step,
                loss=trained,
                **{f"validation_{name}": value for name, value in found.items()},
                best_epoch=state.best_epoch + 1,
                seconds=round(state.seconds, 3),
            )

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Loss over every position of the validation data, and how good the answers are for each output.

        Raises:
            BasecastError: the loss is no number.
        """
        self.network.eval()
        windows = every_window(self.validation.places, self.validation.sampling.window)
        loss = counted = 0.0
        bad: list[str] = []
        scores = [score_of(output) for output in self.outputs]
        for batch in self._batches(self.validation, windows, is_weighted=False):
            logits = self._logits(batch)
            each = self._losses(logits, batch).double()
            bad += self._places(self.validation, batch, each)
            loss += float(each.sum())
            for output, score in zip([] if bad else self.outputs, scores, strict=False):
                known = batch.valid[output.name]
                counted += float(known.sum())
                score.add(logits[output.name], batch.targets[output.name], known)
        if any(self.ranks.gather(bad)):
            self._refuse(f"the validation loss is no number after step {self.state.step}", bad)
        gathered = self.ranks.gather((loss, counted, scores))
        for _, _, theirs in gathered[1:]:
            for mine, other in zip(gathered[0][2], theirs, strict=True):
                mine.merge(other)
        found = {"loss": sum(part for part, _, _ in gathered) / max(sum(n for _, n, _ in gathered), 1.0)}
        for score in gathered[0][2]:
            found |= score.found()
        return found

    def _places(self, source: Source, batch: Batch, losses: Tensor) -> list[str]:
        """Where the windows lie whose loss is no number."""
        w, size = batch.windows, source.sampling.window
        return [
            source.datasets[w.dataset[i]].place(int(w.record[i]), int(w.start[i]), int(w.start[i]) + size)
            for i in np.flatnonzero(~torch.isfinite(losses).cpu().numpy()).tolist()
        ]

    def _refuse(self, why: str, bad: list[str]) -> NoReturn:
        """Stop, and name the windows ``bad`` of all ranks."""
        named = [place for places in self.ranks.gather(bad) for place in places]
        more = f" and {len(named) - _NAMED} more" if len(named) > _NAMED else ""
        kept = f"{self.checkpoint} holds the last good weights" if self.checkpoint.exists() else "no weights are kept"
        raise BasecastError(
            f"{why}, windows {', '.join(named[:_NAMED])}{more}; {kept}: look at these windows, or begin anew "
            "(--restart) with a smaller --rate or --clip 1"
        )

    def _take_up(self) -> None:
        """Go on from the checkpoint, if there is one."""
        if self.checkpoint.exists():
            self.state = State.load(self.checkpoint)
            try:
                self.network.load_state_dict(self.state.network)
                self.optimiser.load_state_dict(self.state.optimiser)
            except (RuntimeError, ValueError) as error:
                raise InputError(f"{self.checkpoint} is of another network ({error}): --restart removes it") from error
            self.state.average = {name: x.to(self.device) for name, x in self.state.average.items()}
        if len(set(self.ranks.gather(self.state.step))) > 1:
            raise UsageError(f"not all processes see {self.checkpoint}: give a --work-dir that is on all machines")
        if self.ranks.is_first:
            lines = self.metrics.read_text().splitlines(keepends=True) if self.metrics.exists() else []
            with whole_file(self.metrics) as partial:
                partial.write_text("".join(line for line in lines if line.endswith("\n") and self._is_past(line)))

    def _is_past(self, text: str) -> bool:
        """Whether a line of the metrics tells of what the state has behind it."""
        line = json.loads(text)
        return line["step"] <= self.state.step and (line["kind"] == "step" or line["epoch"] <= self.state.epochs)

    def _save(self) -> None:
        if self.ranks.is_first:
            self.state.network, self.state.optimiser = self.network.state_dict(), self.optimiser.state_dict()
            self.state.save(self.checkpoint)

    def _write(self, **line: Any) -> None:
        if not self.ranks.is_first:
            return
        line = {name: None if isinstance(x, float) and not math.isfinite(x) else x for name, x in line.items()}
        with self.metrics.open("a") as file:
            file.write(json.dumps(line) + "\n")
        if self.tell is not None:
            self.tell(line | {"steps": sum(self.steps), "epochs": self.settings.epochs})


def _weights(batch: Batch, output: Output) -> Tensor:
    """What each bin of an output counts: 0 where it has no label."""
    return batch.valid[output.name] * batch.weight[:, :: output.resolution]


@torch.no_grad()
def _brief(logits: Mapping[str, Tensor], batch: Batch, outputs: Sequence[Output]) -> dict[str, float]:
    """How good the answers of some windows are, for each kind of score the mean over outputs; nan where none is."""
    each: dict[str, list[float]] = {}
    for output in outputs:
        score = score_of(output)
        score.add(logits[output.name], batch.targets[output.name], batch.valid[output.name])
        each.setdefault(score.name, []).append(score.brief())
    return {name: float(np.nanmean(x)) if np.isfinite(x).any() else math.nan for name, x in each.items()}
