from __future__ import annotations

import pickle
import re
import struct
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from basecast.errors import InputError
from basecast.genome.sequence import decode
from basecast.genome.twobit import TwoBit


def write_twobit(path: Path, contigs: list[tuple[str, str]], order: str = "<", version: int = 0) -> Path:
    """Writes sequences base by base, as the format's page tells it; lower case becomes mask blocks."""
    offset = 16 + sum(1 + len(name) + (8 if version else 4) for name, _ in contigs)
    index, records = b"", b""
    for name, sequence in contigs:
        index += struct.pack("B", len(name)) + name.encode() + struct.pack(order + "IQ"[version], offset + len(records))
        records += struct.pack(order + "I", len(sequence))
        for in_block in (lambda base: base in "Nn", str.islower):
            blocks, at = [], 0
            for inside, run in groupby(sequence, in_block):
                length = len(list(run))
                blocks += [(at, length)] if inside else []
                at += length
            starts, sizes = [start for start, _ in blocks], [size for _, size in blocks]
            records += struct.pack(f"{order}{1 + 2 * len(blocks)}I", len(blocks), *starts, *sizes)
        records += struct.pack(order + "I", 0)
        for at in range(0, len(sequence), 4):
            byte = 0
            for base in sequence[at : at + 4].upper().replace("N", "T").ljust(4, "T"):
                byte = byte << 2 | "TCAG".index(base)
            records += bytes([byte])
    path.write_bytes(struct.pack(order + "4I", 0x1A412743, version, len(contigs), 0) + index + records)
    return path


CONTIGS = st.lists(st.text("ACGTNacgtn", max_size=50), min_size=1, max_size=4)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CONTIGS, st.sampled_from("<>"), st.sampled_from([0, 1]), st.data())
def test_what_was_written_is_read(
    tmp_path: Path, sequences: list[str], order: str, version: int, data: st.DataObject
) -> None:
    contigs = [(f"contig{number}", sequence) for number, sequence in enumerate(sequences)]
    genome = TwoBit(write_twobit(tmp_path / "a.2bit", contigs, order, version))
    assert list(genome.lengths.items()) == [(name, len(sequence)) for name, sequence in contigs]
    for name, sequence in contigs:
        assert decode(genome.tokens(name, 0, len(sequence))) == sequence.upper()
        start = data.draw(st.integers(0, len(sequence)))
        end = data.draw(st.integers(start, len(sequence)))
        assert decode(genome.tokens(name, start, end)) == sequence[start:end].upper()


def test_it_pickles_as_its_path(tmp_path: Path) -> None:
    genome = TwoBit(write_twobit(tmp_path / "a.2bit", [("c", "ACGT" * 5000)]))
    assert len(pickle.dumps(genome)) < 1000
    assert decode(pickle.loads(pickle.dumps(genome)).tokens("c", 1, 5)) == "CGTA"


@pytest.mark.parametrize("kept", [3, 10, 17, 30, 45, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    path = write_twobit(tmp_path / "a.2bit", [("chrA", "ACGTNNNNACGTA"), ("chrB", "ACGNNT")])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=re.escape(str(path))):
        TwoBit(path)


def test_refusals(tmp_path: Path) -> None:
    path = tmp_path / "a.2bit"
    with pytest.raises(InputError, match="cannot be read as 2bit"):
        TwoBit(path)
    path.write_text(">chr1\nACGTACGTACGTACGT\n")
    with pytest.raises(InputError, match="not a 2bit file"):
        TwoBit(path)
    with pytest.raises(InputError, match="two contigs named 'c'"):
        TwoBit(write_twobit(path, [("c", "A"), ("c", "C")]))
    with pytest.raises(InputError, match="holds no contig"):
        TwoBit(write_twobit(path, []))
    path.write_bytes(path.read_bytes()[:4] + struct.pack("<3I", 2, 1, 0))
    with pytest.raises(InputError, match="version 2"):
        TwoBit(path)


def test_yeast(shared_data: Path) -> None:
    genome = TwoBit(shared_data / "yeast" / "sacCer_R64.2bit")
    assert sum(genome.lengths.values()) > 12_000_000
    contig = next(iter(genome.lengths))
    middle = decode(genome.tokens(contig, 1000, 2001))
    assert middle == decode(genome.tokens(contig, 0, 5000))[1000:2001]
    assert set(middle) == set("ACGT")
