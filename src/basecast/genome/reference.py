"""A reference genome: one object over FASTA, bgzip FASTA, gzip FASTA and 2bit."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from basecast.errors import InputError
from basecast.files import sha256_of
from basecast.genome.contigs import ContigNames, read_alias_table
from basecast.genome.fasta import Fasta
from basecast.genome.sequence import Tokens, padded
from basecast.genome.twobit import SIGNATURES, TwoBit


class Genome:
    """The bases of a genome file, by contig and position.

    What the file is, its content says: FASTA, plain or bgzip, or 2bit. A FASTA in plain gzip cannot be read at random;
    a bgzip copy of it is made in the cache, once for its content. An index beside the file is used if it is not older
    and fits; else one is made in the cache. Nothing is written beside the file.

    Threads and processes, forked or spawned, may share a genome; it pickles as its path.

    Args:
        path: the file.
        aliases: names that mean the same contig, as pairs or as a table for `read_alias_table`.

    Attributes:
        path: the file, absolute.
        lengths: bases of each contig, in the file's order; a contig's name ends at the first blank of its header.
        contigs: the contig names, and which other names mean them.

    Raises:
        InputError: the file is missing, empty, truncated, damaged, of another kind, or repeats a contig's name; the
            aliases cannot be read or make one of two contigs.
    """

    def __init__(
        self, path: str | os.PathLike[str], *, aliases: Mapping[str, str] | str | os.PathLike[str] | None = None
    ) -> None:
        self.path = Path(path).absolute()
        self._table = aliases if isinstance(aliases, Mapping) else read_alias_table(aliases) if aliases else None
        self._reader = _reader(self.path)
        self.lengths = self._reader.lengths
        self.contigs = ContigNames(self.lengths, self._table, source=str(path))

    def __reduce__(self) -> tuple[object, ...]:
        return _reopened, (self.path, self._table)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, in hex."""
        return sha256_of(self.path)

    @property
    def aliases_digest(self) -> str | None:
        """SHA-256 of the aliases, in hex; None without."""
        pairs = json.dumps(sorted(self._table.items())) if self._table else ""
        return hashlib.sha256(pairs.encode()).hexdigest() if pairs else None

    def resolve(self, name: str) -> str | None:
        """The file's own name of the contig that another file calls ``name``; None if there is none."""
        return self.contigs.resolve(name)

    def tokens(self, contig: str, start: int, end: int) -> Tokens:
        """Bases [start, end) of a contig by any of its names, shape (end - start,); N where the contig has none.

        Raises:
            InputError: there is no such contig, or the file has a letter there that is no IUPAC nucleotide.
            ValueError: ``end`` is before ``start``.
        """
        name = self.contigs.resolve(contig)
        if name is None:
            raise InputError(self.contigs.describe_unknown(contig))
        return padded(lambda first, last: self._reader.tokens(name, first, last), self.lengths[name], start, end)


def _reopened(path: Path, table: Mapping[str, str] | None) -> Genome:
    return Genome(path, aliases=table)


def _reader(path: Path) -> Fasta | TwoBit:
    if not path.exists():
        raise InputError(f"there is no reference {path}: give a FASTA (plain, bgzip or gzip) or a 2bit file")
    if not path.is_file():
        raise InputError(
            f"{path} is not a regular file: a reference is read at random, so give a file, not a pipe or folder"
        )
    try:
        with path.open("rb") as handle:
            head = handle.read(4)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    return TwoBit(path) if head in SIGNATURES else Fasta(path)
