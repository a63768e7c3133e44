"""Options that verbs share."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Group, Parameter
from cyclopts.validators import Number

from basecast.cli.console import LogFormat

if TYPE_CHECKING:
    from basecast.cli.console import Console
    from basecast.effects.scorer import VariantSettings
    from basecast.evaluation.records import EngineSettings
    from basecast.inference.shards import RunSettings
    from basecast.inference.tuning import Tuning
    from basecast.zoo.package import Package

INPUT, MODEL, OUTPUT, _ENGINE, RUN = (
    Group(name, sort_key=i) for i, name in enumerate(("Input", "Model", "Output", "Device", "Run"))
)
Reference = Annotated[str, Parameter(name=("-R", "--reference"), group=INPUT, metavar="FASTA")]
Genes = Annotated[str, Parameter(name=("-A", "--annotation"), group=INPUT, metavar="GENES")]
Transcripts = Annotated[Literal["canonical", "mane", "all"], Parameter(group=INPUT)]
CanonicalTag = Annotated[str | None, Parameter(group=INPUT, metavar="TAG")]
ContigAliases = Annotated[str | None, Parameter(group=INPUT, metavar="TABLE")]
Model = Annotated[str, Parameter(name=("-m", "--model"), group=MODEL, metavar="MODEL")]
DEFAULT_MODEL = "human-400"
Data = Annotated[
    tuple[str, ...],
    Parameter(name=("-d", "--data"), group=INPUT, negative="", consume_multiple=True, metavar="DIR"),
]
Rules = Literal["basecast", "spliceai"]
Distance = Annotated[int, Parameter(name=["-D", "--distance"], group=MODEL, validator=Number(gte=0), metavar="N")]
Mask = Annotated[Literal["0", "1", "both"], Parameter(name=["-M", "--mask"], group=MODEL)]
Decimals = Annotated[int, Parameter(group=OUTPUT, validator=Number(gte=1, lte=8), metavar="N")]
Messages = Annotated[LogFormat, Parameter(group=RUN)]


@Parameter(name="*", group=_ENGINE)
@dataclass(frozen=True)
class EngineOptions:
    """Where and how precisely the model is run.

    Parameters
    ----------
    device:
        auto, cpu, cuda or cuda:N.
    precision:
        bf16 is faster on a GPU and differs in the third decimal.
    threads:
        CPU threads, by default all that the process may use; with --cluster those of a worker, by default one.
    memory:
        Memory the run may take, such as 8G; by default half of what is free.
    tuning:
        Kernel table: written with the fastest kernels here where it is missing, else used as it stands, so that
        other machines of this type give the same bytes.
    """

    device: Annotated[str, Parameter(metavar="DEVICE")] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: Annotated[int | None, Parameter(validator=Number(gte=1), metavar="N")] = None
    memory: Annotated[str | None, Parameter(metavar="SIZE")] = None
    tuning: Annotated[Path | None, Parameter(metavar="FILE")] = None

    @property
    def memory_bytes(self) -> int | None:
        """``memory`` in bytes."""
        from basecast.inference.device import parse_memory

        return parse_memory(self.memory) if self.memory else None

    def kernels(self, package: Package, run: RunSettings) -> Tuning | None:
        """The table of ``tuning``, which is measured and written where there is none; None without the option."""
        from basecast.files import built_once
        from basecast.inference.engine import Engine
        from basecast.inference.tuning import Tuning

        if self.tuning is None:
            return None
        if not self.tuning.exists():
            device = run.engine_settings(self.device, 1).get("device", self.device)
            found = Engine(package, device=device, precision=self.precision)
            built_once(self.tuning, lambda partial: found.tuning.write(partial))
        return Tuning.read(self.tuning)

    def check(self, gpus_per_worker: float) -> None:
        """Stop before any work where the table of ``tuning`` could not be had or used.

        Raises:
            UsageError: its folder is missing, it is a folder, or workers with GPUs are to use it.
        """
        from basecast.errors import UsageError

        if self.tuning is None:
            return
        if gpus_per_worker:
            raise UsageError(
                "--tuning is the table of the machine that measures it, and workers of --gpus-per-worker are others: "
                "leave --tuning out"
            )
        if self.tuning.is_dir():
            raise UsageError(f"the kernel table {self.tuning} is a folder: give a file in it with --tuning")
        if not self.tuning.parent.is_dir():
            folder = self.tuning.parent
            raise UsageError(
                f"the folder of the kernel table {self.tuning} does not exist: make it with 'mkdir -p {folder}'"
            )

    def settings(self, tuning: Tuning | None) -> EngineSettings:
        """For whole records of datasets; ``tuning`` is what ``kernels`` gave."""
        from basecast.evaluation.records import EngineSettings

        return EngineSettings(
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            memory=self.memory_bytes,
            tuning=tuning,
        )

    def variant_settings(
        self, package: Package, run: RunSettings, *, rules: Rules, distance: int, mask: str
    ) -> VariantSettings:
        """What is asked of a splice score; ``mask`` is as it is typed."""
        from basecast.effects.header import MASKS
        from basecast.effects.scorer import VariantSettings

        return VariantSettings(
            rules=rules,
            distance=distance,
            mask={typed: name for name, typed in MASKS.items()}[mask],
            device=self.device,
            precision=self.precision,
            threads=self.threads,
            memory=self.memory_bytes,
            tuning=self.kernels(package, run),
        )

    def announce(self, console: Console, package: Package, cluster: str | None, tuning: Tuning | None) -> None:
        """Say which model is run, and on what, with which kernels."""
        from basecast.errors import counted
        from basecast.inference.device import available_threads, choose_device
        from basecast.inference.native.library import available

        spec, device = package.spec, str(choose_device(self.device))
        is_compiled = any(network.stages() for network in package.networks) or bool(package.nodes)
        kernels = (tuning.instructions if tuning else next(iter(available()), "")) if is_compiled else ""
        precision = "fp32" if device == "cpu" and kernels else self.precision  # the faster of the two there
        words = [device, counted(self.threads or available_threads(), "thread"), precision]
        if device == "cpu" and is_compiled:
            words.append(f"{kernels} kernels" if kernels else "without compiled kernels")
        place = ", ".join(words)
        members = counted(len(package.networks), "member")
        said = f"{spec.name} ({members}, {spec.licence}) on {cluster or place}"
        console.say(said, model=spec.name, device=device)


@Parameter(name="*", group=RUN)
@dataclass(frozen=True)
class RunOptions:
    """How a long run is cut up, kept and gone on with.

    Parameters
    ----------
    shard:
        Do only the I-th of N shares and leave its parts; `basecast merge OUT` joins all N.
    work_dir:
        Folder for the plan and the finished parts; by default OUT.basecast.
    restart:
        Discard what an interrupted run of this output has left.
    cluster:
        Address of a Ray cluster (auto, HOST:PORT or ray://HOST:PORT) that does the work.
    num_workers:
        With --cluster: how many workers hold the model; by default as many as there is room for.
    gpus_per_worker:
        With --cluster: GPUs of each worker, 0 for CPU.
    """

    shard: Annotated[str | None, Parameter(metavar="I/N")] = None
    work_dir: Annotated[Path | None, Parameter(metavar="FOLDER")] = None
    restart: Annotated[bool, Parameter(negative="")] = False
    cluster: Annotated[str | None, Parameter(metavar="ADDRESS")] = None
    num_workers: Annotated[int | None, Parameter(validator=Number(gte=1), metavar="N")] = None
    gpus_per_worker: Annotated[float, Parameter(validator=Number(gte=0), metavar="N")] = 0

    def say_done(self, console: Console, output: str, seconds: float) -> None:
        """Of a share: that it is done, and the command that joins the parts of all."""
        folder = ["--work-dir", str(self.work_dir)] if self.work_dir else []
        merging = shlex.join(["basecast", "merge", output, *folder])
        console.say(f"shard {self.shard} is done; when all are: {merging}", shard=self.shard, seconds=seconds)

    def settings(self, engine: EngineOptions) -> RunSettings:
        """The same as the library takes it; ``engine`` is held against it.

        Raises:
            UsageError: ``shard`` is not I/N, or options do not go together.
        """
        from basecast.errors import UsageError
        from basecast.inference.shards import RunSettings, Split

        if self.cluster is None and (self.num_workers or self.gpus_per_worker):
            raise UsageError("--num-workers and --gpus-per-worker go with --cluster ADDRESS")
        engine.check(self.gpus_per_worker)
        return RunSettings(
            restart=self.restart,
            work_dir=self.work_dir,
            split=Split.parse(self.shard) if self.shard is not None else None,
            cluster=self.cluster,
            workers=self.num_workers,
            gpus_per_worker=self.gpus_per_worker,
        )


DEFAULT_ENGINE, DEFAULT_RUN = EngineOptions(), RunOptions()

_FREE = {"--shard", "--work-dir", "--cluster", "--num-workers", "--gpus-per-worker", "--log-format", "--threads"}
_FLAGS = {"--restart"}


def settled(command: Sequence[str]) -> list[str]:
    """A command without the options that do not change its output: the same for one process and for many."""
    kept: list[str] = []
    skip = False
    for token in command:
        if not skip and token.split("=")[0] not in _FREE | _FLAGS:
            kept.append(token)
        skip = not skip and token in _FREE
    return kept
