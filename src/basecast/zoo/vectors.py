"""Test vectors as a package carries them: bases, values that a model gives for them, variants and their scores.

Whether they are worth anything is decided here: vectors that pass whatever a model does are none.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pydantic
from jaxtyping import Float

from basecast.errors import InputError
from basecast.genome.sequence import N, Tokens, reverse_complement
from basecast.spec import LocalReach, ModelSpec
from basecast.spec.model import Frozen

FOLDER = "acceptance"
VECTORS, BASES, GENES, VARIANTS = (f"{FOLDER}/{name}" for name in ("vectors.json", "bases.fa", "genes.bed", "in.vcf"))
CONTIG = "made_up"

TOLERANCE = 1e-4
"""The largest difference that passes, as a share of the output's largest value in the vectors."""
SCORE_TOLERANCE = 2e-4
"""The same of a delta score, which is rounded to 1e-4."""
PEAK = 0.01
"""How far, in that measure, a value must stand above the median: what is off by a base then fails a hundredfold."""


class Expected(Frozen):
    """Values of some tracks (index, name) of an output at some bins of the stretch, nested as its axes are."""

    bins: tuple[pydantic.NonNegativeInt, ...]
    tracks: tuple[tuple[pydantic.NonNegativeInt, str], ...]
    values: Any

    @pydantic.model_validator(mode="after")
    def _is_an_array(self) -> Expected:
        """Raises ValueError, also where rows differ in length."""
        shape = self.array.shape
        if not shape or shape != (*[len(self.bins)] * (len(shape) - 1), len(self.tracks)):
            raise ValueError(
                f"values of shape {shape} do not stand at {len(self.bins)} bins of {len(self.tracks)} tracks"
            )
        return self

    @property
    def array(self) -> Float[np.ndarray, ...]:
        """The values, tracks last."""
        return np.array(self.values, dtype=float)


class Vector(Frozen):
    """What a model (of it only ``member``, where one is named) gives for [start, end) of the bases on a strand."""

    name: str
    start: int
    end: int
    strand: Literal["+", "-"]
    conditions: dict[str, str]
    member: str = ""
    outputs: dict[str, Expected]


class ExpectedScore(Frozen):
    """Delta scores of an allele in a gene, and where they stand."""

    record: int
    allele: int
    symbol: str
    score: tuple[float, float, float, float]
    position: tuple[int, int, int, int]
    offset: tuple[int, int, int, int]


class Vectors(Frozen):
    """All of them. ``inputs``: bins of each input track that repeat from end to end; None where there is no value."""

    version: Literal[1] = 1
    basecast: str
    inputs: dict[str, list[list[float | None]]]
    vectors: tuple[Vector, ...]
    distance: pydantic.NonNegativeInt = 0
    scores: tuple[ExpectedScore, ...] = ()

    @pydantic.field_validator("inputs")
    @classmethod
    def _are_arrays(cls, inputs: dict[str, list[list[float | None]]]) -> dict[str, list[list[float | None]]]:
        """Raises ValueError where an input's rows differ in length, or have none."""
        for name, rows in inputs.items():
            if len({len(row) for row in rows}) != 1 or not rows[0]:
                raise ValueError(f"the input {name} is not an array of bins")
        return inputs

    def scale_of(self, output: str) -> float:
        """The largest value of an output: what differences are shares of."""
        found = [np.abs(v.outputs[output].array).max() for v in self.vectors if output in v.outputs]
        return float(max(found, default=0.0))

    def clarity(self) -> float:
        """The least that any output's largest value stands above its median, as a share of its scale."""
        return min((self._peak(name) for name in {name for v in self.vectors for name in v.outputs}), default=0.0)

    def _peak(self, output: str) -> float:
        """Over both strands, by track."""
        found = [v.outputs[output].array for v in self.vectors if output in v.outputs and not v.member]
        rows = np.concatenate([values.reshape(-1, values.shape[-1]) for values in found]) if found else np.zeros((1, 1))
        scale = self.scale_of(output)
        return float((rows.max(axis=0) - np.median(rows, axis=0)).max()) / scale if scale > 0 else 0.0


def read_vectors(folder: Path) -> Vectors:
    """The vectors of a package whose checksums have been verified.

    Raises:
        InputError: it carries none, or they cannot be read.
    """
    path = folder / VECTORS
    if not path.is_file():
        raise InputError(f"{folder} carries no test vectors, so nothing can be said of what it computes")
    try:
        return Vectors.model_validate_json(path.read_bytes())
    except pydantic.ValidationError as error:
        raise InputError(f"{path} holds no test vectors that this version of basecast reads: {error}") from None


def weakness(spec: ModelSpec, bases: Tokens, vectors: Vectors) -> str:
    """Why vectors prove nothing; '' where they do prove something."""
    return next(_weaknesses(spec, bases, vectors), "")


def _weaknesses(spec: ModelSpec, bases: Tokens, vectors: Vectors) -> Iterator[str]:
    for vector in vectors.vectors:
        if not 0 <= vector.start < vector.end <= len(bases):
            yield f"{vector.name} is of bases that are not there"
    whole = [vector for vector in vectors.vectors if not vector.member]
    if {vector.strand for vector in whole} != {"+", "-"}:
        yield "a strand is missing"
    reach = spec.reach
    for vector in whole:
        left, right = (reach.left, reach.right) if isinstance(reach, LocalReach) else (len(bases), len(bases))
        seen = bases[max(vector.start - left, 0) : vector.end + right]
        if set(range(4)) - set(seen.tolist()):
            yield f"{vector.name} does not have all four bases"
        if not (0 < np.count_nonzero(seen == N) < len(seen) / 2):
            yield f"{vector.name} has no N among its bases, or hardly anything else"
        if np.array_equal(seen, reverse_complement(seen)):
            yield f"{vector.name} is its own reverse complement"
        if missing := {output.name for output in spec.outputs} - vector.outputs.keys():
            yield f"{vector.name} has no values of {', '.join(sorted(missing))}"
    for vector in vectors.vectors:
        for name, expected in vector.outputs.items():
            if not (expected.array.size and np.isfinite(expected.array).all()):
                yield f"{vector.name} has values of {name} that are no numbers"
    for output in spec.outputs:
        values = [vector.outputs[output.name].array.ravel() for vector in whole if output.name in vector.outputs]
        if len(np.unique(np.concatenate(values))) < 2:
            yield f"{output.name} has one value throughout"
    if vectors.clarity() < PEAK:
        yield f"an output has no peak: its largest value is {vectors.clarity():.1%} of it above its median"
    if vectors.scores and max(max(score.score) for score in vectors.scores) < PEAK:
        yield "no variant has an effect"
