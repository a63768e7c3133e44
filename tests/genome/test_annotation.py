"""Reading any annotation, choosing transcripts, looking them up, and holding them against a genome."""

from __future__ import annotations

import gzip
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pysam
import pytest

from basecast.errors import InputError, UsageError
from basecast.genome.annotation import Annotation, Selection
from basecast.genome.contigs import ContigNames
from basecast.genome.reference import Genome
from basecast.genome.sequence import decode, encode, reverse_complement

Write = Callable[[str, str], Path]
BED_ROW = "{contig}\t{start}\t{end}\t{name}\t0\t+\t{start}\t{start}\t0\t1\t{length},\t0,\n"


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def to(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return to


def gff3(*transcripts: tuple[str, str, str, str, str]) -> str:
    """Rows for (gene, transcript, extra attributes, exon spans, CDS spans), all on contig c."""
    lines = ["##gff-version 3"]
    for gene, name, extra, exons, cds in transcripts:
        spans = exons.split(",")
        start, end = spans[0].split("-")[0], spans[-1].split("-")[1]
        lines.append(f"c\tx\tmRNA\t{start}\t{end}\t.\t+\t.\tID={name};Parent={gene}{extra}")
        for feature, listed in (("exon", spans), ("CDS", cds.split(",") if cds else [])):
            for span in listed:
                start, end = span.split("-")
                lines.append(f"c\tx\t{feature}\t{start}\t{end}\t.\t+\t.\tParent={name}")
    return "\n".join(lines) + "\n"


def ids(path: Path, transcripts: Selection = "canonical", tag: str | None = None) -> list[str]:
    return [t.id for t in Annotation.read(path, transcripts=transcripts, canonical_tag=tag).transcripts]


# ---- selection

LONG = ("g", "longest_cds", "", "1-100,201-300", "1-100,201-290")
WIDE = ("g", "longest", "", "1-900", "1-10")
ENSEMBL = ("g", "ensembl", ";tag=basic,Ensembl_canonical", "1-100", "1-9")
MANE = ("g", "mane", ";tag=MANE Select", "1-100", "1-9")
CLINICAL = ("g", "clinical", ";tag=MANE_Plus_Clinical", "1-100", "1-9")
MINE = ("g", "mine", ";tag=LRG_t1", "1-100", "1-9")
PHYTOZOME = ("g", "phytozome", ";longest=1", "1-100", "1-9")


@pytest.mark.parametrize(
    ("rows", "tag", "expected"),
    [
        ([WIDE, LONG, ENSEMBL, CLINICAL, MANE], None, "mane"),
        ([WIDE, LONG, ENSEMBL, PHYTOZOME], None, "ensembl"),
        ([WIDE, LONG, PHYTOZOME], None, "phytozome"),
        ([WIDE, LONG, MINE], None, "longest_cds"),
        ([MANE, WIDE, LONG, MINE], "LRG_t1", "mane"),
        ([WIDE, LONG, MINE], "LRG_t1", "mine"),
        ([MINE, WIDE, LONG, MANE], "MANE Select", "mane"),
        ([("g", "short", "", "1-100", ""), ("g", "longest", "", "1-50,61-161", "")], None, "longest"),
        ([("g", "first", "", "1-100", "1-9"), ("g", "second", "", "1-100", "1-9")], None, "first"),
    ],
)
def test_canonical_is_one_transcript_a_gene(
    write: Write, rows: list[tuple[str, str, str, str, str]], tag: str | None, expected: str
) -> None:
    other = ("h", "other", "", "2001-2100", "")
    found = Annotation.read(write("x.gff3", gff3(*rows, other)), canonical_tag=tag)
    assert [t.id for t in found.transcripts] == [expected, "other"]
    assert found.selection == (f"canonical (then {tag})" if tag else "canonical")


def test_genes_without_the_users_tag_fall_back(write: Write) -> None:
    path = write("x.gff3", gff3(MINE, LONG, ("h", "h_short", "", "1-9", ""), ("h", "h_long", "", "1-90", "")))
    assert ids(path, tag="LRG_t1") == ["mine", "h_long"]


def test_a_tag_that_no_transcript_has(write: Write) -> None:
    with pytest.raises(InputError, match=r"no transcript of .*x.gff3 has the tag 'nope'; tags there: .*MANE_Select"):
        ids(write("x.gff3", gff3(MANE, ENSEMBL)), tag="nope")


def test_mane_is_select_and_plus_clinical(write: Write) -> None:
    path = write("x.gff3", gff3(LONG, CLINICAL, MANE, ("h", "other", "", "1-9", "")))
    assert ids(path, "mane") == ["clinical", "mane"]


def test_mane_where_there_is_none(write: Write) -> None:
    with pytest.raises(InputError, match=r"x.gff3 marks no transcript as MANE .* --transcripts canonical"):
        ids(write("x.gff3", gff3(LONG, ENSEMBL)), "mane")


def test_all_is_all(write: Write) -> None:
    path = write("x.gff3", gff3(LONG, CLINICAL, MANE))
    assert ids(path, "all") == ["longest_cds", "clinical", "mane"]


def test_wrong_options(write: Write) -> None:
    path = write("x.gff3", gff3(LONG))
    with pytest.raises(UsageError, match="must be canonical, mane or all, got 'best'"):
        Annotation.read(path, transcripts="best")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="only has a meaning with transcripts=canonical"):
        ids(path, "all", "LRG_t1")


