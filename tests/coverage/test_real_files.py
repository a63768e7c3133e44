"""Files of real aligners, beside what a loop over pysam counts in them."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pysam
import pytest
from matplotlib.figure import Figure

from basecast.coverage import build
from basecast.coverage.build import coverage
from basecast.coverage.settings import CoverageSettings
from basecast.genome.signal import BigWig

FILES = [
    "dmel/input_1.tiny.single.sorted.bam",
    "dmel/sample1.tiny.paired.sorted.bam",
    "dmel/ip_2.small.single.sorted.bam",
    "mouse_chr9/chr9.4M.Illumina.bam",
]


@pytest.mark.parametrize("name", FILES)
def test_five_prime_ends_of_real_files(
    name: str, shared_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = shared_data / "alignments" / name
    if not path.exists():
        pytest.skip(f"{name} is not among the shared data")
    monkeypatch.setattr(build, "figure", lambda *_: Figure())
    single: Counter[tuple[str, int]] = Counter()
    several, contigs, n_alignments = set(), set(), 0
    with pysam.AlignmentFile(str(path)) as file:
        for record in file:
            n_alignments += 1
            if record.is_unmapped or record.is_duplicate or record.is_supplementary or record.is_qcfail:
                continue
            contigs.add(record.reference_name)
            if record.has_tag("NH") and record.get_tag("NH") > 1:
                if record.get_tag("NH") <= 10 and not record.is_secondary:
                    several.add((record.query_name, record.is_read2))
                continue
            at = record.reference_end - 1 if record.is_reverse else record.reference_start
            single[record.reference_name, at] += 1
    summary = coverage(path, tmp_path / "a.bw", settings=CoverageSettings(keep_duplicates=False), threads=1)
    assert summary is not None
    assert summary.alignments == n_alignments
    assert summary.reads == sum(single.values()) + len(several)
    told = json.loads((tmp_path / "a.report.json").read_text())["alignments"]
    counted = told["of reads with one place"] + told["of reads with several places"]
    assert counted + sum(told["left out"].values()) == n_alignments
    found, total = BigWig(tmp_path / "a.bw"), 0.0
    for contig in sorted(contigs):
        values = np.nan_to_num(found.values(contig, 0, found.lengths[contig])).astype(np.float64)
        total += values.sum()
        for at in [at for other, at in single if other == contig]:
            values[at] -= single[contig, at]
        assert values.min(initial=0) > -1e-5
        if not several:
            assert not values.any()
    assert total == pytest.approx(summary.reads, rel=1e-6)
