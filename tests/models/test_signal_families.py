"""Families of signal tracks: published sizes, what a bin sees, heads for other outputs, and activations made again."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import nn

from basecast.models import basenji, basenji2, borzoi
from basecast.models.blocks import WideConvolution
from basecast.models.registry import Family, build, families
from basecast.models.signal import Head, SignalConfig
from basecast.spec import LocalReach, Output, ReverseComplement, TargetTransform, Track, WindowReach
from basecast.spec.splice import splice_output

SIGNAL = {name: family for name, family in families().items() if issubclass(family.config, SignalConfig)}
signal_families = pytest.mark.parametrize("family", SIGNAL.values(), ids=list(SIGNAL))
HUMAN_AND_MOUSE = {"basenji2": (5313, 1643), "borzoi": (7611, 2608)}


def parameters(config: Any, family: str) -> int:
    with torch.device("meta"):
        network = families()[family].network(config)
    return sum(p.numel() for p in network.parameters())


def random_network(family: Family, config: SignalConfig, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    network = family.network(config).double()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return network.eval().requires_grad_(False)


def random_bases(length: int, batch: int = 1, seed: int = 1) -> torch.Tensor:
    letters = torch.randint(4, (batch, length), generator=torch.Generator().manual_seed(seed))
    return torch.eye(4, dtype=torch.float64)[letters].mT.contiguous()


@pytest.mark.parametrize(
    ("family", "size", "count", "bins"),
    [
        ("basenji", "published", 15_190_636, 960),
        ("basenji2", "published", 30_088_228, 896),
        ("borzoi", "published", 185_892_699, 6144),
        ("borzoi", "flashzoi", 192_069_467, 6144),
    ],
)
def test_published_sizes(family: str, size: str, count: int, bins: int) -> None:
    config = families()[family].sizes[size]()
    assert parameters(config, family) == count
    reach = config.reach  # type: ignore[attr-defined]
    assert isinstance(reach, WindowReach)
    assert (reach.lengths[0] - 2 * reach.crop) // config.resolution == bins  # type: ignore[attr-defined]


@pytest.mark.parametrize("family", HUMAN_AND_MOUSE)
def test_a_second_head_costs_its_weights_alone(family: str) -> None:
    config = families()[family].sizes["published"]()
    human, mouse = (Head(name=n, tracks=t) for n, t in zip(("human", "mouse"), HUMAN_AND_MOUSE[family], strict=True))
    assert config.heads == (human,)  # type: ignore[attr-defined]
    width = config.final_filters  # type: ignore[attr-defined]
    both = config.model_copy(update={"heads": (human, mouse)})
    assert parameters(both, family) == parameters(config, family) + (width + 1) * mouse.tracks


@pytest.mark.parametrize(("family", "bin"), [("basenji", 128), ("basenji2", 128), ("borzoi", 32)])
def test_small_sizes_are_small(family: str, bin: int) -> None:
    config = families()[family].sizes["small"]()
    assert config.resolution == bin  # type: ignore[attr-defined]
    assert 100_000 < parameters(config, family) < 500_000


def test_what_a_bin_of_the_published_models_sees() -> None:
    """255 bins of the paper's Basenji; 212 bins at each side beside the tower of Basenji2."""
    assert basenji.published().sight == (10 + 2 * 2 + 2 * 8 + 128 * 127 + 64, 11 + 3 * 2 + 3 * 8 + 128 * 127 + 96)
    assert [x // 128 for x in basenji.published().sight] == [127, 128]
    assert basenji2.published().sight[0] == 7 + 2 * (2 + 4 + 8 + 16 + 32 + 64) + 212 * 128


def test_fewer_dilated_layers_see_less() -> None:
    config = basenji.small()
    seen = [config.with_dilated(n).sight[0] for n in range(7)]
    assert [b - a for a, b in itertools.pairwise(seen)] == [128 * rate for rate in (2, 4, 8, 16, 32, 64)]
    assert config.with_dilated(6) == config
    assert parameters(config.with_dilated(1), "basenji") < parameters(config, "basenji")
    with pytest.raises(ValueError, match="6 densely connected layers, not 7"):
        config.with_dilated(7)


def padded_twin(config: Any, crop: int) -> Any:
    return config.model_copy(update={"crop": crop, "length": 512})


@pytest.mark.parametrize("module", [basenji, basenji2], ids=lambda m: m.__name__.rpartition(".")[2])
def test_padding_changes_only_bins_that_see_past_the_window(module: Any) -> None:
    """A window padded with zeros and one that holds all that its bins see give the same, where both do."""
    config = module.tiny()
    twin = padded_twin(config, 2)
    family = families()[module.__name__.rpartition(".")[2]]
    whole, padded = random_network(family, config), random_network(family, twin)
    padded.load_state_dict(whole.state_dict())
    left, right = config.sight
    assert config.reach == LocalReach(left=left, right=right, stride=8)
    assert twin.reach == WindowReach(lengths=(512,), multiple_of=8, crop=16)
    x = random_bases(512)
    start = -(-left // 8)  # the first bin that sees no padding
    end = (512 - right) // 8
    valid = whole(x[..., start * 8 - left : end * 8 + right])
    found = padded(x)
    assert found.shape == (1, 3, 60)
    torch.testing.assert_close(found[..., start - 2 : end - 2], valid, rtol=0, atol=1e-12)
    pad = nn.functional.pad(x, (left, right))
    assert (found[..., : start - 2] - whole(pad)[..., 2:start]).abs().max() > 1e-6, "padding is of activations, not N"


def test_a_crop_that_covers_what_a_bin_sees_is_as_none() -> None:
    config = basenji.tiny()
    bins = -(-max(config.sight) // 8)
    covered = config.model_copy(update={"crop": bins})
    assert covered.reach == config.reach
    assert isinstance(padded_twin(config, bins - 1).reach, WindowReach)


@pytest.mark.parametrize("length", [None, 510, 32])
def test_a_shorter_crop_takes_a_length(length: int | None) -> None:
    config = basenji.tiny().model_copy(update={"crop": 2, "length": length})
    with pytest.raises(ValueError, match=r"a crop of 2 bins leaves out 16: give the length of windows"):
        _ = config.reach


@signal_families
def test_windows_that_give_no_whole_bins(family: Family) -> None:
    config = family.sizes["tiny"]()
    network = family.network(config)
    reach = config.reach  # type: ignore[attr-defined]
    lost = reach.left + reach.right if isinstance(reach, LocalReach) else 2 * reach.crop
    for length in (lost, lost + config.resolution + 1):  # type: ignore[attr-defined]
        with pytest.raises(ValueError, match=rf"a window of {length} bases gives no whole bins .* pad it with N"):
            network(torch.zeros(1, 4, length))


def outputs_of(resolution: int, **more: Any) -> list[Output]:
    transform = TargetTransform(power=0.5, soft_clip=32)
    tracks = (Track(name="a+", strand="+", transform=transform), Track(name="a-", strand="-"), Track(name="b"))
    rule = ReverseComplement(permutation=(1, 0, 2))
    given = {"name": "coverage", "tracks": tracks, "resolution": resolution, "link": "exp", "reverse_complement": rule}
    return [Output(**{**given, **more}), Output(name="other", tracks=tracks[2:], resolution=resolution)]


@signal_families
def test_heads_for_other_outputs(family: Family) -> None:
    config = family.sizes["tiny"]()
    outputs = outputs_of(config.resolution)  # type: ignore[attr-defined]
    other = config.with_outputs(outputs)  # type: ignore[attr-defined]
    assert other.heads == (Head(name="coverage", tracks=3), Head(name="other", tracks=1))
    described = family.spec(other, outputs=outputs, members=2, name="x", licence="MIT")
    assert [x.model_copy(update={"link": y.link}) for x, y in zip(described.outputs, outputs, strict=True)] == outputs
    assert {output.link for output in described.outputs} == {"softplus"}
    assert [member.outputs for member in described.members] == [("coverage", "other")] * 2
    assert described.mask == "none"
    network = build(described.architecture)  # type: ignore[arg-type]
    assert network.output_names == ("coverage", "other")
    new = network.state_dict().keys() - family.network(config).state_dict().keys()
    assert {name.split(".")[0] for name in new} == {"head"}
    with pytest.raises(ValueError, match="are not those that the network gives"):
        family.spec(config, outputs=outputs, name="x", licence="MIT")


@signal_families
def test_outputs_that_no_signal_family_gives(family: Family) -> None:
    config = family.sizes["tiny"]()
    resolution = config.resolution  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match=rf"'coverage' has bins of 3 bp, .* bins of {resolution} bp"):
        config.with_outputs(outputs_of(3))  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="which 'splice' is not"):
        config.with_outputs([splice_output()])  # type: ignore[attr-defined]
    with pytest.raises(ValueError, match="which 'coverage' is not"):
        config.with_outputs(outputs_of(resolution, axes="scalar"))  # type: ignore[attr-defined]


def test_outputs_that_the_splice_family_gives() -> None:
    config = families()["spliceai"].sizes["tiny"]()
    two = config.with_outputs([splice_output(("no", "yes"))])  # type: ignore[attr-defined]
    assert two.classes == ("no", "yes")
    assert families()["spliceai"].spec(two, outputs=[splice_output(("no", "yes"))], name="x", licence="MIT").outputs
    with pytest.raises(ValueError, match=r"splice sites base by base.*\['coverage', 'other'\]"):
        config.with_outputs(outputs_of(1))  # type: ignore[attr-defined]


@signal_families
@pytest.mark.parametrize("batch", [1, 3])
def test_activations_made_again_give_the_same_gradients(family: Family, batch: int) -> None:
    config = family.sizes["tiny"]()
    first, second = random_network(family, config), random_network(family, config)
    second.checkpointed = True  # type: ignore[assignment]
    reach = config.reach  # type: ignore[attr-defined]
    lost = reach.left + reach.right if isinstance(reach, LocalReach) else 2 * reach.crop
    x = random_bases(lost + 64 * config.resolution, batch)  # type: ignore[attr-defined]
    if isinstance(reach, WindowReach):
        x = random_bases(reach.lengths[0], batch)
    kept = []
    for network in (first, second):
        network.train().requires_grad_(True)
        saved: list[torch.Tensor] = []

        def keep(tensor: torch.Tensor, saved: list[torch.Tensor] = saved) -> torch.Tensor:
            saved.append(tensor)
            return tensor

        torch.manual_seed(5)  # dropout
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            y = network(x)
        y.square().sum().backward()
        kept.append(sum(tensor.numel() for tensor in saved))
    assert kept[1] < kept[0] / 2
    for (name, one), two in zip(first.named_parameters(), second.parameters(), strict=True):
        assert one.grad is not None, name
        torch.testing.assert_close(two.grad, one.grad, rtol=1e-9, atol=1e-12, msg=name)
    for (name, one), two in zip(first.named_buffers(), second.buffers(), strict=True):
        torch.testing.assert_close(two, one, rtol=0, atol=0, msg=name)
        assert name.rpartition(".")[2] != "num_batches_tracked" or int(two) == 1


@pytest.mark.parametrize("width", [1, 2, 5, 6])
@pytest.mark.parametrize("dilation", [1, 3])
def test_a_padded_convolution_keeps_the_length_and_the_places(width: int, dilation: int) -> None:
    torch.manual_seed(0)
    padded = WideConvolution(3, 4, width, dilation, is_padded=True)
    valid = WideConvolution(3, 4, width, dilation)
    valid.load_state_dict(padded.state_dict())
    x = torch.randn(2, 3, 40)
    found, total = padded(x), dilation * (width - 1)
    assert found.shape == (2, 4, 40)
    torch.testing.assert_close(found[..., valid.left : 40 - valid.right], valid(x), rtol=1e-5, atol=1e-6)
    expected = nn.functional.conv1d(
        nn.functional.pad(x, (total // 2, total - total // 2)), padded.weight, dilation=dilation
    )
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("levels", 4, "a tower of 3 layers has no 4 levels"),
        ("length", 1000, "windows of 1000 bases are no whole number of 16"),
        ("crop", 128, "a crop of 128 bins"),
        ("attention", {"kind": "other"}, "attention"),
        ("heads", [], "heads"),
        ("link", "softmax", "link"),
    ],
)
def test_sizes_that_no_borzoi_has(name: str, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        borzoi.BorzoiConfig.model_validate({**borzoi.tiny().model_dump(), name: value})


@signal_families
def test_half_precision_is_near(family: Family) -> None:
    config = family.sizes["tiny"]()
    network = random_network(family, config).float()
    reach = config.reach  # type: ignore[attr-defined]
    length = reach.lengths[0] if isinstance(reach, WindowReach) else reach.left + reach.right + 512
    x = random_bases(length).float()
    expected = network(x)
    with torch.autocast("cpu", torch.bfloat16):
        found = network(x)
    assert found.dtype == torch.bfloat16
    assert 0 < (found - expected).abs().max() < 0.1 * expected.std()
