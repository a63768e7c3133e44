from __future__ import annotations

import re
from dataclasses import replace
from urllib.parse import unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from basecast.effects.info import THEIRS, InfoFormat
from basecast.effects.scores import Row
from basecast.effects.splicing import Delta

OURS = InfoFormat({"raw": "BasecastSplice"}, "BasecastStatus", 2, False, False)
THEIR_FORMAT = InfoFormat({"raw": "SpliceAI"}, "BasecastStatus", 2, False, True)
BOTH = InfoFormat({"raw": "X", "masked": "X_masked"}, "BasecastStatus", 3, True, False)
FORMATS = [OURS, THEIR_FORMAT, BOTH, replace(THEIR_FORMAT, probabilities=True)]
DELTA = Delta((0.2, 0.0, 0.12345, 1.0), (-3, 0, 2, 7), (0, 1, 3, 0), (0.1, 0.2, 0.3, 0.4), (0.5, 0.6, 0.7, 0.8))
ROW = Row(0, "scored", "raw", "GENE", "ENSG1.2", "ENST1.3", "-", DELTA)
INFO = re.compile(r'##INFO=<ID=([A-Za-z_][\w.]*),Number=([.A]),Type=(String|Float),Description="((?:[^"\\]|\\.)*)">')


def declared(info: InfoFormat, model: str = "tiny", theirs: bool = False) -> dict[str, tuple[str, str, str]]:
    """INFO key -> Number, Type, Description of header lines, every one of which must be whole."""
    lines = info.header(model, theirs)
    found = [INFO.fullmatch(line) for line in lines]
    assert all(found)
    return {match[1]: (match[2], match[3], match[4]) for match in found if match}


def names_of(description: str) -> list[str]:
    return description.rpartition("Format: ")[2].split("|")


@pytest.mark.parametrize("info", FORMATS)
def test_every_key_is_declared_and_its_entries_have_the_fields_it_names(info: InfoFormat) -> None:
    header = declared(info)
    assert set(header) == info.all_keys
    rows = [replace(ROW, mask=mask) for mask in info.keys]
    added = dict(info.additions(["T"], rows))
    for key in info.keys.values():
        number, kind, description = header[key]
        assert (number, kind) == (".", "String")
        assert len(names_of(description)) == len(added[key].split("|"))
        assert names_of(description) == info.fields.split("|")
        if not info.compatible:
            assert header[f"{key}_DS_MAX"][:2] == ("A", "Float")
            assert added[f"{key}_DS_MAX"] == "1"
    assert set(added) < info.all_keys
    assert header["BasecastStatus"][:2] == (".", "String")


def test_fields_stand_where_the_format_says() -> None:
    (_, entry), (_, largest) = OURS.additions(["T"], [ROW])
    assert largest == "1"
    assert dict(zip(OURS.fields.split("|"), entry.split("|"), strict=True)) == {
        "ALLELE": "T",
        "SYMBOL": "GENE",
        **{"DS_AG": "0.20", "DS_AL": "0.00", "DS_DG": "0.12", "DS_DL": "1.00"},
        **{"DP_AG": "-3", "DP_AL": "0+1", "DP_DG": "2+3", "DP_DL": "7"},
        **{"GENE_ID": "ENSG1.2", "TRANSCRIPT": "ENST1.3", "STRAND": "-", "Consequence": "acceptor_gain&donor_loss"},
    }
    (_, entry), _ = replace(OURS, probabilities=True, decimals=1).additions(["T"], [ROW])
    assert entry.split("|")[-8:] == ["0.1", "0.2", "0.3", "0.4", "0.5", "0.6", "0.7", "0.8"]
    assert dict(THEIR_FORMAT.additions(["T"], [ROW])) == {"SpliceAI": "T|GENE|0.20|0.00|0.12|1.00|-3|0+1|2+3|7"}


def test_the_description_is_theirs_only_for_their_weights() -> None:
    assert declared(THEIR_FORMAT, theirs=True)["SpliceAI"][2].startswith(THEIRS)
    mine = declared(THEIR_FORMAT, "tiny")["SpliceAI"][2]
    assert "tiny under SpliceAI 1.3.1 rules" in mine
    assert THEIRS not in mine


