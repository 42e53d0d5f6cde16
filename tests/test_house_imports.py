"""Who may import whom: the contracts hold here, and each of them fails where it is broken."""

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

CONFINED = {
    "lerobot": ("*lerobot*.py",),
    "robosuite": ("envs/twin/*",),
    "mujoco": ("envs/twin/*",),
    "diffusers": (
        "world_model/tokenizer*.py",
        "world_model/wan.py",
        "world_model/checkpoints/vae.py",
        "world_model/sampler*.py",
        "policies/diffusion*.py",
    ),
    "transformers": ("world_model/reason1.py", "augmentation/annotator_*.py", "synthesis/judge_*.py"),
    "peft": ("world_model/recipes/predict_adapter.py",),
    "tyro": ("cli/*",),
}
"""Library to the only files, relative to the package, that may import it."""

LATE = {"lerobot", "peft"}
"""Libraries that take seconds to import, and so are imported only inside functions."""

PLUGINS = ("envs/lerobot_env.py",)
"""Files that the late library itself imports, to find the classes that extend its own; nothing of ours imports them."""


def imports(tree: ast.AST, *, inside: bool = False) -> Iterator[tuple[str, int, bool]]:
    """The libraries that ``tree`` imports: name, line, and whether merely importing the file leaves them alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name.partition(".")[0], node.lineno, inside) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0], node.lineno, inside
        late = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        late |= isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        yield from imports(node, inside=inside or late)


def misplaced(package: Path) -> list[str]:
    """The imports under ``package`` that stand where their library may not be imported."""
    found = []
    for file in sorted(package.rglob("*.py")):
        relative = file.relative_to(package).as_posix()
        for library, line, inside in imports(ast.parse(file.read_text())):
            allowed = CONFINED.get(library, ("*",))
            if not any(fnmatch(relative, pattern) for pattern in allowed):
                found.append(f"{relative}:{line} imports {library}, which only {', '.join(allowed)} may")
            elif library in LATE and not inside and relative not in PLUGINS:
                found.append(f"{relative}:{line} imports {library} outside a function")
    return found


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Hold the contracts of ``folder/pyproject.toml`` to the package ``folder/cosmos_sim``."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()", "--no-cache"]
    return subprocess.run(command, cwd=folder, env={"PYTHONPATH": "."}, capture_output=True, text=True, check=False)


@pytest.fixture
def skeleton(tmp_path: Path) -> Path:
    """A copy of the package's outline: its contracts, and all its files, empty."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for file in (ROOT / "cosmos_sim").rglob("*.py"):
        copy = tmp_path / file.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.touch()
    return tmp_path


def test_libraries_stay_where_they_belong() -> None:
    assert misplaced(ROOT / "cosmos_sim") == []


def test_nothing_imports_a_plugin() -> None:
    modules = {"cosmos_sim." + plugin.removesuffix(".py").replace("/", ".") for plugin in PLUGINS}
    for file in (ROOT / "cosmos_sim").rglob("*.py"):
        text = file.read_text()
        for module in modules:
            parent, _, name = module.rpartition(".")
            assert not re.search(rf"import {module}|from {module} import|from {parent} import .*\b{name}\b", text), file


@pytest.mark.parametrize(
    ("file", "code", "message"),
    [
        ("data/reader.py", "def f():\n    import lerobot.datasets", "data/reader.py:2 imports lerobot, which only"),
        ("data/lerobot.py", "import lerobot", "data/lerobot.py:1 imports lerobot outside a function"),
        (
            "envs/world.py",
            "from robosuite import make",
            "envs/world.py:1 imports robosuite, which only envs/twin/* may",
        ),
        ("training/loop.py", "if True:\n    import tyro as t", "training/loop.py:2 imports tyro"),
        ("world_model/dit.py", "import diffusers", "world_model/dit.py:1 imports diffusers"),
    ],
)
def test_a_misplaced_library_is_found(tmp_path: Path, file: str, code: str, message: str) -> None:
    (tmp_path / file).parent.mkdir(parents=True)
    (tmp_path / file).write_text(code)
    (found,) = misplaced(tmp_path)
    assert found.startswith(message)


def test_an_untouched_outline_passes(skeleton: Path) -> None:
    result = lint_imports(skeleton)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("importer", "imported"),
    [
        ("types", "metrics"),
        ("metrics", "data"),
        ("data", "metrics"),
        ("data", "training"),
        ("training", "world_model"),
        ("world_model", "envs"),
        ("world_model", "policies"),
        ("envs", "policies"),
        ("envs", "metrics"),
        ("policies", "envs"),
        ("policies", "world_model"),
        ("collection", "evaluation"),
        ("collection", "metrics"),
        ("evaluation", "cli"),
        ("world_model/dit", "training"),
        ("policies/unet", "training"),
    ],
)
def test_a_forbidden_direction_is_found(skeleton: Path, importer: str, imported: str) -> None:
    part = skeleton / "cosmos_sim" / importer
    file = part / "__init__.py" if part.is_dir() else part.with_suffix(".py")
    file.write_text(f"import cosmos_sim.{imported}\n")
    result = lint_imports(skeleton)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "BROKEN" in result.stdout
    assert f"cosmos_sim.{importer.replace('/', '.')}" in result.stdout.partition("Broken contracts")[2]


def test_the_package_imports_none_of_its_parts(skeleton: Path) -> None:
    (skeleton / "cosmos_sim" / "__init__.py").write_text("from cosmos_sim import types\n")
    assert lint_imports(skeleton).returncode == 1


def test_a_new_part_must_be_given_its_place(skeleton: Path) -> None:
    (skeleton / "cosmos_sim" / "extras").mkdir()
    (skeleton / "cosmos_sim" / "extras" / "__init__.py").write_text("")
    result = lint_imports(skeleton)
    assert result.returncode == 1
    assert "extras" in result.stdout


def test_importing_the_package_is_cheap_and_registers_both_worlds() -> None:
    code = (
        "import sys, cosmos_sim, gymnasium\n"
        "print([name for name in ('torch', 'mujoco', 'lerobot', 'diffusers', 'tyro', 'cv2') if name in sys.modules])\n"
        "print({'CosmosWorld-v0', 'CosmosTwin-v0'} <= set(gymnasium.registry))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[:2] == ["[]", "True"]
