from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from worlds import Gene, World, regular, reverse, sites, write_gff, write_world

from basecast.data.create import CreateSettings, create_data
from basecast.data.create_report import CreateReport
from basecast.data.opening import open_split
from basecast.data.store import SPLITS, Dataset
from basecast.errors import BasecastError, InputError, UsageError
from basecast.genome.annotation import Annotation
from basecast.genome.reference import Genome
from basecast.genome.sequence import decode
from basecast.spec.splice import SPLICE

LENGTHS = {"chr1": 30_000, "chr2": 30_000, "chr4": 9_000}


def crowd() -> list[Gene]:
    """Genes that overlap, nest, lie against each other, and end at the ends of a contig."""
    genes = [
        regular(f"g{i}", contig, "+-"[i % 2], 1000 + 900 * i, n=4)
        for contig in ("chr1", "chr2")
        for i in range(0 if contig == "chr1" else 30, 30 if contig == "chr1" else 32)
    ]
    genes = [gene for gene in genes if gene.end < 30_000]
    host = regular("host", "chr2", "+", 2000, n=5, intron=400)
    genes += [
        host,
        regular("nested", "chr2", "+", host.transcripts[0][1][1] + 30, n=2, exon=30, intron=50),
        regular("against", "chr2", "-", 2300),
        regular("first", "chr4", "-", 0),
        regular("last", "chr4", "+", LENGTHS["chr4"] - 390),
        Gene("isoforms", "chr4", "+", [[(3000, 3100), (3300, 3400)], [(3000, 3050), (3300, 3400), (3600, 3700)]]),
        regular("coding_not", "chr4", "+", 5000)._replace(biotype="lncRNA"),
        Gene("single", "chr4", "-", [[(6000, 6500)]]),
    ]
    return genes


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return write_world(tmp_path_factory.mktemp("world"), LENGTHS, crowd())


def make(world: World, output: Path, *, files: dict[str, Path] | None = None, **settings: Any) -> CreateReport:
    """With overlap as the rule, that needs no alignment."""
    chosen = CreateSettings(**{"split": "overlap", **settings})
    return create_data(world.genome, world.annotation, output, settings=chosen, **(files or {}))


def datasets(folder: Path) -> Iterator[Dataset]:
    yield from (open_split(folder, split) for split in SPLITS if any(folder.glob(f"*{split}.h5")))


def found_sites(folder: Path) -> dict[tuple[str, str, int], int]:
    """The labels of all records as classes of positions, by contig, strand and place on the plus strand."""
    found = {}
    for dataset in datasets(folder):
        for i in range(len(dataset)):
            r = dataset.record(i)
            classes = dataset.labels(i, 0, r.end - r.start, SPLICE)
            for position in np.flatnonzero(classes).tolist():
                place = r.start + position if r.strand == "+" else r.end - 1 - position
                found[r.contig, r.strand, place] = int(classes[position])
    return found


def split_of(folder: Path) -> dict[str, str]:
    table = pl.read_csv(folder / "splits.tsv", separator="\t")
    return dict(table.select("gene", "split").iter_rows())


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.glob("*.[ht][5s]*")}


# --- labels and sequence


def test_labels_are_those_of_the_annotation_base_by_base(world: World, tmp_path: Path) -> None:
    report = make(world, tmp_path, transcripts="all")
    wanted = sites(gene for gene in world.genes if gene.biotype == "protein_coding")
    assert found_sites(tmp_path) == wanted
    assert (report.sites, report.donors) == (len(wanted), sum(label == 2 for label in wanted.values()))
    assert sum(split.sites for split in report.splits.values()) == report.sites


def test_canonical_transcripts_alone_have_fewer_sites(world: World, tmp_path: Path) -> None:
    make(world, tmp_path)
    found = found_sites(tmp_path)
    wanted = sites(gene for gene in world.genes if gene.biotype == "protein_coding")
    assert found.items() < wanted.items()


def test_other_biotypes_by_choice(world: World, tmp_path: Path) -> None:
    report = make(world, tmp_path / "coding")
    assert "coding_not" not in split_of(tmp_path / "coding")
    assert report.left_out["transcripts of biotype lncRNA"] == 1
    make(world, tmp_path / "one", biotypes=("lncRNA",), transcripts="all")
    assert list(split_of(tmp_path / "one")) == ["coding_not"]
    make(world, tmp_path / "all", biotypes=("all",), transcripts="all")
    assert found_sites(tmp_path / "all") == sites(world.genes)


