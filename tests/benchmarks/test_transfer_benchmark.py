import importlib.util
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location("transfer_benchmark", FOLDER / "transfer.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "transfer_benchmark", module)
    spec.loader.exec_module(module)
    return module


def test_a_row_for_each_number_of_controls(benchmark: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Shares add up to the whole, and more controls do more operations."""
    small = benchmark.DiTConfig(
        model_channels=48, num_heads=2, num_blocks=2, adaln_lora_dim=8, context_dim=16, context_in_dim=24
    )
    monkeypatch.setattr(benchmark, "SMALL", small)
    monkeypatch.setattr(benchmark, "shipped", lambda kind: {})
    words = [
        "--device",
        "cpu",
        "--dtype",
        "float32",
        "--branches",
        "2",
        "--steps",
        "1",
        "--rounds",
        "1",
        "--chunks",
        "2",
    ]
    monkeypatch.setattr(sys, "argv", ["transfer.py", *words, "--out", str(tmp_path / "found.txt")])
    benchmark.main()
    text = (tmp_path / "found.txt").read_text()
    assert "small, random weights, 17 frames of 128x256 in 2 chunk(s)" in text
    rows = {
        name: [float(x) for x in values.split()]
        for name, values in re.findall(r"^(no control|edge|all 2) +([\d. ]+)$", text, re.MULTILINE)
    }
    assert set(rows) == {"no control", "edge", "all 2"}
    for seconds, encode, network, decode, rate, _ in rows.values():
        assert seconds == pytest.approx(encode + network + decode, abs=0.02)
        assert rate == pytest.approx(17 / seconds, rel=0.05)
        assert min(network, decode) > 0
    assert rows["all 2"][1] > rows["edge"][1] > 0
