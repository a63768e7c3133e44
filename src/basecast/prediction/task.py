"""What every kind of prediction is to a run: a plan with its shards, and what it takes to write its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from basecast import __version__
from basecast.errors import InputError, UsageError
from basecast.files import sha256_of
from basecast.genome.reference import Genome
from basecast.inference.engine import Engine
from basecast.inference.jobs import Job, Shard
from basecast.inference.shards import RunSettings
from basecast.prediction.settings import DeviceSettings
from basecast.spec.model import Frozen
from basecast.zoo.package import Package


class Predicts(Protocol):
    """A model on a genome."""

    @property
    def package(self) -> Package: ...
    @property
    def genome(self) -> Genome: ...
    @property
    def engine(self) -> Engine: ...
    @property
    def settings(self) -> DeviceSettings: ...
    def payload(self, items: Any, /) -> bytes: ...


class Assembly(Frozen):
    """What it takes, besides the parts, to write the outputs. A kind of prediction adds its own."""

    verb: Literal["predict"] = "predict"
    kind: str
    command: str
    reference: str
    reference_sha256: str
    model: str
    device: str
    n_shards: int
    contigs: int
    bases: int
    read: int
    """Bases of all stretches, of both strands where both are read."""
    warnings: list[str]


@dataclass
class Summary:
    """What a run did. A kind of prediction adds its own."""

    contigs: int = 0
    bases: int = 0
    seconds: float = 0.0
    model: str = ""
    device: str = ""
    outputs: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Task:
    """A prediction that is to be made.

    Attributes:
        kind: which of the kinds of prediction.
        shards: as `Job` has them; items have contig, start and end.
        span: bases of a shard.
        regions: the BED file that was given, if any.
        plan: what decides the parts, beside what all kinds have.
        assembly: of what all kinds have, what is needed besides the parts.
    """

    kind: str
    predictor: Predicts
    shards: Callable[[], Iterator[Shard]]
    span: int
    regions: str | Path | None
    command: str
    plan: Mapping[str, Any]
    assembly: Callable[..., Assembly]
    warnings: Sequence[str] = ()

    def job(self, run: RunSettings) -> tuple[Job, Assembly]:
        """The plan as a run carries it out.

        Raises:
            InputError: no base is asked for.
        """
        predictor, device = self.predictor, run.device(self.predictor.engine.device)
        genome = predictor.genome
        assembly = self.assembly(
            kind=self.kind,
            command=self.command,
            reference=str(genome.path),
            reference_sha256=genome.digest,
            model=predictor.package.spec.name,
            device=device,
            warnings=list(self.warnings),
            **_counts(genome, self.shards()),
        )
        plan = {
            "verb": "predict",
            "kind": self.kind,
            "basecast": __version__,
            "model": predictor.package.digest,
            "reference": genome.digest,
            "aliases": genome.aliases_digest,
            "regions": sha256_of(self.regions) if self.regions is not None else None,
            "precision": predictor.settings.precision,
            **self.plan,
            "tile (--tile-size, --memory)": predictor.engine.longest_tile,
            "device": device,
            "work of a shard": self.span,
        }
        job = Job(
            plan=plan,
            assembly=assembly.model_dump(mode="json"),
            shards=self.shards,
            worker=predictor.payload,
            files={str(genome.path): genome.digest},
            threads=predictor.settings.threads,
            size=bases_of,
            engine=predictor.engine,
        )
        return job, assembly


def bases_of(items: Sequence[Any]) -> int:
    """How many bases stretches have."""
    return sum(item.end - item.start for item in items)


def check_prefix(target: str) -> None:
    """Stop before any work where files cannot begin with ``target``.

    Raises:
        UsageError: it is a folder, or lies in none.
    """
    path = Path(target)
    if target.endswith("/") or path.is_dir() or not path.name:
        raise UsageError(f"the output {target} is a folder: give a prefix in it, such as {path / 'sites'}")
    if not path.parent.is_dir():
        raise UsageError(f"the folder of the output {target} does not exist: make it with 'mkdir -p {path.parent}'")


def _counts(genome: Genome, planned: Iterator[Shard]) -> dict[str, int]:
    n_shards = read = bases = contigs = 0
    contig, end = "", 0
    for _, items in planned:
        n_shards += 1
        read += bases_of(items)
        for item in items:
            if item.contig != contig:
                contig, end, contigs = item.contig, 0, contigs + 1
            last = min(item.end, genome.lengths[contig])
            bases += max(last - max(item.start, end), 0)
            end = max(end, last)
    if not read:
        raise InputError(f"{genome.path}: no base of it was asked for; do regions and annotation overlap?")
    return {"n_shards": n_shards, "contigs": contigs, "bases": bases, "read": read}
