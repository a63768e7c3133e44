"""What a model takes and gives, as data (``config.json`` of a package). No torch, no files."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Float
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, model_validator

FileName = Annotated[str, StringConstraints(pattern=r"^\w[\w.-]*$")]
"""A file or folder right inside the package: no path leads out of it."""


class Frozen(BaseModel):
    """A value: unknown fields are refused, nothing changes after it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class LocalReach(Frozen):
    """A convolutional model: an output bin sees ``left`` bases before and ``right`` bases after itself."""

    kind: Literal["local"] = "local"
    left: int = Field(ge=0)
    right: int = Field(ge=0)
    stride: int = Field(1, ge=1, description="bases by which a window may move without changing its bins")


class WindowReach(Frozen):
    """A model in which everything sees everything: only whole windows of these lengths can be run."""

    kind: Literal["window"] = "window"
    lengths: tuple[int, ...] = Field((), description="the lengths allowed, ascending; empty = any multiple")
    multiple_of: int = Field(1, ge=1)
    crop: int = Field(0, ge=0, description="bases at each end of a window for which nothing is given")

    def length_for(self, span: int) -> int:
        """The shortest allowed window whose uncropped middle holds ``span`` bases, else the longest allowed one."""
        if self.lengths:
            return next((length for length in self.lengths if length - 2 * self.crop >= span), self.lengths[-1])
        return -(-(span + 2 * self.crop) // self.multiple_of) * self.multiple_of


Reach = Annotated[LocalReach | WindowReach, Field(discriminator="kind")]


class Input(Frozen):
    """One input. ``sequence`` is one-hot A, C, G, T (N = zeros); ``scores`` is another node's output."""

    name: str
    kind: Literal["sequence", "track", "scores"] = "sequence"
    channels: int = Field(4, ge=1)
    resolution: int = Field(1, ge=1, description="bases a bin")
    missing: float = Field(0.0, description="what stands where there is no value")
    node: str | None = Field(None, description="for scores: the node of the graph whose output this is")
    output: str | None = Field(None, description="for scores: the name of that node's output")

    @model_validator(mode="after")
    def _scores_come_from_a_node(self) -> Input:
        if (self.kind == "scores") != (self.node is not None and self.output is not None):
            raise ValueError(f"input {self.name!r}: node and output go with kind 'scores', and only with it")
        return self


class Condition(Frozen):
    """A categorical input of the whole window, such as the organism; given by one of its ``values``."""

    name: str
    values: tuple[str, ...] = Field(min_length=1)


class TargetTransform(Frozen):
    """What was done to the bases of a bin to make the target of a track, step by step.

    The ``statistic`` of the bases, times ``scale``, to the ``power`` as (1 + x) ** power - 1, a square root of what is
    above ``soft_clip``, and nothing beyond ``clip``. Published Borzoi data are ``scaled_last``: x ** power, a soft clip
    without its step of one, ``clip``, and then times ``scale``.
    """

    statistic: Literal["sum", "mean", "median", "max"] = "sum"
    scale: float = Field(1.0, gt=0)
    power: float = Field(1.0, gt=0)
    soft_clip: float | None = Field(None, gt=0)
    clip: float | None = Field(None, gt=0)
    scaled_last: bool = False

    @property
    def _step(self) -> int:
        return 0 if self.scaled_last else 1

    def apply(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """The statistic of each bin (>= 0) to model space."""
        step = self._step
        x = values if self.scaled_last else values * self.scale
        if self.power != 1:
            x = np.power(x + step, self.power) - step
        if self.soft_clip is not None:
            x = np.where(
                x > self.soft_clip, self.soft_clip - step + np.sqrt(np.maximum(x - self.soft_clip, 0) + step), x
            )
        if self.clip is not None:
            x = np.minimum(x, self.clip)
        return x * self.scale if self.scaled_last else x

    def invert(self, values: Float[np.ndarray, "*shape"]) -> Float[np.ndarray, "*shape"]:
        """Model space to the statistic of each bin; the inverse of ``apply`` but for what ``clip`` took."""
        step = self._step
        x = values / self.scale if self.scaled_last else values
        if self.soft_clip is not None:
            above = np.square(np.maximum(x - self.soft_clip + step, step)) - step
            x = np.where(x > self.soft_clip, self.soft_clip + above, x)
        if self.power != 1:
            x = np.power(x + step, 1 / self.power) - step
        return x if self.scaled_last else x / self.scale


class Track(Frozen):
    """One channel of an output."""

    name: str
    strand: Literal["+", "-", "."] = "."
    assay: str = ""
    biosample: str = ""
    unit: str = ""
    description: str = ""
    transform: TargetTransform | None = Field(None, description="from what was measured to what the model is taught")


class ReverseComplement(Frozen):
    """How an output of the reverse-complemented window turns into the output of the window.

    Positions are reversed, tracks are permuted (``permutation[i]`` takes the place of ``i``; empty = as they are),
    then the ``shift`` that a cut-site convention asks for moves the bins.
    """

    permutation: tuple[int, ...] = ()
    shift: int = 0


class Output(Frozen):
    """One head: what its values are and how logits turn into them.

    Values have shape (bins, tracks) for ``position``, (bins, bins, tracks) for ``position_pair``,
    (sites, sites, tracks) for ``site_pair`` and (tracks,) for ``scalar``.
    """

    name: str
    tracks: tuple[Track, ...] = Field(min_length=1)
    axes: Literal["position", "position_pair", "site_pair", "scalar"] = "position"
    resolution: int = Field(1, ge=1, description="bases a bin")
    crop: int = Field(0, ge=0, description="bins at each end that the head leaves out beyond the reach")
    link: Literal["identity", "softmax", "sigmoid", "softplus", "exp", "exp_linear"] = "identity"
    reverse_complement: ReverseComplement = ReverseComplement()
    auxiliary: tuple[str, ...] = Field((), description="outputs that this head is fed with")

    @property
    def has_classes(self) -> bool:
        """Whether a bin is one of the tracks, which are classes; else each track is a signal of its own."""
        return self.link == "softmax"

    @model_validator(mode="after")
    def _reverse_complement_is_an_involution(self) -> Output:
        order = self.reverse_complement.permutation
        if order and [order[i] for i in order if 0 <= i < len(order)] != list(range(len(self.tracks))):
            raise ValueError(
                f"output {self.name!r}: its reverse-complement permutation, done twice, must be the identity"
            )
        return self


class Member(Frozen):
    """One set of weights; an output of the package is the mean of the members that list it."""

    file: FileName
    outputs: tuple[str, ...]


class Node(Frozen):
    """One package of a composite: ``package`` is a folder inside the composite's own."""

    name: str
    package: FileName


class Architecture(Frozen):
    """A family of the registry and its config."""

    family: str
    config: dict[str, Any]


class Provenance(Frozen):
    """Where something came from, enough to make it again."""

    basecast: str = ""
    command: str = ""
    sources: dict[str, str] = Field(default_factory=dict, description="name of each input file -> sha256")
    note: str = ""


class Calibration(Frozen):
    """What divides the logits of an output before its link; one value, or one a class.

    Of several members it divides the mean of their logits, and the link comes after.
    """

    temperature: dict[str, tuple[float, ...]] = Field(default_factory=dict)


class ModelSpec(Frozen):
    """Everything that may be known of a model without running it."""

    spec_version: Literal[1] = 1
    name: str
    architecture: Architecture | None = None
    nodes: tuple[Node, ...] = Field((), description="of a composite; the last one's outputs are the composite's")
    inputs: tuple[Input, ...] = (Input(name="sequence"),)
    conditions: tuple[Condition, ...] = ()
    reach: Reach
    outputs: tuple[Output, ...] = Field(min_length=1)
    mask: Literal["gene", "none"] = Field("none", description="gene: bases outside the gene are N")
    members: tuple[Member, ...] = ()
    calibration: Calibration = Calibration()
    species: str = ""
    genome_build: str = ""
    licence: str = Field(description="SPDX identifier of the weights; there is no default")
    parents: tuple[str, ...] = Field((), description="packages that the weights were trained from or taught by")
    citation: str = ""
    provenance: Provenance = Provenance()

    @model_validator(mode="after")
    def _names_agree(self) -> ModelSpec:
        if (self.architecture is None) == (not self.nodes):
            raise ValueError("a model has either an architecture or nodes")
        if self.inputs[0].kind != "sequence":
            raise ValueError("the first input is the sequence")
        names = [output.name for output in self.outputs]
        if len(set(names)) != len(names):
            raise ValueError(f"outputs have one name each, got {names}")
        for output in self.outputs:
            if unknown := set(output.auxiliary) - set(names):
                raise ValueError(f"output {output.name!r} is fed with {sorted(unknown)}, which the model does not give")
        for member in self.members:
            if unknown := set(member.outputs) - set(names):
                raise ValueError(f"member {member.file!r} lists outputs {sorted(unknown)} that the model does not have")
        listed = {name for member in self.members for name in member.outputs}
        if self.architecture is not None and (missing := set(names) - listed):
            raise ValueError(f"no member lists the outputs {sorted(missing)}")
        for name, temperature in self.calibration.temperature.items():
            sizes = [(1, len(output.tracks)) for output in self.outputs if output.name == name]
            if not any(len(temperature) in size for size in sizes) or not all(t > 0 for t in temperature):
                raise ValueError(
                    f"the temperature of {name!r} must be one positive number, or one a track of an output"
                )
        return self

    def output(self, name: str) -> Output:
        """The output of that name.

        Raises:
            KeyError: there is none; the message lists those there are.
        """
        for output in self.outputs:
            if output.name == name:
                return output
        raise KeyError(f"model {self.name} has no output {name!r}, only {[output.name for output in self.outputs]}")
