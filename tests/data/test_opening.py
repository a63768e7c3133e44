from __future__ import annotations

from pathlib import Path

import pytest

from basecast.data.opening import open_split
from basecast.data.openspliceai import OpenSpliceAIShards, ShardWriter
from basecast.data.store import Dataset, Header, Record, Sites
from basecast.data.writer import Writer
from basecast.errors import InputError
from basecast.genome.sequence import encode
from basecast.spec.splice import SPLICE, splice_output


@pytest.mark.parametrize(
    ("kind", "name", "opened"),
    [(Writer, "{}.h5", Dataset), (ShardWriter, "dataset_{}.h5", OpenSpliceAIShards)],
    ids=["ours", "openspliceai"],
)
def test_either_layout_is_opened(
    tmp_path: Path, kind: type[Writer | ShardWriter], name: str, opened: type[Dataset]
) -> None:
    for split in ("train", "validation"):
        with kind(tmp_path / name.format(split), Header(split=split, outputs=(splice_output(),))) as writer:
            writer.add(Record("c", 0, 4, "+"), encode("ACGT"), {SPLICE: Sites.none()})
        found = open_split(tmp_path, split)
        assert type(found) is opened
        assert found.header.split == split
        assert found.tokens(0, 0, 4).tolist() == [0, 1, 2, 3]


def test_a_folder_without_the_split(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"has no test\.h5, nor dataset_test\.h5 of OpenSpliceAI: give the folder"):
        open_split(tmp_path, "test")
