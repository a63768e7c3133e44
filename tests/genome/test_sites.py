"""The base that a site is, as each format says it; and files that are whole, the same bytes each time, or not there.

Exons in capitals; on the minus strand the gene is read from right to left.

    0         1         2
    012345678901234567890123456
    ccATGgtaagcagGCAgtgagtagTAA     plus strand, contig p
        D        A D        A
    ttTGCctgcttacCATg               minus strand, contig m
        A        D
"""

from __future__ import annotations

import gzip
import resource
import shutil
import subprocess
import weakref
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pysam
import pytest

from basecast.errors import BasecastError
from basecast.genome import sites
from basecast.genome.bgzip import END, require_end
from basecast.genome.sites import SITE_SCHEMA, write_bed, write_hints, write_parquet, write_spsc

GENES = {"p": "ccATGgtaagcagGCAgtgagtagTAA", "m": "ttTGCctgcttacCATg"}
LENGTHS = {contig: len(gene) for contig, gene in GENES.items()}
SITES = [
    ("p", 4, "+", "donor", 0.9, "PLUS"),
    ("p", 13, "+", "acceptor", 0.25, "PLUS"),
    ("p", 15, "+", "donor", 0.002, "PLUS"),
    ("p", 24, "+", "acceptor", 0.001, ""),
    ("m", 4, "-", "acceptor", 0.004, "MINUS"),
    ("m", 13, "-", "donor", 1.0, ""),
]
ENDLESS = defaultdict[str, int](lambda: 10**9)
WRITERS: dict[str, Callable[..., None]] = {
    "x.bed.gz": lambda path, batches: write_bed(path, batches, {"c": 10**9}),
    "x.spsc.tsv": write_spsc,
    "x.spsc.tsv.gz": write_spsc,
    "x.hints.gff": lambda path, batches: write_hints(path, batches, ENDLESS),
    "x.parquet": write_parquet,
}
every_writer = pytest.mark.parametrize("name", WRITERS)


def _hints(path: Path, batches: Any, source: str = "E") -> None:
    write_hints(path, batches, ENDLESS, source)


def table(*rows: tuple[Any, ...]) -> pl.DataFrame:
    return pl.DataFrame(rows, schema=SITE_SCHEMA, orient="row")


def many(n: int, contig: str = "c") -> pl.DataFrame:
    generator = np.random.default_rng(n)
    return pl.DataFrame(
        {
            "contig": [contig] * n,
            "position": np.arange(1, n + 1) * 3,
            "strand": generator.choice(["+", "-"], n),
            "kind": generator.choice(["donor", "acceptor"], n),
            "probability": generator.random(n),
            "gene": generator.choice(["", "A", "B"], n),
        },
        schema=SITE_SCHEMA,
    )


def lines(path: Path) -> list[str]:
    content = path.read_bytes()
    return (gzip.decompress(content) if path.suffix == ".gz" else content).decode().splitlines()


def first(writer: Callable[..., None], path: Path, *rows: tuple[Any, ...], **settings: Any) -> list[list[str]]:
    writer(path, [table(*rows)], **settings)
    return [line.split("\t") for line in lines(path)]


def test_the_drawing_is_of_sites() -> None:
    for contig, position, strand, kind, *_ in SITES:
        gene, before = GENES[contig], (kind == "donor") != (strand == "+")
        intron = gene[position - 2 : position] if before else gene[position + 1 : position + 3]
        assert gene[position].isupper()
        assert intron == {"donor+": "gt", "acceptor+": "ag", "donor-": "ac", "acceptor-": "ct"}[kind + strand]


