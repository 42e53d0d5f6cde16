"""A run of the loop: what it leaves behind, and what it refuses."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from mlp_recipe import MlpConfig, MlpRecipe, Shape
from safetensors.torch import load_file
from stored_tensors import stored_tensors

from cosmos_sim.training import TrainConfig, train
from cosmos_sim.training.device import Stream, has_fast_bf16, stream_generator
from cosmos_sim.training.interrupt import only_run
from cosmos_sim.training.layout import ParallelConfig
from cosmos_sim.training.provenance import git_commit

CONFIG = TrainConfig(steps=30, lr=1e-2, warmup=5, save_every=10, eval_every=10, log_every=7, ema=0.9, device="cpu")


def test_a_run_learns_and_leaves_everything_in_its_folder(tmp_path):
    recipe = MlpRecipe()
    config = dataclasses.replace(CONFIG, steps=300, save_every=120, eval_every=150, log_every=100)
    figures = train(recipe, config, tmp_path)

    assert np.mean([recipe.losses[k] for k in range(280, 300)]) < 0.4 * np.mean([recipe.losses[k] for k in range(20)])
    assert json.loads((tmp_path / "metrics.json").read_text()) == figures
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-00000240", "step-00000300"]
    assert sorted(path.name for path in (tmp_path / "samples").iterdir()) == [
        "step-00000150_noise.mp4",
        "step-00000300_noise.mp4",
    ]
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [100, 150, 200, 300, 300]
    assert lines[0]["train/loss"] == pytest.approx(np.mean([recipe.losses[k] for k in range(100)]), rel=1e-6)
    assert lines[-1] == {"step": 300, "eval/mse": figures["mse"]}

    exported = load_file(tmp_path / "export" / "model.safetensors")
    averaged = stored_tensors(tmp_path / "checkpoints" / "step-00000300", "ema")
    last = stored_tensors(tmp_path / "checkpoints" / "step-00000300", "model")
    assert all(torch.equal(exported[name], averaged[name]) for name in exported)
    assert not torch.equal(exported["0.weight"], last["0.weight"])
    assert torch.equal(recipe.model[0].weight, last["0.weight"])


def test_it_takes_the_same_steps_as_a_loop_written_out_by_hand(tmp_path):
    shape = MlpConfig(dropout=0.0)
    config = TrainConfig(
        steps=4, lr=0.02, warmup=2, decay="linear", final_lr=0.5, weight_decay=0.3, grad_clip=0.1, accumulate=2,
        seed=5, ema=0.0, device="cpu", autocast="fp32",
    )  # fmt: skip
    recipe, twin = MlpRecipe(shape), MlpRecipe(shape)
    train(recipe, config, tmp_path)

    matrices = [p for name, p in twin.model.named_parameters() if name in ("0.weight", "4.weight")]
    vectors = [p for name, p in twin.model.named_parameters() if name not in ("0.weight", "4.weight")]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}], betas=config.betas, weight_decay=0.3
    )
    for step, rate in enumerate([0.01, 0.02, 0.02, 0.01]):
        drawing = stream_generator(5, step, Stream.BATCH)
        noising = stream_generator(5, step, Stream.LOSS)
        halves = [twin.batch(step, drawing) for _ in range(2)]
        optimizer.zero_grad()
        sum(twin.loss(half, step, noising)["loss"] for half in halves).div(2).backward()
        torch.nn.utils.clip_grad_norm_(twin.model.parameters(), 0.1)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
    for name in ("0.weight", "1.weight", "1.bias", "4.weight", "4.bias"):  # 0.bias, before a norm, has no gradient
        expected = twin.model.get_parameter(name)
        torch.testing.assert_close(recipe.model.get_parameter(name), expected, rtol=1e-5, atol=1e-6)


def test_a_finished_run_is_left_alone(tmp_path, capsys):
    figures = train(MlpRecipe(), CONFIG, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file() and path.name != ".lock"}
    capsys.readouterr()
    again = MlpRecipe()
    assert train(again, CONFIG, tmp_path) == figures
    assert again.evaluations == 0
    assert not again.losses
    assert f"{tmp_path} is finished: 30 steps" in capsys.readouterr().out
    assert files == {path: path.stat().st_mtime_ns for path in files}


def test_the_last_weights_are_exported_too_where_asked(tmp_path):
    class Judged(MlpRecipe):
        def export(self, folder):
            super().export(folder)
            assert self.evaluations == {"export": 1, "export_plain": 2}[folder.name.split(".")[1]]

    config = dataclasses.replace(CONFIG, eval_every=100)
    train(Judged(), config, tmp_path)
    asked = dataclasses.replace(config, export_plain=True)
    again = MlpRecipe()
    figures = train(again, asked, tmp_path)
    assert not again.losses
    for folder, group in (("export", "ema"), ("export_plain", "model")):
        exported = load_file(tmp_path / folder / "model.safetensors")
        stored = stored_tensors(tmp_path / "checkpoints" / "step-00000030", group)
        assert all(torch.equal(exported[name], stored[name]) for name in exported)
    train(Judged(), asked, tmp_path.with_name("at once"))
    assert json.loads((tmp_path.with_name("at once") / "metrics.json").read_text()) == figures


def test_checkpoints_say_what_the_options_came_to(tmp_path):
    train(MlpRecipe(), dataclasses.replace(CONFIG, steps=2, threads=1, autocast="auto"), tmp_path)
    meta = json.loads((tmp_path / "checkpoints" / "step-00000002" / "checkpoint.json").read_text())
    precision = "bf16" if has_fast_bf16(torch.device("cpu")) else "fp32"
    assert meta["resolved"] == {"device": "cpu", "precision": precision, "threads": 1, "processes": 1, "shard": 1}
    assert meta["commit"] == git_commit()
    assert meta["train_config"]["parallel"]["context"] == 1


def test_what_cannot_be_done_alone_is_refused_before_the_first_step(tmp_path):
    recipe = MlpRecipe()
    for option, message in (
        ({"shard": 2}, "need 2 processes, but there is 1"),
        ({"checkpointing": "full"}, "checkpointing='full' would be ignored: Sequential has no blocks"),
    ):
        with pytest.raises(ValueError, match=message):
            train(recipe, dataclasses.replace(CONFIG, parallel=ParallelConfig(**option)), tmp_path)
    assert not recipe.losses
    assert not (tmp_path / "checkpoints").exists()


@pytest.mark.parametrize(("factor", "what"), [(math.nan, "loss is nan"), (math.inf, "loss is inf")])
def test_a_loss_that_is_not_finite_stops_the_run_naming_the_step(tmp_path, factor, what):
    with pytest.raises(FloatingPointError, match=f"{what} at step 13 of 'mlp' .*seed 0"):
        train(MlpRecipe(at={13: lambda: factor}), CONFIG, tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-00000010"]
    record = json.loads((tmp_path / "bad_step.json").read_text())
    assert (record["step"], record["seed"], record["processes"][0]["samples"]) == (13, 0, [])
    assert not math.isfinite(record["processes"][0]["figures"]["loss"])
    saved = stored_tensors(tmp_path / "checkpoints" / "step-00000010")
    assert all(value.isfinite().all() for value in saved.values())
    assert train(MlpRecipe(), CONFIG, tmp_path) == train(MlpRecipe(), CONFIG, tmp_path.with_name("unbroken"))


@pytest.mark.parametrize(
    ("recipe", "config", "message"),
    [
        (MlpConfig(shape=Shape(width=17)), {}, r"shape\.width=16, but shape\.width=17"),
        (MlpConfig(noise=0.2), {}, r"noise=0\.1, but noise=0\.2"),
        (MlpConfig(), {"lr": 0.5}, r"train\.lr=0\.01, but train\.lr=0\.5"),
        (MlpConfig(), {"steps": 40}, r"train\.steps=30, but train\.steps=40"),
    ],
)
def test_another_config_is_refused_by_name(tmp_path, recipe, config, message):
    with pytest.raises(FloatingPointError):
        train(MlpRecipe(at={13: lambda: math.nan}), CONFIG, tmp_path)
    with pytest.raises(ValueError, match=message):
        train(MlpRecipe(recipe), dataclasses.replace(CONFIG, **config), tmp_path)


def test_a_run_that_did_nothing_yet_may_be_started_differently(tmp_path):
    with pytest.raises(FloatingPointError):
        train(MlpRecipe(at={3: lambda: math.nan}), dataclasses.replace(CONFIG, lr=1e9), tmp_path)
    train(MlpRecipe(), CONFIG, tmp_path)
    assert json.loads((tmp_path / "run.json").read_text())["train_config"]["lr"] == CONFIG.lr


def test_another_recipe_is_refused_by_name(tmp_path):
    train(MlpRecipe(), CONFIG, tmp_path)
    other = MlpRecipe()
    other.name = "policy"
    with pytest.raises(ValueError, match="recipe='mlp', but recipe='policy'"):
        train(other, CONFIG, tmp_path)


def test_what_does_not_change_the_result_may_change(tmp_path):
    with pytest.raises(FloatingPointError):
        train(MlpRecipe(at={13: lambda: math.nan}), CONFIG, tmp_path / "a")
    changed = dataclasses.replace(CONFIG, keep=1, log_every=3, save_every=4, eval_every=25, prefetch=0, sample_fps=5.0)
    assert train(MlpRecipe(), changed, tmp_path / "a") == train(MlpRecipe(), CONFIG, tmp_path / "b")


def test_two_processes_cannot_share_a_folder(tmp_path):
    with only_run(tmp_path), pytest.raises(ValueError, match="another process is training into"):
        train(MlpRecipe(), CONFIG, tmp_path)
