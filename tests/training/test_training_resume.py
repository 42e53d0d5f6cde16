"""Killed, stopped or damaged, a run goes on as if nothing had been."""

import os
import signal
from pathlib import Path

import pytest
import torch
from mlp_recipe import MlpRecipe
from stored_tensors import stored_tensors

from cosmos_sim.training import TrainConfig, train
from cosmos_sim.training.interrupt import Interrupt

CONFIG = TrainConfig(
    steps=40, lr=1e-2, warmup=5, save_every=10, eval_every=8, log_every=7, ema=0.9, keep=3, device="cpu", threads=1
)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    out = tmp_path_factory.mktemp("unbroken")
    recipe = MlpRecipe()
    figures = train(recipe, CONFIG, out)
    return out, recipe, figures


def assert_same_run(out: Path, recipe: MlpRecipe, figures: dict[str, float], unbroken) -> None:
    expected_out, expected, expected_figures = unbroken
    assert recipe.losses == {step: expected.losses[step] for step in recipe.losses}
    assert figures == expected_figures
    last = Path("checkpoints") / "step-00000040"
    tensors, others = stored_tensors(out / last), stored_tensors(expected_out / last)
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[key], others[key]) for key in tensors)
    assert (out / "metrics.jsonl").read_text() == (expected_out / "metrics.jsonl").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_stop_it_saves_and_leaves(tmp_path, unbroken, number, capsys):
    before = signal.getsignal(number)
    with pytest.raises(SystemExit) as stopped:
        train(MlpRecipe(at={16: lambda: os.kill(os.getpid(), number)}), CONFIG, tmp_path)
    assert stopped.value.code == 128 + number
    assert "stopped after step 17" in capsys.readouterr().out
    assert (tmp_path / "checkpoints" / "step-00000017").is_dir()
    assert signal.getsignal(number) is before

    resumed = MlpRecipe()
    figures = train(resumed, CONFIG, tmp_path)
    assert sorted(resumed.losses) == list(range(17, 40))
    assert_same_run(tmp_path, resumed, figures, unbroken)


def test_schedulers_that_ask_twice_are_not_impatient():
    outside: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: outside.append(number))
    try:
        with Interrupt() as interrupt:
            for _ in range(2):
                os.kill(os.getpid(), signal.SIGTERM)
            assert interrupt.signal == signal.SIGTERM
            assert not outside
            os.kill(os.getpid(), signal.SIGINT)
            assert outside == [signal.SIGINT]
    finally:
        signal.signal(signal.SIGINT, before)


def test_stopped_while_evaluating_it_still_saves_a_step(tmp_path, unbroken):
    class Stopping(MlpRecipe):
        def evaluate(self, generator, part):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().evaluate(generator, part)

    with pytest.raises(SystemExit):
        train(Stopping(), CONFIG, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000009"]
    resumed = MlpRecipe()
    assert_same_run(tmp_path, resumed, train(resumed, CONFIG, tmp_path), unbroken)


def test_a_failing_export_is_made_up_for_without_training_again(tmp_path, unbroken):
    class Failing(MlpRecipe):
        def export(self, folder):
            (folder / "half").write_text("written")
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        train(Failing(), CONFIG, tmp_path)
    assert not (tmp_path / "export").exists()
    resumed = MlpRecipe()
    assert_same_run(tmp_path, resumed, train(resumed, CONFIG, tmp_path), unbroken)
    assert not resumed.losses
    assert resumed.evaluations == 0
    assert [path.name for path in (tmp_path / "export").iterdir()] == ["model.safetensors"]


def test_a_torn_checkpoint_gives_way_to_the_one_before(tmp_path, unbroken):
    with pytest.raises(FloatingPointError):
        train(MlpRecipe(at={36: lambda: float("nan")}), CONFIG, tmp_path)
    torn = tmp_path / "checkpoints" / "step-00000030"
    content = (torn / "__0_0.distcp").read_bytes()
    (torn / "__0_0.distcp").write_bytes(content[: len(content) // 2])
    resumed = MlpRecipe()
    with pytest.warns(UserWarning, match="step-00000030/__0_0.distcp is damaged"):
        figures = train(resumed, CONFIG, tmp_path)
    assert sorted(resumed.losses) == list(range(20, 40))
    assert_same_run(tmp_path, resumed, figures, unbroken)
