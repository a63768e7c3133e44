"""Basecast's create-data beside OpenSpliceAI 0.0.7's: the sites of both, and what either takes, on the same files.

    python benchmarks/create_data_openspliceai.py [--shared DIR] [--peer-python PATH] [--only human spombe]

Human regions, and *S. pombe* with contigs renamed so that the peer's human split puts two of them into train and one
into test. That split knows no region, so the regions are split at random there, and sites are counted over all splits.
Either program begins with nothing but a plain FASTA and a GFF3: what it keeps beside them, or in a cache, is removed
before each run. Where a run takes less than half a minute of CPU, the best of ``--repeats`` counts.

Basecast is run once with ``--split overlap``, which asks as little of the genes as the peer does, and once by default,
where alike genes are looked for too.

Ends with status 1 where a site is only one program's for none of the reasons in the table.
"""

from __future__ import annotations

import argparse
import gzip
import itertools
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

import h5py

from basecast.data.opening import open_split
from basecast.data.store import SPLITS
from delta_fields import plain_copy, shared_data
from running import PEER, Ran, disk_of, make_peer, run_basecast, run_openspliceai

SHORT = 30.0  # seconds of CPU; what takes less is run again
CONTIGS = {"I": "chr2", "II": "chr4", "III": "chr3"}  # the peer's human split: chr3 is test, chr2 and chr4 are train
SHORTEST = 10  # bases; a shorter gap mends a reading frame
CLASSES = {1: "acceptor", 2: "donor"}
TAGGED = "LRG_t1"
TAG = {"human": ("--canonical-tag", TAGGED), "spombe": ()}
UNEXPLAINED = "for no reason known"


class Inputs(NamedTuple):
    genome: Path
    annotation: Path
    split: str  # of the peer


class Site(NamedTuple):
    contig: str
    strand: str
    position: int  # 0-based: last exonic base of a donor, first exonic base of an acceptor
    kind: str


@dataclass
class Gene:
    """What an annotation says of a gene."""

    contig: str
    start: int  # 0-based, half-open
    end: int
    strand: str
    transcripts: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    spans: dict[str, int] = field(default_factory=dict)
    tagged: str = ""

    def introns(self, transcript: str) -> Iterator[tuple[int, int]]:
        """0-based, half-open, in the order of the genome."""
        exons = sorted(self.transcripts[transcript])
        yield from ((a, b) for (_, a), (b, _) in itertools.pairwise(exons))

    def sites(self, transcript: str) -> Iterator[Site]:
        left, right = ("donor", "acceptor") if self.strand == "+" else ("acceptor", "donor")
        for start, end in self.introns(transcript):
            yield Site(self.contig, self.strand, start - 1, left)
            yield Site(self.contig, self.strand, end, right)

    @property
    def longest(self) -> str:
        """The transcript of the widest span, the first of equals: what the peer calls canonical."""
        return max(self.spans, key=lambda transcript: self.spans[transcript])

    @property
    def chosen(self) -> str:
        """The transcript that is tagged, else the widest: what Basecast is told to take."""
        return self.tagged or self.longest


# --- inputs


def read_gff(path: Path) -> list[list[str]]:
    """The columns of every feature."""
    with gzip.open(path, "rt") if path.suffix == ".gz" else path.open() as lines:
        return [line.rstrip("\n").split("\t") for line in lines if line.strip() and not line.startswith("#")]


def attribute(row: list[str], key: str) -> str:
    """Of column 9 of GFF3; empty where it has none."""
    fields = dict(field.partition("=")[::2] for field in row[8].split(";"))
    return fields.get(key, "")


def spliced_genes(rows: Sequence[list[str]]) -> Iterator[list[str]]:
    """The gene, mRNA and exon rows of genes that have an mRNA with two exons or more, each gene with its biotype."""
    exons = Counter(attribute(row, "Parent") for row in rows if row[2] == "exon")
    transcripts = {attribute(row, "ID"): attribute(row, "Parent") for row in rows if row[2] == "mRNA"}
    genes = {gene for transcript, gene in transcripts.items() if exons[transcript] >= 2}
    for row in rows:
        parent = attribute(row, "Parent")
        if row[2] == "gene" and attribute(row, "ID") in genes:
            yield [*row[:8], f"{row[8]};gene_biotype=protein_coding"]
        elif (row[2] == "mRNA" and parent in genes) or (row[2] == "exon" and transcripts.get(parent) in genes):
            yield row