@pytest.mark.parametrize("context", ["gene", "genomic"])
def test_sequence_is_that_of_the_genome_and_past_a_record_what_was_chosen(
    world: World, tmp_path: Path, context: str
) -> None:
    flank = 700
    make(world, tmp_path, context=context, flank=flank if context == "genomic" else None)
    for dataset in datasets(tmp_path):
        assert (dataset.header.mask, dataset.header.flank) == (("gene", 0) if context == "gene" else ("none", flank))
        for i in range(len(dataset)):
            r = dataset.record(i)
            around, text = flank + 5, world.bases[r.contig]
            first, last = (r.start, r.end) if context == "gene" else (r.start - flank, r.end + flank)
            want = "".join(
                text[p] if max(first, 0) <= p < min(last, len(text)) else "N"
                for p in range(r.start - around, r.end + around)
            )
            read = decode(dataset.tokens(i, -around, r.end - r.start + around))
            assert read == (want if r.strand == "+" else reverse(want))


def test_n_and_lower_case_and_ambiguous_bases(tmp_path: Path) -> None:
    world = write_world(tmp_path, {"chr1": 5000}, [regular("g", "chr1", "+", 500)])
    text = world.bases["chr1"]
    world.genome.write_text(f">chr1\n{text[:510].lower()}NNRY{text[514:]}\n")
    report = make(world, tmp_path / "data")
    (dataset,) = datasets(tmp_path / "data")
    assert decode(dataset.tokens(0, 0, 20)) == text[500:510] + "NNNN" + text[514:520]
    assert report.splits["train"].n_bases == 4


def test_bases_of_other_genes_have_no_label(world: World, tmp_path: Path) -> None:
    mask = tmp_path / "mask.gff3"
    host = next(gene for gene in world.genes if gene.name == "host")
    (_, exon_end), (next_start, _) = host.transcripts[0][:2]
    write_gff(
        mask,
        [
            host,  # is itself
            Gene("other", "chr2", "+", [[(exon_end - 10, next_start - 100)]], "lncRNA"),
            Gene("reverse", "chr2", "-", [[(next_start, next_start + 20)]]),
            Gene("unmatched", "chrUn", "-", [[(0, 20)]]),
        ],
    )
    report = make(world, tmp_path / "data", files={"mask_annotation": mask})
    masked = 0
    for dataset in datasets(tmp_path / "data"):
        for i in range(len(dataset)):
            r = dataset.record(i)
            length = r.end - r.start
            unknown = np.flatnonzero(~dataset.valid(i, 0, length, SPLICE))
            masked += len(unknown)
            if "host" in r.genes:
                wanted = set(range(exon_end - 10, next_start - 100)) - {exon_end - 1}  # its own donor is known
                assert {r.start + p for p in unknown.tolist()} == wanted
                assert dataset.labels(i, exon_end - 1 - r.start, exon_end - r.start, SPLICE).tolist() == [2]
            elif "against" in r.genes:
                assert {r.end - 1 - p for p in unknown.tolist()} == set(range(next_start, next_start + 20))
            else:
                assert not len(unknown)
    assert masked == sum(split.masked_bases for split in report.splits.values()) == next_start - exon_end - 91 + 20


def unknown_of(folder: Path) -> set[tuple[str, int]]:
    """Bases of all records that have no label, by strand and place on the plus strand."""
    found = set()
    for dataset in datasets(folder):
        for i in range(len(dataset)):
            r = dataset.record(i)
            for p in np.flatnonzero(~dataset.valid(i, 0, r.end - r.start, SPLICE)).tolist():
                found.add((r.strand, r.start + p if r.strand == "+" else r.end - 1 - p))
    return found


def test_masked_by_the_annotation_itself_all_bases_keep_their_labels(tmp_path: Path) -> None:
    """Records of the two strands alternate in their starts."""
    genes = [
        Gene("A", "chr1", "+", [[(0, 100), (200, 500)]]),
        Gene("M", "chr1", "-", [[(100, 150), (220, 300)]]),
        Gene("B", "chr1", "+", [[(400, 500), (600, 1000)]]),
    ]
    world = write_world(tmp_path, {"chr1": 2000}, genes)
    report = make(world, tmp_path / "data", files={"mask_annotation": world.annotation})
    assert report.splits["train"].bases == 1200
    assert report.splits["train"].masked_bases == 0