def test_bed(tmp_path: Path) -> None:
    """The site's base; score is 1000 p, column 7 p."""
    write_bed(tmp_path / "x.bed.gz", [table(*SITES)], LENGTHS)
    assert lines(tmp_path / "x.bed.gz") == [
        "p\t4\t5\tPLUS\t900\t+\t0.900000",
        "p\t13\t14\tPLUS\t250\t+\t0.250000",
        "p\t15\t16\tPLUS\t2\t+\t0.002000",
        "p\t24\t25\t.\t1\t+\t0.001000",
        "m\t4\t5\tMINUS\t4\t-\t0.004000",
        "m\t13\t14\t.\t1000\t-\t1.000000",
    ]
    with pysam.TabixFile(str(tmp_path / "x.bed.gz")) as rows:
        assert [row.split("\t")[1] for row in rows.fetch("p", 13, 16)] == ["13", "15"]
    assert {path.name for path in tmp_path.iterdir()} == {"x.bed.gz", "x.bed.gz.tbi"}


def test_splice_scores(tmp_path: Path) -> None:
    """How many bases lie before the border of exon and intron: ``ccATG|gt`` is 5, ``ttTGC|ct`` too."""
    write_spsc(tmp_path / "x.spsc.tsv", [table(*SITES)])
    assert lines(tmp_path / "x.spsc.tsv") == [
        "p\t5\t+\tD\t13",
        "p\t13\t+\tA\t13",
        "p\t16\t+\tD\t2",
        "p\t24\t+\tA\t0",
        "m\t5\t-\tA\t4",
        "m\t13\t-\tD\t13",
    ]
    write_spsc(tmp_path / "x.spsc.tsv.gz", [table(*SITES)])
    assert lines(tmp_path / "x.spsc.tsv.gz") == lines(tmp_path / "x.spsc.tsv")
    require_end(tmp_path / "x.spsc.tsv.gz")


def test_hints(tmp_path: Path) -> None:
    """The intron's first base, or its last, counted from 1: the g of ``ccATGgt`` is 6, the c of ``ttTGCct`` too."""
    write_hints(tmp_path / "x.hints.gff", [table(*SITES)], LENGTHS)
    assert lines(tmp_path / "x.hints.gff") == [
        "p\tBasecast\tdss\t6\t6\t0.900000\t+\t.\tsrc=E",
        "p\tBasecast\tass\t13\t13\t0.250000\t+\t.\tsrc=E",
        "p\tBasecast\tdss\t17\t17\t0.002000\t+\t.\tsrc=E",
        "p\tBasecast\tass\t24\t24\t0.001000\t+\t.\tsrc=E",
        "m\tBasecast\tass\t6\t6\t0.004000\t-\t.\tsrc=E",
        "m\tBasecast\tdss\t13\t13\t1.000000\t-\t.\tsrc=E",
    ]
    for contig, _, kind, start, end, *_ in (line.split("\t") for line in lines(tmp_path / "x.hints.gff")):
        base = GENES[contig][int(start) - 1]
        assert start == end
        assert base == ("g" if contig == "p" else "c"), kind  # g of gt and of ag


def test_a_hint_has_the_key_of_its_source(tmp_path: Path) -> None:
    assert first(_hints, tmp_path / "x.hints.gff", SITES[0], source="BC")[0][-1] == "src=BC"


def test_a_hint_needs_a_base_of_the_intron(tmp_path: Path) -> None:
    at_start = [("c", 0, "-", "donor", 0.5, ""), ("c", 0, "+", "acceptor", 0.5, ""), ("c", 0, "+", "donor", 0.5, "")]
    assert [row[2:4] for row in first(_hints, tmp_path / "x.hints.gff", *at_start)] == [["dss", "2"]]
    path = tmp_path / "end.gff"
    write_hints(path, [table(("c", 9, "+", "donor", 0.5, ""), ("c", 9, "-", "donor", 0.5, ""))], {"c": 10})
    assert [line.split("\t")[3] for line in path.read_text().splitlines()] == ["9"]


def test_parquet(tmp_path: Path) -> None:
    write_parquet(tmp_path / "x.parquet", [table(*SITES[:2]), table(*SITES[2:])])
    written = pl.read_parquet(tmp_path / "x.parquet")
    assert written.schema == SITE_SCHEMA
    assert written.equals(table(*SITES))