def prepare_spombe(data: Path, folder: Path) -> Inputs:
    """*S. pombe* as the peer can read it: contigs that its split knows, and genes with a biotype."""
    folder.mkdir(parents=True, exist_ok=True)
    made = Inputs(folder / "spombe.fa", folder / "spombe.gff3", "human")
    with gzip.open(data / "spombe" / "genome.fa.gz", "rt") as source, made.genome.open("w") as out:
        for record in source.read().split(">")[1:]:
            header, _, sequence = record.partition("\n")
            if header.split()[0] in CONTIGS:
                out.write(f">{CONTIGS[header.split()[0]]}\n{sequence}")
    rows = [row for row in read_gff(data / "spombe" / "genes.gff3.gz") if row[0] in CONTIGS]
    renamed = [[CONTIGS[row[0]], *row[1:]] for row in spliced_genes(rows)]
    made.annotation.write_text("".join("\t".join(row) + "\n" for row in [["##gff-version 3"], *renamed]))
    return made


def prepare_human(data: Path, folder: Path) -> Inputs:
    """The regions around human disease genes with their curated genes."""
    genome, annotation = (data / "human" / f"GRCh38_regions.{name}" for name in ("fa.gz", "lrg.gff3.gz"))
    return Inputs(plain_copy(genome, folder), plain_copy(annotation, folder), "random")


def read_genes(path: Path) -> dict[str, Gene]:
    """What the annotation itself says, by gene."""
    rows, genes, parents = read_gff(path), {}, {}
    for row in rows:
        if row[2] == "gene":
            genes[attribute(row, "ID")] = Gene(row[0], int(row[3]) - 1, int(row[4]), row[6])
    for row in rows:
        if row[2] == "mRNA":
            name, gene = attribute(row, "ID"), attribute(row, "Parent")
            parents[name] = gene
            genes[gene].spans[name] = int(row[4]) - int(row[3]) + 1
            genes[gene].transcripts[name] = []
            if TAGGED in attribute(row, "tag").split(","):
                genes[gene].tagged = name
    for row in rows:
        if row[2] == "exon":
            name = attribute(row, "Parent")
            genes[parents[name]].transcripts[name].append((int(row[3]) - 1, int(row[4])))
    return genes


# --- runs


def best_run(run: Callable[[], Ran], repeats: int) -> Ran:
    """The one of least CPU time; memory is the most of all."""
    runs: list[Ran] = []
    while len(runs) < repeats and (not runs or runs[0].cpu <= SHORT):
        runs.append(run())
        print(f"    {runs[-1].cpu:.1f} s of CPU, {runs[-1].memory / 2**20:.0f} MiB", flush=True)
    best = min(runs, key=lambda ran: ran.cpu)
    return best._replace(memory=max(ran.memory for ran in runs))


def peer_data(python: Path, inputs: Inputs, out: Path) -> Ran:
    """Both stages of the peer's create-data into the folder ``out``, made anew."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    Path(f"{inputs.annotation}_db").unlink(missing_ok=True)  # it takes one that is there for the annotation's
    files = ("--annotation-gff", inputs.annotation, "--genome-fasta", inputs.genome, "--output-dir", out / "data")
    ran = run_openspliceai(python, "create-data", *files, "--split-method", inputs.split, log=out / "log")
    return ran._replace(disk=disk_of(out / "data"))


def our_data(inputs: Inputs, out: Path, *options: object) -> Ran:
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    Path(f"{inputs.genome}.fai").unlink(missing_ok=True)
    files = ("--genome", inputs.genome, "--annotation", inputs.annotation, "--output", out / "data")
    cache = {"BASECAST_CACHE": str(out / "cache")}  # a parsed annotation is kept there
    ran = run_basecast("create-data", *files, *options, log=out / "log", environment=cache)
    return ran._replace(disk=disk_of(out / "data"))


def peer_sites(folder: Path) -> tuple[dict[Site, set[str]], set[str]]:
    """The peer's sites with the genes that have them, and all its genes. Labels run along the transcript."""
    sites: dict[Site, set[str]] = defaultdict(set)
    genes: set[str] = set()
    for split in SPLITS:
        with h5py.File(folder / f"datafile_{split}.h5") as file:
            names = ("NAME", "CHROM", "STRAND", "TX_START", "TX_END", "LABEL")
            for name, contig, strand, start, end, label in zip(*(file[x].asstr()[:] for x in names), strict=True):
                genes.add(name)
                for i, value in enumerate(label):
                    if value != "0":
                        position = int(start) - 1 + i if strand == "+" else int(end) - 1 - i
                        sites[Site(contig, strand, position, CLASSES[int(value)])].add(name)
    return sites, genes


def our_sites(folder: Path) -> set[Site]:
    """Basecast's sites."""
    sites: set[Site] = set()
    for split in SPLITS:
        dataset = open_split(folder, split)
        output = dataset.header.outputs[0].name
        for index in range(len(dataset)):
            record = dataset.record(index)
            found = dataset.sites(index, output)
            for offset, label in zip(found.position.tolist(), found.label.tolist(), strict=True):
                position = record.start + offset if record.strand == "+" else record.end - 1 - offset
                sites.add(Site(record.contig, record.strand, position, CLASSES[label]))
    return sites


