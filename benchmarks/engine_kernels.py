"""Every way of computing the engine's convolutions that was tried: how long each takes, and which of them won.

    python benchmarks/engine_kernels.py [--only layers fused network] [--repeats 7]

layers   the layers of the 10,000 nt SpliceAI network (32 channels), each by every method that computes it
fused    half a residual unit, conv(act(norm(x))) + residual: at once, or one operation after another; by torch.compile
         too where there is a C++ compiler
network  the whole network: windows of 101 outputs, and SNVs in such windows where the reference is known

One thread, fp32 but where it says bf16, random weights. Each way has its input as it wants it and leaves its output as
it likes. Its answer is held against double precision first; then the ways take turns, and the least CPU time counts.
GMAC/s are the direct method's multiply-adds, done or not: a way that needs fewer may exceed what the machine can do.

A Fourier block of n rows multiplies 4 (n / 2 + 1) times for n - taps + 1 outputs of a pair of channels: 2.2 an output
of 11 taps where n is 128, 2.4 of 41 taps where it is 256. Tried apart and left out: Winograd's (Toom-Cook) minimal
filtering, m + taps - 1 times for m outputs. 9 outputs of 11 taps at once cost 2.1 each, but single precision then errs
by 1e-3, for the powers of 18 points cancel; 4 outputs of 6 taps at once err by 6e-6, and make 4.5 of 11 taps, 16 of 41.
"""

from __future__ import annotations

import argparse
import os
import shutil
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch._inductor.utils import fresh_cache
from torch.nn import functional

from basecast.inference.compiled import CompiledKernels
from basecast.inference.native import library, memory
from basecast.inference.native.library import DIRECT, ITEM, SIZES, Layer
from basecast.inference.program import Program, Step, program_of
from basecast.inference.runner import Kernels, Runner
from basecast.inference.torched import TorchKernels, TorchStep
from basecast.inference.tuning import measured
from basecast.inference.windows import Windows, change_between
from basecast.models.layers import make_one_hot
from basecast.models.spliceai import SpliceAI, published
from engine_arithmetic import altered, costs_of, reference
from engine_runs import table

KINDS = ((11, 1), (11, 4), (21, 10), (41, 25), (1, 1))  # taps, dilation
WORKS = ((1, 10_000), (8, 2_000))  # windows, outputs of each
CHANNELS, MEMBERS = 32, 5
OUTPUTS, ALTS, APART = 101, 16, 10  # of the network's windows: bases, altered ones, bases between two
LIMITS = (1e-5, 3e-2)  # fp32, bf16: of an answer's distance from double precision, relative to the largest value
CPU = torch.device("cpu")
Run = Callable[[], Tensor]  # gives (windows, channels, outputs)
Table = tuple[list[str], list[list[str]]]  # columns, rows


@dataclass(frozen=True)
class Case:
    """A layer and what it is given; ``scaled`` is the layer with all that is done before and after it."""

    x: Tensor  # (windows, channels, seen)
    residual: Tensor  # (windows, channels, outputs)
    scaled: Step

    @property
    def step(self) -> Step:
        return replace(self.scaled, scale=None, shift=None, before=None, residual=None)

    @property
    def weight(self) -> Tensor:
        return self.scaled.weight.float()

    @property
    def bias(self) -> Tensor:
        return self.scaled.bias.float()

    @property
    def outputs(self) -> int:
        return self.residual.shape[-1]

    @property
    def rows(self) -> Tensor:
        """Channels last: (windows, seen, channels)."""
        return self.x.movedim(1, 2).contiguous()


def make_case(taps: int, dilation: int, windows: int, outputs: int) -> Case:
    make = torch.Generator().manual_seed(taps + dilation)
    normal, reach = partial(torch.randn, generator=make), dilation * (taps - 1) // 2
    step = Step(
        source=0,
        weight=normal(CHANNELS, CHANNELS, taps, dtype=torch.float64) / (CHANNELS * taps) ** 0.5,
        bias=normal(CHANNELS, dtype=torch.float64),
        dilation=dilation,
        reach=reach,
        lost=reach,
        scale=1 + 0.1 * normal(CHANNELS, dtype=torch.float64),
        shift=normal(CHANNELS, dtype=torch.float64),
        before=nn.LeakyReLU(0.1),
        residual=0,
    )
    return Case(normal(windows, CHANNELS, outputs + 2 * reach), normal(windows, CHANNELS, outputs), step)


# --- ways of a layer: what is prepared once, then what is timed


def conv1d(case: Case, dtype: torch.dtype = torch.float32) -> Run:
    x, weight, bias = (t.to(dtype) for t in (case.x, case.weight, case.bias))
    return lambda: functional.conv1d(x, weight, bias, dilation=case.step.dilation)


