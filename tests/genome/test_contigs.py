from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basecast.errors import InputError
from basecast.genome.contigs import ContigNames, read_alias_table

HUMAN = [*map(str, range(1, 23)), "X", "Y", "MT"]
ENSEMBL = ContigNames(HUMAN)
UCSC = ContigNames([f"chr{name}" for name in HUMAN[:-1]] + ["chrM"])
REFSEQ = ContigNames([f"NC_{number:06}.{11 + number % 3}" for number in range(1, 25)] + ["NC_012920.1"])


@pytest.mark.parametrize(
    ("names", "asked", "found"),
    [
        (ENSEMBL, "chr1", "1"),
        (UCSC, "1", "chr1"),
        (ENSEMBL, "chrM", "MT"),
        (ENSEMBL, "M", "MT"),
        (ENSEMBL, "chrMT", "MT"),
        (UCSC, "MT", "chrM"),
        (UCSC, "chrMT", "chrM"),
        (ENSEMBL, "NC_000023.11", "X"),
        (UCSC, "NC_000024.10", "chrY"),
        (UCSC, "NC_012920.1", "chrM"),
        (REFSEQ, "chrX", "NC_000023.13"),
        (REFSEQ, "M", "NC_012920.1"),
        (UCSC, "NC_000067.7", "chr1"),
        (ENSEMBL, "NC_000086.8", "X"),
        (ENSEMBL, "NC_000087.8", "Y"),
        (UCSC, "NC_005089.1", "chrM"),
        (ContigNames(["NC_000067.7", "NC_000085.7", "NC_005089.1"]), "chr19", "NC_000085.7"),
        (ContigNames(["chrUn_1", "scaffold_2"]), "Un_1", "chrUn_1"),
        (ENSEMBL, "Chr1", None),
        (UCSC, "x", None),
        (ENSEMBL, "chr", None),
        (ENSEMBL, "NC_000025.1", None),
        (REFSEQ, "NC_000001.10", None),
        (REFSEQ, "NC_000067.7", None),
        (ENSEMBL, "scaffold_9", None),
    ],
)
def test_the_same_contig_by_another_name(names: ContigNames, asked: str, found: str | None) -> None:
    assert names.resolve(asked) == found


@given(st.lists(st.text("chrMT1X", min_size=1, max_size=5), unique=True))
def test_a_name_of_the_file_is_itself(names: list[str]) -> None:
    contigs = ContigNames(names)
    assert [contigs.resolve(name) for name in names] == names


def test_between_two_likely_contigs_there_is_no_answer() -> None:
    assert ContigNames(["NC_000001.11", "NC_000067.7"]).resolve("chr1") is None
    assert ContigNames(["1", "chr1"]).resolve("NC_000001.11") is None


def test_the_table_goes_before_the_prefix_and_in_both_directions() -> None:
    table = {"chr1": "I", "one": "chr1", "2": "two"}
    assert ContigNames(["I", "1"], table).resolve("chr1") == "I"
    assert ContigNames(["I"], table).resolve("one") == "I"
    assert ContigNames(["one"], table).resolve("I") == "one"
    assert ContigNames(["2"], table).resolve("two") == "2"
    assert ContigNames(["chr2"], table).resolve("two") == "chr2"
    assert ContigNames(["3"], table).resolve("chr3") == "3"


def test_a_table_that_makes_one_contig_of_two() -> None:
    with pytest.raises(InputError, match=r"'1' and '2' are one contig, but a\.fa has both"):
        ContigNames(["1", "2", "3"], {"1": "ensembl", "2": "ensembl"}, "a.fa")


def test_the_sentence_for_an_unknown_contig() -> None:
    contigs = ContigNames(["1", "2", "3", "4"], source="hg38.fa")
    assert contigs.describe_unknown("chrQ", "in.vcf") == (
        "contig 'chrQ' of in.vcf is not in hg38.fa, which has '1', '2', '3', ...: "
        "pass --contig-aliases or rename with bcftools annotate --rename-chrs"
    )
    assert ContigNames(["I"], source="a.2bit").describe_unknown("II") == (
        "contig 'II' is not in a.2bit, which has 'I': pass --contig-aliases"
    )


def test_read_alias_table(tmp_path: Path) -> None:
    path = tmp_path / "aliases.tsv"
    path.write_text("# ucsc\tensembl\trefseq\nchr1\t1\tNC_000001.11\r\n\nchrM\t\tMT\nchrUn\t\t\none\tchr1\n")
    table = read_alias_table(path)
    assert ContigNames(["1"], table).resolve("one") == "1"
    assert ContigNames(["one"], table).resolve("NC_000001.11") == "one"
    assert ContigNames(["MT"], table).resolve("chrM") == "MT"


@given(st.lists(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=3), max_size=6))
def test_lines_that_share_a_name_join(tmp_path_factory: pytest.TempPathFactory, lines: list[list[str]]) -> None:
    path = tmp_path_factory.mktemp("aliases") / "aliases.tsv"
    path.write_text("".join("\t".join(line) + "\n" for line in lines))
    groups: list[set[str]] = []
    for line in lines:
        joined = set(line).union(*(group for group in groups if group & set(line)))
        groups = [group for group in groups if not group & joined] + [joined]
    contigs = ContigNames(["a"], read_alias_table(path))
    same = next((group for group in groups if "a" in group), {"a"})
    assert {name for name in "abcdefgh" if contigs.resolve(name) == "a"} == same


def test_malformed_tables(tmp_path: Path) -> None:
    path = tmp_path / "aliases.tsv"
    path.write_text("chr1\t1\nchr2 2\n")
    with pytest.raises(InputError, match=r"line 2 of .*aliases\.tsv has no second name"):
        read_alias_table(path)
    path.write_bytes(b"\x1f\x8b\x08\xff\xff")
    with pytest.raises(InputError, match="are not text"):
        read_alias_table(path)
    with pytest.raises(InputError, match=r"missing\.tsv cannot be read: No such file"):
        read_alias_table(tmp_path / "missing.tsv")


def test_the_shared_table_of_fission_yeast(shared_data: Path) -> None:
    contigs = ContigNames(["I", "II", "III", "MT"], read_alias_table(shared_data / "spombe" / "chrom_alias.tsv"))
    assert [contigs.resolve(name) for name in ("chr01", "chr03", "chrMT", "chr1")] == ["I", "III", "MT", None]
