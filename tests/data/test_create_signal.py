from __future__ import annotations

import json
import tracemalloc
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tracks import Values, counts, write_genome, write_table, write_track

from basecast.data import signal_bins, writer
from basecast.data.create_signal import create_signal_data
from basecast.data.opening import open_split
from basecast.data.signal_settings import SignalSettings
from basecast.data.store import SPLITS, Dataset
from basecast.errors import InputError, UsageError
from basecast.genome.reference import Genome

LENGTHS = {"I": 20_000, "II": 12_000, "III": 6000}
GAP = ("I", 9000, 10_500)
SMALL = {"resolution": 32, "window": 512, "flank": 256, "piece": 2048}
FILES = ["report.json", "splits.tsv", "targets.resolved.tsv", "test.h5", "train.h5", "validation.h5"]


class World:
    """A genome and the two strands of an experiment, the minus one with values below 0; and a third track."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.genome = write_genome(folder / "genome.fa", LENGTHS, gaps=[GAP])
        self.values = {name: counts(LENGTHS, seed=i) for i, name in enumerate(("plus", "minus", "other"))}
        for name, sign in (("plus", 1), ("minus", -1), ("other", 1)):
            self.write(name, {contig: sign * values for contig, values in self.values[name].items()})
        self.targets = self.table()

    def write(self, name: str, values: dict[str, Values]) -> None:
        write_track(self.folder / f"{name}.bw", LENGTHS, values)

    def table(self, **changes: object) -> Path:
        pairs = {"plus": "minus", "minus": "plus", "other": ""}
        rows = [
            {"identifier": name, "file": f"{name}.bw", "strand_pair": pairs[name], "description": f"CAGE:{name}"}
            | changes
            for name in self.values
        ]
        return write_table(self.folder / "targets.tsv", rows)

    def make(self, output: str = "data", **options: object) -> dict[str, Dataset]:
        files = {
            name: options.pop(name)
            for name in ("gaps", "blacklist", "unmappable", "regions", "threads")
            if name in options
        }
        settings = SignalSettings.model_validate(SMALL | options)
        create_signal_data(self.genome, self.targets, self.folder / output, settings=settings, **files)
        present = [name for name in SPLITS if (self.folder / output / f"{name}.h5").is_file()]
        return {name: open_split(self.folder / output, name) for name in present}

    def report(self, output: str = "data") -> dict[str, object]:
        return json.loads((self.folder / output / "report.json").read_text())


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_values_and_bases_are_those_of_the_place(world: World) -> None:
    datasets = world.make()
    assert sorted(path.name for path in (world.folder / "data").iterdir()) == FILES
    genome = Genome(world.genome)
    seen = 0
    for dataset in datasets.values():
        for i in range(len(dataset)):
            contig, start, end, strand, *_ = record = dataset.record(i)
            assert (strand, record.chromosome, record.source_start) == ("+", contig, start)
            assert np.array_equal(
                dataset.tokens(i, -256, end - start + 256), genome.tokens(contig, start - 256, end + 256)
            )
            expected = np.stack(
                [world.values[name][contig][start:end].reshape(-1, 32).sum(axis=1) for name in world.values], axis=1
            )
            assert np.array_equal(dataset.labels(i, 0, end - start, "signal"), expected)
            assert dataset.valid(i, 0, end - start, "signal").all()
            seen += end - start
    report = world.report()
    apart = report["left_out"]["bases kept apart from another split"]
    edges = 9000 % 32 + (-10_500) % 32 + 20_000 % 32 + 6000 % 32  # what is no whole bin at a gap or an end
    assert apart > 0
    assert (
        seen
        == sum(LENGTHS.values()) - (GAP[2] - GAP[1]) - apart - edges
        == sum(s["bases"] for s in report["splits"].values())
    )


def test_what_the_header_says(world: World) -> None:
    header = world.make(species="Made up")["train"].header
    (output,) = header.outputs
    assert (output.name, output.resolution, output.link) == ("signal", 32, "softplus")
    assert [(track.name, track.strand, track.assay) for track in output.tracks] == [
        ("plus", "+", "CAGE"),
        ("minus", "-", "CAGE"),
        ("other", ".", "CAGE"),
    ]
    assert output.reverse_complement.permutation == (1, 0, 2)
    assert (header.dense, header.mask, header.flank, header.species) == (("signal",), "none", 256, "Made up")
    assert (header.settings["window"], header.settings["stride"]) == (512, 512)
    assert set(header.sources) == {"genome.fa", "targets.tsv", "plus.bw", "minus.bw", "other.bw"}


def test_what_is_reported_of_tracks(world: World) -> None:
    world.write("other", {})
    world.table(softclip=32, clips="")
    world.make()
    report = world.report()
    plus, minus, other = report["tracks"]
    assert (plus["absolute"], minus["absolute"], other["absolute"]) == (False, True, False)
    assert other["total"] == other["covered"] == 0 < plus["total"]
    assert report["notes"] == [
        "columns of the table that are not read: clips, softclip",
        "all values of 1 track are below 0: read without sign (minus)",
        "1 track without any signal in these stretches (other)",
    ]


def test_bins_that_a_clip_changes_are_counted(world: World) -> None:
    world.targets = world.table(clip=14, clip_soft=10)
    datasets = world.make()
    labels = np.concatenate(
        [d.labels(i, 0, int(d.lengths[i]), "signal") for d in datasets.values() for i in range(len(d))]
    )
    track = world.report()["tracks"][0]
    assert 11 < labels.max() <= 14
    raw = np.concatenate(
        [
            world.values["plus"][r.contig][r.start : r.end].reshape(-1, 32).sum(axis=1)
            for d in datasets.values()
            for r in (d.record(i) for i in range(len(d)))
        ]
    )
    assert track["soft_clipped"] == pytest.approx((raw > 10).mean())
    assert 0 < (raw > 10).mean() < 1


def test_the_same_input_gives_the_same_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.make("one")
    monkeypatch.setattr(signal_bins, "_SMALL", 0)
    world.make("two", threads=2)
    for name in ("train.h5", "validation.h5", "test.h5", "splits.tsv"):
        assert (world.folder / "one" / name).read_bytes() == (world.folder / "two" / name).read_bytes()


def test_contigs_may_be_named_for_a_split(world: World) -> None:
    datasets = world.make(test_contigs=("III",), validation_contigs=("II",))
    contigs = {name: set(dataset.records["contig"]) for name, dataset in datasets.items()}
    assert contigs == {"train": {"I"}, "validation": {"II"}, "test": {"III"}}
    table = pl.read_csv(world.folder / "data" / "splits.tsv", separator="\t")
    assert set(zip(table["contig"], table["split"], strict=True)) == {
        ("I", "train"),
        ("II", "validation"),
        ("III", "test"),
    }


def test_folds_stay_the_same_whichever_is_tested(world: World) -> None:
    def places(datasets: dict[str, Dataset]) -> dict[str, set[tuple[str, int, int]]]:
        found: dict[str, set[tuple[str, int, int]]] = {}
        for dataset in datasets.values():
            for contig, start, end, group in dataset.records.select("contig", "start", "end", "group").iter_rows():
                found.setdefault(group, set()).add((contig, start, end))
        return found

    one, two = world.make("one", folds=4), world.make("two", folds=4, test_fold=3, validation_fold=0)
    assert places(one) == places(two)
    assert set(one["test"].records["group"]) == {"fold0"} == set(two["validation"].records["group"])
    assert set(one["train"].records["group"]) == {"fold2", "fold3"}


def test_a_blacklist_takes_labels_away_and_nothing_else(world: World) -> None:
    (world.folder / "black.bed").write_text("I\t1000\t1040\nI\t2040\t2050\nII\t0\t12000\n")
    datasets = world.make(blacklist=world.folder / "black.bed", test_contigs=("III",), validation_contigs=("II",))
    assert not any(
        datasets["validation"].valid(i, 0, int(n), "signal").any() for i, n in enumerate(datasets["validation"].lengths)
    )
    train = datasets["train"]
    unknown = [
        int(train.records["start"][i]) + 32 * at
        for i, n in enumerate(train.lengths)
        for at in np.flatnonzero(~train.valid(i, 0, int(n), "signal")).tolist()
    ]
    assert unknown == [992, 1024, 2016, 2048]
    assert world.report()["splits"]["train"]["unknown_bases"] == 50
    assert world.report()["splits"]["validation"]["unknown_bases"] == sum(datasets["validation"].lengths.tolist())


def test_unmappable_windows_and_bins(world: World) -> None:
    (world.folder / "dark.bed").write_text("I\t512\t1000\nI\t2048\t2200\n")
    dark = {"unmappable": world.folder / "dark.bed", "test_contigs": ("III",), "validation_contigs": ("II",)}
    train = world.make("out", **dark)["train"]
    assert train.records.select("start", "end").rows()[:2] == [(0, 512), (1024, 2048)]
    assert world.report("out")["left_out"]["windows that are unmappable"] == 1
    cut = world.make("cut", **dark, umap_clip=0.25)["train"]
    i = int(np.flatnonzero(cut.records["start"].to_numpy() == 2048)[0])
    before, after = (d.labels(i, 0, 2048, "signal") for d in (train, cut))
    assert np.array_equal(after[5:], before[5:])
    assert np.array_equal(after[:5], np.minimum(before[:5], np.quantile(before, 0.25, axis=0).astype(np.float32)))
    assert not np.array_equal(after[:5], before[:5])


# --- peaks


@pytest.fixture
def peaks(world: World) -> Path:
    """narrowPeak whose summits are a quarter into the peak."""
    rng = np.random.default_rng(0)
    starts = [
        (c, s)
        for c, n in LENGTHS.items()
        for s in sorted(rng.choice(np.arange(0, n - 400, 900), n // 3000, False).tolist())
    ]
    lines = [f"{c}\t{s}\t{s + 200}\tp{i}\t0\t.\t1\t1\t1\t50" for i, (c, s) in enumerate(starts)]
    path = world.folder / "peaks.narrowPeak"
    path.write_text("\n".join(lines) + "\n")
    return path


def peak_rows(datasets: dict[str, Dataset]) -> list[tuple[str, str, int, int, str]]:
    return [
        (name, *row)
        for name, d in datasets.items()
        for row in d.records.select("contig", "start", "end", "genes").iter_rows()
    ]


def test_records_are_centred_on_peaks_and_on_background(world: World, peaks: Path) -> None:
    datasets = world.make(regions=peaks, summit=True, flank=64)
    spans = {line.split("\t")[3]: line.split("\t") for line in peaks.read_text().splitlines()}
    table = pl.read_csv(world.folder / "data" / "splits.tsv", separator="\t")
    rows = peak_rows(datasets)
    for split, contig, start, end, name in rows:
        assert end - start == 512
        inside = table.filter((pl.col("contig") == contig) & (pl.col("start") <= start) & (pl.col("end") >= end))
        assert inside["split"].to_list() == [split]  # what holds for pieces holds for windows
        piece = inside.row(0, named=True)
        if name:
            summit = int(spans[name][1]) + 50
            is_at_edge = start in (piece["start"], piece["end"] - 512)
            assert spans[name][0] == contig
            assert abs(start + 256 - summit) <= 16 or is_at_edge
        else:
            assert not any(c == contig and int(s) < end and int(e) > start for c, s, e, *_ in spans.values())
    n_peaks = {split: sum(bool(row[4]) for row in rows if row[0] == split) for split in datasets}
    n_background = {split: sum(not row[4] for row in rows if row[0] == split) for split in datasets}
    report = world.report()
    told = report["splits"]
    assert n_peaks == {split: told[split]["peaks"] for split in datasets}
    assert n_background == {split: told[split]["background"] for split in datasets}
    missing = sum(n_peaks.values()) - sum(n_background.values())
    assert missing == 0 or f"{sum(n_background.values()):,} window" in report["notes"][0]
    assert sum(n_peaks.values()) + sum(v for k, v in report["left_out"].items() if k.startswith("peaks")) == len(spans)


def test_jitter_moves_train_and_only_train(world: World, peaks: Path) -> None:
    still, moved = (
        peak_rows(world.make(f"j{jitter}", regions=peaks, jitter=jitter, negatives=0, flank=64)) for jitter in (0, 100)
    )
    again = peak_rows(world.make("again", regions=peaks, jitter=100, negatives=0, flank=64))
    assert moved == again
    shifts = {row[4]: row[2] for row in still}
    by_split: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for split, _, start, _, name in moved:
        by_split[split].append(start - shifts[name])
    assert max(map(abs, by_split["train"])) in range(1, 101 + 32)
    assert not any(by_split["validation"] + by_split["test"])


def test_background_is_like_the_peaks_in_gc(tmp_path: Path) -> None:
    """Half of the genome has 30 % GC, half 60 %; the peaks lie in the second half."""
    rng = np.random.default_rng(0)
    halves = [rng.choice(list("ACGT"), 60_000, p=[(1 - gc) / 2, gc / 2, gc / 2, (1 - gc) / 2]) for gc in (0.3, 0.6)]
    (tmp_path / "g.fa").write_text(f">I\n{''.join(np.concatenate(halves))}\n")
    write_track(tmp_path / "a.bw", {"I": 120_000}, counts({"I": 120_000}))
    targets = write_table(tmp_path / "targets.tsv", [{"identifier": "a", "file": "a.bw"}])
    starts = range(61_000, 119_000, 2500)
    (tmp_path / "peaks.bed").write_text("".join(f"I\t{s}\t{s + 100}\n" for s in starts))
    settings = SignalSettings.model_validate(SMALL | {"flank": 0, "window": 256, "negatives": 2, "piece": 8192})
    report = create_signal_data(
        tmp_path / "g.fa", targets, tmp_path / "data", settings=settings, regions=tmp_path / "peaks.bed"
    )
    train = open_split(tmp_path / "data", "train")
    is_peak = train.records["genes"].to_numpy() != ""
    gc = np.array([np.isin(train.tokens(i, 0, 256), (1, 2)).mean() for i in range(len(train))])
    assert (~is_peak).sum() == 2 * is_peak.sum()
    assert gc[~is_peak].mean() == pytest.approx(gc[is_peak].mean(), abs=0.01)
    assert report.splits["train"].background == 2 * report.splits["train"].peaks


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("I\t10\t20\n", "line 1 of .* tells no summit in its tenth column"),
        ("I\t20\t20\t.\t0\t.\t0\t0\t0\t1\n", "line 1 of .*: 20-20 is empty or ends past I, which has 20,000"),
        ("I\t20\t90000\t.\t0\t.\t0\t0\t0\t1\n", "is it of another genome build"),
        ("chrQ\t20\t900\t.\t0\t.\t0\t0\t0\t1\n", "line 1: contig 'chrQ' of .* is not in"),
        ("I 20 30\n", "line 1 of .* is no BED"),
        ("# nothing\n", "names no peak"),
    ],
    ids=["no-summit", "empty", "past", "contig", "blanks", "nothing"],
)
def test_peaks_that_are_none(world: World, line: str, said: str) -> None:
    path = world.folder / "peaks.bed"
    path.write_text(line)
    with pytest.raises(InputError, match=said):
        world.make(regions=path, summit=True)


# --- what cannot be made


def test_values_of_both_signs(world: World) -> None:
    values = counts(LENGTHS)
    values["II"][5000] = -1
    world.write("other", values)
    with pytest.raises(InputError, match=r"other\.bw has values above 0 \(at I:\d+\) and below 0 \(at II:5,001\)"):
        world.make()
    assert not (world.folder / "data").exists()


def test_a_track_of_another_genome(world: World) -> None:
    other = LENGTHS | {"II": 12_001}
    write_track(world.folder / "other.bw", other, counts(other))
    with pytest.raises(InputError, match=r"II of .*other\.bw has 12,001 bases, and II of .* 12,000"):
        world.make()


def test_a_track_without_a_contig_goes_where_the_contig_is_not_used(world: World) -> None:
    few = {name: LENGTHS[name] for name in ("I", "II")}
    write_track(world.folder / "other.bw", few, counts(few))
    with pytest.raises(InputError, match=r"other\.bw lacks III of .*: give --contig-aliases .* name with --contigs"):
        world.make()
    assert set(world.make(contigs=("I", "II"))["train"].records["contig"]) <= {"I", "II"}


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"window": 500}, UsageError, "a window of 500 is no whole number of bins of 32: give --window 512"),
        ({"folds": 4, "test_contigs": ("I",)}, UsageError, "leave --test-contigs and --validation-contigs out"),
        ({"folds": 4, "test_fold": 4}, UsageError, "with --folds 4 the last is 3"),
        ({"folds": 4, "test_fold": 1}, UsageError, "fold 1 cannot be test and validation"),
        ({"test_contigs": ("IV",)}, InputError, "contig 'IV' is not in .*genome.fa"),
        ({"test_contigs": ("I",), "validation_contigs": ("I",)}, UsageError, "'I' cannot be test and validation"),
        ({"test_contigs": ("I",), "contigs": ("II",)}, UsageError, "'I' is to be test, but --contigs does not name it"),
        ({"test_contigs": ("I", "II"), "validation_contigs": ("III",)}, InputError, "nothing is left to train on"),
        ({"window": 32_000}, InputError, r"as long as a window of 32,000 bases \(its longest contig has 20,000\)"),
        ({"validation_share": 0.5, "test_share": 0.5}, UsageError, "validation and test take all there is"),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_settings_that_do_not_go(world: World, options: dict[str, object], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        world.make(**options)


def test_memory_does_not_grow_with_the_genome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is held while a million bases are written is less than half a byte for each."""
    monkeypatch.setattr(writer, "_KEPT", 1 << 16)

    def held(n: int) -> int:
        folder, lengths, sizes = tmp_path / str(n), {f"c{i}": 40_000 for i in range(n)}, []
        folder.mkdir()
        write_track(folder / "a.bw", lengths, counts(lengths, rate=0.01))
        genome = write_genome(folder / "g.fa", lengths)
        targets = write_table(folder / "targets.tsv", [{"identifier": "a", "file": "a.bw"}])
        settings = SignalSettings.model_validate(SMALL | {"piece": 16_384})

        def measure(done: int, total: int) -> None:
            if not tracemalloc.is_tracing():
                tracemalloc.start()
            sizes.append(tracemalloc.get_traced_memory()[0])

        create_signal_data(genome, targets, folder / "data", settings=settings, progress=measure)
        tracemalloc.stop()
        return max(sizes)

    held(2)  # what is imported once
    assert held(25) < 500_000


