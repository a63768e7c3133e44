"""Made-up genes that look like human ones to a splice model: coding exons, and introns with the signals of their ends.

The signals are what is known of human splice sites: donor MAG|GTRAGT and acceptor (Y)nNCAG|G (Shapiro and Senapathy
1987; Zhang 1998), branch point yUnAy 22-30 bases before the acceptor (Gao et al. 2008). Exons are drawn from the
human codon usage.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from basecast.genome.sequence import Tokens, encode

# Percent of A, C, G, T at each base around human donors, three of the exon and six of the intron.
_DONOR = np.array(
    [
        [33, 36, 18, 13],
        [60, 13, 12, 15],
        [8, 4, 81, 7],
        [0, 0, 100, 0],
        [0, 0, 0, 100],
        [52, 3, 42, 3],
        [71, 7, 12, 10],
        [6, 5, 84, 5],
        [15, 16, 20, 49],
    ]
)
_TRACT = np.array([[8, 32, 8, 52]])  # the pyrimidines before an acceptor
_ACCEPTOR = np.array([[24, 28, 20, 28], [5, 65, 1, 29], [100, 0, 0, 0], [0, 0, 100, 0], [24, 14, 50, 12]])
_BRANCH = np.array([[10, 45, 10, 35], [0, 10, 0, 90], [25, 30, 25, 20], [100, 0, 0, 0], [5, 55, 5, 35]])
_BACKGROUND = np.array([[28, 20, 20, 32]])  # introns and the space between genes
_LEADER = np.array([[20, 30, 32, 18]])
_SHARPER = 4.0  # power on the tables of sites: the demo wants clear sites, not all the weak ones of a real genome

# Human codons a thousand (Kazusa codon usage database), in the order TTT, TTC, TTA, TTG, TCT ... of T, C, A, G.
_CODONS = np.array(
    """
    17.6 20.3 7.7 12.9 15.2 17.7 12.2 4.4 12.2 15.3 0 0 10.6 12.6 0 13.2
    13.2 19.6 7.2 39.6 17.5 19.8 16.9 6.9 10.9 15.1 12.3 34.2 4.5 10.4 6.2 11.4
    16.0 20.8 7.5 22.0 13.1 18.9 15.1 6.1 17.0 19.1 24.4 31.9 12.1 19.5 12.2 12.0
    11.0 14.5 7.1 28.1 18.4 27.7 15.8 7.4 21.8 25.1 29.0 39.6 10.8 22.2 16.5 16.5
    """.split(),  # noqa: SIM905
    dtype=float,
)
_CODON_BASES = encode("TCAG")
_STOPS = ("TAA", "TAG", "TGA")
_ACCEPTOR_SPAN = 34  # bases before an exon that hold its acceptor's signals, at most
_LATENT_FROM = 500  # bases of the intron that holds the latent sites, at least


@dataclass(frozen=True, eq=False)
class SimulatedGene:
    """A gene as it is read, before it has a place: 0-based half-open positions count from its 5' end.

    Attributes:
        sequence: bases, shape (length,).
        exons: first to last.
        coding: the coding part, from the A of ATG to the base before the stop codon.
        latent_donor: a base of the longest intron; were it T, a good donor's GT would end here.
        latent_acceptor: a base of the longest intron; were it G, a good acceptor's AG would end here.
    """

    sequence: Tokens
    exons: tuple[tuple[int, int], ...]
    coding: tuple[int, int]
    latent_donor: int
    latent_acceptor: int

    @property
    def introns(self) -> tuple[tuple[int, int], ...]:
        return tuple((left, right) for (_, left), (right, _) in zip(self.exons, self.exons[1:], strict=False))


def draw(rng: np.random.Generator, weights: Float[np.ndarray, "length 4"]) -> Tokens:
    """One base a row, with probabilities in proportion to the row."""
    edges = np.cumsum(weights, axis=1, dtype=np.float64)
    return (rng.random((len(edges), 1)) * edges[:, -1:] >= edges).sum(axis=1).astype(np.uint8)


def background(rng: np.random.Generator, length: int) -> Tokens:
    """Bases between genes and within introns."""
    return draw(rng, np.repeat(_BACKGROUND, length, axis=0))


def simulated_gene(rng: np.random.Generator) -> SimulatedGene:
    """A gene of four to seven exons of 80-250 bases, with introns of about 200-3,000."""
    lengths = rng.integers(80, 251, rng.integers(4, 8))
    leader, trailer = (int(n) for n in rng.integers(40, 70, 2))
    n_codons = (int(lengths.sum()) - leader - trailer) // 3 - 2
    trailer = int(lengths.sum()) - leader - 3 * (n_codons + 2)
    ends = np.cumsum(lengths)
    message = np.concatenate(
        [_untranslated(rng, leader), encode("ATG"), _codons(rng, n_codons), encode("TGA"), _untranslated(rng, trailer)]
    )
    donors = [draw(rng, _DONOR.astype(float) ** _SHARPER) for _ in ends[:-1]]
    acceptors = [_acceptor(rng) for _ in ends[:-1]]
    for end, donor, acceptor in zip(ends[:-1], donors, acceptors, strict=True):
        message[end - 3 : end], message[end] = donor[:3], acceptor[-1]
    _without_stops(message[leader : leader + 3 * (n_codons + 1)])

    introns = [
        np.concatenate([donor[3:], background(rng, int(150 * 20 ** rng.random())), acceptor[:-1]])
        for donor, acceptor in zip(donors, acceptors, strict=True)
    ]
    longest = max(range(len(introns)), key=lambda i: introns[i].size)
    if introns[longest].size < _LATENT_FROM:
        middle = introns[longest].size // 2
        introns[longest] = np.insert(introns[longest], middle, background(rng, _LATENT_FROM))
    latent_donor, latent_acceptor = _put_latent_sites(rng, introns[longest])

    parts, exons = [message[: ends[0]]], [(0, int(ends[0]))]
    for intron, start, end in zip(introns, ends[:-1], ends[1:], strict=True):
        parts += [intron, message[start:end]]
        left = exons[-1][1] + intron.size
        exons.append((left, left + int(end - start)))
    before = exons[longest][1]
    return SimulatedGene(
        np.concatenate(parts),
        tuple(exons),
        (leader, exons[-1][1] - trailer - 3),
        before + latent_donor,
        before + latent_acceptor,
    )


def _untranslated(rng: np.random.Generator, length: int) -> Tokens:
    return draw(rng, np.repeat(_LEADER, length, axis=0))


def _codons(rng: np.random.Generator, n: int) -> Tokens:
    edges = np.cumsum(_CODONS)
    numbers = np.searchsorted(edges, rng.random(n) * edges[-1], side="right")
    return _CODON_BASES[np.stack([numbers // 16, numbers // 4 % 4, numbers % 4], axis=1).ravel()]


def _without_stops(coding: Tokens) -> None:
    """Open the frame again where a site's exonic bases have closed it: T?? becomes C??."""
    codons = coding.reshape(-1, 3)
    for stop in _STOPS:
        codons[(codons == encode(stop)).all(axis=1), 0] = encode("C")[0]


def _acceptor(rng: np.random.Generator) -> Tokens:
    """Branch point, pyrimidines, YAG and the first base of the exon."""
    sharp = [table.astype(float) ** _SHARPER for table in (_BRANCH, np.repeat(_TRACT, rng.integers(16, 25), axis=0))]
    return draw(rng, np.concatenate([*sharp, _ACCEPTOR.astype(float) ** _SHARPER]))


def _put_latent_sites(rng: np.random.Generator, intron: Tokens) -> tuple[int, int]:
    """Strong sites but for one base, near the intron's ends; where the missing T and G would stand.

    Between each and the end lies what looks like more of the exon, 12-24 codons of it.
    """
    more = _codons(rng, int(rng.integers(12, 25)))
    donor = 6 + more.size
    intron[6:donor] = more
    intron[donor - 3 : donor + 6] = encode("CAGGAAAGT")
    more = _codons(rng, int(rng.integers(12, 25)))
    site = _acceptor(rng)
    site[-2] = encode("C")[0]  # an A would leave an AG one base later
    start = intron.size - _ACCEPTOR_SPAN - more.size
    intron[start : start + more.size] = more
    intron[start + 1 - site.size : start + 1] = site
    return donor + 1, start - 1
