"""The set-up: exact versions that fit the ranges, no addresses, and a clear word where there is no Python 3.12."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def requirements() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [Requirement(text) for text in [*project["dependencies"], *extras["test"], *extras["dev"]]]


def test_constraints_name_no_address() -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert not re.search(r"://|@|file:|^-", text, re.MULTILINE)


@pytest.mark.parametrize("requirement", [r for r in requirements() if r.name != "cosmos-sim"], ids=lambda r: r.name)
def test_every_dependency_is_pinned_within_its_range(requirement: Requirement) -> None:
    version = pinned()[canonicalize_name(requirement.name)]
    assert version in requirement.specifier


def test_wheel_holds_the_whole_package(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "cosmos_sim", tmp_path / "cosmos_sim", ignore=shutil.ignore_patterns("__pycache__"))
    extra = tmp_path / "cosmos_sim" / "weights" / "extra"
    extra.mkdir(parents=True)
    for name in ("model.safetensors", "config.json", "README.md"):
        (extra / name).write_text("x")
    files = {p.relative_to(tmp_path).as_posix() for p in (tmp_path / "cosmos_sim").rglob("*") if p.is_file()}
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel"], cwd=tmp_path, check=True)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert files == {name for name in archive.namelist() if name.startswith("cosmos_sim/")}


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What the set-up reads, copied to an empty folder."""
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    for name in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def test_a_python_that_does_not_serve_is_named(clone: Path) -> None:
    environment = {**os.environ, "PYTHON": "/nowhere/python3.12"}
    command = ["bash", "scripts/setup.sh"]
    result = subprocess.run(command, cwd=clone, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "PYTHON=/nowhere/python3.12 is not a Python 3.12 that runs" in result.stderr
    assert not (clone / ".venv").exists()


def test_commands_run_headless_and_offline_in_the_environment(clone: Path) -> None:
    (clone / ".venv" / "bin").mkdir(parents=True)
    (clone / ".venv" / "mujoco-gl").write_text("osmesa\n")
    show = clone / ".venv" / "bin" / "show-environment"
    show.write_text('#!/bin/sh\necho "$MUJOCO_GL $HF_HUB_OFFLINE $WANDB_MODE $1" "$PWD"\n')
    show.chmod(0o755)
    command = ["bash", str(clone / "scripts" / "run.sh"), "show-environment", "two words"]
    result = subprocess.run(command, env={"PATH": os.environ["PATH"]}, capture_output=True, text=True, check=True)
    assert result.stdout == f"osmesa 1 offline two words {clone.resolve()}\n"