def conv2d(case: Case, dtype: torch.dtype = torch.float32) -> Run:
    """Two-dimensional, channels last."""
    x, weight = (t[:, :, None].to(dtype, memory_format=torch.channels_last) for t in (case.x, case.weight))
    bias = case.bias.to(dtype)
    return lambda: functional.conv2d(x, weight, bias, dilation=(1, case.step.dilation))[:, :, 0]


def taps_summed(case: Case) -> Run:
    """A matrix product for each tap, added up."""
    x, weight, bias, n = case.rows, case.weight.permute(2, 1, 0).contiguous(), case.bias, case.outputs

    def run() -> Tensor:
        made = torch.empty(len(x), n, CHANNELS)
        for rows, to in zip(x, made, strict=True):
            torch.addmm(bias, rows[:n], weight[0], out=to)
            for tap in range(1, len(weight)):
                start = tap * case.step.dilation
                torch.addmm(to, rows[start : start + n], weight[tap], out=to)
        return made.movedim(1, 2)

    return run


def unfolded(case: Case) -> Run:
    """What each output sees copied into a row, then one matrix product."""
    x, n, taps = case.rows, case.outputs, case.weight.shape[2]
    weight, bias = case.weight.permute(2, 1, 0).reshape(-1, CHANNELS).contiguous(), case.bias
    window, row, one = x.stride()
    shape, strides = (len(x), n, taps, CHANNELS), (window, row, case.step.dilation * row, one)

    def run() -> Tensor:
        seen = x.as_strided(shape, strides).reshape(len(x) * n, -1)
        return torch.addmm(bias, seen, weight).view(len(x), n, CHANNELS).movedim(1, 2)

    return run