# ---- files


def test_formats_are_told_apart_by_content(write: Write) -> None:
    gtf = 'c\tx\texon\t1\t9\t.\t+\t.\tgene_id "g"; transcript_id "t";\n'
    augustus = "# made by\nc\tx\tgene\t1\t9\t.\t+\t.\tg1\nc\tx\ttranscript\t1\t9\t.\t+\t.\tt\n" + gtf
    texts = [
        "c\tx\texon\t1\t9\t.\t+\t.\tParent=t\n",
        gtf,
        augustus,
        BED_ROW.format(contig="c", start=0, end=9, length=9, name="t"),
        "#NAME\tCHROM\tSTRAND\tTX_START\tTX_END\tEXON_START\tEXON_END\nt\tc\t+\t0\t9\t0\t9\n",
        "t\tc\t+\t0\t9\t0,\t9,\n",
    ]
    for number, text in enumerate(texts):
        (transcript,) = Annotation.read(write(f"file{number}.txt", text)).transcripts
        assert (transcript.id, transcript.contig, transcript.exons) == ("t", "c", ((0, 9),))


def test_gzip_and_bgzip(write: Write, tmp_path: Path) -> None:
    plain = write("x.gff3", gff3(LONG, MANE))
    zipped, blocked = tmp_path / "x.gff3.gz", tmp_path / "y.gff3.gz"
    zipped.write_bytes(gzip.compress(plain.read_bytes()))
    pysam.tabix_compress(str(plain), str(blocked))
    assert ids(plain, "all") == ids(zipped, "all") == ids(blocked, "all") == ["longest_cds", "mane"]


def test_a_second_read_comes_from_the_cache_and_nothing_lies_beside_the_file(write: Write, tmp_path: Path) -> None:
    path = write("x.gff3", gff3(LONG, MANE) + "c\tx\texon\t1\t9\t.\t.\t.\tParent=t\n")
    first = Annotation.read(path, transcripts="all")
    assert os.listdir(tmp_path) == ["x.gff3"]
    (cached,) = (Path(os.environ["BASECAST_CACHE"]) / "annotation").glob(f"{first.digest}.*.parquet")
    built = cached.stat().st_mtime_ns
    second = Annotation.read(path, transcripts="all")
    assert list(second.transcripts) == list(first.transcripts)
    assert second.left_out == first.left_out == {"no strand": 1}
    assert cached.stat().st_mtime_ns == built


