"""Whole or not at all."""

from pathlib import Path

import pytest

from cosmos_sim.data.files import new_file, new_folder


def test_a_file_appears_whole_and_an_error_leaves_the_old_one(tmp_path: Path):
    path = tmp_path / "deep" / "a.txt"
    with new_file(path) as partial:
        partial.write_text("first")
        assert not path.exists()
    with pytest.raises(FileNotFoundError), new_file(path) as partial:
        partial.with_name("elsewhere").rename(partial)
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["a.txt"]


def test_a_folder_is_replaced_whole_and_an_error_leaves_the_old_one(tmp_path: Path):
    path = tmp_path / "world"
    for text in ("first", "second"):
        with new_folder(path) as partial:
            (partial / "a.txt").write_text(text)
    with pytest.raises(RuntimeError), new_folder(path) as partial:
        raise RuntimeError
    assert (path / "a.txt").read_text() == "second"
    assert [p.name for p in tmp_path.iterdir()] == ["world"]


def test_what_a_kill_between_the_renames_left_is_brought_back(tmp_path: Path):
    path, old = tmp_path / "world", tmp_path / ".world.old"
    old.mkdir()
    (old / "a.txt").write_text("only copy")
    with pytest.raises(RuntimeError), new_folder(path):
        raise RuntimeError
    assert (path / "a.txt").read_text() == "only copy"
