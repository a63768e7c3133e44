"""FASTA, plain or compressed, read at random."""

from __future__ import annotations

import gzip
import os
import threading
from pathlib import Path
from typing import BinaryIO, cast

import pysam

from basecast.errors import InputError
from basecast.files import built_once, cache_folder, identity_of
from basecast.genome import bgzip
from basecast.genome.fasta_index import Entry, fits, read_entries, require_fasta, scan, write_entries
from basecast.genome.sequence import LetterError, Tokens, encode


class Fasta:
    """A FASTA, plain, bgzip or gzip, that threads and processes may share: each opens its own handle on first use.

    Attributes:
        lengths: bases of each contig, in the file's order.

    Raises:
        InputError: the file is no FASTA, is empty, truncated or damaged, repeats a name, or wraps a contig unevenly.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._random = _Random(path)
        self.lengths = {entry.name: entry.length for entry in self._random.entries}
        self._own = threading.local()

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        """Bases [start, end) of a contig, both within it, shape (end - start,).

        Raises:
            InputError: a letter is no IUPAC nucleotide, or the file has been damaged or changed.
        """
        try:
            letters = self._handle().fetch(contig, start, end)
            if len(letters) != end - start:
                raise OSError(f"{len(letters)} bases instead of {end - start}")
            return encode(letters)
        except LetterError as error:
            raise InputError(
                f"{self.path} has {error.letter!r} at position {start + error.offset + 1} of contig {contig!r}, "
                "which is no IUPAC nucleotide: is it a FASTA of DNA? Write N for an unknown base"
            ) from error
        except (OSError, ValueError) as error:
            raise InputError(
                f"{self.path} is damaged or has changed at {contig}:{start + 1}-{end} ({error}): fetch it again, or "
                "start anew if you have just replaced it"
            ) from error

    def _handle(self) -> pysam.FastaFile:
        own = self._own
        if getattr(own, "process", None) != os.getpid():  # a fork shares the file position with its parent
            own.handle = pysam.FastaFile(str(self._random.file), *map(str, self._random.indexes))
            own.process = os.getpid()
        return cast(pysam.FastaFile, own.handle)


class _Random:
    """What random access to a FASTA needs: the file to read, its indexes, and their entries."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.file = path
        with path.open("rb") as handle:
            head = handle.read(bgzip.HEADER_SIZE)
        self.compressed = bgzip.is_gzip(head)
        try:
            if self.compressed:
                with gzip.open(path) as text:
                    require_fasta(text.read(len(head)), path)
                if bgzip.is_bgzip(head):
                    bgzip.require_end(path)
                else:
                    self.file = bgzip.recompressed(path)
            self.indexes, self.entries = self._beside() or self._cached()
        except bgzip.DAMAGES as error:
            raise InputError(f"{path} cannot be decompressed ({error}): fetch it again") from error

    def _beside(self) -> tuple[list[Path], list[Entry]] | None:
        """The indexes next to the file, if they are there, not older than it, and fit it."""
        indexes = [Path(f"{self.file}.fai")] + [Path(f"{self.file}.gzi")] * self.compressed
        try:
            status = self.file.stat()
            if min(index.stat().st_mtime_ns for index in indexes) < status.st_mtime_ns:
                return None
            entries = read_entries(indexes[0])
            if self.compressed:
                text = bgzip.IndexedText(self.file, indexes[1])
                fit = fits(entries, text.size, text.read)
            else:
                fit = fits(entries, status.st_size, self._read)
        except (OSError, ValueError, InputError, *bgzip.DAMAGES):
            return None
        return (indexes, entries) if fit else None

    def _read(self, start: int, end: int) -> bytes:
        with self.file.open("rb") as handle:
            handle.seek(start)
            return handle.read(end - start)

    def _cached(self) -> tuple[list[Path], list[Entry]]:
        """Indexes in the cache, made from the file unless they are there."""
        stem = cache_folder("indexes") / identity_of(self.file)
        indexes = [built_once(Path(f"{stem}.fai"), self._build_fai)]
        if self.compressed:
            indexes.append(built_once(Path(f"{stem}.gzi"), lambda partial: bgzip.write_index(self.file, partial)))
        return indexes, read_entries(indexes[0])

    def _build_fai(self, partial: Path) -> None:
        with cast(BinaryIO, gzip.open(self.file)) if self.compressed else self.file.open("rb") as text:
            write_entries(scan(text, self.path), partial)
