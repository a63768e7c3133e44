"""What a teacher says of records and of mutated copies of them, as a dataset that a student learns from."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float
from pydantic import Field

import basecast
from basecast.data.opening import open_split
from basecast.data.openspliceai import OpenSpliceAIShards
from basecast.data.store import Dataset, Header
from basecast.data.writer import Writer
from basecast.errors import UsageError
from basecast.evaluation.answers import Answers, Records
from basecast.evaluation.records import EngineSettings
from basecast.files import whole_file
from basecast.genome.sequence import N, Tokens, padded
from basecast.inference.jobs import Job, carry_out, parts_of
from basecast.inference.shards import RunSettings
from basecast.spec import ModelSpec
from basecast.spec.model import Calibration, Frozen
from basecast.training.design import designed
from basecast.training.fitting import context_of
from basecast.zoo.package import Package


class TeachingSettings(Frozen):
    """What the teacher is shown."""

    copies: int = Field(1, ge=0, description="mutated copies of each record, besides the record itself")
    mutation_rate: float = Field(
        0.02, ge=0, le=1, description="share of the bases of a copy that another takes the place of"
    )
    seed: int = Field(1, ge=0, description="of the mutations")


def student_of(teacher: Package, context: int | None = None, channels: int | None = None) -> ModelSpec:
    """A spec without a name for a student: built as the teacher is, or of a published size.

    Raises:
        UsageError: the teacher is a graph of packages and no size is given, or the context is none that was published.
    """
    spec = teacher.spec
    if context is None and channels is None and spec.architecture is not None:
        return spec.model_copy(update={"members": (), "parents": (), "calibration": Calibration()})
    size = str(context or sum(context_of(spec)))
    return designed(spec.outputs, size=size, config={"channels": channels or 32}, name="student", licence="")


class Copies(Dataset):
    """A dataset with each record as it is, then ``copies`` times with bases at random places replaced by others."""

    def __init__(self, path: Path, settings: TeachingSettings) -> None:
        super().__init__(path)
        self._settings, self._own = settings, self.records.height
        self.records = pl.concat([self.records] * (settings.copies + 1))
        self._mutated = lru_cache(maxsize=4)(self._mutate)

    def tokens(self, record: int, start: int, end: int) -> Tokens:
        copy, own = divmod(record, self._own)
        if not copy:
            return super().tokens(own, start, end)
        flank, bases = self.header.flank, self._mutated(record)
        return padded(lambda low, high: bases[low:high], bases.size, start + flank, end + flank)

    def _mutate(self, record: int) -> Tokens:
        flank = self.header.flank
        bases = super().tokens(record % self._own, -flank, int(self.lengths[record]) + flank).copy()
        rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([self._settings.seed, record])))
        places = np.flatnonzero((rng.random(bases.size) < self._settings.mutation_rate) & (bases != N))
        bases[places] = (bases[places] + rng.integers(1, 4, places.size)) % 4
        return bases


def teach(
    teacher: Package,
    data: Sequence[str | Path],
    target: str | Path,
    *,
    settings: TeachingSettings | None = None,
    engine: EngineSettings | None = None,
    run: RunSettings | None = None,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> Path:
    """Write datasets into a folder: ``train.h5`` with the teacher's values, ``validation.h5`` with the data's labels.

    While it lasts, ``TARGET.basecast`` holds what is done, and the same call goes on there. A folder that holds the
    answers of this teacher to these questions is left as it is.

    Raises:
        InputError: a dataset is missing or damaged.
        UsageError: teacher and data do not go together, there are several data, or the folder holds something else.
    """
    settings, run, folder = settings or TeachingSettings(), run or RunSettings(), Path(target)
    if len(data) != 1:
        raise UsageError("a teacher is asked about one dataset at a time: distil on each, or make one of them")
    source, validation = open_split(data[0], "train"), open_split(data[0], "validation")
    if isinstance(source, OpenSpliceAIShards) or isinstance(validation, OpenSpliceAIShards):  # each is a Dataset
        raise UsageError(f"{data[0]} is of another layout: give a folder of 'basecast create-data'")
    output = teacher.spec.outputs[0]
    words = {"teacher": teacher.digest, "data": source.digest, **settings.model_dump(mode="json")}
    if (folder / "train.h5").exists():
        if open_split(folder, "train").header.settings != words:
            raise UsageError(f"{folder} holds other answers than are asked for: remove it or choose another --labels")
        return folder
    copies = Copies(source.path, settings)
    rows = np.arange(len(copies.lengths))
    classes = tuple(track.name for track in output.tracks)
    records = Records((copies,), (Path(data[0]).name,), np.zeros_like(rows), rows, output.name, classes)
    answers = Answers(teacher, records, engine or EngineSettings())
    total = int(copies.lengths.sum())

    def payload(items: Sequence[int]) -> bytes:
        content = io.BytesIO()
        said = {str(item): values.astype(np.float16) for item, values in answers.each(items)}
        np.savez_compressed(content, allow_pickle=False, **said)
        return content.getvalue()

    job = Job(
        plan={"verb": "teach", "basecast": basecast.__version__, **words, **answers.plan()},
        assembly={"verb": "teach"},
        shards=answers.shards,
        worker=payload,
        files={str(source.path): source.digest},
        size=answers.bases,
        engine=answers.engine,
    )
    told = (lambda done: progress(done, total)) if progress else None
    with parts_of(job, str(folder), run) as parts:
        carry_out(job, parts, run, told)
        folder.mkdir(parents=True, exist_ok=True)
        header = source.header.model_copy(
            update={
                "outputs": (output,),
                "dense": (output.name,),
                "settings": words,
                "command": command,
                "parents": (teacher.spec.name,),
                "licence": teacher.spec.licence,
                "basecast": basecast.__version__,
            }
        )
        with whole_file(folder / "validation.h5") as partial:
            partial.write_bytes(validation.path.read_bytes())
        with whole_file(folder / "train.h5") as partial, Writer(partial, header) as writer:
            for number, items in answers.shards():
                with np.load(io.BytesIO(parts.load(number))) as values:
                    for item in items:
                        _write(writer, copies, header, item, values[str(item)])
        parts.remove()
    return folder


def _write(
    writer: Writer, copies: Copies, header: Header, item: int, values: Float[np.ndarray, "positions classes"]
) -> None:
    record = copies.record(item)
    bases = copies.tokens(item, -header.flank, record.end - record.start + header.flank)
    writer.add(record, bases, {header.outputs[0].name: values})