def torch_fft(case: Case, size: int = 256) -> Run:
    """Overlap-save of each phase by ``torch.fft``, the product a batch of complex matrix products."""
    x, n, taps, phases = case.rows, case.outputs, case.weight.shape[2], case.step.dilation
    gives, spectrum = size - taps + 1, torch.fft.rfft(case.weight, size).conj().permute(2, 1, 0).contiguous()
    blocks, bias = -(-n // (gives * phases)), case.bias[:, None]
    more = (blocks * gives + taps - 1) * phases - x.shape[1]

    def run() -> Tensor:
        grid = functional.pad(x, (0, 0, 0, more)).view(len(x), -1, phases, CHANNELS).unfold(1, size, gives)
        found = torch.fft.rfft(grid).view(-1, CHANNELS, size // 2 + 1).permute(2, 0, 1)
        product = torch.bmm(found, spectrum).permute(1, 2, 0)
        made = torch.fft.irfft(product, size)[..., :gives].view(len(x), blocks, phases, CHANNELS, gives)
        return made.permute(0, 3, 1, 4, 2).reshape(len(x), CHANNELS, -1)[..., :n] + bias

    return run


def members(case: Case, groups: int) -> Run:
    """A layer of all members of an ensemble: in ``groups`` at once, or one after another. Gives that of the first."""
    x, weight, bias = case.x.repeat(1, groups, 1), case.weight.repeat(groups, 1, 1), case.bias.repeat(groups)
    run = partial(functional.conv1d, x, weight, bias, dilation=case.step.dilation, groups=groups)

    def run_all() -> Tensor:
        for _ in range(MEMBERS // groups):
            made = run()
        return made[:, :CHANNELS]

    return run_all


def compiled(case: Case, instructions: str, method: int, is_fused: bool = False) -> Run:
    """A kernel of the engine's library; fused, it does all that comes before and after too."""
    layer = Layer(case.scaled if is_fused else case.step, method, instructions, np.dtype(np.float32))
    x, residual, made = (
        memory.rows(len(case.x) * n, CHANNELS, np.dtype(np.float32)).reshape(len(case.x), n, CHANNELS)
        for n in (case.x.shape[2], case.outputs, case.outputs)
    )
    x[...], residual[...] = (given.movedim(1, 2).numpy() for given in (case.x, case.residual))
    items = np.zeros(len(x), ITEM)
    for name, given in (("input", x), *([("residual", residual)] if is_fused else [])):
        for item, rows in zip(items[name], given, strict=True):
            item["first"] = item["middle"] = item["last"] = rows.ctypes.data
            item["same"] = item["length"] = len(rows)
    items["outputs"], items["output"] = case.outputs, [rows.ctypes.data for rows in made]
    kept = x, residual  # for as long as their addresses are used

    def run() -> Tensor:
        assert kept
        layer.run(items)
        return torch.from_numpy(made).movedim(1, 2)

    return run


def ways_of_a_layer(case: Case) -> Iterator[tuple[str, Run]]:
    taps = case.weight.shape[2]
    yield "conv1d", conv1d(case)
    yield "conv1d, bf16", conv1d(case, torch.bfloat16)
    yield "conv2d, channels last", conv2d(case)
    yield "conv2d, channels last, bf16", conv2d(case, torch.bfloat16)
    yield "a product for each tap, added up", taps_summed(case)
    yield "copied, then one product", unfolded(case)
    if taps > 1:
        yield "torch.fft, blocks of 256 rows", torch_fft(case)
    yield "five members, one after another", members(case, 1)
    yield "five members, groups of one conv1d", members(case, MEMBERS)
    for instructions in library.available():
        yield f"library, {instructions}, direct", compiled(case, instructions, DIRECT)
        for size in SIZES if taps > 1 else ():
            if size > taps:
                yield f"library, {instructions}, Fourier, {size} rows", compiled(case, instructions, size)


# --- half a residual unit


def separate_unit(case: Case, instructions: str, method: int) -> Run:
    """The library's convolution between torch's other operations."""
    scale, shift = (t.float() for t in (case.scaled.scale, case.scaled.shift) if t is not None)
    x, residual = case.rows, case.residual.movedim(1, 2).contiguous().movedim(1, 2)

    def before() -> Tensor:
        return functional.leaky_relu(torch.addcmul(shift, x, scale), 0.1)

    convolve = compiled(replace(case, x=before().movedim(1, 2)), instructions, method)

    def run() -> Tensor:
        before()
        return convolve() + residual

    return run


def ways_of_a_unit(case: Case) -> Iterator[tuple[str, Run]]:
    given = case.x, (0, 0), case.residual
    steps = {f"conv{1 + is_flat}d": TorchStep(case.scaled, CPU, torch.float32, is_flat) for is_flat in (False, True)}
    for name, step in steps.items():
        yield f"{name}, separate", partial(step, *given)
    torch._dynamo.reset()
    for name, step in steps.items() if shutil.which(os.environ.get("CXX", "g++")) else ():
        run, began = torch.compile(step.__call__, fullgraph=True), time.perf_counter()
        with fresh_cache():
            run(*given)
        print(f"torch.compile took {time.perf_counter() - began:.1f} s for {name} of {told(case)}")
        yield f"{name}, torch.compile", partial(run, *given)
    if library.available():
        tuning = measured([Program((case.step,))], CPU, "fp32")
        method = int(tuning.compiled(case.step, np.array([case.outputs]), "fp32")[0])
        yield "library, separate", separate_unit(case, tuning.instructions, method)
        yield "library, fused", compiled(case, tuning.instructions, method, is_fused=True)


# --- the whole network


def make_network() -> SpliceAI:
    torch.manual_seed(0)
    network = SpliceAI(published(10_000)).eval()
    for norm in (module for module in network.modules() if isinstance(module, nn.BatchNorm1d)):
        norm.running_mean.normal_(0, 0.3)  # type: ignore[union-attr]
        norm.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    return network


def ways_of_a_network(program: Program) -> Iterator[tuple[str, Kernels]]:
    yield "program by conv1d", TorchKernels(program, CPU, torch.float32, lambda _: False)
    yield "program by conv2d", TorchKernels(program, CPU, torch.float32, lambda _: True)
    if library.available():
        tuning = measured([program], CPU, "fp32")
        direct = {name: {"direct": by["direct"]} for name, by in tuning.nanoseconds.items()}
        only_direct = tuning.model_copy(update={"nanoseconds": direct})
        yield f"program by the library, {tuning.instructions}", CompiledKernels(program, torch.float32, tuning)
        yield "the same, direct only", CompiledKernels(program, torch.float32, only_direct)


def time_network(repeats: int) -> Table:
    """A row for each way, a column for each kind of work: windows of reference, then windows altered in the middle."""
    network, double = make_network(), make_network().double()
    program = program_of(network)
    assert program is not None
    cost, length, middle = costs_of(network.config, 1), OUTPUTS + 2 * program.reach, OUTPUTS // 2
    stretch = np.random.default_rng(0).integers(0, 4, length + APART * ALTS).astype(np.uint8)
    refs = [stretch[at : at + length] for at in range(0, APART * ALTS, APART)]
    alts = [ref.copy() for ref in refs]
    for alt in alts:
        alt[length // 2] = (alt[length // 2] + 1) % 4
    changes = [change_between(ref, alt) for ref, alt in zip(refs, alts, strict=True)]
    runners = {way: Runner(program, kernels) for way, kernels in ways_of_a_network(program)}
    levels = {way: runner.reference([stretch], 0)[0] for way, runner in runners.items()}
    found: dict[str, list[str]] = defaultdict(list)
    answers, worst = [], 0.0
    for given, is_altered in ((refs[:1], False), (refs[:8], False), (alts[:1], True), (alts, True)):
        one_hot, n = make_one_hot(torch.from_numpy(np.stack(given))), len(given)
        ways: dict[str, Run] = {"module": partial(network.embed, one_hot)}
        windows = (
            Windows.altered(given, changes[:n], [0] * n, range(0, APART * n, APART))
            if is_altered
            else Windows.whole(given)
        )
        for way, runner in runners.items():
            ways[way] = partial(runner.embedding, windows, levels[way] if is_altered else None)
        answers.append(double.embed(one_hot.double()))
        needed = altered(cost, middle, 1, (0, OUTPUTS)) if is_altered else reference(cost, [(0, OUTPUTS)])
        timed = fastest(ways, repeats if n == 1 else 2, answers[-1])
        for way, (seconds, error) in timed.items():
            found[way].append(f"{1e3 * seconds / n:.1f} ms, {_rates(n * needed, seconds, timed['module'][0])}")
            worst = max(worst, error)
    effect = (answers[2] - answers[0]).abs().max() / answers[0].abs().max()
    assert effect > 1e-3, "an SNV must be seen in what is compared"
    print(f"largest error: {worst:.0e}, where an SNV changes the embedding by {effect:.1g}")
    return ["", "1 window", "8 windows", "1 ALT", f"{ALTS} ALTs"], [[way, *cells] for way, cells in found.items()]


# --- timing


def fastest(ways: Mapping[str, Run], repeats: int, expected: Tensor) -> dict[str, tuple[float, float]]:
    """CPU seconds and error of each way."""
    taken, errors = dict.fromkeys(ways, float("inf")), {}
    for name, run in ways.items():
        errors[name] = float((run().double() - expected).abs().max() / expected.abs().max())
        assert errors[name] <= LIMITS["bf16" in name], f"{name} is off by {errors[name]:.1e}"
    for _ in range(repeats):
        for name, run in ways.items():
            began = time.thread_time()
            run()
            taken[name] = min(taken[name], time.thread_time() - began)
    return {name: (taken[name] / (MEMBERS if "five" in name else 1), errors[name]) for name in ways}


def time_kinds(ways_of: Callable[[Case], Iterator[tuple[str, Run]]], size: tuple[int, int], repeats: int) -> Table:
    """A row for each way, a column for each kind of layer."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    worst: dict[str, float] = defaultdict(float)
    cases = [make_case(*kind, *size) for kind in KINDS]
    for case in cases:
        is_unit, rows = ways_of is ways_of_a_unit, size[0] * size[1]
        truth = TorchStep(case.scaled if is_unit else case.step, CPU, torch.float64, False)
        expected = truth(case.x.double(), (0, 0), case.residual.double() if is_unit else None)
        timed = fastest(dict(ways_of(case)), repeats, expected)
        for name, (seconds, error) in timed.items():
            rates = _rates(rows * case.step.work, seconds, timed[next(iter(timed))][0])
            found[name][told(case)] = f"{1e9 * seconds / rows:.0f} ns, {rates}"
            worst[name] = max(worst[name], error)
    columns = [told(case) for case in cases]
    lines = [[way, *(by.get(column, "") for column in columns), f"{worst[way]:.0e}"] for way, by in found.items()]
    return ["", *columns, "error"], lines


def _rates(work: int, seconds: float, first: float) -> str:
    return f"{work / seconds / 1e9:.0f}, {first / seconds:.2f}x"


def told(case: Case) -> str:
    taps = case.weight.shape[2]
    return f"{taps} tap{'s' * (taps > 1)}, dilation {case.step.dilation}"


def show(title: str, found: Table) -> None:
    print(f"\n{title}\n", *table(*found), "", sep="\n", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = ("layers", "fused", "network")
    parser.add_argument("--only", nargs="+", choices=parts, default=parts, help="which parts")
    parser.add_argument("--repeats", type=int, default=7, help="of which the fastest counts")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for size in WORKS:
            name = f"{size[0]} x {size[1]:,} outputs: time of a row, GMAC/s, speed beside the first"
            if "layers" in options.only:
                show(f"A layer, {name}", time_kinds(ways_of_a_layer, size, options.repeats))
            if "fused" in options.only:
                show(f"Half a unit, {name}", time_kinds(ways_of_a_unit, size, options.repeats))
        if "network" in options.only:
            found = time_network(min(options.repeats, 3))
            show("The network: time of a window, GMAC/s of what is needed, speed beside the module", found)


if __name__ == "__main__":
    main()
