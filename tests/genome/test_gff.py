"""The GFF3 and GTF dialects of the wild, each as a few lines."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from basecast.errors import InputError
from basecast.genome.gff import is_gtf, parse
from basecast.genome.transcripts import Transcript, Transcripts

PATH = Path("genes.gff")


def rows(*lines: str) -> list[str]:
    """Lines from ``contig feature start-end strand attributes``."""
    written = []
    for line in lines:
        contig, feature, span, strand, attributes = line.split(" ", 4)
        start, end = span.split("-")
        written.append("\t".join([contig, "source", feature, start, end, ".", strand, ".", attributes]) + "\n")
    return written


def read(lines: Iterable[str], *, gtf: bool = False) -> tuple[list[Transcript], dict[str, int]]:
    table, left_out = parse(lines, PATH, gtf=gtf)
    return list(Transcripts(table)), left_out


def test_ensembl_gff3() -> None:
    (transcript,), left_out = read(
        rows(
            "1 gene 1001-2000 - ID=gene:ENSG01;Name=ABC;biotype=protein_coding;gene_id=ENSG01;version=7",
            "1 mRNA 1001-2000 - ID=transcript:ENST01;Parent=gene:ENSG01;biotype=nonsense;"
            "tag=basic,Ensembl_canonical,MANE_Select;version=5",
            "1 exon 1801-2000 - Parent=transcript:ENST01;Name=E1",
            "1 CDS 1801-1900 - ID=CDS:P1;Parent=transcript:ENST01",
            "1 exon 1001-1200 - Parent=transcript:ENST01;Name=E2",
            "1 CDS 1101-1200 - ID=CDS:P1;Parent=transcript:ENST01",
        )
    )
    assert transcript == Transcript(
        id="ENST01",
        version="5",
        gene_id="ENSG01",
        gene_name="ABC",
        contig="1",
        strand="-",
        start=1000,
        end=2000,
        exons=((1000, 1200), (1800, 2000)),
        cds_length=200,
        biotype="nonsense",
        tags=frozenset({"basic", "Ensembl_canonical", "MANE_Select"}),
    )
    assert transcript.versioned == "ENST01.5"
    assert left_out == {}


def test_ensembl_gtf_keeps_the_version_apart_and_collects_tags() -> None:
    names = 'gene_id "ENSG01"; gene_version "7"; transcript_id "ENST01"; transcript_version "5"; gene_name "ABC";'
    (transcript,), _ = read(
        rows(
            '1 gene 1001-2000 + gene_id "ENSG01"; gene_version "7"; gene_name "ABC"; gene_biotype "lncRNA";',
            f'1 transcript 1001-2000 + {names} transcript_biotype "lncRNA"; tag "basic"; tag "Ensembl_canonical";',
            f'1 exon 1001-1200 + {names} exon_number "1"; tag "basic";',
            f'1 exon 1801-2000 + {names} exon_number "2"; tag "basic";',
        ),
        gtf=True,
    )
    assert (transcript.versioned, transcript.gene_name, transcript.biotype) == ("ENST01.5", "ABC", "lncRNA")
    assert transcript.tags == {"basic", "Ensembl_canonical"}
    assert transcript.exons == ((1000, 1200), (1800, 2000))


def test_gencode_keeps_the_version_inside_the_identifier() -> None:
    names = 'gene_id "ENSG01.7"; transcript_id "ENST01.5"; gene_type "protein_coding"; gene_name "ABC";'
    (transcript,), _ = read(
        rows(
            f'chr1 transcript 1001-2000 + {names} transcript_type "retained_intron"; level 2; tag "MANE_Select";',
            f'chr1 exon 1001-2000 + {names} transcript_type "retained_intron"; exon_number 1; level 2;',
        ),
        gtf=True,
    )
    assert (transcript.id, transcript.version, transcript.versioned) == ("ENST01.5", "", "ENST01.5")
    assert (transcript.biotype, transcript.tags) == ("retained_intron", {"MANE_Select"})


def test_refseq_gff3() -> None:
    (transcript,), _ = read(
        rows(
            "NC_000001.11 gene 1001-2000 + ID=gene-ABC;Dbxref=GeneID:1,HGNC:HGNC:5;Name=ABC;gbkey=Gene;gene=ABC;"
            "gene_biotype=protein_coding",
            "NC_000001.11 mRNA 1001-2000 + ID=rna-NM_1.2;Parent=gene-ABC;Dbxref=GeneID:1;gbkey=mRNA;gene=ABC;"
            "tag=MANE Select;transcript_id=NM_1.2",
            "NC_000001.11 exon 1001-1200 + ID=exon-NM_1.2-1;Parent=rna-NM_1.2;gbkey=mRNA",
            "NC_000001.11 exon 1801-2000 + ID=exon-NM_1.2-2;Parent=rna-NM_1.2;gbkey=mRNA",
            "NC_000001.11 cDNA_match 1001-2000 + ID=match1;Target=NM_1.2 1 400 +",
        )
    )
    assert (transcript.id, transcript.gene_id, transcript.gene_name) == ("NM_1.2", "ABC", "ABC")
    assert (transcript.biotype, transcript.tags) == ("protein_coding", {"MANE_Select"})


def test_refseq_gtf_tells_unnamed_transcripts_of_different_genes_apart() -> None:
    found, _ = read(
        rows(
            '1 gene 101-200 + gene_id "A"; transcript_id ""; gene "A";',
            '1 exon 101-200 + gene_id "A"; transcript_id "unknown_transcript_1"; gene "A";',
            '1 gene 301-400 + gene_id "B"; transcript_id ""; gene "B";',
            '1 exon 301-400 + gene_id "B"; transcript_id "unknown_transcript_1"; gene "B";',
        ),
        gtf=True,
    )
    assert [(t.gene_name, t.exons) for t in found] == [("A", ((100, 200),)), ("B", ((300, 400),))]


def test_phytozome_longest_is_a_tag() -> None:
    found, _ = read(
        rows(
            "Chr1 gene 101-900 + ID=AT1.v2;Name=AT1",
            "Chr1 mRNA 101-900 + ID=AT1.1.v2;Name=AT1.1;longest=1;Parent=AT1.v2",
            "Chr1 CDS 101-900 + ID=AT1.1.v2.CDS.1;Parent=AT1.1.v2",
            "Chr1 mRNA 101-900 + ID=AT1.2.v2;Name=AT1.2;longest=0;Parent=AT1.v2",
            "Chr1 CDS 101-900 + ID=AT1.2.v2.CDS.1;Parent=AT1.2.v2",
        )
    )
    assert [(t.gene_name, t.tags) for t in found] == [("AT1", {"longest"}), ("AT1", frozenset())]


def test_augustus_bare_identifiers() -> None:
    (transcript,), left_out = read(
        rows(
            "c1 gene 101-900 + g1",
            "c1 transcript 101-900 + g1.t1",
            'c1 start_codon 101-103 + transcript_id "g1.t1"; gene_id "g1";',
            'c1 CDS 101-300 + transcript_id "g1.t1"; gene_id "g1";',
            'c1 intron 301-600 + transcript_id "g1.t1"; gene_id "g1";',
            'c1 CDS 601-897 + transcript_id "g1.t1"; gene_id "g1";',
            'c1 stop_codon 898-900 + transcript_id "g1.t1"; gene_id "g1";',
        ),
        gtf=True,
    )
    assert (transcript.id, transcript.gene_id, transcript.start, transcript.end) == ("g1.t1", "g1", 100, 900)
    assert transcript.exons == ((100, 300), (600, 900))
    assert transcript.cds_length == 497
    assert left_out == {}


def test_sqanti_has_no_biotypes() -> None:
    (transcript,), _ = read(
        rows(
            'chr1 transcript 101-900 - transcript_id "PB.1.1"; gene_id "PB.1";',
            'chr1 exon 101-300 - transcript_id "PB.1.1"; gene_id "PB.1";',
            'chr1 exon 601-900 - transcript_id "PB.1.1"; gene_id "PB.1";',
        ),
        gtf=True,
    )
    assert (transcript.id, transcript.gene_id, transcript.gene_name) == ("PB.1.1", "PB.1", "PB.1")
    assert transcript.exons == ((100, 300), (600, 900))


def test_exons_alone_are_enough_in_gtf() -> None:
    found, _ = read(
        rows(
            'chr2L exon 7529-8116 + gene_id "F1"; gene_symbol "CG1"; transcript_id "T1"; transcript_symbol "CG1-RA";',
            'chr2L exon 7529-8116 + gene_id "F1"; gene_symbol "CG1"; transcript_id "T2"; transcript_symbol "CG1-RB";',
            'chr2L exon 8193-9484 + gene_id "F1"; gene_symbol "CG1"; transcript_id "T1"; transcript_symbol "CG1-RA";',
        ),
        gtf=True,
    )
    assert [(t.id, t.gene_name, t.start, t.end) for t in found] == [
        ("T1", "CG1", 7528, 9484),
        ("T2", "CG1", 7528, 8116),
    ]


def test_transcripts_whose_gene_has_no_row() -> None:
    (transcript,), _ = read(rows("c mRNA 11-90 + ID=T1;Parent=G1;Name=other", "c exon 11-90 + Parent=T1"))
    assert (transcript.gene_id, transcript.gene_name, transcript.biotype) == ("G1", "G1", "mRNA")


def test_exons_of_a_transcript_without_row_or_gene() -> None:
    (transcript,), _ = read(rows("c exon 11-90 + Parent=T1"))
    assert (transcript.id, transcript.gene_id, transcript.start, transcript.end) == ("T1", "T1", 10, 90)


def test_parts_right_under_a_gene_make_one_transcript() -> None:
    (transcript,), _ = read(rows("c pseudogene 11-90 + ID=gene-P;Name=PP", "c exon 11-90 + Parent=gene-P"))
    assert (transcript.id, transcript.gene_id, transcript.gene_name) == ("P", "P", "PP")


def test_exons_are_merged_from_cds_and_utr_where_there_are_none() -> None:
    (transcript,), _ = read(
        rows(
            "I gene 101-900 - ID=S1;Name=pom1",
            "I mRNA 101-900 - ID=S1.1;Parent=S1",
            "I three_prime_UTR 101-150 - ID=S1.1:3;Parent=S1.1",
            "I CDS 151-300 - ID=S1.1:exon:2;Parent=S1.1",
            "I intron 301-500 - ID=S1.1:intron:1;Parent=S1.1",
            "I CDS 501-600 - ID=S1.1:exon:1;Parent=S1.1",
            "I five_prime_UTR 601-620 - ID=S1.1:5a;Parent=S1.1",
            "I intron 621-700 - ID=S1.1:intron:2;Parent=S1.1",
            "I five_prime_UTR 701-900 - ID=S1.1:5b;Parent=S1.1",
        )
    )
    assert transcript.introns == ((300, 500), (620, 700))
    assert transcript.exons == ((100, 300), (500, 620), (700, 900))


def test_an_exon_may_have_several_parents() -> None:
    found, _ = read(
        rows(
            "c mRNA 1-100 + ID=a;Parent=g",
            "c mRNA 1-300 + ID=b;Parent=g",
            "c exon 1-100 + Parent=a,b",
            "c exon 201-300 + Parent=b",
        )
    )
    assert [(t.id, t.exons) for t in found] == [("a", ((0, 100),)), ("b", ((0, 100), (200, 300)))]


def test_a_name_that_begins_like_the_one_before_is_another_transcript() -> None:
    gff3, _ = read(rows("c exon 1-100 + Parent=T1", "c exon 201-300 + Parent=T10", "c exon 1-9 + Parent=T1;x=y"))
    gtf, _ = read(
        rows(
            'c exon 1-100 + gene_id "G"; transcript_id "T1";',
            'c exon 201-300 + gene_id "G"; transcript_id "T10";',
        ),
        gtf=True,
    )
    assert [(t.id, t.exons) for t in gff3] == [("T1", ((0, 100),)), ("T10", ((200, 300),))]
    assert [(t.id, t.exons) for t in gtf] == [("T1", ((0, 100),)), ("T10", ((200, 300),))]


def test_trans_spliced_genes_are_left_out_and_counted() -> None:
    found, left_out = read(
        rows(
            "c gene 1-100 - ID=gene-rps12;exception=trans-splicing;part=1",
            "c gene 501-600 + ID=gene-rps12;exception=trans-splicing;part=2",
            "c CDS 1-100 - ID=cds1;Parent=gene-rps12;exception=trans-splicing",
            "c CDS 501-600 + ID=cds1;Parent=gene-rps12;exception=trans-splicing",
            "c exon 701-800 + Parent=mod",
            "c exon 901-950 - Parent=mod",
            "c exon 1001-1100 + Parent=fine",
        )
    )
    assert [t.id for t in found] == ["fine"]
    assert left_out == {"trans-splicing": 2}


def test_unusable_transcripts_are_left_out_and_counted() -> None:
    found, left_out = read(
        rows(
            "c exon 1-100 . Parent=dot",
            "c exon 1-100 ? Parent=unknown",
            "c mRNA 1-100 + ID=bare;Parent=g",
            "c exon 1-100 + Note=orphan",
            "c exon 1-100 + Parent=fine",
        )
    )
    assert [t.id for t in found] == ["fine"]
    assert left_out == {"no strand": 2, "no exons": 1, "part of no transcript": 1}


def test_genes_come_in_file_order_whatever_the_order_of_features() -> None:
    found, _ = read(
        rows(
            "c gene 501-600 + ID=second_place_first_row",
            "c gene 1-100 + ID=other",
            "c exon 1-100 + Parent=o1",
            "c exon 501-600 + Parent=s1",
            "c mRNA 501-600 + ID=s1;Parent=second_place_first_row",
            "c mRNA 1-100 + ID=o1;Parent=other",
        )
    )
    assert [t.id for t in found] == ["s1", "o1"]


def test_one_name_on_two_contigs_is_two_genes() -> None:
    lines = [
        line
        for contig in ("chrX", "chrY")
        for line in rows(
            f'{contig} transcript 101-900 + gene_id "ENSG1"; transcript_id "ENST1"; gene_name "PLCXD1";',
            f'{contig} exon 101-900 + gene_id "ENSG1"; transcript_id "ENST1"; gene_name "PLCXD1";',
        )
    ]
    table, _ = parse(lines, PATH, gtf=True)
    assert table["contig"].to_list() == ["chrX", "chrY"]
    assert table["gene"].to_list() == [0, 1]


def test_exons_that_touch_or_repeat_are_one() -> None:
    lines = ("c exon 1-100 + Parent=t", "c exon 101-200 + Parent=t", "c exon 1-100 + Parent=t")
    (transcript,), _ = read(rows(*lines))
    assert transcript.exons == ((0, 200),)


def test_quoted_semicolons_and_encoded_names() -> None:
    (gtf,), _ = read(rows('c exon 1-9 + gene_id "G"; note "x; y"; transcript_id "T"; gene_name "a;b";'), gtf=True)
    (gff3,), _ = read(rows("c gene 1-9 + ID=g;Name=a%3Bb", "c mRNA 1-9 + ID=t;Parent=g", "c exon 1-9 + Parent=t"))
    assert gtf.gene_name == gff3.gene_name == "a;b"


def test_comments_blank_lines_and_a_sequence_section_are_passed_over() -> None:
    lines = ["##gff-version 3\n", "\n", *rows("c exon 1-9 + Parent=t"), "##FASTA\n", ">c\n", "ACGT\n"]
    assert len(read(lines)[0]) == 1


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ("ID=a;Parent=b", True),
        ('gene_id "a"; transcript_id "b";', False),
        ("gene_id a; transcript_id b", False),
        ("g1", None),
        (".", None),
    ],
)
def test_dialects_are_told_apart(attributes: str, expected: bool | None) -> None:
    assert is_gtf(attributes) is (None if expected is None else not expected)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("c\tx\texon\t1\t9\t.\t+\n", "line 2 of genes.gff has 7 columns"),
        ("c\tx\texon\tone\t9\t.\t+\t.\tParent=t\n", "line 2 of genes.gff: a feature from 'one' to '9'"),
        ("c\tx\texon\t10\t9\t.\t+\t.\tParent=t\n", "line 2 of genes.gff: a feature from '10' to '9'"),
        ("c\tx\texon\t0\t9\t.\t+\t.\tParent=t\n", "line 2 of genes.gff: a feature from '0' to '9'"),
    ],
)
def test_a_malformed_line_is_named(line: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read([*rows("c exon 1-9 + Parent=t"), line])


def test_an_exon_outside_of_its_transcript() -> None:
    with pytest.raises(
        InputError, match=r"transcript t1 \(91-120\) reach outside the transcript itself \(1-100\) on c"
    ):
        read(rows("c mRNA 1-100 + ID=t1;Parent=g", "c exon 91-120 + Parent=t1"))


def test_no_transcripts_names_the_features_that_were_seen() -> None:
    with pytest.raises(InputError, match=r"no transcripts: .* seen: gene \(2\), mRNA \(1\)"):
        read(rows("c gene 1-100 + ID=g", "c mRNA 1-100 + ID=t;Parent=g", "c gene 1-100 + ID=h"))


def test_only_unusable_transcripts() -> None:
    with pytest.raises(InputError, match=r"all were left out: no strand \(1\)"):
        read(rows("c exon 1-100 . Parent=t"))


def test_an_attribute_is_not_the_end_of_another_ones_name() -> None:
    ids = [
        'ref_transcript_id "R1"; gene_id "g"; transcript_id "t1";',
        'ref_transcript_id "R1"; gene_id "g"; transcript_id "t2";',
    ]
    found, left_out = read(
        rows(*(f"1 exon {at}-{at + 50} + {ids[i]}" for i, at in ((0, 101), (0, 301), (1, 101), (1, 501)))), gtf=True
    )
    assert [(t.id, t.exons) for t in found] == [
        ("t1", ((100, 151), (300, 351))),
        ("t2", ((100, 151), (500, 551))),
    ]
    found, left_out = read(
        rows(
            "1 gene 101-600 + ID=g1;Name=ABC",
            "1 mRNA 101-600 + geneID=x;ID=t1;Parent=g1;tag=MANE_Select",
            "1 exon 101-200 + oldParent=t9;Parent=t1",
            "1 exon 401-600 + oldParent=t9;Parent=t1",
        )
    )
    assert [(t.id, t.gene_name, t.tags, len(t.exons)) for t in found] == [("t1", "ABC", frozenset({"MANE_Select"}), 2)]
    assert left_out == {}
