"""Whether a variant file and a FASTA are of one genome build, before a long run finds out."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from basecast.effects.rules import REF_MISMATCH, misplaced
from basecast.errors import InputError
from basecast.genome.reference import Genome
from basecast.genome.variants import VariantReader, VariantRecord

_CHECKED = 1000
_SHARE = 0.05
_LEAST = 3
"""Fewer mismatches than this say that a record is wrong, not the build."""


def on_this_build(reader: VariantReader, genome: Genome, force: bool = False) -> Iterator[VariantRecord]:
    """All records, after the header and the first thousand of them were held against the genome.

    Raises:
        InputError: a contig has another length in the header, or over 5 % of those records (and at least three) have
            another REF or lie past a contig's end, and ``force`` is not given.
    """
    first = list(itertools.islice(reader, _CHECKED))
    lengths = [
        f"contig {name} has {length:,} bases in its header and {genome.lengths[contig]:,} in the FASTA"
        for name, length in reader.contigs.items()
        if length is not None and (contig := genome.resolve(name)) is not None and length != genome.lengths[contig]
    ]
    reasons = [misplaced(genome, record) for record in first]
    judged = [reason for reason in reasons if reason is None or reason.startswith((REF_MISMATCH, "outside"))]
    n_wrong = sum(reason is not None for reason in judged)
    if not force and (lengths or (n_wrong >= _LEAST and n_wrong > _SHARE * len(judged))):
        more = f" and {len(lengths) - 1} contigs more" if len(lengths) > 1 else ""
        mismatches = f"{n_wrong} of the first {len(judged)} records have another REF than the FASTA"
        said = "; ".join([*(f"{text}{more}" for text in lengths[:1]), mismatches])
        raise InputError(
            f"{reader.name} seems to be of another genome build than {genome.path}: {said}. "
            "Give the FASTA it was made with, or --force to score it as it is"
        )
    return itertools.chain(first, reader)