def test_a_split_may_be_empty_and_an_earlier_file_goes(world: World) -> None:
    world.make()
    for name in ("dataset_test.h5", "removed_paralogs.tsv"):  # as of genes
        (world.folder / "data" / name).touch()
    datasets = world.make(test_share=0.0, overwrite=True)
    assert set(datasets) == {"train", "validation"}
    assert "there is nothing in test" in world.report()["notes"][-1]
    assert sorted(path.name for path in (world.folder / "data").iterdir()) == [x for x in FILES if x != "test.h5"]
    with pytest.raises(UsageError, match="holds a dataset already"):
        world.make()


def test_pombe_has_replicates_that_agree(shared_data: Path, tmp_path: Path) -> None:
    """PRO-seq of two replicates: 128-bp sums of chromosome III, as log1p, correlate at 0.78."""
    folder = shared_data / "spombe" / "proseq"
    rows = [{"identifier": f"rep{i}", "file": folder / f"PROseq_WT_rep{i}_plus.bw"} for i in (1, 2)]
    settings = SignalSettings(window=8192, flank=1024, test_contigs=("III",), contigs=("II", "III"))
    create_signal_data(
        shared_data / "spombe" / "genome.fa.gz",
        write_table(tmp_path / "targets.tsv", rows),
        tmp_path / "data",
        settings=settings,
        contig_aliases=shared_data / "spombe" / "chrom_alias.tsv",
    )
    test = open_split(tmp_path / "data", "test")
    values = np.concatenate([test.labels(i, 0, int(n), "signal") for i, n in enumerate(test.lengths)])
    assert len(values) == 2_452_883 // 128
    assert np.corrcoef(np.log1p(values.T))[0, 1] == pytest.approx(0.78, abs=0.02)
