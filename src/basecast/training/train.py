"""Datasets in, a model out: one network a seed, each trained by the loop, together one package."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

import basecast
from basecast.data.loader import Source
from basecast.data.opening import open_split
from basecast.errors import UsageError
from basecast.inference.device import choose_device
from basecast.inference.shards import Parts, RunSettings
from basecast.models.network import Network
from basecast.models.registry import build
from basecast.spec import Member, ModelSpec, Provenance
from basecast.training.checkpoint import State
from basecast.training.distributed import joined, local_device
from basecast.training.fitting import context_of, require_fit, require_window
from basecast.training.lineage import inherited
from basecast.training.loop import Loop, LoopSettings, Penalty
from basecast.training.notes import best_epoch, notes
from basecast.zoo.card import card_of
from basecast.zoo.package import Package, fill, require_new, save_package


@dataclass(frozen=True)
class Start:
    """Where training begins: what the model is, and each seed's network before its first step.

    Attributes:
        spec: of the model that comes out; its members are named when it is written.
        network: the network of a seed; its trainable parameters are those that require gradients.
        words: what tells this start from others, for the plan.
        groups: parameter groups for the optimiser, each with a ``factor`` of the learning rate.
        penalty: what is added to the loss of a network.
        finished: a trained network as it is written, where that is another than is trained.
        note: a sentence for the card.
    """

    spec: ModelSpec
    network: Callable[[int], Network]
    words: dict[str, Any]
    groups: Callable[[Network], Sequence[dict[str, Any]]] | None = None
    penalty: Callable[[Network], Penalty] | None = None
    finished: Callable[[Network], Network] = lambda network: network
    note: str = ""


def from_scratch(spec: ModelSpec) -> Start:
    """A network with new weights for each seed."""
    architecture = spec.architecture
    if architecture is None:
        raise UsageError(f"{spec.name} is a graph of packages: train each of them")

    def network(seed: int) -> Network:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build(architecture)

    return Start(spec, network, {"architecture": architecture.model_dump(mode="json")})


@dataclass(frozen=True)
class Draft:
    """A model that is trained and not yet written: what it is, what is to be said of it, and files that go with it."""

    package: Package
    notes: str
    files: Mapping[str, bytes] = field(default_factory=dict)


Write = Callable[[Path, Draft], None]
"""Writes the package; with test vectors where the writer can run it."""


def write_plain(target: Path, draft: Draft) -> None:
    """A package without test vectors."""
    save_package(target, draft.package, card_of(draft.package.spec, notes=draft.notes), draft.files)


@dataclass
class Trained:
    """What a training gave: for each seed the epoch that was kept, and how it did on the validation data."""

    seeds: list[int]
    best: list[dict[str, Any]]
    seconds: float


def train(
    data: Sequence[str | Path],
    target: str | Path,
    start: Start,
    settings: LoopSettings,
    *,
    seeds: Sequence[int] = (1,),
    run: RunSettings | None = None,
    device: str = "auto",
    workers: int = 0,
    every: float = 120.0,
    checkpointed: bool = False,
    command: str = "",
    write: Write = write_plain,
    tell: Callable[[dict[str, Any]], None] | None = None,
) -> Trained:
    """Train a model on the ``train`` split of datasets, choosing its epoch by their ``validation`` split.

    While it lasts, ``TARGET.basecast`` (or ``run.work_dir``) holds the checkpoints and the metrics of each seed, and
    the same call goes on there, to the same weights. Started by torchrun, all processes train together.

    Args:
        data: folders of datasets.
        target: the package to write.
        seeds: of each network; several make an ensemble.
        every: seconds from one checkpoint to the next.
        checkpointed: whether a network's activations are made again on the way back instead of kept.
        write: how the package is written.
        tell: is given each line of the metrics, with the ``seed`` it belongs to.

    Raises:
        InputError: a dataset is missing, damaged, or not what the model takes.
        UsageError: settings that do not fit the data or the run begun, or the package is there already.
        BasecastError: the loss is no number.
    """
    run, target = run or RunSettings(), Path(target)
    require_new(target)
    if len(set(seeds)) != len(seeds) or not seeds or not all(0 <= seed < 1 << 31 for seed in seeds):
        raise UsageError(f"each seed makes one network: give different ones from 0 to 2^31 - 1, not {list(seeds)}")
    if settings.data_weights is not None and len(settings.data_weights) != len(data):
        raise UsageError(
            f"there are {len(data)} datasets and {len(settings.data_weights)} weights: give each dataset one"
        )
    training, validation = ([open_split(folder, split) for folder in data] for split in ("train", "validation"))
    for dataset in (*training, *validation):
        require_fit(dataset, start.spec)
    require_window(start.spec, settings.sampling.window)
    on = local_device(choose_device(device))
    context, outputs = context_of(start.spec), start.spec.outputs
    sources = [Source.of(datasets, settings.sampling, context, outputs) for datasets in (training, validation)]
    plan = {
        "verb": "train",
        "basecast": basecast.__version__,
        **start.words,
        "tracks": {output.name: [track.name for track in output.tracks] for output in outputs},
        "data": [[dataset.digest for dataset in split] for split in (training, validation)],
        "seeds": list(seeds),
        **settings.model_dump(mode="json"),
        "device": on.type,
    }
    with joined(on) as ranks:
        parts = Parts(run.folder(target), plan, {"verb": "train"}, restart=run.restart) if ranks.is_first else None
        ranks.wait()
        try:
            states, lines = [], []
            for number, seed in enumerate(seeds):
                stem = run.folder(target) / f"part-{number:06d}"
                told = (lambda line, seed=seed: tell({"seed": seed, **line})) if tell else None
                network = start.network(seed).to(on, torch.float64 if settings.precision == "fp64" else torch.float32)
                network.checkpointed = checkpointed
                loop = Loop(
                    network,
                    outputs,
                    sources[0],
                    sources[1],
                    settings,
                    seed=seed,
                    stem=stem,
                    ranks=ranks,
                    workers=workers,
                    groups=start.groups(network) if start.groups else None,
                    penalty=start.penalty(network) if start.penalty else None,
                    every=every,
                    tell=told,
                )
                states.append(loop.run())
                lines.append(ranks.from_first(loop.metrics.read_bytes() if ranks.is_first else b""))
            if parts is not None:
                draft = _draft(target.name, start, states, lines, seeds, sources, settings, command)
                write(target, draft)
                parts.remove()
            ranks.wait()
        finally:
            if parts is not None:
                parts.close()
    return Trained(list(seeds), [best_epoch(text) for text in lines], sum(state.seconds for state in states))


def shared_mask(folders: Sequence[str | Path]) -> tuple[Any, str, str]:
    """``mask``, species and genome build of the training data; species and builds of several are joined.

    Raises:
        UsageError: some datasets have N outside the gene and others have not.
    """
    headers = [open_split(folder, "train").header for folder in folders]
    masks = {header.mask for header in headers}
    if len(masks) > 1:
        raise UsageError("some of the data have N outside the gene, some the genome: make them alike with create-data")
    species, builds = (
        ", ".join(dict.fromkeys(text for text in texts if text))
        for texts in ([h.species for h in headers], [h.genome_build for h in headers])
    )
    return masks.pop(), species, builds


def _draft(
    name: str,
    start: Start,
    states: Sequence[State],
    lines: Sequence[bytes],
    seeds: Sequence[int],
    data: Sequence[Source],
    settings: LoopSettings,
    command: str,
) -> Draft:
    files = ["model.safetensors"] if len(seeds) == 1 else [f"model-{seed}.safetensors" for seed in seeds]
    outputs = tuple(output.name for output in start.spec.outputs)
    datasets = [dataset for source in data for dataset in source.datasets]
    files_of_data = [(f"{d.path.parent.name}/{d.path.name}", d.digest) for d in datasets]
    sources = _by_name([*(item for d in datasets for item in d.header.sources.items()), *files_of_data])
    ancestors = [(name, d.header.licence) for d in datasets for name in d.header.parents]
    spec = inherited(start.spec, ancestors).model_copy(
        update={
            "name": name,
            "members": tuple(Member(file=file, outputs=outputs) for file in files),
            "provenance": Provenance(basecast=basecast.__version__, command=command, sources=sources),
        }
    )
    networks = []
    for number, state in enumerate(states):
        network = start.network(seeds[number])
        fill(network, {name: x.float() if x.is_floating_point() else x for name, x in state.best.items()}, Path(name))
        networks.append(start.finished(network))
    from basecast.figures.canvas import png
    from basecast.figures.curves import training_curves

    texts = dict(zip(seeds, lines, strict=True))
    histories = {seed: [json.loads(line) for line in text.splitlines()] for seed, text in texts.items()}
    kept = {f"training/metrics-{seed}.jsonl": text for seed, text in texts.items()}
    kept["training/curves.png"] = png(training_curves(histories))
    return Draft(Package(spec, tuple(networks)), notes(start.note, states, lines, seeds, data, settings, command), kept)


def _by_name(digests: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Digests by name; of files that differ and have one name the others are numbered."""
    found: dict[str, str] = {}
    for name, digest in digests:
        number, own = 1, name
        while found.get(own, digest) != digest:
            number += 1
            own = f"{name} ({number})"
        found[own] = digest
    return found
