from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from basecast.genome.sequence import LetterError, decode, encode
from basecast.genome.source import Haplotype, Masked, Source, Text

PAD = "N" * 400
DNA = st.text("ACGT", max_size=40)
INTERVAL = st.tuples(st.integers(-30, 60), st.integers(0, 40)).map(lambda pair: (pair[0], sum(pair)))


def slice_of(text: str, start: int, end: int) -> str:
    """Letters [start, end) of text with N on both sides without end."""
    return (PAD + text + PAD)[start + len(PAD) : end + len(PAD)]


@given(DNA, st.integers(-10, 10), INTERVAL)
def test_text_is_a_slice(text: str, first: int, window: tuple[int, int]) -> None:
    start, end = window
    for source in (Text(text, "c", first), Text(encode(text), "c", first)):
        assert decode(source.tokens("c", start, end)) == slice_of(text, start - first, end - first)
        assert decode(source.tokens("other", start, end)) == "N" * (end - start)


@given(DNA, INTERVAL, INTERVAL)
def test_masked_keeps_the_interval(text: str, kept: tuple[int, int], window: tuple[int, int]) -> None:
    masked = Masked(Text(text, "c"), "c", *kept)
    whole = slice_of(text, -100, 240)
    letters = "".join(base if kept[0] <= at < kept[1] else "N" for at, base in enumerate(whole, -100))
    assert decode(masked.tokens("c", *window)) == letters[window[0] + 100 : window[1] + 100]
    assert decode(masked.tokens("other", *window)) == "N" * (window[1] - window[0])


@given(DNA, INTERVAL, DNA, INTERVAL)
def test_a_haplotype_is_python_slicing(
    text: str, edit: tuple[int, int], replacement: str, window: tuple[int, int]
) -> None:
    haplotype = Haplotype(Text(text, "c"), "c", *edit, encode(replacement))
    whole = slice_of(text, -100, 240)
    altered = whole[: edit[0] + 100] + replacement + whole[edit[1] + 100 :]
    assert decode(haplotype.tokens("c", *window)) == altered[window[0] + 100 : window[1] + 100]


@given(DNA, INTERVAL, INTERVAL, DNA, INTERVAL)
def test_mask_first_then_edit(
    text: str, kept: tuple[int, int], edit: tuple[int, int], replacement: str, window: tuple[int, int]
) -> None:
    haplotype = Haplotype(Masked(Text(text, "c"), "c", *kept), "c", *edit, encode(replacement))
    masked = "".join(
        base if kept[0] <= at < kept[1] else "N" for at, base in enumerate(slice_of(text, -100, 240), -100)
    )
    altered = masked[: edit[0] + 100] + replacement + masked[edit[1] + 100 :]
    assert decode(haplotype.tokens("c", *window)) == altered[window[0] + 100 : window[1] + 100]


def test_a_haplotype_of_a_haplotype_edits_from_right_to_left() -> None:
    reference = Text("AACCGGTT", "c")
    right = Haplotype(reference, "c", 6, 8, encode("A"))
    both = Haplotype(right, "c", 2, 4, encode("TTT"))
    assert decode(both.tokens("c", 0, 8)) == "AATTTGGA"


def test_other_contigs_of_a_haplotype_are_the_source() -> None:
    haplotype = Haplotype(Text("ACGT", "other"), "c", 1, 2, encode("GGG"))
    assert decode(haplotype.tokens("other", 0, 4)) == "ACGT"


def test_what_comes_out_may_be_written_to() -> None:
    replacement = encode("GG")
    text = encode("ACGT")
    source: Source = Haplotype(Text(text, "c"), "c", 1, 2, replacement)
    source.tokens("c", 1, 3)[:] = 4
    source.tokens("c", 0, 5)[:] = 4
    Text(text, "c").tokens("c", 0, 4)[:] = 4
    assert decode(replacement) == "GG"
    assert decode(text) == "ACGT"


def test_refusals() -> None:
    with pytest.raises(ValueError, match=r"5\.\.3"):
        Haplotype(Text("ACGT", "c"), "c", 5, 3, encode(""))
    with pytest.raises(LetterError):
        Text("ACGX")
    for source in (Text("ACGT", "c"), Masked(Text("ACGT", "c"), "c", 0, 4)):
        with pytest.raises(ValueError, match=r"3\.\.1"):
            source.tokens("c", 3, 1)


def test_sources_pickle() -> None:
    haplotype = Haplotype(Masked(Text("ACGTACGT", "c"), "c", 1, 7), "c", 2, 3, encode("TT"))
    again = pickle.loads(pickle.dumps(haplotype))
    assert decode(again.tokens("c", 0, 9)) == "NCTTTACGN"
