"""HDF5 files written so that a full disk is an error that can be told: HDF5 itself crashes when a write fails."""

from __future__ import annotations

import io
import os
from abc import ABC, abstractmethod
from types import TracebackType
from typing import Any, Self

import h5py


class HDF5Output:
    """A new HDF5 file. Call ``check`` after each write to ``file``; it is whole only after ``close``.

    Raises:
        OSError: the file cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], **options: Any) -> None:
        self._stream = _Stream(path)
        self.file = h5py.File(self._stream, "w", **options)

    def check(self) -> None:
        """Stop where something could not be written."""
        if self._stream.error is not None:
            raise self._stream.error

    def close(self) -> None:
        """Write what is left."""
        self.file.close()
        self._stream.close()
        self.check()

    def give_up(self) -> None:
        """Close without writing any more; the file is of no use."""
        self._stream.error = self._stream.error or OSError("given up")
        self.file.close()
        self._stream.close()


class HDF5Writer(ABC):
    """Gathers what goes into an HDF5 file. Write to a partial path: the file is whole only after ``close``."""

    def __init__(self, path: str | os.PathLike[str], **options: Any) -> None:
        self._output = HDF5Output(path, **options)
        self._file = self._output.file

    @abstractmethod
    def _flush(self) -> None:
        """Write what is gathered."""

    def close(self) -> None:
        """Write what is left."""
        try:
            self._flush()
        except BaseException:
            self._output.give_up()
            raise
        self._output.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self._output.give_up()


class _Stream(io.RawIOBase):
    """What HDF5 writes to: after the first error it keeps in memory what comes, and lets HDF5 read it again."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.error: BaseException | None = None
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self._at = 0
        self._size = 0
        self._rest: list[tuple[int, bytes]] = []

    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    def tell(self) -> int:
        return self._at

    def write(self, data: Any) -> int:
        left, size = memoryview(data).cast("B"), memoryview(data).nbytes
        try:
            while self.error is None and left:
                n = os.pwrite(self._handle, left, self._at)
                left, self._at = left[n:], self._at + n
        except BaseException as error:  # a signal too: HDF5 must not see any
            self.error = error
        if left:
            self._rest.append((self._at, bytes(left)))
            self._at += len(left)
        self._size = max(self._size, self._at)
        return size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        found = os.pread(self._handle, len(view), self._at)
        view[:] = found + bytes(len(view) - len(found))
        for start, data in self._rest:
            low, high = max(start, self._at), min(start + len(data), self._at + len(view))
            if low < high:
                view[low - self._at : high - self._at] = data[low - start : high - start]
        self._at += len(view)
        return len(view)

    def truncate(self, size: int | None = None) -> int:
        self._size = self._at if size is None else size
        try:
            if self.error is None:
                os.ftruncate(self._handle, self._size)
        except BaseException as error:
            self.error = error
        return self._size
