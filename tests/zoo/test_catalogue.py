"""What ``--model`` may be, and what is said of anything else."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from checkpoints import write_openspliceai
from toys import package_of

from basecast.errors import InputError, UsageError
from basecast.zoo.catalogue import embedded, listing, load_model, name_of
from basecast.zoo.package import save_package


def test_every_embedded_model_loads_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert embedded()
    for name, folder in embedded().items():
        assert load_model(name).digest == load_model(folder).digest


def test_a_package_folder(tmp_path: Path) -> None:
    package = package_of("spliceai")
    save_package(tmp_path / "model", package)
    assert load_model(str(tmp_path / "model")).digest == package.digest


def test_a_checkpoint_or_a_folder_of_them(tmp_path: Path) -> None:
    write_openspliceai(tmp_path / "one.pt", 80)
    assert len(load_model(tmp_path / "one.pt").networks) == 1
    write_openspliceai(tmp_path / "two.pth", 80, salt="2")
    (tmp_path / "README.txt").write_text("not a checkpoint")
    assert len(load_model(tmp_path).networks) == 2


def test_a_package_wins_over_checkpoints_beside_it(tmp_path: Path) -> None:
    save_package(tmp_path / "model", package_of("spliceai"))
    write_openspliceai(tmp_path / "model" / "one.pt", 80)
    assert load_model(tmp_path / "model").spec.name == "spliceai"


def test_no_such_model() -> None:
    with pytest.raises(
        UsageError, match=r"no model 'human-401': give a path, or one of .+; basecast zoo list"
    ) as caught:
        load_model("human-401")
    assert caught.value.exit_code == 2
    assert all(name in str(caught.value) for name in embedded())


def test_nothing_is_fetched_by_naming_it() -> None:
    for name in ("openspliceai-mane-10000", "openspliceai-mouse-80@v1", "hf:owner/name", "https://example.org/model"):
        with pytest.raises(UsageError, match=rf"{name} has not been fetched yet: run `basecast zoo get {name}` once"):
            load_model(name)


def test_what_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = list(listing())
    assert len({row.name for row in rows}) == len(rows) > 20
    assert {row.state for row in rows} == {"ships", "known"}
    assert rows[0] == ("human-400", "ships", "Homo sapiens", "400", "Apache-2.0", "splice")
    assert rows[1] == ("pombe-400", "ships", "Schizosaccharomyces pombe", "400", "Apache-2.0", "splice")
    assert ("openspliceai-zebrafish-2000", "known", "Danio rerio", "2000", "GPL-3.0-only", "splice") in rows
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BASECAST_CACHE", str(tmp_path / "file"))
    assert list(listing()) == rows, "no cache, no fetched models"


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("./some/folder", "folder"),
        ("some/folder/", "folder"),
        ("./hf%3Aa%2Fb", "hf:a/b"),
        ("https://x.org/models/m.v1/", "m.v1"),
        ("https://x.org/m/SHA256SUMS", "m"),
        ("hf:a/b@refs/pr/1", "hf:a/b@refs/pr/1"),
        ("openspliceai-mane-80", "openspliceai-mane-80"),
        ("openspliceai-mane-80@abc", "openspliceai-mane-80@abc"),
    ],
)
def test_under_which_name_a_model_is_kept(reference: str, name: str) -> None:
    assert name_of(reference) == name


def test_a_folder_or_file_that_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "genome.fa").write_text(">1\nACGT\n")
    for path in (tmp_path, tmp_path / "genome.fa"):
        with pytest.raises(InputError, match=r"is no model: a package folder has a config.json"):
            load_model(path)


def test_checkpoints_of_several_formats_in_one_folder(tmp_path: Path) -> None:
    write_openspliceai(tmp_path / "one.pt", 80)
    shutil.copy(tmp_path / "one.pt", tmp_path / "two.h5")
    with pytest.raises(InputError, match="several formats"):
        load_model(tmp_path)
