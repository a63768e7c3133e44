"""A network's stride-1 convolutional stretch as steps: what each reads, how far it sees, what is done on the way.

The steps are traced from the plain modules. Batch norm before a convolution's activation becomes its affine, one after
it is folded into its weights; an addition becomes the residual of the convolution that it follows.
"""

from __future__ import annotations

import operator
import threading
from dataclasses import dataclass, replace
from typing import Any

import jaxtyping
import torch
from jaxtyping import Float
from torch import Tensor, fx, nn

from basecast.models import layers
from basecast.models.layers import Convolution
from basecast.models.network import Network

ACTIVATIONS = (nn.ReLU, nn.LeakyReLU, nn.GELU, nn.SiLU, nn.ELU, nn.Tanh, nn.Sigmoid, nn.Softplus)
_NOTHING = (nn.Identity, nn.Dropout)


@dataclass(frozen=True, eq=False)
class Step:
    """``after(convolution(before(scale * source + shift)) + residual)``, position by position but for the convolution.

    Attributes:
        source, residual: tensors by number; 0 is one-hot, n what the n-th step gives, counted from 1.
        weight: float64.
        reach: positions that the convolution sees at each side.
        lost: bases at each end of a window that the result does not have.
    """

    source: int
    weight: Float[Tensor, "outputs inputs taps"]
    bias: Float[Tensor, " outputs"]
    dilation: int
    reach: int
    lost: int
    scale: Float[Tensor, " inputs"] | None = None
    shift: Float[Tensor, " inputs"] | None = None
    before: nn.Module | None = None
    residual: int | None = None
    after: nn.Module | None = None

    @property
    def work(self) -> int:
        """Multiply-adds of an output position by the direct method."""
        return self.weight.numel()


@dataclass(frozen=True, eq=False)
class Program:
    """Steps in order; the last gives the embedding."""

    steps: tuple[Step, ...]

    @property
    def reach(self) -> int:
        """Bases at each end of a window that the embedding does not have."""
        return self.steps[-1].lost

    @property
    def least_lost(self) -> list[int]:
        """Of every tensor, bases at each end of a window for which no value can be given; a crop may leave out more."""
        lost = [0]
        for step in self.steps:
            lost.append(max(lost[step.source] + step.reach, lost[step.residual] if step.residual is not None else 0))
        return lost

    @property
    def last_use(self) -> dict[int, int]:
        """Tensor -> the last step, counted from 1, that reads it."""
        uses = {len(self.steps): len(self.steps)}
        for number, step in enumerate(self.steps, start=1):
            uses |= {tensor: number for tensor in (step.source, step.residual) if tensor is not None}
        return uses

    def worth(self, length: int) -> int:
        """Bases by which a window may be extended before a second one of ``length`` bases costs less."""
        return max(sum(length - 2 * step.lost for step in self.steps) // len(self.steps), 1)


def program_of(network: Network) -> Program | None:
    """The steps of a network whose embedding is its ``stages`` and their ``join``; None where it has other parts."""
    if not network.stages():
        return None
    stretch = _Stretch(network)
    try:
        with _tracing:
            traced = fx.GraphModule(stretch, _Tracer().trace(stretch))
    except Exception:  # what cannot be traced fails in many ways, and runs well as a module
        return None
    traced.graph.eliminate_dead_code()
    try:
        return _Fusion(stretch, traced.graph).program()
    except _UnknownPartError:
        return None


class _Tracing:
    """One trace at a time, for it changes ``nn.Module`` itself, and without checks of shapes: there are none."""

    def __init__(self) -> None:
        self._lock = threading.Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        self._before = jaxtyping.config.jaxtyping_disable
        jaxtyping.config.update("jaxtyping_disable", True)

    def __exit__(self, *_: object) -> None:
        jaxtyping.config.update("jaxtyping_disable", self._before)
        self._lock.release()


_tracing = _Tracing()


class _UnknownPartError(Exception):
    """The stretch has a part that is no convolution, affine, activation or addition."""


class _Stretch(nn.Module):
    def __init__(self, network: Network) -> None:
        super().__init__()
        self.network = network

    def forward(self, x: Tensor) -> Tensor:
        levels = []
        for stage in self.network.stages():
            x = stage(x)
            levels.append(x)
        return self.network.join([layers.crop(level, x.shape[-1]) for level in levels])


class _Tracer(fx.Tracer):
    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, (Convolution, nn.BatchNorm1d, *ACTIVATIONS, *_NOTHING))


@dataclass(frozen=True, eq=False)
class _Value:
    """A tensor, cropped to what has lost so many bases, with what is still to be done to it."""

    tensor: int
    lost: int
    scale: Tensor | None = None
    shift: Tensor | None = None
    activation: nn.Module | None = None

    @property
    def is_plain(self) -> bool:
        return self.scale is None and self.activation is None


