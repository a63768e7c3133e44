"""Which genes are trained on, which choose the model, and which test it: clusters of genes that stay together."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl
from numpy.typing import NDArray

from basecast.data.contig_groups import text_lines
from basecast.data.splice_labels import connected
from basecast.data.store import SPLITS
from basecast.errors import InputError, counted
from basecast.genome.contigs import ContigNames
from basecast.genome.reference import Genome

TRAIN, VALIDATION, TEST = range(3)
SHARES = (0.8, 0.1, 0.1)
"""Of train, validation and test, in sites."""
HUMAN_TEST = ("1", "3", "5", "7", "9")
_HUMAN = ContigNames([*map(str, range(1, 23)), "X", "Y"])

Clusters = NDArray[np.int64]
"""The cluster of each locus; clusters are numbered from 0 as they first come."""
Splits = NDArray[np.int64]
"""The split of each locus or cluster, an index of `store.SPLITS`; -1 where none is given."""


def overlapping(loci: pl.DataFrame) -> Clusters:
    """Clusters of loci that share a base on either strand of ``chromosome``, from ``source_start`` on."""
    chromosome = loci["chromosome"].rank("dense").cast(pl.Int64).to_numpy()
    starts = loci["source_start"].to_numpy()
    return renumbered(connected(chromosome, starts, starts + (loci["end"] - loci["start"]).to_numpy()))


def tied(clusters: Clusters, pairs: Iterable[tuple[int, int]]) -> Clusters:
    """The same with the clusters of each pair of loci made one."""
    parent = list(range(int(clusters.max()) + 1))

    def root(cluster: int) -> int:
        while parent[cluster] != cluster:
            parent[cluster] = cluster = parent[parent[cluster]]
        return cluster

    for a, b in pairs:
        parent[root(int(clusters[a]))] = root(int(clusters[b]))
    return renumbered(np.array([root(cluster) for cluster in clusters.tolist()], dtype=np.int64))


def renumbered(clusters: NDArray[np.int64]) -> Clusters:
    """The same from 0 on, in the order in which they first come."""
    _, first, inverse = np.unique(clusters, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def by_size(clusters: Clusters, weights: NDArray[np.int64], shares: Sequence[float], seed: int) -> Splits:
    """The split of each locus: whole clusters, about ``shares`` of the weights.

    Clusters that would take over a quarter of the smallest share come first, largest first, the others as the seed
    has it. Each goes to the split that lacks most of its own share and has room for it, else to that with most room.
    """
    sizes = np.bincount(clusters, weights=weights)
    targets = np.array(shares) * sizes.sum()
    order = np.random.default_rng(seed).permutation(len(sizes))
    large = sizes[order] > targets[targets > 0].min(initial=np.inf) / 4
    order = np.concatenate([sorted(order[large], key=lambda i: -sizes[i]), order[~large]]).astype(np.int64)
    filled, split = np.zeros(len(shares)), np.zeros(len(sizes), dtype=np.int64)
    for cluster in order.tolist():
        room = targets - filled
        fits = np.flatnonzero((room >= sizes[cluster]) & (targets > 0))
        split[cluster] = fits[np.argmax(room[fits] / targets[fits])] if len(fits) else np.argmax(room)
        filled[split[cluster]] += sizes[cluster]
    wanted = np.flatnonzero(np.array(shares) > 0)
    for empty in np.setdiff1d(wanted, split) if len(sizes) >= len(wanted) else ():  # few clusters, none of which fits
        most = np.bincount(split).argmax()
        split[min(np.flatnonzero(split == most), key=lambda i: sizes[i])] = empty
    return split[clusters]


def with_validation(splits: Splits, clusters: Clusters, weights: NDArray[np.int64], seed: int) -> Splits:
    """The same with a tenth of train, in whole clusters, as validation."""
    train = np.flatnonzero(splits == TRAIN)
    if not len(train):
        return splits
    chosen = by_size(renumbered(clusters[train]), weights[train], (0.9, 0.1), seed)
    splits = splits.copy()
    splits[train] = np.where(chosen == 1, VALIDATION, TRAIN)
    return splits


def spliceai_human(genes: pl.DataFrame) -> Splits:
    """The published split of each gene by its ``chromosome``: 1, 3, 5, 7 and 9 test, other autosomes, X and Y train.

    Raises:
        InputError: no gene lies on a human chromosome.
    """
    split_of = {}
    for name in genes["chromosome"].unique():
        known = _HUMAN.resolve(name)
        split_of[name] = -1 if known is None else TEST if known in HUMAN_TEST else TRAIN
    if set(split_of.values()) <= {-1}:
        raise InputError(
            f"no gene lies on a human chromosome (the first is on {genes['chromosome'][0]!r}), which --split "
            "spliceai-human needs: name the chromosomes of region contigs with --contig-groups, or split otherwise"
        )
    return genes["chromosome"].replace_strict(split_of, return_dtype=pl.Int64).to_numpy()


class _Told(NamedTuple):
    """A line of a split list; without a gene it stands for a whole contig or source chromosome."""

    line: int
    gene: str
    contig: str
    span: tuple[int, int] | None
    split: int


class SplitList(NamedTuple):
    """What a file says of the split of genes and contigs."""

    path: Path
    rows: list[_Told]

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> SplitList:
        """A table with tabs and a header line that has ``split`` and ``gene`` or ``contig``, as ``splits.tsv`` has.

        A row without a gene stands for a whole contig or source chromosome. ``start`` and ``end`` tell genes of one
        name apart.

        Raises:
            InputError: the file cannot be read, lacks a column, or has a malformed line.
        """
        path = Path(path)
        lines = text_lines(path, "the split list")
        columns = [name.strip() for name in lines[0].lstrip("#").split("\t")] if lines else []
        if "split" not in columns or not {"gene", "contig"} & set(columns):
            raise InputError(
                f"the split list {path} needs a header line with the columns split and gene, or split and contig, "
                f"separated by tabs; it has {', '.join(columns) or 'none'}"
            )
        rows = []
        for number, line in enumerate(lines[1:], 2):
            if not line.strip():
                continue
            row = dict(zip(columns, (cell.strip() for cell in line.split("\t")), strict=False))
            name, contig, split = row.get("gene", ""), row.get("contig", ""), row.get("split", "")
            if split not in SPLITS or not (name or contig):
                raise InputError(
                    f"line {number} of {path} ({line[:60]!r}) needs a gene or a contig, and as split one of "
                    f"{', '.join(SPLITS)}: mend it"
                )
            start, end = row.get("start", ""), row.get("end", "")
            span = (int(start), int(end)) if start.isdecimal() and end.isdecimal() else None
            rows.append(_Told(number, name, contig, span, SPLITS.index(split)))
        return cls(path, rows)

    def of(self, genes: pl.DataFrame, genome: Genome) -> Splits:
        """The split of each gene (contig, chromosome, start, end, id, name).

        That of the row with its name and place, else with its name, else of its contig or chromosome.

        Raises:
            InputError: the list names no gene of these, contradicts itself, or does not tell genes of a name apart.
        """
        known: dict[tuple[str, str, tuple[int, int] | None], int] = {}
        of_name: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
        contigs: dict[str, int] = {}
        chromosomes = ContigNames(genes["chromosome"].unique(maintain_order=True))
        for row in self.rows:
            contig = genome.resolve(row.contig) or row.contig
            if row.gene:
                told = {known.setdefault((contig, row.gene, row.span), row.split)}
                of_name[contig, row.gene].add(row.split)
            else:
                places = {contig, chromosomes.resolve(row.contig) or contig}
                told = {contigs.setdefault(place, row.split) for place in places}
            if told != {row.split}:
                name, split = row.gene or row.contig, SPLITS[row.split]
                raise InputError(f"line {row.line} of {self.path} puts {name} into {split}, an earlier one did not")
        splits = np.full(genes.height, -1)
        for i, (contig, chromosome, start, end, *names) in enumerate(
            genes.select("contig", "chromosome", "start", "end", "id", "name").iter_rows()
        ):
            keys = [(place, name) for place in (contig, "") for name in names]
            rows = [known[*key, span] for span in ((start, end), None) for key in keys if (*key, span) in known]
            if not rows and (said := next((of_name[key] for key in keys if key in of_name), None)):
                if len(said) > 1:
                    raise InputError(
                        f"the split list {self.path} puts genes of the name {names[0] or names[1]} into different "
                        f"splits, and none of them is at {contig}:{start}-{end} (0-based): add a row for that one"
                    )
                rows = list(said)
            rows += [contigs[place] for place in (contig, chromosome) if place in contigs]
            splits[i] = rows[0] if rows else -1
        if (splits < 0).all():
            raise InputError(
                f"the split list {self.path} names no gene of the annotation, nor a contig with one: its first gene is "
                f"{genes['id'][0]!r} on {genes['contig'][0]!r}"
            )
        return splits


def require_whole(clusters: Clusters, splits: Splits, names: Sequence[str], source: str) -> None:
    """Stop where loci that overlap are in two splits.

    Raises:
        InputError: some are; the message names their genes.
    """
    for cluster, found in _members(clusters, splits).items():
        if len(found) > 1:
            said = "; ".join(f"{names[locus]} in {SPLITS[split]}" for split, locus in found.items())
            raise InputError(
                f"{source} puts genes that overlap into more than one split ({said}, {counted(len(found), 'split')} "
                f"in cluster {cluster}): put them into one"
            )


def _members(clusters: Clusters, splits: Splits) -> Mapping[int, dict[int, int]]:
    """For each cluster the splits that it is in, with a locus of each."""
    found: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for locus, (cluster, split) in enumerate(zip(clusters.tolist(), splits.tolist(), strict=True)):
        found[cluster].setdefault(split, locus)
    return found
