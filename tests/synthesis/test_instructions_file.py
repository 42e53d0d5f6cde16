"""Files of instructions, good and bad."""

from pathlib import Path

import pytest

from cosmos_sim.envs.twin.instructions import parse_instruction
from cosmos_sim.synthesis.instructions import read_instructions


def written(folder: Path, content: bytes) -> Path:
    file = folder / "instructions.txt"
    file.write_bytes(content)
    return file


def test_one_a_line_in_any_language(tmp_path: Path) -> None:
    file = written(tmp_path, "\ufefflift the red cube\r\n  赤い立方体を持ち上げて \nподними куб".encode())
    assert read_instructions(file) == ("lift the red cube", "赤い立方体を持ち上げて", "подними куб")
    assert read_instructions(written(tmp_path, b"push\n")) == ("push",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"lift\n\npush\n", "line 2 is empty"),
        (b"", "line 1 is empty"),
        (b"lift\npush\n lift\n", "line 3 repeats line 1: 'lift'"),
        (b"lift\n\xff\xfe\n", "line 2 is not UTF-8 text"),
        (b"lift\nthe\x07 cube\n", "line 2 holds a control character"),
        (b"lift the red cube\nlift the red cub\n", r"line 2: unknown shape 'cub'.*Did you mean 'cube'"),
        (b"lift the red cube\nlift the crimson cube\n", "line 2: unknown colour 'crimson'"),
    ],
)
def test_what_is_wrong_is_named_by_its_line(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_instructions(written(tmp_path, content), check=parse_instruction if b"the red" in content else None)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"none\.txt' cannot be read: No such file"):
        read_instructions(tmp_path / "none.txt")