@pytest.mark.parametrize("name", ['the "best" model', "a\\b", 'end\\"'])
def test_a_model_s_name_cannot_break_the_header(name: str) -> None:
    """Quotes and backslashes in a Description are written with a backslash (VCF 4.3, 1.4)."""
    for info in FORMATS:
        for key in info.keys.values():
            description = declared(info, name)[key][2]
            assert name in re.sub(r"\\(.)", r"\1", description)


def test_largest_scores_stand_allele_by_allele() -> None:
    """Number=A: one value for each ALT, '.' where an allele has no score."""
    low = replace(DELTA, score=(0.1, 0.05, 0.3, 0.0))
    rows = [
        replace(ROW, allele=0, delta=low),
        replace(ROW, allele=0, symbol="OTHER", delta=replace(DELTA, score=(0.1, 0.05, 0.0, 0.4567))),
        Row(1, "spanning_deletion"),
        replace(ROW, allele=2, delta=replace(DELTA, score=(0.0, 0.0, 0.0, 0.0))),
        replace(ROW, allele=3, delta=replace(DELTA, score=(0.5, 0.0, 0.0, 0.0))),
    ]
    added = dict(OURS.additions(["C", "*", "G", "AT"], rows))
    assert added["BasecastSplice_DS_MAX"] == "0.4567,.,0,0.5"
    assert [entry.split("|")[:2] for entry in added["BasecastSplice"].split(",")] == [
        ["C", "GENE"],
        ["C", "OTHER"],
        ["G", "GENE"],
        ["AT", "GENE"],
    ]
    assert added["BasecastStatus"] == "*|spanning_deletion"


def test_masks_go_to_keys_of_their_own_and_reasons_are_said_once() -> None:
    masked = replace(ROW, mask="masked", delta=replace(DELTA, score=(0.0, 0.0, 0.0, 0.25)))
    skipped = [Row(1, "no_gene", "raw"), Row(1, "no_gene", "masked")]
    added = dict(BOTH.additions(["T", "G"], [ROW, masked, *skipped]))
    assert added["X"].startswith("T|GENE|0.200|")
    assert added["X_masked"].startswith("T|GENE|0.000|0.000|0.000|0.250|")
    assert (added["X_DS_MAX"], added["X_masked_DS_MAX"]) == ("1,.", "0.25,.")
    assert added["BasecastStatus"] == "G|no_gene"


def test_what_is_not_scored_only_has_a_status() -> None:
    for info in FORMATS:
        assert info.additions(["T"], [Row(None, "no_gene")]) == [("BasecastStatus", ".|no_gene")]
        assert info.additions([], [Row(None, "no_alt_allele")]) == [("BasecastStatus", ".|no_alt_allele")]


def test_their_sentinel_for_what_they_do_not_score() -> None:
    row = Row(0, "mnv_not_scored_by_these_rules", "raw", "GENE", "ENSG1", "ENST1", "+")
    assert dict(THEIR_FORMAT.additions(["TT"], [row])) == {
        "SpliceAI": "TT|GENE|.|.|.|.|.|.|.|.",
        "BasecastStatus": "TT|mnv_not_scored_by_these_rules",
    }


@given(*[st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=8)] * 3)
@settings(max_examples=50, deadline=None)
def test_reserved_characters_are_encoded(symbol: str, gene_id: str, transcript: str) -> None:
    """Whatever a name has in it, the value splits into its fields again and no other INFO entry comes of it."""
    (_, entry), _ = OURS.additions(["T"], [replace(ROW, symbol=symbol, gene_id=gene_id, transcript=transcript)])
    assert not set(entry) & set("\t\n\r ;=,:")
    fields = dict(zip(OURS.fields.split("|"), entry.split("|"), strict=True))
    assert [unquote(fields[name]) for name in ("SYMBOL", "GENE_ID", "TRANSCRIPT")] == [symbol, gene_id, transcript]


def test_an_odd_allele_s_status_is_encoded() -> None:
    added = dict(OURS.additions(["A]c:9]", "<X=1;Y>"], [Row(0, "breakend"), Row(1, "symbolic_allele")]))
    assert added == {"BasecastStatus": "A]c%3A9]|breakend,<X%3D1%3BY>|symbolic_allele"}
