"""The files for VEP's SpliceAI plugin, read by its rules."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pysam
import pytest
from plugin import Line, Plugin
from scenes import Contigs

from basecast.effects.info import THEIRS
from basecast.effects.scores import Row
from basecast.effects.splicing import Delta
from basecast.effects.vep import VepWriter, check_vep, vep_files, vep_info_line
from basecast.errors import InputError, UsageError
from basecast.genome.annotated import Generated
from basecast.genome.variants import VariantRecord

DELTA = Delta((0.2, 0.0, 0.12345, 0.996), (-3, 0, 2, 7), (0, 1, 3, 0), (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8))
ROW = Row(0, "scored", "raw", "GENE", "ENSG1.2", "ENST1.3", "-", DELTA)
HEADER = ['##INFO=<ID=SpliceAI,Number=.,Type=String,Description="d">']


def record(position: int, ref: str, alt: str, contig: str = "chr1") -> VariantRecord:
    return VariantRecord(1, contig, position - 1, ref, (alt,), b"")


def rows(symbol: str = "GENE", *scores: float) -> Row:
    return replace(ROW, symbol=symbol, delta=replace(DELTA, score=scores or DELTA.score))


@contextlib.contextmanager
def written(
    folder: Path, records: Sequence[tuple[VariantRecord, Sequence[Row]]], decimals: int = 2
) -> Iterator[Plugin]:
    """The plugin on two files."""
    prefix = str(folder / "out")
    origin = Generated({"chr1": 5000, "chr2": 300})
    with VepWriter(prefix, origin, [*origin.contig_lines, *HEADER], decimals) as writer:
        for one, found in records:
            writer.write(one, found)
    snv, indel = map(Path, vep_files(prefix))
    plugin = Plugin(snv, indel)
    yield plugin
    plugin.close()


def content(path: Path | str) -> list[str]:
    with pysam.BGZFile(str(path)) as handle:  # type: ignore[attr-defined]
        return handle.read().decode().splitlines()


def test_a_line_is_what_the_plugin_splits(tmp_path: Path) -> None:
    with written(tmp_path, [(record(10, "A", "C"), [ROW])]) as plugin:
        (line,) = plugin.lines("chr1", 10, 10)
    assert line == Line(10, "A", "C", "C", "GENE", "GENE|0.20|0.00|0.12|1.00|-3|0|2|7")
    assert line.largest == 1.0
    assert content(tmp_path / "out.snv.vcf.gz")[-1].split("\t")[7] == "SpliceAI=C|GENE|0.20|0.00|0.12|1.00|-3|0|2|7"


def test_alleles_are_found_as_vep_asks_for_them(tmp_path: Path) -> None:
    alleles = [(9, "A", "AT"), (9, "A", "C"), (9, "AG", "A"), (9, "AGTTC", "A"), (10, "G", "GT"), (10, "GTTCA", "G")]
    given = [(record(*allele), [rows("GENE", 0.01 * i, 0, 0, 0)]) for i, allele in enumerate(alleles)]
    with written(tmp_path, given, decimals=3) as plugin:
        for i, (position, ref, alt) in enumerate(alleles):
            for contig in ("chr1", "1"):
                answer = plugin.answer(contig, position, ref, alt, "GENE")
                assert answer is not None
                assert answer[1] == f"{0.01 * i:.3f}"
        assert plugin.answer("chr1", 9, "A", "G", "GENE") is None
        assert plugin.answer("chr1", 9, "A", "C", "OTHER") is None
        assert plugin.answer("chr7", 9, "A", "C", "GENE") is None


def test_one_gene_a_line(tmp_path: Path) -> None:
    both = [rows("LEFT", 0.1, 0, 0, 0), rows("RIGHT", 0.3, 0, 0, 0)]
    with written(tmp_path, [(record(10, "A", "C"), both)]) as plugin:
        assert len(plugin.lines("chr1", 10, 10)) == 2
        assert (plugin.answer("chr1", 10, "A", "C", "LEFT") or [])[1] == "0.10"
        assert (plugin.answer("chr1", 10, "A", "C", "RIGHT") or [])[1] == "0.30"


def test_of_a_symbol_the_largest_for_the_plugin_keeps_one(tmp_path: Path) -> None:
    several = [rows("GENE", 0.1, 0, 0, 0), rows("GENE", 0.3, 0, 0, 0), rows("GENE", 0.2, 0, 0, 0)]
    with written(tmp_path, [(record(10, "A", "C"), several)]) as plugin:
        assert [line.values[1] for line in plugin.lines("chr1", 10, 10)] == ["0.30"]


def test_what_has_no_score_is_left_out(tmp_path: Path) -> None:
    skipped = Row(0, "mnv_not_scored_by_these_rules", "raw", "GENE")
    with written(
        tmp_path, [(record(10, "A", "C"), [Row(None, "no_gene")]), (record(11, "A", "C"), [skipped])]
    ) as plugin:
        assert plugin.lines("chr1", 1, 5000) == []


def test_substitutions_and_indels_have_files_of_their_own_with_a_header_each(tmp_path: Path) -> None:
    with written(
        tmp_path, [(record(10, "A", "C"), [ROW]), (record(10, "A", "AC"), [ROW]), (record(10, "AG", "A"), [ROW])]
    ):
        pass
    snv, indel = (content(path) for path in vep_files(str(tmp_path / "out")))
    assert [len([line for line in lines if not line.startswith("#")]) for lines in (snv, indel)] == [1, 2]
    for lines in (snv, indel):
        assert lines[0] == "##fileformat=VCFv4.2"
        assert "##contig=<ID=chr2,length=300>" in lines
        assert HEADER[0] in lines
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "out.indel.vcf.gz",
        "out.indel.vcf.gz.tbi",
        "out.snv.vcf.gz",
        "out.snv.vcf.gz.tbi",
    ]


def test_a_file_without_a_record_can_be_asked(tmp_path: Path) -> None:
    with written(tmp_path, [(record(10, "A", "C"), [ROW])]) as plugin:
        assert plugin.answer("chr1", 10, "A", "AC", "GENE") is None


def test_a_symbol_that_would_break_the_line_is_encoded(tmp_path: Path) -> None:
    with written(tmp_path, [(record(10, "A", "C"), [rows("A|B;C D")])]) as plugin:
        (line,) = plugin.lines("chr1", 10, 10)
    assert line.gene == "A%7CB%3BC%20D"
    assert len(line.values) == 9


def test_neither_file_is_there_where_writing_fails(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        _fails(tmp_path)
    assert list(tmp_path.iterdir()) == []


def _fails(folder: Path) -> None:
    with VepWriter(str(folder / "out"), Generated({"chr1": 5000}), HEADER, 2) as writer:
        writer.write(record(10, "A", "C"), [ROW])
        raise KeyError


def test_the_header_says_whose_scores_they_are() -> None:
    line = vep_info_line('a "model"', "basecast", "masked", theirs=False)
    assert 'by a \\"model\\" under basecast rules (masked)' in line
    assert "SpliceAIv" not in line
    own = vep_info_line("spliceai", "spliceai", "raw", theirs=True)
    assert re.search(r"SpliceAIv[\d.]+", own)  # what the plugin looks for
    assert THEIRS in own
    names = "ALLELE|SYMBOL|DS_AG|DS_AL|DS_DG|DS_DL|DP_AG|DP_AL|DP_DG|DP_DL"
    assert all(said.endswith(f'Format: {names}">') for said in (line, own))


@pytest.mark.parametrize("prefix", ["", "sub/", "-"])
def test_a_prefix_that_is_none(prefix: str, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    with pytest.raises(UsageError, match="no prefix"):
        check_vep(prefix if prefix == "-" else f"{tmp_path}/{prefix}", Contigs(c="ACGT"))  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", [".vcf.gz", ".vcf", ".TSV", ".parquet"])
def test_a_name_of_a_file_is_no_prefix(suffix: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=re.escape(f"give -O {tmp_path}/out for")):
        check_vep(f"{tmp_path}/out{suffix}", Contigs(c="ACGT"))  # type: ignore[arg-type]


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="mkdir -p"):
        check_vep(f"{tmp_path}/none/out", Contigs(c="ACGT"))  # type: ignore[arg-type]


def test_a_contig_too_long_for_the_plugin_is_refused(tmp_path: Path) -> None:
    genome = Contigs(c="ACGT")
    genome.lengths["c"] = 1 << 29
    with pytest.raises(InputError, match=r"\.tbi indexes, which end at 536,870,912"):
        check_vep(f"{tmp_path}/out", genome)  # type: ignore[arg-type]
    genome.lengths["c"] -= 1
    check_vep(f"{tmp_path}/out", genome)  # type: ignore[arg-type]
