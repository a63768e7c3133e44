"""A package against its test vectors, through the engine.

Vectors are written with every layer at the window's length (``full``) and read with what is needed only (``valid``, for
variants ``delta``): two ways to one value.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from basecast import __version__
from basecast.effects.scorer import Scorer, VariantSettings
from basecast.effects.splicing import LABELS
from basecast.errors import InputError, UsageError
from basecast.genome.reference import Genome
from basecast.genome.sequence import Tokens
from basecast.genome.source import Text
from basecast.genome.variants import VariantReader
from basecast.inference.engine import Engine, Mode
from basecast.inference.ensemble import Values
from basecast.inference.request import Request
from basecast.inference.tiling import grain, margin
from basecast.spec import LocalReach, ModelSpec, Output
from basecast.spec.splice import splice_columns
from basecast.zoo import vectors as files
from basecast.zoo.package import SUMS, Package, read_sums
from basecast.zoo.scene import Scene, made_up
from basecast.zoo.vectors import Expected, ExpectedScore, Vector, Vectors, read_vectors, weakness

_LONGEST = 12_000  # bases of a vector's contig
_MOST_BASES = 4_000_000  # of those that a package may bring
_SEEDS = 6
_CLEAR = 0.5  # a peak that ends the search for a better sequence
_MOST_TRACKS = 8
_MOST_PEAKS = 4
_WIDTH, _MEMBER_WIDTH = 8, 2  # bins around a peak
_SURE_PLACE = 0.05  # of smaller delta scores the place may be a tie


class Compared(NamedTuple):
    """The largest difference in one output of one vector, as a share of its scale, and where it is."""

    vector: str
    output: str
    largest: float
    tolerance: float
    where: str

    @property
    def agrees(self) -> bool:
        return self.largest <= self.tolerance

    def __str__(self) -> str:
        return f"{self.vector}, {self.output}: max |diff| {self.largest:.1e}, tolerance {self.tolerance:.0e}"


@dataclass(frozen=True)
class Made:
    """Files of a package by name, and what they gave when they were read again."""

    files: dict[str, bytes]
    compared: list[Compared]


def require_agreement(name: str, compared: Sequence[Compared]) -> None:
    """Raises InputError at the first vector that fails; the message says what differs, and where."""
    for one in compared:
        if not one.agrees:
            raise InputError(
                f"{name} fails its test vector {one.vector!r}: in {one.output}, {one.where} (max |diff| "
                f"{one.largest:.1e}, tolerance {one.tolerance:.0e}). It does not compute what its authors saw: the "
                "weights, config.json or this version of basecast are others"
            )


def check(package: Package, folder: Path, *, device: str = "auto") -> list[Compared]:
    """Run a package on the vectors of its folder, whose checksums have been verified.

    Raises:
        InputError: there are none, they are damaged, of another model or not listed in ``SHA256SUMS``, or would pass
            whatever the model did.
    """
    vectors, listed = read_vectors(folder), read_sums(folder)
    for name in _read(folder):
        if name not in listed:
            raise InputError(f"{folder / name} is not listed in {SUMS}: who made the package did not make it")
    return _check(package, folder, vectors, device)


def _check(package: Package, folder: Path, vectors: Vectors, device: str) -> list[Compared]:
    genome = Genome(folder / files.BASES)
    length = genome.lengths.get(files.CONTIG, 0)
    if not 0 < length <= _MOST_BASES:
        raise InputError(f"{genome.path} has no contig {files.CONTIG} of up to {_MOST_BASES:,} bases")
    bases = genome.tokens(files.CONTIG, 0, length)
    if problem := _problem(package.spec, bases, vectors):
        raise InputError(f"{folder / files.VECTORS} proves nothing: {problem}")
    run = _Run(package, bases, vectors.inputs, device, "valid")
    compared = [one for vector in vectors.vectors for one in _compare(vector, run, vectors)]
    if vectors.scores:
        found = _scores(package, folder, vectors.distance, device, "delta")
        compared.append(_compare_scores(vectors.scores, found))
    return compared


def kept_or_made(package: Package, *, device: str = "auto") -> Made:
    """The vectors that a package carries, checked, or new ones.

    Raises:
        InputError: it fails those that it carries, or none can be made.
    """
    folder = Path(package.source)
    if not (folder / files.VECTORS).is_file():
        return make(package, device=device)
    compared = check(package, folder, device=device)
    require_agreement(package.spec.name, compared)
    return Made(_read(folder), compared)


def make(package: Package, *, device: str = "auto") -> Made:
    """Test vectors of a package, of a splice model with scores of variants; they have passed ``check`` once.

    Raises:
        UsageError: the package cannot be run alone.
        InputError: no made-up sequence makes the model say anything that can be told from silence.
    """
    tried: list[tuple[float, Vectors, Scene]] = []
    for seed in range(_SEEDS):
        scene = _scene(package.spec, seed)
        vectors = _evaluated(package, scene, device)
        tried.append((vectors.clarity(), vectors, scene))
        if tried[-1][0] >= _CLEAR:
            break
    _, vectors, scene = max(tried, key=lambda three: three[0])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / files.FOLDER).mkdir()
        texts = scene.files()
        reach, is_splice_model = package.spec.reach, _gives_splice_sites(package.spec)
        for file in texts if is_splice_model else [files.BASES]:
            (folder / file).write_text(texts[file])
        if is_splice_model and isinstance(reach, LocalReach):
            distance = min(50, reach.left)
            scores = tuple(_scores(package, folder, distance, device, _thorough(package)))
            vectors = vectors.model_copy(update={"distance": distance, "scores": scores})
        if problem := _problem(package.spec, scene.bases, vectors):
            raise InputError(f"{package.spec.name} cannot have test vectors, for they would prove nothing: {problem}")
        (folder / files.VECTORS).write_text(vectors.model_dump_json() + "\n")
        compared = _check(package, folder, vectors, device)
        require_agreement(package.spec.name, compared)
        return Made(_read(folder), compared)


def _read(folder: Path) -> dict[str, bytes]:
    """The vectors' files by name."""
    names = (files.BASES, files.GENES, files.VARIANTS, files.VECTORS)
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _problem(spec: ModelSpec, bases: Tokens, vectors: Vectors) -> str:
    """Why vectors prove nothing, if so."""
    problem = weakness(spec, bases, vectors)
    return problem or ("no variant has a score" if _gives_splice_sites(spec) and not vectors.scores else "")


