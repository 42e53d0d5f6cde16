import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from cosmos_sim.world_model.plan_speed import Cost, cost

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def train_step(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(FOLDER)
    spec = importlib.util.spec_from_file_location("train_step", FOLDER / "train_step.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "train_step", module)
    spec.loader.exec_module(module)
    return module


def test_a_step_on_a_cpu(train_step: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    out = tmp_path / "found.txt"
    words = ["--device", "cpu", "--resolution", "32,48", "--frames", "5", "--batch", "2", "--rounds", "1"]
    monkeypatch.setattr(sys, "argv", ["train_step.py", *words, "--levels", "none", "full", "--out", str(out)])
    train_step.main()
    text = out.read_text()
    losses = [line.rpartition(" ")[2] for line in text.splitlines() if "; loss" in line]
    assert len(losses) == 2
    assert losses[0] == losses[1], "levels of checkpointing change nothing"
    assert "small, 2 x 5 frames of 32x48 (12 tokens), blocks eager" in text
    assert "memory is measured on CUDA alone" in text


def test_the_ceiling_counts_the_operations_of_the_blocks(train_step: ModuleType):
    """All that a step does but for what is before and after the blocks, and their modulations."""
    work = train_step.Workload(train_step.SMALL, (32, 48), 5, batch=2)
    parts = train_step.ceiling(work, train_step.torch.device("cpu"), 1)
    blocks = train_step.SMALL.num_blocks
    operations: Cost = cost(work, train_step.ParallelConfig())
    assert 3 * blocks * parts.attention.operations == operations.attention
    assert 3 * blocks * parts.products.operations == pytest.approx(operations.products, rel=0.1)
    assert parts.again("none") == parts.again("selective") == 0
    assert parts.again("full") == parts.products.forward + parts.attention.forward