def test_a_changed_file_is_read_anew(write: Write) -> None:
    assert ids(write("x.gff3", gff3(LONG)), "all") == ["longest_cds"]
    assert ids(write("x.gff3", gff3(LONG, MANE)), "all") == ["longest_cds", "mane"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "bad.txt is empty or has no annotation rows"),
        ("# only a comment\n\n", "bad.txt is empty or has no annotation rows"),
        ("##fileformat=VCFv4.2\n#CHROM\tPOS\n", r"bad.txt is no annotation \(it begins with '##fileformat=VCFv4.2'\)"),
        (">chr1\nACGT\n", "bad.txt is no annotation"),
        ("chr1\t100\t200\tname\t0\t+\n", "looks like BED with 6 columns, which has no exons"),
        ("hello world\n", r"line 1 of .*bad.txt is of no annotation format \('hello world'\)"),
    ],
)
def test_what_is_no_annotation(write: Write, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Annotation.read(write("bad.txt", text))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere.gff is not a file that can be read"):
        Annotation.read(tmp_path / "nowhere.gff")


def test_a_truncated_gzip(tmp_path: Path) -> None:
    path = tmp_path / "x.gff3.gz"
    path.write_bytes(gzip.compress(gff3(*[LONG] * 500).encode())[:-20])
    with pytest.raises(
        InputError, match=r"x.gff3.gz is a damaged or truncated gzip file .* fetch or compress it again"
    ):
        Annotation.read(path)


def test_a_bgzip_file_cut_between_blocks(write: Write, tmp_path: Path) -> None:
    path = tmp_path / "x.gff3.gz"
    pysam.tabix_compress(str(write("x.gff3", gff3(LONG))), str(path))
    path.write_bytes(path.read_bytes()[:-28])
    with pytest.raises(InputError, match="end marker is missing"):
        Annotation.read(path)


def test_errors_of_the_parsers_name_file_and_line(write: Write) -> None:
    path = write("x.gff3", gff3(LONG) + "c\tx\texon\t90\t10\t.\t+\t.\tParent=t\n")
    with pytest.raises(InputError, match=r"line 7 of .*x.gff3: a feature from '90' to '10'"):
        Annotation.read(path)


# ---- places


def test_on_renames_and_counts_what_the_genome_lacks(write: Write) -> None:
    rows = [("chr1", "a"), ("chrUn", "b"), ("chr2", "c"), ("chrUn", "d")]
    text = "".join(BED_ROW.format(contig=contig, start=0, end=9, length=9, name=name) for contig, name in rows)
    placed = Annotation.read(write("x.bed", text)).on(ContigNames(["1", "2", "3"]))
    assert [(t.contig, t.id) for t in placed.transcripts] == [("1", "a"), ("2", "c")]
    assert placed.unplaced == {"chrUn": 2}
    assert [t.id for t in placed.overlapping("2", 0, 5)] == ["c"]


def test_overlapping_is_half_open_and_in_file_order(write: Write) -> None:
    spans = [("late", 500, 600), ("whole", 0, 1000), ("early", 100, 200)]
    text = "".join(BED_ROW.format(contig="c", start=a, end=b, length=b - a, name=name) for name, a, b in spans)
    annotation = Annotation.read(write("x.bed", text))
    assert [t.id for t in annotation.overlapping("c", 199, 501)] == ["late", "whole", "early"]
    assert [t.id for t in annotation.overlapping("c", 200, 500)] == ["whole"]
    assert annotation.overlapping("c", 1000, 1001) == annotation.overlapping("d", 0, 9) == []


@pytest.mark.parametrize("longest", [5, 60, 2000])
def test_overlapping_agrees_with_looking_at_every_one(write: Write, longest: int) -> None:
    rng = np.random.default_rng(longest)
    starts = rng.integers(0, 1000, 200)
    ends = starts + rng.integers(1, longest + 1, 200)
    text = "".join(
        BED_ROW.format(contig="c", start=a, end=b, length=b - a, name=number)
        for number, (a, b) in enumerate(zip(starts, ends, strict=True))
    )
    annotation = Annotation.read(write("x.bed", text))
    n_found = 0
    for start in range(0, 1100, 7):
        end = start + 1 + start % 40
        expected = np.flatnonzero((starts < end) & (ends > start)).tolist()
        assert [int(t.id) for t in annotation.overlapping("c", start, end)] == expected
        n_found += len(expected)
    assert n_found > 100


# ---- against a genome


@pytest.fixture
def simulated(tmp_path: Path) -> tuple[Genome, list[tuple[str, int, int, int]]]:
    """A genome without chance splice motifs, and 40 genes (strand, start, introns' start and end) with GT-AG in it."""
    rng = np.random.default_rng(0)
    sequence = rng.choice(encode("AC"), size=40_000)
    genes = []
    for number, start in enumerate(range(500, 40_000 - 500, 975)):
        left, right, strand = start + 100, start + 300, "+-"[number % 2]
        ends = encode("GT"), encode("AG")
        sequence[left : left + 2], sequence[right - 2 : right] = (
            ends if strand == "+" else (reverse_complement(ends[1]), reverse_complement(ends[0]))
        )
        genes.append((strand, start, left, right))
    path = tmp_path / "genome.fa"
    path.write_text(f">c\n{decode(sequence)}\n")
    return Genome(path), genes


def genes_gff3(genes: list[tuple[str, int, int, int]], move_starts: int = 0, move_ends: int = 0) -> str:
    lines = []
    for number, (strand, start, left, right) in enumerate(genes):
        for a, b in ((start, left), (right, right + 100)):
            columns = [
                "c",
                "x",
                "exon",
                str(a + 1 + move_starts),
                str(b + move_ends),
                ".",
                strand,
                ".",
                f"Parent=t{number}",
            ]
            lines.append("\t".join(columns))
    return "\n".join(lines) + "\n"


def test_a_right_annotation_passes(write: Write, simulated: tuple[Genome, list[tuple[str, int, int, int]]]) -> None:
    genome, genes = simulated
    Annotation.read(write("x.gff3", genes_gff3(genes))).check_against(genome)


@pytest.mark.parametrize(
    ("starts", "ends", "remedy"),
    [
        (1, 1, r"100% after moving all coordinates by -1"),
        (-1, -1, r"100% after moving all coordinates by \+1"),
        (-1, 0, r"100% after moving exon starts by \+1"),
        (1, 0, r"100% after moving exon starts by -1"),
        (0, 1, r"100% after moving exon ends by -1"),
        (1, -1, r"100% after moving exon starts by -1 and exon ends by \+1"),
    ],
)
def test_one_base_off_is_noticed(
    write: Write, simulated: tuple[Genome, list[tuple[str, int, int, int]]], starts: int, ends: int, remedy: str
) -> None:
    genome, genes = simulated
    annotation = Annotation.read(write("x.gff3", genes_gff3(genes, starts, ends)))
    with pytest.raises(
        InputError, match=rf"coordinates look shifted by 1 in .*x.gff3: 0% .*genome.fa as written, {remedy}"
    ):
        annotation.check_against(genome)


def test_few_introns_or_another_offset_say_nothing(
    write: Write, simulated: tuple[Genome, list[tuple[str, int, int, int]]]
) -> None:
    genome, genes = simulated
    Annotation.read(write("few.gff3", genes_gff3(genes[:19], 1, 1))).check_against(genome)
    Annotation.read(write("far.gff3", genes_gff3(genes, 7, 7))).check_against(genome)


def test_a_transcript_past_the_contigs_end(
    write: Write, simulated: tuple[Genome, list[tuple[str, int, int, int]]]
) -> None:
    genome, _ = simulated
    text = BED_ROW.format(contig="c", start=39_990, end=40_001, length=11, name="T9")
    with pytest.raises(
        InputError, match=r"transcript T9 of .*x.bed ends at 40,001, past the end of contig 'c', .* 40,000"
    ):
        Annotation.read(write("x.bed", text)).check_against(genome)


def test_contigs_that_the_genome_lacks_are_passed_over(
    write: Write, simulated: tuple[Genome, list[tuple[str, int, int, int]]]
) -> None:
    genome, genes = simulated
    elsewhere = genes_gff3(genes, 1, 1).replace("c\tx", "d\tx")
    Annotation.read(write("x.gff3", genes_gff3(genes) + elsewhere.replace("=t", "=d"))).check_against(genome)


# ---- real files


def motifs(annotation: Annotation, genome: Genome, *, at_least: int = 1) -> list[str]:
    """Donor and acceptor dinucleotides of the distinct introns of ``at_least`` bases."""
    introns = {(t.contig, t.strand, a, b) for t in annotation.transcripts for a, b in t.introns if b - a >= at_least}
    names = {contig for contig, *_ in introns}
    contigs = {name: genome.tokens(name, 0, genome.lengths[name]) for name in names}
    found = []
    for contig, strand, start, end in introns:
        bases = np.append(contigs[contig][start : start + 2], contigs[contig][end - 2 : end])
        found.append(decode(bases if strand == "+" else reverse_complement(bases)))
    return found


def share(found: list[str], motif: str) -> float:
    return found.count(motif) / len(found)


def test_curated_human_genes(shared_data: Path) -> None:
    genome = Genome(shared_data / "human/GRCh38_regions.fa.gz")
    curated = Annotation.read(shared_data / "human/GRCh38_regions.lrg.gff3.gz", canonical_tag="LRG_t1")
    table = Annotation.read(shared_data / "human/GRCh38_regions.genes.tsv")
    told = [
        [(t.gene_name, t.contig, t.strand, t.start, t.end, t.exons) for t in annotation.transcripts]
        for annotation in (curated, table)
    ]
    assert len(told[0]) == 515
    assert told[0] == told[1]
    curated.check_against(genome)
    found = motifs(curated, genome)
    assert len(found) == 7321
    assert [round(share(found, motif), 3) for motif in ("GTAG", "GCAG", "ATAC")] == [0.991, 0.007, 0.001]


def test_all_human_transcripts_without_gene_rows(shared_data: Path) -> None:
    genome = Genome(shared_data / "human/GRCh38_regions.fa.gz")
    everything = Annotation.read(shared_data / "human/GRCh38_regions.gff3.gz", transcripts="all")
    everything.check_against(genome)
    assert len(everything.transcripts) == 9611
    found = motifs(everything, genome)
    assert len(found) == 12_162
    assert share(found, "GTAG") == pytest.approx(0.968, abs=1e-3)


def test_yeast_introns_are_the_same_with_and_without_exon_rows(shared_data: Path) -> None:
    genome = Genome(shared_data / "spombe/genome.fa.gz")
    told = []
    for name in ("genes", "pombase"):
        annotation = Annotation.read(shared_data / f"spombe/{name}.gff3.gz", transcripts="all").on(
            ContigNames(["I", "II", "III"])
        )
        annotation.check_against(genome)
        told.append([(t.id, t.gene_name, t.contig, t.strand, t.exons, t.cds_length) for t in annotation.transcripts])
    assert {row[:5] for row in told[0]} == {row[:5] for row in told[1]}
    found = motifs(annotation, genome, at_least=20)  # shorter gaps are frameshifts and tRNA's
    assert len(found) == 5302
    assert round(share(found, "GTAG"), 3) == 0.997


@pytest.mark.parametrize(
    ("folder", "fasta", "gtf", "n_transcripts", "n_introns", "canonical"),
    [
        ("dmel", "dm6.small.fa.gz", "dm6.small.gtf.gz", 356, 557, 0.98),
        ("mouse_chr9", "chr9.4M.fa.gz", "chr9.4M.gtf.gz", 54, 138, 0.7),
    ],
)
def test_fly_and_mouse_gtf(
    shared_data: Path, folder: str, fasta: str, gtf: str, n_transcripts: int, n_introns: int, canonical: float
) -> None:
    genome = Genome(shared_data / "alignments" / folder / fasta)
    annotation = Annotation.read(shared_data / "alignments" / folder / gtf, transcripts="all")
    annotation.check_against(genome)
    found = motifs(annotation, genome)
    assert (len(annotation.transcripts), len(found)) == (n_transcripts, n_introns)
    assert share(found, "GTAG") > canonical


# ---- speed


@pytest.mark.slow
def test_a_million_lines_take_seconds(tmp_path: Path) -> None:
    path = tmp_path / "million.gtf"
    with path.open("w") as out:
        for number in range(50_000):
            start, name = 1000 + number * 4000, f'gene_id "G{number // 5}"; transcript_id "T{number}"; '
            rest = (
                'gene_type "protein_coding"; gene_name "ABC"; transcript_type "protein_coding"; level 2; tag "basic";\n'
            )
            out.write(f"c\tx\ttranscript\t{start}\t{start + 2000}\t.\t+\t.\t{name}{rest}")
            for exon in range(0, 2000, 200):
                for feature in ("exon", "CDS"):
                    span = f"{start + exon}\t{start + exon + 99}"
                    out.write(f"c\tx\t{feature}\t{span}\t.\t+\t.\t{name}exon_number {exon}; {rest}")
    begun = time.process_time()
    assert len(Annotation.read(path).transcripts) == 10_000
    parsed = time.process_time()
    assert len(Annotation.read(path, transcripts="all").transcripts) == 50_000
    cached = time.process_time()
    assert cached - parsed < (parsed - begun) / 5
    assert parsed - begun < 60