def _gives_splice_sites(spec: ModelSpec) -> bool:
    """Whether variants can be scored with it and nothing else."""
    try:
        splice_columns(spec)
    except UsageError:
        return False
    return not spec.conditions and len(spec.inputs) == 1


def _thorough(package: Package) -> Mode:
    """The mode in which vectors are written."""
    local = [isinstance(one.spec.reach, LocalReach) for one in (package, *package.nodes.values())]
    return "full" if all(local) else "valid"


def _scene(spec: ModelSpec, seed: int) -> Scene:
    """Both genes, with the whole context of a local model or with what is short enough to be carried."""
    genes = made_up(seed, 0, 0)
    most = (_LONGEST - genes.end) // 2
    left, right = (spec.reach.left, spec.reach.right) if isinstance(spec.reach, LocalReach) else (most, most)
    return made_up(seed, min(left, most), min(right, most))


def _stretch(spec: ModelSpec, scene: Scene) -> tuple[int, int]:
    """Whole bins that cover the genes, or as much of them as one window gives."""
    step, reach = grain(spec), spec.reach
    span = -(-(scene.end - scene.start) // step) * step
    if not isinstance(reach, LocalReach):
        usable = reach.length_for(span + 2 * margin(spec)) - 2 * (reach.crop + margin(spec))
        span = min(span, usable // step * step)
    start = (scene.start + scene.end - span) // 2
    return start, start + span


def _evaluated(package: Package, scene: Scene, device: str) -> Vectors:
    """What a package gives on both strands, and, where there are several, what each member gives alone."""
    spec = package.spec
    inputs = {item.name: _pattern(item.channels) for item in spec.inputs if item.kind == "track"}
    run = _Run(package, scene.bases, inputs, device, _thorough(package))
    start, end = _stretch(spec, scene)
    plus = Vector(name="plus strand", start=start, end=end, strand="+", conditions=_condition(spec, 0), outputs={})
    minus = plus.model_copy(update={"name": "minus strand", "strand": "-", "conditions": _condition(spec, -1)})
    names = [output.name for output in spec.outputs]
    vectors = [_filled(vector, run, names, _WIDTH) for vector in (plus, minus)]
    for member in spec.members if len(spec.members) > 1 else ():
        alone = plus.model_copy(update={"name": f"{member.file} alone", "member": member.file})
        vectors.append(_filled(alone, run, member.outputs, _MEMBER_WIDTH))
    return Vectors(basecast=__version__, inputs=inputs, vectors=tuple(vectors))


def _condition(spec: ModelSpec, which: int) -> dict[str, str]:
    return {condition.name: condition.values[which] for condition in spec.conditions}


def _filled(vector: Vector, run: _Run, names: Sequence[str], width: int) -> Vector:
    """A vector with its values, ``width`` bins around each peak."""
    outputs = [run.package.spec.output(name) for name in names]
    chosen = {output.name: _some_tracks(output) for output in outputs}
    values = run.values(vector, chosen)
    found = {o.name: _around_peaks(o, chosen[o.name], values[o.name], width) for o in outputs}
    return vector.model_copy(update={"outputs": found})


def _some_tracks(output: Output) -> list[int]:
    """A few tracks from first to last, with those that they swap with on the minus strand."""
    chosen = set(np.linspace(0, len(output.tracks) - 1, _MOST_TRACKS).astype(int).tolist())
    order = output.reverse_complement.permutation
    return sorted(chosen | {order[i] for i in chosen if order})


def _around_peaks(output: Output, chosen: Sequence[int], values: Float[np.ndarray, ...], width: int) -> Expected:
    """The bins around where each of a few tracks stands out most."""
    bins: set[int] = set()
    width = width if output.axes == "position" else 0
    if output.axes != "scalar":
        away = np.abs(values - np.median(values, axis=0)).reshape(len(values), -1, values.shape[-1]).max(axis=1)
        for peak in away[:, :: -(-away.shape[1] // _MOST_PEAKS)].argmax(axis=0).tolist():
            bins |= set(range(max(peak - width // 2, 0), min(peak + width // 2 + 1, len(values))))
    taken = _at(values, sorted(bins))
    rounded = np.array([float(f"{value:.7g}") for value in taken.ravel()]).reshape(taken.shape)
    tracks = tuple((i, output.tracks[i].name) for i in chosen)
    return Expected(bins=tuple(sorted(bins)), tracks=tracks, values=rounded.tolist())


def _at(values: Float[np.ndarray, ...], bins: Sequence[int]) -> Float[np.ndarray, ...]:
    """The values at some bins, along every axis of bins.

    Raises:
        IndexError: there is no such bin.
    """
    for axis in range(values.ndim - 1):
        values = np.take(values, bins, axis)
    return values


def _pattern(channels: int) -> list[list[float | None]]:
    """Bins of an input track to repeat; one of them has no value."""
    waves = [[round(abs(np.sin(1 + i * (channel + 2))), 3) for i in range(13)] for channel in range(channels)]
    return [[None if i == 5 else value for i, value in enumerate(wave)] for wave in waves]


@dataclass(frozen=True, eq=False)
class _Repeated:
    """An input track that has the same few bins over and over."""

    bins: Float[np.ndarray, "channels period"]
    resolution: int

    def values(self, contig: str, start: int, end: int) -> Float[np.ndarray, "channels bins"]:
        return self.bins[:, np.arange(start // self.resolution, end // self.resolution) % self.bins.shape[1]]


class _Run:
    """A package, and each of its members alone, on a stretch of bases."""

    def __init__(
        self, package: Package, bases: Tokens, inputs: Mapping[str, list[list[float | None]]], device: str, mode: Mode
    ) -> None:
        self.package = package
        self._source = Text(bases, files.CONTIG)
        self._tracks = {
            item.name: _Repeated(np.array(inputs[item.name], dtype=float), item.resolution)
            for item in package.spec.inputs
            if item.name in inputs
        }
        self._device: str = device
        self._mode: Mode = mode
        self._engines: dict[str, Engine] = {}

    def values(self, vector: Vector, tracks: Mapping[str, Sequence[int]]) -> Values:
        """What it gives for the stretch of a vector."""
        if vector.member not in self._engines:
            package = _alone(self.package, vector.member) if vector.member else self.package
            self._engines[vector.member] = Engine(package, device=self._device, mode=self._mode)
        where = (files.CONTIG, vector.start, vector.end, vector.strand)
        request = Request(self._source, *where, vector.conditions, self._tracks)
        return self._engines[vector.member].evaluate([request], list(tracks), tracks)[0]


def _alone(package: Package, file: str) -> Package:
    """One member of a package."""
    spec = package.spec
    for member, network in zip(spec.members, package.networks, strict=False):
        if member.file == file:
            return Package(spec.model_copy(update={"members": (member,)}), (network,))
    raise InputError(f"{spec.name} has no member {file}: its test vectors are of another model")


def _compare(vector: Vector, run: _Run, vectors: Vectors) -> Iterator[Compared]:
    """Each output of one vector against the package as it is now."""
    spec = run.package.spec
    fails = f"{spec.name} fails its test vector {vector.name!r}"
    known = {output.name: dict(enumerate(track.name for track in output.tracks)) for output in spec.outputs}
    for name, expected in vector.outputs.items():
        tracks = known.get(name, {})
        if any(tracks.get(i) != track for i, track in expected.tracks):
            raise InputError(
                f"{fails}: config.json has the tracks {[*tracks.values()]} of {name}, not {expected.tracks}"
            )
    values = run.values(vector, {name: [i for i, _ in expected.tracks] for name, expected in vector.outputs.items()})
    for name, expected in vector.outputs.items():
        found, wanted = values[name], expected.array
        if any(bin_ >= size for bin_ in expected.bins for size in found.shape[:-1]):
            raise InputError(f"{fails}: {name} has {found.shape[0]} bins there, not one at {max(expected.bins)}")
        found = _at(found, expected.bins)
        if found.shape != wanted.shape:
            raise InputError(f"{fails}: {name} has the shape {found.shape}, not {wanted.shape}")
        difference = np.where(np.isfinite(found), np.abs(found - wanted), np.inf)
        at = np.unravel_index(int(difference.argmax()), difference.shape)
        track = expected.tracks[int(at[-1])][1]
        place = f" at bin {expected.bins[at[0]]}" if difference.ndim > 1 else ""
        where = f"{track}{place} is {found[at]:.6g} instead of {wanted[at]:.6g}"
        largest = float(difference.max()) / vectors.scale_of(name)
        yield Compared(vector.name, name, largest, files.TOLERANCE, where)


def _scores(package: Package, folder: Path, distance: int, device: str, mode: Mode) -> list[ExpectedScore]:
    """Delta scores of the variants in a folder."""
    settings = VariantSettings(distance=distance, device=device)
    scorer = Scorer(package, folder / files.BASES, folder / files.GENES, settings)
    if scorer.engine.mode != mode:
        scorer.engine = Engine(package, device=device, mode=mode)
    with VariantReader(folder / files.VARIANTS) as reader:
        records = list(reader)
    return [
        ExpectedScore(
            record=record.number,
            allele=row.allele,
            symbol=row.symbol,
            score=row.delta.score,
            position=row.delta.position,
            offset=row.delta.offset,
        )
        for record, rows in zip(records, scorer.rows(records), strict=True)
        for row in rows
        if row.allele is not None and row.delta is not None
    ]


def _compare_scores(wanted: Sequence[ExpectedScore], found: Sequence[ExpectedScore]) -> Compared:
    """Scores within the tolerance, and, of those that are no mere trifle, the same places."""
    by_key = {(score.record, score.allele, score.symbol): score for score in found}
    differences: list[tuple[float, str]] = []
    for one in wanted:
        said = f"allele {one.allele + 1} of record {one.record} in {one.symbol}"
        other = by_key.get((one.record, one.allele, one.symbol))
        if other is None:
            differences.append((np.inf, f"{said} has no score"))
            continue
        for i, label in enumerate(LABELS):
            (was, *stood), (now, *stands) = ((s.score[i], s.position[i], s.offset[i]) for s in (one, other))
            moved = was >= _SURE_PLACE and stood != stands
            words = f"DS_{label} of {said} is {now:.4f} at {stands[0]:+d} instead of {was:.4f} at {stood[0]:+d}"
            differences.append((np.inf if moved else abs(now - was), words))
    worst, where = max(differences)
    return Compared("variants", "delta scores", worst, files.SCORE_TOLERANCE, where)