class _Fusion:
    def __init__(self, stretch: _Stretch, graph: fx.Graph) -> None:
        self._modules = dict(stretch.named_modules())
        self._graph = graph
        self._steps: list[Step] = []
        self._values: dict[fx.Node, _Value] = {}

    def program(self) -> Program:
        for node in self._graph.nodes:
            if node.kwargs:
                raise _UnknownPartError
            if node.op == "placeholder":
                self._values[node] = _Value(0, 0)
            elif node.op == "call_module":
                self._values[node] = self._module(self._modules[node.target], node)
            elif node.op == "output":
                if self._value(node.args[0]) != self._last(_node(node.args[0])):
                    raise _UnknownPartError
            elif node.target is layers.crop:
                *_, aligned = _chain(node.args[1])
                self._values[node] = replace(self._value(node.args[0]), lost=self._value(aligned).lost)
            elif node.target in (operator.add, torch.add):
                self._values[node] = self._sum(node)
            elif node.target not in (getattr, operator.getitem):  # these read a shape
                raise _UnknownPartError
        return Program(tuple(_soonest(self._steps)))

    def _value(self, node: Any) -> _Value:
        if node not in self._values:
            raise _UnknownPartError
        return self._values[node]

    def _last(self, node: fx.Node) -> _Value | None:
        """The node's value if the newest step made it and nothing was done to it since."""
        value = self._value(node)
        if not self._steps:
            return None
        is_newest = value.tensor == len(self._steps) and value.is_plain and value.lost == self._steps[-1].lost
        return value if is_newest else None

    def _module(self, module: nn.Module, node: fx.Node) -> _Value:
        given = _node(node.args[0])
        value = self._value(given)
        if getattr(module, "inplace", False):  # it would write into what others read
            raise _UnknownPartError
        if isinstance(module, Convolution):
            return self._convolution(module, value)
        if isinstance(module, _NOTHING):
            return value
        is_newest = self._last(given) is not None and len(given.users) == 1
        is_free = is_newest and self._steps[-1].after is None
        if isinstance(module, nn.BatchNorm1d):
            scale, shift = _affine(module)
            if is_free and self._steps[-1].residual is None:
                step = self._steps[-1]
                weight, bias = step.weight * scale[:, None, None], step.bias * scale + shift
                self._steps[-1] = replace(step, weight=weight, bias=bias)
                return value
            if value.activation is not None or value.scale is not None:
                raise _UnknownPartError
            return replace(value, scale=scale, shift=shift)
        if is_free:
            self._steps[-1] = replace(self._steps[-1], after=module)
            return value
        if value.activation is not None:
            raise _UnknownPartError
        return replace(value, activation=module)

    def _convolution(self, module: Convolution, value: _Value) -> _Value:
        if module.groups != 1:
            raise _UnknownPartError
        weight = module.weight.detach().double()
        bias = torch.zeros(len(weight), dtype=torch.float64) if module.bias is None else module.bias.detach().double()
        self._steps.append(
            Step(
                source=value.tensor,
                weight=weight.cpu(),
                bias=bias.cpu(),
                dilation=module.dilation[0],
                reach=module.reach,
                lost=value.lost + module.reach,
                scale=value.scale,
                shift=value.shift,
                before=value.activation,
            )
        )
        return _Value(len(self._steps), self._steps[-1].lost)

    def _sum(self, node: fx.Node) -> _Value:
        """The newest convolution with the other summand as its residual."""
        for one, other in (node.args, node.args[::-1]):
            if isinstance(one, fx.Node) and isinstance(other, fx.Node) and one is not other:
                value, added = self._last(one), self._value(other)
                is_free = len(one.users) - _shapes_read(one) == 1 and value is not None
                if is_free and added.is_plain and self._steps[-1].residual is None and self._steps[-1].after is None:
                    if added.lost != self._steps[-1].lost:
                        raise _UnknownPartError
                    self._steps[-1] = replace(self._steps[-1], residual=added.tensor)
                    assert value is not None
                    return value
        raise _UnknownPartError


def _soonest(steps: list[Step]) -> list[Step]:
    """The steps that the last one needs, each as soon as what it reads is there: tensors are then kept a short time."""
    depth, wanted = [0], {len(steps)}
    for step in steps:
        depth.append(1 + max(depth[step.source], depth[step.residual or 0]))
    for n in range(len(steps), 0, -1):
        if n in wanted:
            wanted |= {steps[n - 1].source, steps[n - 1].residual or 0}
    order = sorted(wanted - {0}, key=lambda n: (depth[n], n))
    number = {0: 0} | {old: new for new, old in enumerate(order, start=1)}
    moved = [steps[old - 1] for old in order]
    return [
        replace(x, source=number[x.source], residual=None if x.residual is None else number[x.residual]) for x in moved
    ]


def _node(x: Any) -> fx.Node:
    if not isinstance(x, fx.Node):
        raise _UnknownPartError
    return x


def _shapes_read(node: fx.Node) -> int:
    return sum(user.target is getattr for user in node.users)


def _chain(node: Any) -> list[fx.Node]:
    """A node, what it is taken from, and so on: of x.shape[-1] the last is x."""
    chain = []
    while isinstance(node, fx.Node):
        chain.append(node)
        if node.target not in (getattr, operator.getitem):
            return chain
        node = node.args[0]
    raise _UnknownPartError


def _affine(norm: nn.BatchNorm1d) -> tuple[Tensor, Tensor]:
    """Scale and shift of a batch norm in evaluation."""
    if norm.running_mean is None or norm.running_var is None:
        raise _UnknownPartError
    scale = (norm.running_var.detach().double() + norm.eps).rsqrt().cpu()
    if norm.weight is not None:
        scale = scale * norm.weight.detach().double().cpu()
    shift = -norm.running_mean.detach().double().cpu() * scale
    return scale, shift if norm.bias is None else shift + norm.bias.detach().double().cpu()
