"""Both rules once more, as slowly and plainly as the words that define them: letters, loops, a record at a time.

SpliceAI 1.3.1's semantics are those of the facts page of this project and of Jaganathan et al. 2019; nothing here is
shared with ``src/basecast/effects``.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

import numpy as np
import torch

from basecast.zoo.package import Package


@dataclass
class Gene:
    """1-based, ends included, as SpliceAI's table is read."""

    name: str
    strand: str
    first: int
    last: int
    exons: list[tuple[int, int]]


class Model:
    """Probabilities of letters by the mean over the members, in double precision; each stretch alone."""

    def __init__(self, package: Package) -> None:
        self.networks = [copy.deepcopy(network).double() for network in package.networks]
        self.context = package.spec.reach.left + package.spec.reach.right  # type: ignore[union-attr]

    def __call__(self, letters: str, strand: str) -> np.ndarray:
        """(len(letters) - context, 3), in the order of the letters whichever strand is read."""
        one_hot = np.zeros((len(letters), 4))
        for i, letter in enumerate(letters.upper()):
            if letter in "ACGT":
                one_hot[i, "ACGT".index(letter)] = 1
        if strand == "-":
            one_hot = one_hot[::-1, ::-1]
        x = torch.from_numpy(one_hot.T.copy())[None]
        with torch.no_grad():
            y = np.mean([torch.softmax(network(x), 1)[0].numpy() for network in self.networks], axis=0).T
        return y[::-1] if strand == "-" else y


@dataclass
class Theirs:
    """An entry of the INFO field before it is printed."""

    allele: str
    gene: str
    scores: list[float] | None = None
    places: list[int] | None = None
    deltas: list[np.ndarray] | None = None

    def text(self) -> str:
        if self.scores is None or self.places is None:
            return f"{self.allele}|{self.gene}|" + "|".join("." * 8)
        return "|".join([self.allele, self.gene, *(f"{s:.2f}" for s in self.scores), *map(str, self.places)])


def spliceai(
    model: Model, contig: str, genes: list[Gene], pos: int, ref: str, alts: list[str], distance: int, mask: int
) -> list[Theirs]:
    """SpliceAI 1.3.1 on one record, POS 1-based; an empty list is a record without annotation."""
    here = [gene for gene in genes if gene.first <= pos <= gene.last]
    width = model.context + 2 * distance + 1
    middle = width // 2
    if not alts or not here or pos - middle - 1 < 0:
        return []
    seen = contig[pos - middle - 1 : pos + middle]
    if seen[middle : middle + len(ref)].upper() != ref or len(seen) != width or len(ref) > 2 * distance:
        return []
    found = []
    for alt in alts:
        if any(sign in alt for sign in ".-*<>"):
            continue
        for gene in here:
            if len(ref) > 1 and len(alt) > 1:
                found.append(Theirs(alt, gene.name))
                continue
            letters = [x if gene.first <= pos - middle + i <= gene.last else "N" for i, x in enumerate(seen)]
            before = "".join(letters)
            after = before[:middle] + alt + before[middle + len(ref) :]
            y, z = model(before, gene.strand), model(after, gene.strand)
            if len(alt) == 1:
                lost = np.zeros((len(ref) - 1, 3))
                z = np.concatenate([z[: distance + 1], lost, z[distance + 1 :]])
            else:
                most = z[distance : distance + len(alt)].max(axis=0)[None]
                z = np.concatenate([z[:distance], most, z[distance + len(alt) :]])
            deltas = [z[:, 1] - y[:, 1], y[:, 1] - z[:, 1], z[:, 2] - y[:, 2], y[:, 2] - z[:, 2]]
            places = [int(np.argmax(delta)) - distance for delta in deltas]
            edges = sorted({edge for exon in gene.exons for edge in exon})
            nearest = sorted(edges, key=lambda edge: (abs(edge - pos), edge))[0] - pos
            scores = []
            for event, (delta, place) in enumerate(zip(deltas, places, strict=True)):
                hidden = mask == 1 and ((place == nearest) if event % 2 == 0 else (place != nearest))
                scores.append(float(delta[place + distance]) * (0 if hidden else 1))
            found.append(Theirs(alt, gene.name, scores, places, deltas))
    return found


@dataclass
class Ours:
    """One allele in one gene by Basecast's rules; ``sites`` are (position, offset), 0-based."""

    scores: list[float]
    sites: list[tuple[int, int]]
    ref: list[float]
    alt: list[float]


