"""The command line: its tree of commands, its help, and what it says of a user's mistakes."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cosmos_sim import __version__
from cosmos_sim.cli import main
from cosmos_sim.cli._tree import Command, Group, load_tree

HEAVY = ("torch", "mujoco", "robosuite", "lerobot", "diffusers", "transformers", "tyro", "cv2", "scipy", "av")


def leaves(group: Group) -> Iterator[Command]:
    for child in group.children.values():
        if isinstance(child, Group):
            yield from leaves(child)
        else:
            yield child


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Group:
    """The commands ``pick-up`` and ``deep sum`` in a package of their own."""
    package = tmp_path / "toy_commands"
    (package / "deep").mkdir(parents=True)
    (package / "__init__.py").write_text('"""Toys."""\n')
    (package / "helper.py").write_text("def other() -> None: ...\n")
    (package / "_hidden.py").write_text("def _hidden() -> None: ...\n")
    (package / "pick_up.py").write_text(
        "import errno\n"
        "def pick_up(what: str, weight: float = 1.0) -> None:\n"
        '    """Pick something up.\n\n    Args:\n        what: the thing.\n        weight: in kilograms.\n    """\n'
        "    if what == 'missing':\n        raise FileNotFoundError(errno.ENOENT, 'No such file', '/nowhere')\n"
        "    if what == 'interrupt':\n        raise KeyboardInterrupt\n"
        "    if what == 'bug':\n        raise RuntimeError('broken')\n"
        "    if weight > 5:\n        raise ValueError(f'weight {weight} is\\nmore than 5')\n"
        "    print(f'{what} {weight}')\n"
    )
    (package / "deep" / "__init__.py").write_text('"""Deeper toys."""\n')
    (package / "deep" / "sum.py").write_text(
        'def sum(*, a: int, b: int) -> None:\n    """Add."""\n    print(f"sum {a + b}")\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.split(".")[0] == "toy_commands"]:
        monkeypatch.delitem(sys.modules, name)
    return load_tree(package, "toy_commands")


def test_tree_holds_functions_named_as_their_files(toys: Group) -> None:
    assert list(toys.children) == ["deep", "pick-up"]
    assert toys.children["pick-up"].summary == "Pick something up."
    assert [command.path for command in leaves(toys)] == [("deep", "sum"), ("pick-up",)]


def test_a_command_may_set_defaults_by_what_is_asked_for(
    toys: Group, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = tmp_path / "toy_commands" / "pick_up.py"
    module.write_text(
        f"{module.read_text()}def defaults(tokens):\n    return {{'weight': float('--what' in tokens) + 3}}\n"
    )
    main(["pick-up", "--what", "cube"], tree=toys)
    main(["pick-up", "--what", "cube", "--weight", "2"], tree=toys)
    assert capsys.readouterr().out == "cube 4.0\ncube 2.0\n"


def test_it_is_started_as_a_module_too() -> None:
    command = [sys.executable, "-m", "cosmos_sim.cli", "--version"]
    assert __version__ in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_options_reach_the_function(toys: Group, capsys: pytest.CaptureFixture[str]) -> None:
    main(["pick-up", "--what", "cube", "--weight", "2.5"], tree=toys)
    main(["deep", "sum", "--a", "2", "--b", "40"], tree=toys)
    assert capsys.readouterr().out == "cube 2.5\nsum 42\n"


@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["pick-up", "--what", "cube", "--weight", "7"], 2, "error: weight 7.0 is more than 5"),
        (["pick-up", "--what", "missing"], 2, "error: No such file: '/nowhere'"),
        (["pick-up", "--what", "interrupt"], 130, "interrupted"),
        (["pickup"], 2, "unknown command 'pickup'; did you mean 'pick-up'?"),
        (["deep", "xyz"], 2, "cosmos-sim deep: error: unknown command 'xyz'; choose from sum"),
        ([], 2, "usage: cosmos-sim COMMAND"),
    ],
)
def test_mistakes_are_told_in_a_line(
    toys: Group, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, message: str
) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main(argv, tree=toys)
    assert exit_info.value.code == code
    streams = capsys.readouterr()
    assert message in streams.err
    assert "Traceback" not in streams.err
    assert streams.out == ""


def test_ends_in_silence_where_nobody_reads_on() -> None:
    command = [sys.executable, "-m", "cosmos_sim.cli", "train", "world", "--help"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_traceback_on_request(toys: Group, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="weight"):
        main(["--debug", "pick-up", "--what", "cube", "--weight", "7"], tree=toys)
    monkeypatch.setenv("COSMOS_SIM_DEBUG", "1")
    with pytest.raises(FileNotFoundError):
        main(["pick-up", "--what", "missing"], tree=toys)


def test_bugs_are_not_told_as_mistakes(toys: Group) -> None:
    with pytest.raises(RuntimeError, match="broken"):
        main(["pick-up", "--what", "bug"], tree=toys)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    main(["--version"])
    assert capsys.readouterr().out == f"cosmos-sim {__version__}\n"


def test_every_command_is_listed_and_imports_nothing_heavy() -> None:
    code = (
        "import sys, contextlib, cosmos_sim.cli\n"
        "with contextlib.suppress(SystemExit):\n    cosmos_sim.cli.main(['--help'])\n"
        f"print(sorted(set(sys.modules) & {set(HEAVY)}))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    *text, heavy = out.splitlines()
    assert heavy == "[]"
    for name, child in load_tree().children.items():
        assert f"{name} " in "\n".join(text)
        assert child.summary
        assert child.summary in "\n".join(text)


@pytest.mark.parametrize("command", list(leaves(load_tree())), ids=lambda command: "-".join(command.path))
def test_help_of_every_command(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as exit_info:
        main([*command.path, "--help"])
    assert exit_info.value.code == 0
    text = capsys.readouterr().out
    assert f"usage: cosmos-sim {' '.join(command.path)}" in text
    assert command.summary
    assert command.summary.split()[0] in text