@pytest.mark.parametrize("strand", ["+", "-"])
@pytest.mark.parametrize("why", ["biotype", "list"])
def test_bases_of_spliced_genes_that_are_left_out_have_no_label(tmp_path: Path, strand: str, why: str) -> None:
    other = {"+": "-", "-": "+"}[strand]
    biotype = "lncRNA" if why == "biotype" else "protein_coding"
    genes = [
        Gene("host", "chr1", strand, [[(1000, 1200), (8000, 8300)]]),
        Gene("spliced", "chr1", strand, [[(3200, 3500), (4500, 4800)]], biotype),
        Gene("single", "chr1", strand, [[(6000, 6100)]], biotype),
        Gene("edge", "chr1", strand, [[(900, 950), (970, 1210)]], biotype),
        Gene("against", "chr1", other, [[(5000, 5100), (5200, 5300)]], biotype),
        Gene("apart", "chr2", strand, [[(1000, 1200), (8000, 8300)]]),
    ]
    world = write_world(tmp_path, {"chr1": 10_000, "chr2": 10_000}, genes)
    listed = tmp_path / "list.tsv"
    listed.write_text("gene\tsplit\nhost\ttrain\napart\ttest\n")
    report = make(world, tmp_path / "data", files={"split_list": listed} if why == "list" else {})
    wanted = {(strand, p) for p in (*range(3200, 4800), *range(1000, 1210)) if p != 1199}  # its own site is known
    assert unknown_of(tmp_path / "data") == wanted
    assert sum(split.masked_bases for split in report.splits.values()) == len(wanted)
    assert found_sites(tmp_path / "data") == sites([genes[0], genes[-1]])
    assert not any("masked" in note for note in report.notes)


def test_records_that_are_nearly_all_masked_are_told(tmp_path: Path) -> None:
    genes = [regular(f"g{i}", "chr1", "+", 500 + 1000 * i) for i in range(8)]
    world = write_world(tmp_path, {"chr1": 10_000}, genes)
    mask = tmp_path / "mask.gff3"
    write_gff(mask, [Gene("wide", "chr1", "+", [[(600, 900 + 1000 * 5)]])])
    report = make(world, tmp_path / "data", files={"mask_annotation": mask})
    said = "5 records with more than 90% of the bases masked, being in other genes (g1; g2; g3; g4; g5)"
    assert said in report.notes


def test_introns_without_a_motif_by_choice(tmp_path: Path) -> None:
    genes = [regular("a", "chr1", "+", 500), regular("b", "chr1", "-", 2000)]
    world = write_world(tmp_path, {"chr1": 5000}, genes)
    start = genes[0].transcripts[0][0][1]
    text = world.bases["chr1"]
    world.genome.write_text(f">chr1\n{text[:start]}GG{text[start + 2 :]}\n")
    report = make(world, tmp_path / "with")
    assert (report.sites, report.motifs["other"]) == (8, 1)
    report = make(world, tmp_path / "without", canonical_motifs_only=True)
    assert (report.sites, report.motifs["other"]) == (6, 0)
    assert report.left_out["introns without a splice motif"] == 1


# --- splits


def test_overlapping_genes_are_never_astride(world: World, tmp_path: Path) -> None:
    for seed in range(4):
        make(world, tmp_path / str(seed), seed=seed)
        split = split_of(tmp_path / str(seed))
        assert split["host"] == split["nested"] == split["against"]
        assert set(split.values()) == set(SPLITS)


@pytest.mark.parametrize("contigs", [1, 5000])
def test_one_contig_and_thousands_of_scaffolds_give_three_splits(tmp_path: Path, contigs: int) -> None:
    n = 400 if contigs == 1 else contigs
    genes = [
        regular(f"g{i}", "only" if contigs == 1 else f"scaffold{i}", "+-"[i % 2], 700 * i if contigs == 1 else 50, n=2)
        for i in range(n)
    ]
    lengths = {"only": 700 * n} if contigs == 1 else {f"scaffold{i}": 400 for i in range(n)}
    world = write_world(tmp_path, lengths, genes)
    report = make(world, tmp_path / "data", split="homology")
    assert {name: split.sites / report.sites for name, split in report.splits.items()} == pytest.approx(
        {"train": 0.8, "validation": 0.1, "test": 0.1}, abs=0.01
    )