@pytest.mark.parametrize(
    ("probability", "score", "decimals"),
    [
        (0.0, "0", "0.000000"),
        (1e-30, "0", "0.000000"),
        (0.0625, "63", "0.062500"),  # 62.5
        (0.1875, "188", "0.187500"),  # 187.5
        (2**-7, "8", "0.007813"),  # 7812.5 millionths
        (0.1, "100", "0.100000"),
        (0.0996, "100", "0.099600"),
        (0.99949, "999", "0.999490"),
        (0.99999994, "1000", "1.000000"),
        (1.0, "1000", "1.000000"),
    ],
)
def test_rounding(tmp_path: Path, probability: float, score: str, decimals: str) -> None:
    writer: Callable[..., None] = lambda path, batches: write_bed(path, batches, LENGTHS)  # noqa: E731
    ((*_, found, _, six),) = first(writer, tmp_path / "x.bed.gz", ("p", 4, "+", "donor", probability, ""))
    assert (found, six) == (score, decimals)


@pytest.mark.parametrize(
    ("probability", "base_rate", "score"),
    [
        (0.001, 0.001, 0),
        (0.002, 0.001, 2),
        (0.0005, 0.001, -2),
        (0.0025, 0.001, 3),  # 2.64
        (0.0007, 0.001, -1),  # -1.03
        (0.0, 0.001, -7),
        (1e-6, 0.001, -7),
        (1.0, 0.001, 13),
        (1.0, 0.5, 2),
        (0.25, 0.5, -2),
    ],
)
def test_scores_are_twice_the_doublings(tmp_path: Path, probability: float, base_rate: float, score: int) -> None:
    site = ("p", 4, "+", "donor", probability, "")
    assert first(write_spsc, tmp_path / "x.spsc.tsv", site, base_rate=base_rate) == [["p", "5", "+", "D", str(score)]]


def test_a_site_of_two_genes(tmp_path: Path) -> None:
    """Two rows where genes have a column; one, the more probable, where not."""
    twice = [("p", 4, "+", "donor", 0.25, "A"), ("p", 4, "+", "donor", 0.5, "B"), ("p", 4, "-", "donor", 0.125, "C")]
    write_bed(tmp_path / "x.bed.gz", [table(*twice)], LENGTHS)
    assert [line.split("\t")[3:5] for line in lines(tmp_path / "x.bed.gz")] == [
        ["A", "250"],
        ["B", "500"],
        ["C", "125"],
    ]
    assert [row[1:3] for row in first(write_spsc, tmp_path / "x.spsc.tsv", *twice)] == [["5", "+"], ["4", "-"]]
    assert [row[5] for row in first(_hints, tmp_path / "x.hints.gff", *twice)] == ["0.500000", "0.125000"]


@pytest.mark.parametrize(
    ("gene", "name"),
    [("", "."), ("HLA-A", "HLA-A"), ("a b\tc\nd\r\u00a0e", "a_b_c_d__e"), ('"q",x', '"q",x'), ("\u03b2", "\u03b2")],
)
def test_a_name_is_one_column(tmp_path: Path, gene: str, name: str) -> None:
    write_bed(tmp_path / "x.bed.gz", [table(("p", 4, "+", "donor", 0.5, gene))], LENGTHS)
    assert lines(tmp_path / "x.bed.gz") == [f"p\t4\t5\t{name}\t500\t+\t0.500000"]


@pytest.mark.parametrize("batches", [[], [table()], [table(), table()]], ids=["none", "one", "two"])
@every_writer
def test_nothing_found(tmp_path: Path, name: str, batches: list[pl.DataFrame]) -> None:
    WRITERS[name](tmp_path / name, batches)
    if name.endswith(".parquet"):
        assert pl.read_parquet(tmp_path / name).equals(table())
        return
    assert lines(tmp_path / name) == []
    if name.endswith(".gz"):
        assert (tmp_path / name).read_bytes() == END
    if name.endswith(".bed.gz"):
        with pysam.TabixFile(str(tmp_path / name), index=f"{tmp_path / name}.csi") as rows:
            assert rows.contigs == []