# --- comparison


@dataclass
class Comparison:
    same: int = 0
    short: int = 0  # introns
    only_peer: Counter[str] = field(default_factory=Counter)
    only_ours: Counter[str] = field(default_factory=Counter)
    amiss: list[str] = field(default_factory=list)


def compare(genes: dict[str, Gene], peer: Path, ours: Path) -> Comparison:
    """Every site of both, with the reason where only one has it. The annotation is read here once more."""
    theirs, their_genes = peer_sites(peer)
    mine = our_sites(ours)
    widest = {site for gene in genes.values() for site in gene.sites(gene.longest)}
    chosen = {site for gene in genes.values() for site in gene.sites(gene.chosen)}
    result = Comparison(same=len(theirs.keys() & mine))
    for site in sorted(theirs.keys() ^ mine):
        in_peer = site in theirs
        if in_peer and site in widest - chosen:
            reason = "of the widest transcript, which is not the one that is tagged"
        elif not in_peer and site in chosen - widest:
            reason = "of the transcript that is tagged, which is not the widest"
        else:
            reason = UNEXPLAINED
        (result.only_peer if in_peer else result.only_ours)[reason] += 1
        if reason == UNEXPLAINED:
            label = f"{site.contig}:{site.position + 1}({site.strand}) {site.kind}"
            result.amiss.append(f"{label}: only {'openspliceai' if in_peer else 'Basecast'} has it")
    for gene in genes.values():
        result.short += sum(end - start < SHORTEST for start, end in gene.introns(gene.longest))
    missing = genes.keys() - their_genes
    if missing:
        result.amiss.append(f"{len(missing)} genes are not in openspliceai's data, {min(missing)} first")
    return result


def reasons(counts: Counter[str]) -> str:
    return "; ".join(f"{n:,}: {reason}" for reason, n in counts.most_common()) or "0"


def show(name: str, result: Comparison, theirs: Ran, *ours: Ran) -> None:
    def ratios(unit: str, digits: int, took: Callable[[Ran], float]) -> str:
        numbers = [took(theirs), *(took(ran) for ran in ours)]
        shares = (f"**{numbers[0] / number:.1f}**" for number in numbers[1:])
        return " | ".join([*(f"{number:,.{digits}f} {unit}" for number in numbers), *shares])

    print(
        "",
        f"{name}: {result.same:,} sites both have; {result.short} of their introns have fewer than {SHORTEST} bases",
        f"- only openspliceai: {reasons(result.only_peer)}",
        f"- only Basecast: {reasons(result.only_ours)}",
        "",
        "| | openspliceai | Basecast, overlap | Basecast, homology | ratio, overlap | ratio, homology |",
        "|---|---|---|---|---|---|",
        f"| CPU time | {ratios('s', 1, lambda ran: ran.cpu)} |",
        f"| wall time | {ratios('s', 1, lambda ran: ran.wall)} |",
        f"| disk | {ratios('MiB', 1, lambda ran: ran.disk / 2**20)} |",
        f"| peak memory | {ratios('MiB', 0, lambda ran: ran.memory / 2**20)} |",
        sep="\n",
        flush=True,
    )


PREPARED: dict[str, Callable[[Path, Path], Inputs]] = {"human": prepare_human, "spombe": prepare_spombe}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, help="folder of the shared data")
    parser.add_argument("--peer-python", type=Path, help=f"python of an environment with {PEER}; made where missing")
    parser.add_argument("--only", nargs="+", choices=PREPARED, default=list(PREPARED), help="genomes to run")
    parser.add_argument("--repeats", type=int, default=3, help="of a run shorter than half a minute")
    parser.add_argument("--work", type=Path, default=Path("parity-work/create-data"), help="where files are kept")
    options = parser.parse_args()
    data, work = shared_data(options.shared), options.work.resolve()
    python = options.peer_python or make_peer(work / "venv")
    failures: list[str] = []
    for name in options.only:
        inputs = PREPARED[name](data, work)
        peer, ours = work / f"peer.{name}", work / f"basecast.{name}"
        theirs = best_run(partial(peer_data, python, inputs, peer), options.repeats)
        alike = best_run(partial(our_data, inputs, work / f"homology.{name}", *TAG[name]), options.repeats)
        mine = best_run(partial(our_data, inputs, ours, "--split", "overlap", *TAG[name]), options.repeats)
        result = compare(read_genes(inputs.annotation), peer / "data", ours / "data")
        show(name, result, theirs, mine, alike)
        failures += [f"{name}: {text}" for text in result.amiss]
        if not result.same:
            failures.append(f"{name}: no site was compared")
    print("", *(failures or ["every site is both programs', or only one's for a reason above"]), sep="\n")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
