"""What the families that predict signal tracks share: heads, the outputs they imply, and how far a bin sees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeVar

from pydantic import Field, PositiveInt
from torch import Tensor, nn

from basecast.models.blocks import Layer, sight_of
from basecast.models.network import pick
from basecast.spec import Architecture, LocalReach, Member, ModelSpec, Output, Track, WindowReach
from basecast.spec.model import Frozen


class Head(Frozen):
    """One output and how many tracks it has."""

    name: str = Field(pattern=r"^\w[\w-]*$")
    tracks: PositiveInt


Config = TypeVar("Config", bound="SignalConfig")


class SignalConfig(Frozen):
    """What every such family has; a family adds its sizes."""

    heads: tuple[Head, ...] = Field((Head(name="signal", tracks=1),), min_length=1)
    link: Literal["softplus", "exp", "exp_linear"] = "softplus"

    @property
    def resolution(self) -> int:
        """Bases a bin."""
        raise NotImplementedError

    @property
    def reach(self) -> LocalReach | WindowReach:
        """What a bin sees."""
        raise NotImplementedError

    def with_outputs(self: Config, outputs: Sequence[Output]) -> Config:
        """The same network with heads for these outputs, of whatever link: the family's own stays.

        Raises:
            ValueError: an output is no signal, or has other bins.
        """
        for output in outputs:
            if output.axes != "position" or output.has_classes:
                raise ValueError(f"this family gives signal tracks along the sequence, which {output.name!r} is not")
            if output.resolution != self.resolution:
                raise ValueError(
                    f"{output.name!r} has bins of {output.resolution} bp, a model of this size has bins of "
                    f"{self.resolution} bp: make the data with --resolution {self.resolution}, or take another size"
                )
        heads = tuple(Head(name=output.name, tracks=len(output.tracks)) for output in outputs)
        return self.model_copy(update={"heads": heads})


class WindowedConfig(SignalConfig):
    """A convolutional family, whose windows either hold all that a bin sees or are cropped to less."""

    crop: int | None = Field(
        None, ge=0, description="bins at each end of a window for which nothing is given; None = all that a bin sees"
    )
    length: PositiveInt | None = Field(None, description="bases of a window, where less is cropped than a bin sees")

    @property
    def sight(self) -> tuple[int, int]:
        """Bases that a bin sees before and after itself."""
        raise NotImplementedError

    @property
    def is_local(self) -> bool:
        """Whether what a window gives is all seen whole; else convolutions are padded with zeros and ends cropped."""
        return self.crop is None or self.crop * self.resolution >= max(self.sight)

    @property
    def reach(self) -> LocalReach | WindowReach:
        """Exactly what a bin sees, or windows of ``length``.

        Raises:
            ValueError: ``crop`` leaves out less than a bin sees, and ``length`` is none that holds whole bins.
        """
        left, right = self.sight
        if self.is_local:
            return LocalReach(left=left, right=right, stride=self.resolution)
        cropped = (self.crop or 0) * self.resolution
        if self.length is None or self.length % self.resolution or self.length <= 2 * cropped:
            raise ValueError(
                f"a bin sees {left} and {right} bases beside itself and a crop of {self.crop} bins leaves out "
                f"{cropped}: give the length of windows, whole bins of {self.resolution} bp in more than {2 * cropped}"
            )
        return WindowReach(lengths=(self.length,), multiple_of=self.resolution, crop=cropped)


class DilatedConfig(WindowedConfig):
    """A tower of convolutions and pools to bins, then dilated convolutions of width 3, then one of width 1."""

    tower: tuple[Layer, ...] = Field(min_length=1)
    tower_dropout: float = Field(ge=0, lt=1)
    dilated_filters: PositiveInt
    dilations: tuple[PositiveInt, ...] = Field(description="rates of the width-3 convolutions")
    dilated_dropout: float = Field(ge=0, lt=1)
    final_filters: PositiveInt
    final_dropout: float = Field(0.05, ge=0, lt=1)

    @property
    def resolution(self) -> int:
        return sight_of(self.tower)[2]

    @property
    def sight(self) -> tuple[int, int]:
        left, right, scale = sight_of(self.tower)
        return left + sum(self.dilations) * scale, right + sum(self.dilations) * scale


def bins_of(config: SignalConfig, length: int) -> int:
    """The bins that a window of ``length`` bases gives.

    Raises:
        ValueError: it is none, or no whole number.
    """
    reach = config.reach
    lost = reach.left + reach.right if isinstance(reach, LocalReach) else 2 * reach.crop
    bins, rest = divmod(length - lost, config.resolution)
    if rest or bins < 1:
        raise ValueError(
            f"a window of {length} bases gives no whole bins of {config.resolution} bp beside the {lost} bases at its "
            "ends: pad it with N (all-zero columns)"
        )
    return bins


class Heads(nn.ModuleDict):
    """A width-1 convolution for each output."""

    def __init__(self, channels: int, heads: Sequence[Head]) -> None:
        super().__init__({head.name: nn.Conv1d(channels, head.tracks, 1) for head in heads})

    def logits(self, embedding: Tensor, names: Sequence[str], tracks: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Of the outputs in ``names``, and of them only the ``tracks`` named."""
        return {name: pick(head, tracks.get(name), embedding) for name, head in self.items() if name in names}  # type: ignore[arg-type]


def signal_spec(
    family: str, config: SignalConfig, outputs: Sequence[Output] | None = None, members: int = 1, **card: Any
) -> ModelSpec:
    """The spec of a package of a signal family.

    Args:
        outputs: where tracks, transforms and strand pairs come from, one for each head of the config; without them
            tracks are numbered.
        card: what the sizes do not tell (name, licence ...).

    Raises:
        ValueError: the outputs are not those of the config's heads.
    """
    given = outputs or [
        Output(name=head.name, tracks=tuple(Track(name=str(i)) for i in range(head.tracks))) for head in config.heads
    ]
    found, heads = [(x.name, len(x.tracks)) for x in given], [(head.name, head.tracks) for head in config.heads]
    if found != heads:
        raise ValueError(f"the outputs {found} (name, tracks) are not those that the network gives, {heads}")
    files = ["model.safetensors"] if members == 1 else [f"model-{i}.safetensors" for i in range(members)]
    names = tuple(output.name for output in given)
    own = {"resolution": config.resolution, "crop": 0, "link": config.link}
    return ModelSpec(
        architecture=Architecture(family=family, config=config.model_dump(mode="json")),
        reach=config.reach,
        outputs=tuple(output.model_copy(update=own) for output in given),
        members=tuple(Member(file=file, outputs=names) for file in files),
        **{"mask": "none", **card},
    )
