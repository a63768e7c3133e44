"""Scores as INFO fields and header lines of a VCF."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from basecast.effects.scores import COMPUTED, PRECOMPUTED, MaskName, Row
from basecast.effects.splicing import LABELS
from basecast.genome.annotated import percent_encode

_SCORES = "|".join(["ALLELE", "SYMBOL", *(f"DS_{x}" for x in LABELS), *(f"DP_{x}" for x in LABELS)])
_PROBABILITIES = "|" + "|".join([*(f"REF_{x}" for x in LABELS), *(f"ALT_{x}" for x in LABELS)])
_MEANING = (
    "delta scores (DS) and delta positions (DP) for acceptor gain (AG), acceptor loss (AL), donor gain (DG) "
    "and donor loss (DL)"
)
THEIRS = (
    "SpliceAIv1.3.1 variant annotation. These include delta scores (DS) and delta positions (DP) for "
    "acceptor gain (AG), acceptor loss (AL), donor gain (DG), and donor loss (DL)."
)


@dataclass(frozen=True, slots=True)
class InfoFormat:
    """How rows are written: ``keys`` says which INFO key holds which mask's scores."""

    keys: dict[MaskName, str]
    status_key: str
    decimals: int
    probabilities: bool
    compatible: bool
    """Only the ten fields of SpliceAI's own INFO, and no DS_MAX."""
    source_key: str | None = None
    """Says of each ALT whether its scores were computed, where some may not have been."""

    @property
    def all_keys(self) -> frozenset[str]:
        """Every INFO key that may be written."""
        largest = () if self.compatible else tuple(f"{key}_DS_MAX" for key in self.keys.values())
        source = () if self.source_key is None else (self.source_key,)
        return frozenset([*self.keys.values(), *largest, self.status_key, *source])

    @property
    def replaced_keys(self) -> frozenset[str]:
        """What an earlier run under the same name may have written, with whatever mask."""
        key = next(iter(self.keys.values()))
        masked = f"{key}_masked"
        source = source_key(self.status_key)
        return self.all_keys | {key, masked, f"{key}_DS_MAX", f"{masked}_DS_MAX", source}

    @property
    def fields(self) -> str:
        """The names behind ``Format:``."""
        ours = "" if self.compatible else "|GENE_ID|TRANSCRIPT|STRAND|Consequence"
        return _SCORES + ours + (_PROBABILITIES if self.probabilities else "")

    def header(self, model: str, theirs: bool, taken_from: Sequence[str] = ()) -> list[str]:
        """The ``##INFO`` lines. ``theirs``: the weights and the rules are Illumina's, so the Description is too.

        ``taken_from``: the files that precomputed scores are from.
        """
        lines = []
        model = _escaped(model)
        for mask, key in self.keys.items():
            if theirs:
                about = THEIRS
            elif self.compatible:
                about = f"Splicing by {model} under SpliceAI 1.3.1 rules ({mask}): {_MEANING}."
            else:
                about = f"Splicing by {model} ({mask}): {_MEANING}; DP 2+3 is the 3rd inserted base after base 2."
            lines.append(f'##INFO=<ID={key},Number=.,Type=String,Description="{about} Format: {self.fields}">')
            if not self.compatible:
                largest = f"Largest delta score of the allele in {key}, over genes and events"
                lines.append(f'##INFO=<ID={key}_DS_MAX,Number=A,Type=Float,Description="{largest}">')
        why = "Why an allele (. = every allele of the record) has no score. Format: ALLELE|REASON"
        lines.append(f'##INFO=<ID={self.status_key},Number=.,Type=String,Description="{why}">')
        if self.source_key is not None:
            files = _escaped(" and ".join(taken_from))
            about = f"Whether the scores of the allele were {COMPUTED}, or {PRECOMPUTED}: taken from {files}"
            lines.append(f'##INFO=<ID={self.source_key},Number=A,Type=String,Description="{about}">')
        return lines

    def additions(self, alts: Sequence[str], rows: Sequence[Row]) -> list[tuple[str, str]]:
        """(key, value) of a record's rows."""
        added = []
        for mask, key in self.keys.items():
            chosen = [row for row in rows if row.mask == mask and (row.delta is not None or row.transcript)]
            entries = [entry for row in chosen if (entry := self._entry(alts, row))]
            if entries:
                added.append((key, ",".join(entries)))
            scored = [row for row in chosen if row.delta is not None]
            if scored and not self.compatible:
                added.append((f"{key}_DS_MAX", ",".join(_largest(scored, i) for i in range(len(alts)))))
        reasons = [
            f"{'.' if row.allele is None else percent_encode(alts[row.allele])}|{percent_encode(row.status)}"
            for row in rows
            if row.delta is None
        ]
        if reasons:
            added.append((self.status_key, ",".join(dict.fromkeys(reasons))))
        if self.source_key is not None and (sources := {row.allele: row.source for row in rows if row.source}):
            added.append((self.source_key, ",".join(sources.get(allele, ".") for allele in range(len(alts)))))
        return added

    def _entry(self, alts: Sequence[str], row: Row) -> str:
        assert row.allele is not None  # a row with a gene is of one allele
        delta = row.delta
        head = [alts[row.allele], percent_encode(row.symbol)]
        if delta is None:
            return "|".join(head + ["."] * (16 if self.probabilities else 8)) if self.compatible else ""
        places = [f"{p}+{o}" if o else str(p) for p, o in zip(delta.position, delta.offset, strict=True)]
        fields = head + [f"{score:.{self.decimals}f}" for score in delta.score] + places
        if not self.compatible:
            names = [percent_encode(name) or "." for name in (row.gene_id, row.transcript)]
            fields += [*names, row.strand, "&".join(delta.consequences()) or "."]
        if self.probabilities:
            fields += [f"{p:.{self.decimals}f}" for p in (*delta.ref, *delta.alt)]
        return "|".join(fields)


def source_key(status_key: str) -> str:
    """The key beside that of the reasons."""
    return status_key.removesuffix("Status") + "Source"


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')


def _largest(rows: Sequence[Row], allele: int) -> str:
    scores = [max(row.delta.score) for row in rows if row.allele == allele and row.delta is not None]
    return f"{max(scores):.4f}".rstrip("0").rstrip(".") if scores else "."