@every_writer
def test_bytes_do_not_depend_on_the_batches(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "_ROW_GROUP", 1000)
    rows = pl.concat([many(6000), many(7, "d"), many(1, "e")])
    contents = []
    for size in (rows.height, 997, 64):
        empty = [table()] * (size == 64)
        WRITERS[name](tmp_path / name, [*empty, *rows.iter_slices(size), *empty])
        contents.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert contents[0] == contents[1] == contents[2]
    assert set(contents[0]) == ({name, f"{name}.csi"} if name.endswith(".bed.gz") else {name})
    if name.endswith(".parquet"):
        assert pl.read_parquet(tmp_path / name).equals(rows)
    else:
        assert len(lines(tmp_path / name)) == rows.height


@pytest.mark.parametrize(
    ("length", "suffix"), [((1 << 29) - 1, "tbi"), (1 << 29, "csi"), (600_000_000, "csi"), (2_000_000_000, "csi")]
)
def test_a_site_near_the_end_of_a_long_contig(tmp_path: Path, length: int, suffix: str) -> None:
    path = tmp_path / "x.bed.gz"
    for stale in ("tbi", "csi"):
        Path(f"{path}.{stale}").write_bytes(b"stale")
    near_end = [
        ("a", 5, "+", "donor", 0.5, ""),
        ("w", 0, "+", "donor", 0.5, ""),
        ("w", length - 2, "-", "donor", 0.5, ""),
    ]
    write_bed(path, [table(*near_end)], {"a": 1000, "w": length, "z": 5})
    assert {file.name for file in tmp_path.iterdir()} == {"x.bed.gz", f"x.bed.gz.{suffix}"}
    assert Path(f"{path}.{suffix}").stat().st_mtime_ns >= path.stat().st_mtime_ns
    expected = f"w\t{length - 2}\t{length - 1}\t.\t500\t-\t0.500000"
    with pysam.TabixFile(str(path), index=f"{path}.{suffix}") as rows:
        assert list(rows.fetch("w", length - 2, length - 1)) == [expected]
        assert list(rows.fetch("w", 1, length - 2)) == []
    if shutil.which("tabix"):
        command = ["tabix", str(path), f"w:{length - 1}-{length}"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == expected + "\n"


@every_writer
def test_memory_does_not_grow_with_the_batches(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sites, "_ROW_GROUP", 100)
    given: list[weakref.ref[pl.DataFrame]] = []
    alive = []

    def batches() -> Iterator[pl.DataFrame]:
        for number in range(20):
            batch = many(100, f"c{number}")
            given.append(weakref.ref(batch))
            yield batch
            del batch
            alive.append(sum(known() is not None for known in given))

    WRITERS[name](tmp_path / name, batches())
    assert len(given) == 20
    assert max(alive) <= 2


@every_writer
def test_what_the_batches_raise_comes_as_it_is(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"an earlier run's")
    for error in (OSError(28, "No space left on device"), KeyboardInterrupt(), ValueError("rows")):

        def batches(error: BaseException = error) -> Iterator[pl.DataFrame]:
            yield many(1000)
            raise error

        with pytest.raises(type(error)) as caught:
            WRITERS[name](tmp_path / name, batches())
        assert caught.value is error
    assert (tmp_path / name).read_bytes() == b"an earlier run's"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@every_writer
@pytest.mark.parametrize("room", [1, 20_000])
def test_a_file_that_the_system_will_not_let_grow(
    tmp_path: Path, name: str, room: int, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(b"an earlier run's")
    rows = many(100_000)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, limits[1]))
    try:
        with pytest.raises(BasecastError, match=rf"{name} could not be written \(.*make room") as caught:
            WRITERS[name](tmp_path / name, rows.iter_slices(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert str(tmp_path / name) in str(caught.value)
    assert (tmp_path / name).read_bytes() == b"an earlier run's"
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert capfd.readouterr() == ("", "")


@every_writer
def test_no_such_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(BasecastError, match=rf"none/{name} could not be written \(No such file or directory\)"):
        WRITERS[name](tmp_path / "none" / name, [many(10)])
    assert list(tmp_path.iterdir()) == []
