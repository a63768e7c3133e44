from __future__ import annotations

import json
import math

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from scenes import annotation, gene

from basecast.effects.scores import Row, collect
from basecast.effects.splicing import EVENTS, Delta
from basecast.spec import Provenance

four_floats = st.tuples(*[st.floats(0, 1) | st.sampled_from([-0.0, 0.1, 1e-300])] * 4)
four_places = st.tuples(*[st.integers(-5000, 5000)] * 4)
deltas = st.builds(Delta, four_floats, four_places, four_places, four_floats, four_floats)
rows = st.builds(
    Row,
    st.none() | st.integers(0, 9),
    st.text(max_size=9),
    st.sampled_from(["raw", "masked"]),
    st.text(max_size=9),
    st.text(max_size=9),
    st.text(max_size=9),
    st.sampled_from(["", "+", "-"]),
    st.none() | deltas,
)


@given(rows)
def test_a_row_survives_json(row: Row) -> None:
    again = Row.from_json(json.loads(json.dumps(row.to_json())))
    assert again == row
    assert hash(again) == hash(row)
    if row.delta is not None and again.delta is not None:  # -0.0 equals 0.0, and prints otherwise
        assert repr(again.delta) == repr(row.delta)


def test_a_row_has_its_transcript_s_names() -> None:
    (transcript,) = annotation(gene("G", [(0, 9)], "-", version="4")).transcripts
    row = Row.of(1, "scored", "masked", transcript)
    assert (row.symbol, row.gene_id, row.transcript, row.strand) == ("G", "ID_G", "T_G.4", "-")
    assert Row.of(None, "no_gene", "raw", None) == Row(None, "no_gene")


DELTA = Delta((0.1, 0.2, 0.3, 0.4), (-5, 0, 5, 50), (0, 2, 0, 0), (0.5, 0.6, 0.7, 0.8), (0.6, 0.4, 1.0, 0.4))


def test_scores_as_arrays_and_as_a_table() -> None:
    found = [
        (1, "c", 100, "A", ("C", "G"), [Row(0, "scored", "raw", "G", "I", "T", "+", DELTA), Row(1, "no_gene")]),
        (2, "c", 90, "A", ("C", "G"), [Row(None, "ref_mismatch")]),
        (3, "c", 80, "A", (), [Row(None, "no_alt_allele")]),
    ]
    scores = collect(found, Provenance(note="x"))
    assert scores.rows["alt"].to_list() == ["C", "G", "C,G", ""]
    assert scores.rows["record"].to_list() == [1, 1, 2, 3]
    assert scores.rows["status"].to_list() == ["scored", "no_gene", "ref_mismatch", "no_alt_allele"]
    assert scores.tracks["name"].to_list() == list(EVENTS)
    np.testing.assert_array_equal(scores.values, [DELTA.score, *[[math.nan] * 4] * 3])
    assert scores.layers.keys() == {"REF", "ALT", "position", "offset"}
    assert {layer.shape for layer in scores.layers.values()} == {(4, 4)}
    table = scores.table
    assert table.row(0, named=True) == {
        **{"record": 1, "contig": "c", "position": 100, "ref": "A", "alt": "C", "symbol": "G", "gene_id": "I"},
        **{"transcript": "T", "strand": "+", "mask": "raw", "status": "scored"},
        **{"DS_AG": 0.1, "DS_AL": 0.2, "DS_DG": 0.3, "DS_DL": 0.4, "DP_AG": -5, "DP_AL": 0, "DP_DG": 5, "DP_DL": 50},
        **{"OFFSET_AG": 0, "OFFSET_AL": 2, "OFFSET_DG": 0, "OFFSET_DL": 0},
        **{"REF_AG": 0.5, "REF_AL": 0.6, "REF_DG": 0.7, "REF_DL": 0.8},
        **{"ALT_AG": 0.6, "ALT_AL": 0.4, "ALT_DG": 1.0, "ALT_DL": 0.4},
    }
    assert table.schema["DP_AG"] == pl.Int64
    assert set(table.select(pl.col("^(DS|DP|OFFSET|REF|ALT)_.*$"))[1:].null_count().row(0)) == {3}


def test_no_records_no_rows() -> None:
    scores = collect([], Provenance())
    assert (scores.values.shape, scores.table.height) == ((0, 4), 0)
    assert "DS_AG" in scores.table.columns