@pytest.fixture(scope="module")
def family(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Twenty genes, each on a contig of its own; five are copies of each other on either strand."""
    genes = [regular(f"g{i}", f"c{i}", "+-"[i % 2], 300, n=4, exon=300) for i in range(20)]
    lengths = {f"c{i}": 3000 for i in range(20)}
    return write_world(
        tmp_path_factory.mktemp("family"), lengths, genes, copies=[(genes[0], genes[i]) for i in (3, 8, 9, 17)]
    )


def test_paralogs_on_different_contigs_stay_together(family: World, tmp_path: Path) -> None:
    together = []
    for seed in (3, 4, 5):
        make(family, tmp_path / f"h{seed}", split="homology", seed=seed)
        make(family, tmp_path / f"o{seed}", split="overlap", seed=seed)
        split, other = split_of(tmp_path / f"h{seed}"), split_of(tmp_path / f"o{seed}")
        assert len({split[f"g{i}"] for i in (0, 3, 8, 9, 17)}) == 1
        together.append(len({other[f"g{i}"] for i in (0, 3, 8, 9, 17)}) == 1)
    assert not any(together)


def test_paralogs_of_train_are_left_out_by_choice(family: World, tmp_path: Path) -> None:
    listed = tmp_path / "list.tsv"
    lines = [
        f"c{i}\t{'test' if i in (8, 9, 10, 11) else 'validation' if i in (17, 18) else 'train'}" for i in range(20)
    ]
    listed.write_text("contig\tsplit\n" + "\n".join(lines) + "\n")
    files = {"split_list": listed}
    make(family, tmp_path / "with", files=files)
    assert {"g8", "g9", "g17"} < split_of(tmp_path / "with").keys()
    report = make(family, tmp_path / "without", files=files, remove_paralogs=True)
    left = split_of(tmp_path / "without")
    assert left.keys() == {f"g{i}" for i in range(20)} - {"g8", "g9", "g17"}
    assert found_sites(tmp_path / "without").items() < found_sites(tmp_path / "with").items()
    assert report.left_out["genes of test whose record is like one of train"] == 2
    assert report.left_out["genes of validation whose record is like one of train"] == 1
    assert (report.genes, report.splits["train"].genes, report.introns) == (17, 14, 17 * 3)
    removed = pl.read_csv(tmp_path / "without" / "removed_paralogs.tsv", separator="\t")
    assert set(removed["gene", "similar_to"].iter_rows()) == {(a, b) for a in ("g8", "g9", "g17") for b in ("g0", "g3")}
    assert removed["identity"].min() > 0.99
    assert removed["coverage"].min() > 0.9


def test_a_split_table_is_taken_again(world: World, tmp_path: Path) -> None:
    make(world, tmp_path / "a", seed=5)
    make(world, tmp_path / "b", files={"split_list": tmp_path / "a" / "splits.tsv"}, seed=77)
    assert split_of(tmp_path / "a") == split_of(tmp_path / "b")
    table = pl.read_csv(tmp_path / "a" / "splits.tsv", separator="\t")
    assert table.columns == ["gene", "contig", "start", "end", "cluster", "split"]
    placed = {gene.name: (gene.contig, gene.start, gene.end) for gene in world.genes}
    for gene, *place in table["gene", "contig", "start", "end"].iter_rows():
        assert placed[gene][:2] == tuple(place[:2])  # of a canonical transcript, which may end sooner


def test_a_split_table_of_genes_that_share_a_name_is_taken_again(tmp_path: Path) -> None:
    world = write_world(tmp_path, {"c": 60_000}, [regular(f"g{i}", "c", "+", 100 + 4000 * i) for i in range(12)])
    bed = tmp_path / "genes.bed"
    rows = [
        f"c\t{g.start}\t{g.end}\tU{i % 6}\t0\t+\t{g.start}\t{g.end}\t0\t3\t90,90,90\t0,150,300"
        for i, g in enumerate(world.genes)
    ]
    bed.write_text("\n".join(rows) + "\n")
    world = world._replace(annotation=bed)
    make(world, tmp_path / "a")
    table = (tmp_path / "a" / "splits.tsv").read_bytes()
    names = pl.read_csv(table, separator="\t").group_by("gene").agg(pl.col("split").n_unique())
    assert names["split"].max() > 1
    make(world, tmp_path / "b", files={"split_list": tmp_path / "a" / "splits.tsv"}, seed=3)
    assert (tmp_path / "b" / "splits.tsv").read_bytes() == table


def test_validation_that_is_drawn_from_train_is_told(world: World, tmp_path: Path) -> None:
    said = "validation is a tenth of train by genes that overlap; paralogs may stand on both sides"
    listed = tmp_path / "list.tsv"
    listed.write_text("contig\tsplit\nchr1\ttrain\nchr2\ttest\n")
    assert said in make(world, tmp_path / "drawn", files={"split_list": listed}).notes
    listed.write_text("contig\tsplit\nchr1\ttrain\nchr2\ttest\nchr4\tvalidation\n")
    assert said not in make(world, tmp_path / "given", files={"split_list": listed}).notes
    assert said not in make(world, tmp_path / "overlap").notes


def test_a_list_that_tears_genes_that_overlap(world: World, tmp_path: Path) -> None:
    listed = tmp_path / "list.tsv"
    listed.write_text("gene\tcontig\tsplit\nhost\t\ttrain\nagainst\t\ttest\n\tchr1\ttrain\n")
    with pytest.raises(
        InputError, match=r"list.tsv puts genes that overlap into more than one split \(.*host in train"
    ):
        make(world, tmp_path / "data", files={"split_list": listed})
    assert not list(tmp_path.glob("data/*"))


def test_a_list_leaves_out_what_it_does_not_name(world: World, tmp_path: Path) -> None:
    listed = tmp_path / "list.tsv"
    listed.write_text("contig\tsplit\nchr1\ttrain\nchr2\ttest\n")
    report = make(world, tmp_path / "data", files={"split_list": listed})
    assert report.left_out["genes that the split list does not name"] == 4
    split = split_of(tmp_path / "data")
    assert split["host"] == "test"
    assert {split[f"g{i}"] for i in range(30)} == {"train", "validation"}


def test_regions_are_judged_in_source_coordinates(tmp_path: Path) -> None:
    """Two contigs overlap in the source, and chromosomes 1 and 3 are test."""
    genes = [regular(f"{name}{i}", name, "+", 100 + 700 * i) for name in ("r1", "r2", "r3", "r4") for i in range(8)]
    world = write_world(tmp_path, dict.fromkeys(("r1", "r2", "r3", "r4"), 6000), genes)
    groups = tmp_path / "groups.tsv"
    rows = ["r1\tchr1\t1000001\t1006000", "r2\tchr2\t1\t6000", "r3\tchr2\t5001\t11000", "r4\tchr3\t1\t6000"]
    groups.write_text("\n".join(["contig\tchrom\tstart\tend", *rows]) + "\n")
    report = make(world, tmp_path / "human", files={"contig_groups": groups}, split="spliceai-human")
    split = split_of(tmp_path / "human")
    assert {split[gene.name] for gene in genes if gene.contig in ("r1", "r4")} == {"test"}
    assert "test" not in {split[gene.name] for gene in genes if gene.contig in ("r2", "r3")}
    assert report.splits["validation"].genes > 0
    chromosome = {r: c for d in datasets(tmp_path / "human") for r, c in d.records["contig", "chromosome"].iter_rows()}
    assert chromosome == {"r1": "chr1", "r2": "chr2", "r3": "chr2", "r4": "chr3"}
    make(world, tmp_path / "overlap", files={"contig_groups": groups})
    cluster = dict(pl.read_csv(tmp_path / "overlap" / "splits.tsv", separator="\t")["gene", "cluster"].iter_rows())
    first = {d.record(i).genes: d.record(i).source_start for d in datasets(tmp_path / "overlap") for i in range(len(d))}
    assert first["r30"] == 5000 + 100  # r3 begins where r2 has its base 5000
    shared = [
        (a, b)
        for a in range(8)
        for b in range(8)
        if abs(first[f"r2{a}"] - first[f"r3{b}"]) < genes[0].end - genes[0].start
    ]
    assert shared
    assert all(cluster[f"r2{a}"] == cluster[f"r3{b}"] for a, b in shared)


def test_a_seed_gives_the_same_bytes_and_another_one_another_split(world: World, tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make(world, tmp_path / name, seed=seed, split="homology")
    assert digests(tmp_path / "a") == digests(tmp_path / "b")
    assert len(digests(tmp_path / "a")) == 4
    assert split_of(tmp_path / "a") != split_of(tmp_path / "c")


def test_a_split_without_a_gene_is_told(tmp_path: Path) -> None:
    world = write_world(tmp_path, {"chr1": 5000}, [regular("g", "chr1", "+", 500)])
    report = make(world, tmp_path / "data")
    assert sorted(path.name for path in (tmp_path / "data").iterdir()) == ["report.json", "splits.tsv", "train.h5"]
    assert report.notes == ("there is no gene in validation", "there is no gene in test")


def test_the_header_tells_where_everything_comes_from(world: World, tmp_path: Path) -> None:
    make(world, tmp_path, species="Made up", genome_build="one")
    header = open_split(tmp_path, "validation").header
    assert header.sources == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in (world.genome, world.annotation)
    }
    assert (header.split, header.species, header.genome_build) == ("validation", "Made up", "one")
    assert header.settings["seed"] == 42
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["splits"]["train"]["bases"] == int(open_split(tmp_path, "train").lengths.sum())


def test_files_of_one_name_are_both_told(world: World, tmp_path: Path) -> None:
    mask = tmp_path / "full" / world.annotation.name
    mask.parent.mkdir()
    write_gff(mask, world.genes[:3])
    make(world, tmp_path / "data", files={"mask_annotation": mask})
    own = f"{world.annotation.parent.name}/genes.gff3"
    assert open_split(tmp_path / "data", "train").header.sources.keys() == {"genome.fa", own, "full/genes.gff3"}


# --- what must be refused


def test_no_shared_contig(world: World, tmp_path: Path) -> None:
    other = tmp_path / "other.fa"
    other.write_text(">scaffold_1\n" + "ACGT" * 100 + "\n")
    with pytest.raises(InputError, match=r"contig 'chr1' of .*genes.gff3 is not in .*other.fa, which has 'scaffold_1'"):
        create_data(other, world.annotation, tmp_path / "data")


def test_coordinates_past_the_end(world: World, tmp_path: Path) -> None:
    short = tmp_path / "short.fa"
    short.write_text("".join(f">{name}\n{text[:20_000]}\n" for name, text in world.bases.items()))
    with pytest.raises(
        InputError, match=r"ends at .* of contig 'chr1', which has 20,000 bases .*use the annotation of this"
    ):
        create_data(short, world.annotation, tmp_path / "data")


def regulars(n: int = 30) -> list[Gene]:
    return [regular(f"g{i}", "chr1", "+-"[i % 2], 100 + 600 * i) for i in range(n)]


def test_coordinates_off_by_one(tmp_path: Path) -> None:
    world = write_world(tmp_path, {"chr1": 20_000}, regulars(), shift=1)
    with pytest.raises(
        InputError, match=r"[0-9.]+% of 60 introns .* have a splice motif .* moving all coordinates by -1 it is 100.0%"
    ):
        make(world, tmp_path / "data")
    assert not (tmp_path / "data").exists()
    report = make(world, tmp_path / "forced", force=True)
    assert "it is 100.0%: its coordinates look shifted by 1" in report.notes[0]


def test_few_splice_motifs(tmp_path: Path) -> None:
    world = write_world(tmp_path, {"chr1": 20_000}, regulars(), shift=20)
    with pytest.raises(
        InputError, match=r"[0-9.]+% of 60 introns of .*genes.gff3 have a splice motif .*, [0-9.]+% GT-AG.* or --force"
    ):
        make(world, tmp_path / "data")
    assert make(world, tmp_path / "forced", force=True).sites == 120


def test_half_of_the_motifs_is_enough(tmp_path: Path) -> None:
    genes = regulars()
    world = write_world(tmp_path, {"chr1": 20_000}, genes)
    text = list(world.bases["chr1"])
    for gene in genes[:14]:
        for (_, start), _ in zip(gene.transcripts[0], range(2), strict=False):
            text[start : start + 2] = "GG"
    world.genome.write_text(">chr1\n" + "".join(text) + "\n")
    assert make(world, tmp_path / "data").motifs["other"] >= 20


def test_no_gene_with_introns(tmp_path: Path) -> None:
    world = write_world(tmp_path, {"chr1": 5000}, [Gene("g", "chr1", "+", [[(100, 900)]])])
    with pytest.raises(InputError, match=r"none of 1 gene taken from .* has an intron, .* annotation with exon rows"):
        make(world, tmp_path / "data")


def test_an_unknown_biotype(world: World, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has the biotype snoRNA: there are lncRNA, protein_coding"):
        make(world, tmp_path / "data", biotypes=("snoRNA",))


def test_a_folder_that_holds_a_dataset(world: World, tmp_path: Path) -> None:
    make(world, tmp_path, layout="openspliceai")
    before = digests(tmp_path)
    with pytest.raises(UsageError, match=r"holds a dataset already \(dataset_test.h5, .*\): .* or --overwrite"):
        make(world, tmp_path)
    assert digests(tmp_path) == before
    make(world, tmp_path, overwrite=True)
    names = ["report.json", "splits.tsv", "test.h5", "train.h5", "validation.h5"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_an_output_that_is_a_file(world: World, tmp_path: Path) -> None:
    (tmp_path / "data").touch()
    with pytest.raises(UsageError, match=r"the output .* is a file: give a folder"):
        make(world, tmp_path / "data")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"flank": 10}, "it goes with --context genomic"),
        ({"context": "genomic", "layout": "openspliceai"}, "it goes with --context gene"),
    ],
    ids=["flank", "layout"],
)
def test_settings_that_do_not_go_together(world: World, tmp_path: Path, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        make(world, tmp_path / "data", **settings)


def test_a_failure_leaves_the_earlier_dataset(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(world, tmp_path)
    before = digests(tmp_path)

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("basecast.data.hdf5_output.os.pwrite", full)
    with pytest.raises(BasecastError, match=r"could not be written \(No space left on device\).* earlier .* as it was"):
        make(world, tmp_path, seed=3, overwrite=True)
    assert digests(tmp_path) == before
    assert len(list(tmp_path.iterdir())) == 5  # nothing partial beside them


# --- real genomes


def naive_sites(path: Path, genome: Genome) -> dict[tuple[str, str, int], int]:
    """Sites of the canonical transcripts of coding genes, read exon by exon."""
    read = Annotation.read(path).fitted_to(genome).transcripts
    found: defaultdict[tuple[str, str, int], set[int]] = defaultdict(set)
    for row in read.table.filter(pl.col("biotype").is_in(["protein_coding", "mRNA"])).iter_rows(named=True):
        for start, end in zip(row["exon_end"][:-1], row["exon_start"][1:], strict=True):
            left, right = (2, 1) if row["strand"] == "+" else (1, 2)
            found[row["contig"], row["strand"], start - 1].add(left)
            found[row["contig"], row["strand"], end].add(right)
    return {place: min(kinds) for place, kinds in found.items() if len(kinds) == 1}


@pytest.mark.parametrize(
    ("reference", "annotation"),
    [
        ("human/GRCh38_regions.fa.gz", "human/GRCh38_regions.lrg.gff3.gz"),
        ("spombe/genome.fa.gz", "spombe/genes.gff3.gz"),
    ],
    ids=["human", "spombe"],
)
def test_labels_of_real_genes(shared_data: Path, tmp_path: Path, reference: str, annotation: str) -> None:
    genome = Genome(shared_data / reference)
    report = create_data(
        shared_data / reference, shared_data / annotation, tmp_path, settings=CreateSettings(split="overlap")
    )
    found, wanted = found_sites(tmp_path), naive_sites(shared_data / annotation, genome)
    assert {place: found[place] for place in wanted} == wanted
    assert len(found) == len(wanted) + report.both
    assert report.motifs["GT-AG"] / report.introns > 0.98
    motif = {1: "AG", 2: "GT"}
    agree = total = 0
    for dataset in datasets(tmp_path):
        for i in range(0, len(dataset), 7):
            for position, label in zip(*dataset.sites(i, SPLICE)[:2], strict=True):
                at = position + 1 if label == 2 else position - 2
                agree += decode(dataset.tokens(i, int(at), int(at) + 2)) == motif[int(label)]
                total += 1
    assert agree / total > 0.98