def basecast(
    model: Model, contig: str, gene: Gene | None, strand: str, start: int, ref: str, alt: str, distance: int, mask: int
) -> Ours | None:
    """One allele in one gene (None: nothing is hidden), 0-based ``start``; None where the gene is not met."""
    ref, alt = ref.upper(), alt.upper()
    whole = contig.upper()
    altered = whole[:start] + alt + whole[start + len(ref) :]
    low, high = (gene.first - 1, gene.last) if gene else (-(10**6), 10**6)
    edits = equal_edits(whole, start, ref, alt)
    first = min([start] + [a - (a == b or not x) for a, b, x in edits])
    last = max([start + len(ref)] + [b for _, b, _ in edits])
    if gene and not (low < last and first < high):
        return None
    inside = [(a, b, x) for a, b, x in edits if (low <= a and b <= high if b > a else low < a <= high)]
    begin, end, inserted = min(inside or edits, key=lambda edit: edit[0])
    assert whole[:begin] + inserted + whole[end:] == altered

    def shown(i: int) -> str:
        return whole[i] if 0 <= i < len(whole) and low <= i < high else "N"

    n_paired = min(end - begin, len(inserted))
    beside = low < begin < high  # of bases that replace none
    seen = [low <= begin + min(k, n_paired - 1) < high if n_paired else beside for k in range(len(inserted))]
    inserted = "".join(base if shows else "N" for base, shows in zip(inserted, seen, strict=True))

    half = model.context // 2
    left, right = first - distance - half, last + distance + half
    y = model("".join(shown(i) for i in range(left, right)), strand)
    z = model("".join(map(shown, range(left, begin))) + inserted + "".join(map(shown, range(end, right))), strand)
    pairs: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    nil = np.zeros(3)
    for i in range(first - distance, last + distance):
        at = i - (first - distance)
        if i < begin + n_paired:
            pairs[i, 0] = y[at], z[at]
        elif i < end:
            pairs[i, 0] = y[at], nil
        else:
            pairs[i, 0] = y[at], z[at + len(inserted) - (end - begin)]
    for k in range(n_paired, len(inserted)):
        at = begin + k - (first - distance)
        pairs[begin + n_paired - 1, k - n_paired + 1] = nil, z[at]
    result = Ours([], [], [], [])
    for event in range(4):
        track, is_gain = (1, 2)[event // 2], event % 2 == 0
        ranked = []
        for (position, offset), (before, after) in pairs.items():
            delta = round(float((after[track] - before[track]) * (1 if is_gain else -1)), 4)
            if mask and gene:
                site = offset == 0 and position in sites_of(gene, "acceptor" if track == 1 else "donor")
                delta = 0 if site == is_gain else delta
            nearest = min(abs(position - x) for x in range(begin, max(end, begin + 1)))
            if begin == end:
                nearest = begin - position if position < begin else position - begin + 1
            ranked.append((-max(delta, 0), nearest, position, offset))
        score, _, position, offset = min(ranked)
        before, after = pairs[position, offset]
        result.scores.append(-score)
        result.sites.append((position, offset))
        result.ref.append(float(before[track]))
        result.alt.append(float(after[track]))
    return result


def equal_edits(whole: str, start: int, ref: str, alt: str) -> list[tuple[int, int, str]]:
    """Every (start, end, inserted) of the least size that makes the same altered sequence; N equals nothing."""
    while ref and alt and ref[-1] == alt[-1]:
        ref, alt = ref[:-1], alt[:-1]
    while ref and alt and ref[0] == alt[0]:
        ref, alt, start = ref[1:], alt[1:], start + 1
    if ref and alt:
        return [(start, start + len(ref), alt)]
    apart = "".join(x if x != "N" else chr(0x1000 + i) for i, x in enumerate(whole))  # each N a letter of its own
    altered = apart[:start] + alt + apart[start + len(ref) :]
    if ref:
        n = len(ref)
        return [(p, p + n, "") for p in range(len(whole) - n + 1) if apart[:p] + apart[p + n :] == altered]
    n = len(alt)
    return [(p, p, altered[p : p + n]) for p in range(len(whole) + 1) if altered[:p] + altered[p + n :] == apart]


def sites_of(gene: Gene, kind: str) -> list[int]:
    """0-based acceptors or donors: exon ends that an intron follows, as the transcript is read."""
    ends, starts = [last - 1 for _, last in gene.exons[:-1]], [first - 1 for first, _ in gene.exons[1:]]
    return ends if (kind == "donor") == (gene.strand == "+") else starts
