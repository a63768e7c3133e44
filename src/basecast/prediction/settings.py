"""Where and how precisely a prediction is computed, and which output of a model it is of."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field

from basecast.errors import UsageError
from basecast.inference.engine import Engine
from basecast.inference.shards import RunSettings
from basecast.inference.tuning import Tuning
from basecast.spec import ModelSpec, Output
from basecast.spec.model import Frozen
from basecast.zoo.package import Package


class DeviceSettings(Frozen):
    """How a model is run."""

    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    threads: int | None = None
    memory: int | None = Field(None, description="bytes")
    tile: int | None = Field(None, ge=1, description="bases of output computed at once; by default what memory allows")
    tuning: Tuning | None = Field(None, description="kernels; by default the fastest that are found")

    def on(self, run: RunSettings) -> Self:
        """The same for the machines of ``run``."""
        return self.model_copy(update=run.engine_settings(self.device, self.memory))

    def engine(self, package: Package) -> Engine:
        """A package, ready to be asked."""
        return Engine(package, **{name: getattr(self, name) for name in DeviceSettings.model_fields})


def output_of(spec: ModelSpec, head: str | None = None) -> Output:
    """The output along the sequence that is named ``head``, by default the only one there is.

    Raises:
        UsageError: there is none of that name, or several and no name.
    """
    along = {output.name: output for output in spec.outputs if output.axes == "position"}
    if head is not None and head not in along:
        raise UsageError(f"{spec.name} has no output {head!r} along the sequence, only {', '.join(along) or 'others'}")
    if head is None and len(along) != 1:
        has = f"the outputs {', '.join(along)}: choose one with --head" if along else "no output along the sequence"
        raise UsageError(f"{spec.name} has {has}")
    return along[head or next(iter(along))]
