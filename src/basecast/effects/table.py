"""Tables of scores: tab-separated or Parquet, of any length in bounded memory."""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import polars as pl

from basecast.errors import BasecastError
from basecast.files import whole_file
from basecast.genome.variants import VariantRecord

Pending = list[tuple[VariantRecord, Sequence[Any]]]


class TableWriter:
    """A table of records with their rows; it appears whole when the block ends well.

    Args:
        frame: makes a part of the table of some records.
        batch: rows that are held.
        is_parquet: by default what the target's suffix says.
        metadata: words that a Parquet file keeps beside its columns.
    """

    not_sorted: str | None = None

    def __init__(
        self,
        target: str,
        frame: Callable[[Pending], pl.DataFrame],
        *,
        batch: int = 20_000,
        is_parquet: bool | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        self._target, self._frame, self._batch = Path(target), frame, batch
        self._is_parquet = self._target.suffix.lower() == ".parquet" if is_parquet is None else is_parquet
        self._metadata = dict(metadata or {})
        self._pending: Pending = []
        self._n_pending = self._n_pieces = 0

    def __enter__(self) -> Self:
        with self._named_errors():
            folder = tempfile.mkdtemp(prefix=f".{self._target.name}.", suffix=".partial", dir=self._target.parent)
        self._pieces = Path(folder)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._named_errors():
                    self._flush()
                    table = pl.scan_parquet([self._pieces / f"{i}.parquet" for i in range(self._n_pieces)])
                    with whole_file(self._target) as partial:
                        if self._is_parquet:
                            table.sink_parquet(partial, metadata=self._metadata or None)
                        else:
                            table.sink_csv(partial, separator="\t", null_value=".")
        finally:
            shutil.rmtree(self._pieces, ignore_errors=True)

    def write(self, record: VariantRecord, rows: Sequence[Any]) -> None:
        """One record and its rows."""
        self._pending.append((record, rows))
        self._n_pending += len(rows)
        if self._n_pending >= self._batch:
            with self._named_errors():
                self._flush()

    def _flush(self) -> None:
        self._frame(self._pending).write_parquet(self._pieces / f"{self._n_pieces}.parquet")
        self._n_pieces += 1
        self._pending.clear()
        self._n_pending = 0

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except (OSError, pl.exceptions.PolarsError) as error:  # polars' word for a full disk is not always OSError
            raise BasecastError(
                f"{self._target} could not be written ({error}): make room or write elsewhere"
            ) from error
