"""Runs on one and two processes that are killed, stopped, poisoned and robbed of their disk, and go on."""

import json
import math
import random
import resource
import shutil
import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from blocks_recipe import BlocksConfig, BlocksRecipe, Blow
from processes import free_ports, launch, ranked
from safetensors.torch import load_file
from torch.multiprocessing import ProcessExitedException, ProcessRaisedException

from cosmos_sim.training import TrainConfig, train
from cosmos_sim.training.checkpoint import Checkpoints
from cosmos_sim.training.device import Stream, stream_generator
from cosmos_sim.training.interrupt import only_run
from cosmos_sim.training.layout import Layout, ParallelConfig, Part

SIZE = BlocksConfig(width=600)  # a checkpoint takes long enough to write that one can be killed at it
EVERY = 5
CONFIG = TrainConfig(
    steps=30, lr=3e-4, warmup=4, decay="linear", start_lr=0.9, final_lr=0.4, cooldown=5, weight_decay=0.1,
    save_every=EVERY, eval_every=10, log_every=1, ema=0.1, ema_kind="power", keep=2, device="cpu", autocast="fp32",
    threads=1, export_plain=True,
)  # fmt: skip
COPIES = ParallelConfig(replicate=2)


def run(
    rank: int, size: int, port: int, out: Path, parallel: ParallelConfig, blow: Blow | None, disk: int | None
) -> None:
    if disk is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (disk, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    with ranked(rank, size, port):
        train(BlocksRecipe(SIZE, blow), replace(CONFIG, parallel=parallel), out)


def start(
    processes: int,
    out: Path,
    *,
    parallel: ParallelConfig = CONFIG.parallel,
    blow: Blow | None = None,
    disk: int | None = None,
) -> None:
    launch(run, processes, processes, *free_ports(1), out, parallel, blow, disk)


def alone(out: Path) -> Checkpoints:
    return Checkpoints(out / "checkpoints", keep=9, layout=Layout(ParallelConfig(), torch.device("cpu")))


def saved(out: Path) -> list[int]:
    return alone(out).steps()


def rows(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken")
    recipe = BlocksRecipe(SIZE)
    train(recipe, CONFIG, out)
    assert recipe.closed == 1
    return out


def assert_same_run(out: Path, unbroken: Path) -> None:
    got, expected = rows(out), rows(unbroken)
    assert [(row["step"], row.keys()) for row in got] == [(row["step"], row.keys()) for row in expected]
    assert expected[0]["train/loss"] > 2 * expected[-2]["train/loss"]
    for mine, theirs in zip(got, expected, strict=True):
        for name, value in theirs.items():
            assert mine[name] == pytest.approx(value, rel=1e-4 if name == "train/grad_norm" else 1e-5), theirs["step"]
    for name in ("export", "export_plain"):
        told, expected_figures = (
            json.loads((folder / name / "figures.json").read_text()) for folder in (out, unbroken)
        )
        assert told == pytest.approx(expected_figures, rel=1e-5)
        mine, theirs = (load_file(folder / name / "model.safetensors") for folder in (out, unbroken))
        assert mine.keys() == theirs.keys()
        for key in mine:
            torch.testing.assert_close(mine[key], theirs[key], rtol=1e-4, atol=1e-6)


def test_killed_five_times_it_goes_on_each_time_on_another_number_of_processes(tmp_path: Path, unbroken: Path) -> None:
    chance, folder = random.Random(0), tmp_path / "checkpoints"
    attempts = [(2, None, 0, False), (1, None, 0, True), (2, None, 1, True), (1, None, 0, False), (2, COPIES, 1, False)]
    for number, (processes, parallel, rank, writing) in enumerate(attempts, 1):
        begin = saved(tmp_path)[-1] if saved(tmp_path) else 0
        step = begin + EVERY + (0 if writing else chance.randrange(1, EVERY))
        blow = Blow(step, rank, signal.SIGKILL, folder if writing else None)
        with pytest.raises((ProcessExitedException, ProcessRaisedException)):
            start(processes, tmp_path, parallel=parallel or CONFIG.parallel, blow=blow)
        if writing:
            # The first process may end a save whose other parts are written; one that is killed itself may not.
            assert saved(tmp_path)[-1] in ((begin, begin + EVERY) if rank else (begin,)), number
            assert rank or len(list(folder.glob(".step-*.partial"))) == 1  # a first process that lives clears it away
        else:
            assert saved(tmp_path)[-1] in (begin, begin + EVERY)
    start(2, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == ["step-00000025", "step-00000030"]
    assert json.loads((folder / "step-00000030" / "checkpoint.json").read_text())["resolved"]["processes"] == 2
    assert_same_run(tmp_path, unbroken)


def test_killed_in_the_middle_of_a_line_it_resumes_bit_for_bit(tmp_path: Path, unbroken: Path) -> None:
    with pytest.raises(ProcessExitedException, match="SIGKILL"):
        start(1, tmp_path, blow=Blow(18, signal=signal.SIGKILL))
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 19, "train/lo')
    resumed = BlocksRecipe(SIZE)
    train(resumed, CONFIG, tmp_path)
    assert (tmp_path / "metrics.jsonl").read_text() == (unbroken / "metrics.jsonl").read_text()
    for name in ("export", "export_plain"):
        mine, theirs = (load_file(folder / name / "model.safetensors") for folder in (tmp_path, unbroken))
        assert all(torch.equal(mine[key], theirs[key]) for key in mine)


def test_asked_to_stop_in_one_process_all_save_and_leave(tmp_path: Path, unbroken: Path) -> None:
    with pytest.raises(ProcessExitedException) as stopped:
        start(2, tmp_path, blow=Blow(8, 1, signal.SIGTERM))
    assert stopped.value.exit_code == 128 + signal.SIGTERM
    assert saved(tmp_path) == [5, 9]
    train(BlocksRecipe(SIZE), CONFIG, tmp_path)
    assert_same_run(tmp_path, unbroken)


@pytest.fixture(scope="module")
def poisoned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that one of two processes ended at step 8."""
    out = tmp_path_factory.mktemp("poisoned")
    with pytest.raises(ProcessRaisedException, match="FloatingPointError: loss is nan at step 8 of 'blocks'"):
        start(2, out, blow=Blow(8, 1, factor=math.nan))
    return out


def test_a_loss_that_is_not_finite_in_one_process_stops_all_and_names_the_samples(poisoned: Path) -> None:
    assert saved(poisoned) == [5]
    record = json.loads((poisoned / "bad_step.json").read_text())
    assert (record["step"], record["seed"]) == (8, 0)
    losses = [process["figures"]["loss"] for process in record["processes"]]
    assert math.isfinite(losses[0])
    assert math.isnan(losses[1])
    recipe = BlocksRecipe()
    for rank, process in enumerate(record["processes"]):
        batch = recipe.batch(8, stream_generator(0, 8, Stream.BATCH), Part(rank, 2))
        assert process["samples"] == recipe.names(batch)
        assert len(batch["index"]) == 4


def test_a_full_disk_ends_the_run_with_the_earlier_checkpoint_whole(poisoned: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(poisoned, tmp_path / "out"))
    with pytest.raises(
        ProcessRaisedException, match=r"OSError: the checkpoint of step 10 could not .*-00000005 is intact"
    ):
        start(2, out, disk=100_000)
    assert [path.name for path in (out / "checkpoints").iterdir()] == ["step-00000005"]
    assert 10 <= rows(out)[-1]["step"] < 15
    assert alone(out).newest() is not None


def refused(rank: int, size: int, ports: list[int], out: Path) -> None:
    class Whole:
        name, config, model = "whole", BlocksConfig(), torch.nn.Linear(2, 2)

    with ranked(rank, size, ports[0]), pytest.raises(ValueError, match=r"'whole' trains in one process.* are 2"):
        train(Whole(), CONFIG, out / "a")
    split = replace(CONFIG, parallel=ParallelConfig(context=2))
    with ranked(rank, size, ports[1]), pytest.raises(ValueError, match=r"has no tokens to share.*not 2"):
        train(BlocksRecipe(), split, out / "b")
    held = only_run(out / "c") if rank == 0 else nullcontext()
    with held, ranked(rank, size, ports[2]), pytest.raises(ValueError, match="another process is training into"):
        train(BlocksRecipe(), CONFIG, out / "c")
    with ranked(rank, size, ports[3]), pytest.raises(OSError, match="have to see the same folder"):
        train(BlocksRecipe(), CONFIG, out / f"of {rank}")


def test_what_cannot_be_is_refused_by_all(tmp_path: Path) -> None:
    """Before the first step; but that processes see different folders shows when the first checkpoint is written."""
    launch(refused, 2, 2, free_ports(4), tmp_path)
    assert [path.parent.name for path in tmp_path.rglob("metrics.jsonl")] == ["of 0"]
    assert not list(tmp_path.rglob("checkpoint.json"))
