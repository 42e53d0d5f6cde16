import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    for name in ("transfer", "clock", "log", "provenance"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location("dreams_benchmark", FOLDER / "dreams.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "dreams_benchmark", module)
    spec.loader.exec_module(module)
    return module


def test_the_parts_make_the_dream(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The shipped world's dreams an hour are those of its parts, and every part is there."""
    words = ["--device", "cpu", "--frames", "9", "--steps", "1", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["dreams.py", *words, "--out", str(tmp_path / "found.txt")])
    benchmark.main()
    text = (tmp_path / "found.txt").read_text()
    assert "128x256, 1 steps, 9 frames" in text
    parts = {
        name: float(seconds)
        for name, seconds in re.findall(r"^(imagine|read actions|cycle|replay) +([\d.]+) +\d+%$", text, re.MULTILINE)
    }
    assert set(parts) == {"imagine", "read actions", "cycle", "replay"}
    whole, rate = re.search(r"^a dream +([\d.]+) +(\d+)$", text, re.MULTILINE).groups()
    assert float(whole) == pytest.approx(sum(parts.values()), abs=0.03)
    assert float(rate) == pytest.approx(3600 / float(whole), rel=0.02)
    assert re.search(r"^a demonstration +[\d.]+ +\d+$", text, re.MULTILINE)
