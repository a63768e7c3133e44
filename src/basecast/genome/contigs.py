"""Contig names of different files, matched in one place: `chr1`, `1`, RefSeq accessions, a user's table."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping

from basecast.errors import InputError

_REFSEQ = re.compile(r"NC_(\d{6})(?:\.\d+)?")


def _chromosomes(first: int, autosomes: int, mitochondrion: int) -> dict[int, str]:
    names = [*map(str, range(1, autosomes + 1)), "X", "Y"]
    return {**dict(enumerate(names, first)), mitochondrion: "MT"}


# NC_ numbers of human and of mouse (NCBI assembly reports of GRCh38 and GRCm39); the versions differ between builds.
_CHROMOSOME_OF = _chromosomes(1, 22, 12920) | _chromosomes(67, 19, 5089)


def _refseq_chromosome(name: str) -> str | None:
    accession = _REFSEQ.fullmatch(name)
    return _CHROMOSOME_OF.get(int(accession[1])) if accession else None


def _bare(name: str) -> str:
    """The name without `chr`, and the mitochondrion as MT."""
    bare = name.removeprefix("chr") or name
    return "MT" if bare == "M" else bare


class ContigNames:
    """The names one file has, and which of them another file's name means.

    Args:
        names: the contigs of the file, in its order.
        table: pairs of names that mean the same contig, in either direction; pairs join into groups.
        source: the file, for messages.

    Raises:
        InputError: the table says that two contigs of the file are one.
    """

    def __init__(self, names: Iterable[str], table: Mapping[str, str] | None = None, source: str = "") -> None:
        self.names = tuple(names)
        self.source = source
        self._known = frozenset(self.names)
        self._group_of = self._groups(table or {})
        self._bare: defaultdict[str, list[str]] = defaultdict(list)
        self._refseq: defaultdict[str, list[str]] = defaultdict(list)
        for name in self.names:
            chromosome = _refseq_chromosome(name)
            if chromosome is None:
                self._bare[_bare(name)].append(name)
            else:
                self._refseq[chromosome].append(name)

    def _groups(self, table: Mapping[str, str]) -> dict[str, set[str]]:
        group_of: dict[str, set[str]] = {}
        for pair in table.items():
            joined = set(pair).union(*(group_of.get(name, ()) for name in pair))
            group_of |= dict.fromkeys(joined, joined)
        for group in group_of.values():
            present = sorted(group & self._known)
            if len(present) > 1:
                raise InputError(
                    f"the contig aliases say that {present[0]!r} and {present[1]!r} are one contig, but "
                    f"{self.source or 'the file'} has both: take one of them out of the table"
                )
        return group_of

    def resolve(self, name: str) -> str | None:
        """The file's own name for ``name``, or None where there is none or more than one.

        The exact name wins, then the user's table, then `chr` added or removed, M/MT, and RefSeq accessions of human
        and mouse. An accession never matches another one: NC_000001.10 and NC_000001.11 are chromosome 1 of two builds.
        """
        if name in self._known:
            return name
        group = self._group_of.get(name, {name})
        found = group & self._known or {alike for member in group for alike in self._alike(member)}
        return found.pop() if len(found) == 1 else None

    def _alike(self, name: str) -> list[str]:
        chromosome = _refseq_chromosome(name)
        if chromosome is not None:
            return self._bare.get(chromosome, [])
        return self._bare.get(_bare(name)) or self._refseq.get(_bare(name), [])

    def describe_unknown(self, name: str, file: str = "", rename_with: str = "bcftools annotate --rename-chrs") -> str:
        """The sentence for a contig that does not resolve; ``file`` is where the name stood, if in a file."""
        has = ", ".join(map(repr, self.names[:3])) + (", ..." if len(self.names) > 3 else "")
        where, rename = (f" of {file}", f" or rename with {rename_with}") if file else ("", "")
        return (
            f"contig {name!r}{where} is not in {self.source or 'the reference'}, which has {has}: "
            f"pass --contig-aliases{rename}"
        )


def read_alias_table(path: str | os.PathLike[str]) -> dict[str, str]:
    """Pairs for :class:`ContigNames` from lines of tab-separated names that mean the same contig (UCSC chromAlias).

    Lines that start with ``#`` and empty cells are skipped. A header without ``#`` does no harm: it is a group of
    names that no file has.

    Raises:
        InputError: the file cannot be read, or a line has no two columns; the message names the line.
    """
    table: dict[str, str] = {}
    try:
        with open(path, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, 1):
                if line.startswith("#") or not line.strip():
                    continue
                cells = [cell.strip() for cell in line.rstrip("\n").split("\t")]
                if len(cells) < 2:
                    raise InputError(f"line {number} of {path} has no second name: put a tab between names of a contig")
                _join(table, [cell for cell in cells if cell])
    except OSError as error:
        raise InputError(f"the contig aliases {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"the contig aliases {path} are not text: pass a table of tab-separated names") from error
    return table


def _join(table: dict[str, str], names: list[str]) -> None:
    """Adds names of one contig to ``table``, in which every name points nearer to its group's first name."""

    def first(name: str) -> str:
        while name in table:
            name = table[name]
        return name

    for name in names[1:]:
        if first(name) != first(names[0]):
            table[first(name)] = first(names[0])
