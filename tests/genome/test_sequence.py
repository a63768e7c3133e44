from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from basecast.genome.sequence import LetterError, decode, encode, padded, reverse_complement, unknown

DNA = st.text("ACGTN", max_size=60)


@given(DNA)
def test_decoding_undoes_encoding(sequence: str) -> None:
    assert decode(encode(sequence)) == sequence
    assert decode(encode(sequence.lower().encode())) == sequence


@given(DNA)
def test_reverse_complement(sequence: str) -> None:
    assert decode(reverse_complement(encode(sequence))) == sequence[::-1].translate(str.maketrans("ACGT", "TGCA"))


def test_ambiguities_are_unknown_and_uracil_is_thymine() -> None:
    assert decode(encode("RYSWKMBDHVNryswkmbdhvn")) == "N" * 22
    assert decode(encode("AUGaug")) == "ATGATG"


@pytest.mark.parametrize(
    ("sequence", "letter", "offset"), [("ACE", "E", 2), (b"-A", "-", 0), ("AC G", " ", 2), ("Aé", "é", 1)]
)
def test_other_letters_are_named(sequence: str | bytes, letter: str, offset: int) -> None:
    with pytest.raises(LetterError, match=f"'{letter}' at offset {offset}") as caught:
        encode(sequence)
    assert (caught.value.letter, caught.value.offset) == (letter, offset)


def test_tokens_may_be_written_to() -> None:
    tokens = encode("ACGT")
    tokens[0] = 3
    assert decode(tokens) == "TCGT"


@given(DNA, st.integers(-20, 80), st.integers(0, 90))
def test_padding_is_unknown(sequence: str, start: int, length: int) -> None:
    tokens = encode(sequence)
    got = padded(lambda first, last: tokens[first:last], tokens.size, start, start + length)
    assert decode(got) == ("N" * 20 + sequence + "N" * 200)[start + 20 :][:length]


def test_a_window_that_ends_before_it_starts() -> None:
    with pytest.raises(ValueError, match=r"5\.\.3"):
        padded(lambda first, last: unknown(last - first), 10, 5, 3)
    np.testing.assert_array_equal(padded(lambda first, last: unknown(last - first), 10, 3, 3), [])
