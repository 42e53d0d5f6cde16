"""A folder for one process and one set of options."""

import errno
from pathlib import Path

import pytest

from cosmos_sim.data.work_folder import WorkFolder, differences


def test_one_process_and_one_set_of_options(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "out", "baking")
    options = {"seed": 3, "sizes": (1, 2)}
    with work.opened(options):
        (work.path / "done").touch()
        (work.path / ".half.12.partial").mkdir()
        (work.path / ".half.12.partial" / "file").touch()
        with pytest.raises(ValueError, match=r"another process is baking into .*out\.baking"), work.opened(options):
            pass
    with work.opened(options):
        assert sorted(path.name for path in work.path.iterdir()) == ["config.json", "done", "lock"]
    with (
        pytest.raises(ValueError, match=r"begun .*: seed 3 there, 4 here\. Repeat"),
        work.opened({**options, "seed": 4}),
    ):
        pass
    with pytest.raises(ValueError, match="colour None there, 'red' here"), work.opened({**options, "colour": "red"}):
        pass
    with work.opened({**options, "colour": "red"}, defaults={"colour": "red"}):
        pass
    work.remove()
    assert not work.path.exists()


def test_what_is_kept_is_told_where_the_disk_fails(tmp_path: Path) -> None:
    work = WorkFolder(tmp_path / "out", "baking")
    full = OSError(errno.ENOSPC, "No space left on device", "dough", None, "cake")
    told = r"^No space left on device 'cake': what is done is kept in .*out\.baking', and the same command goes on"
    with pytest.raises(OSError, match=told), work.opened({}):
        raise full
    with pytest.raises(OSError, match=r"^a process died: what is done is kept in "), work.opened({}):
        raise OSError("a process died")


def test_differences_are_of_values_as_json_holds_them() -> None:
    assert differences({"a": (1, 2), "b": None}, {"a": [1, 2], "c": 5}) == []
    assert differences({"a": (1, 2)}, {"a": [1, 3]}) == ["a [1, 3] there, [1, 2] here"]
