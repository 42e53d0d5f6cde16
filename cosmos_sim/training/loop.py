"""The training loop."""

import json
import math
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from cosmos_sim.data.files import new_file, new_folder
from cosmos_sim.training.batches import batches
from cosmos_sim.training.checkpoint import Checkpoints
from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.device import (
    Stream,
    autocast,
    process_settings,
    select_device,
    stream_generator,
    stream_seed,
)
from cosmos_sim.training.ema import Ema
from cosmos_sim.training.interrupt import Interrupt, Interrupted, only_run
from cosmos_sim.training.log import Log, Window
from cosmos_sim.training.optimizer import make_optimizer
from cosmos_sim.training.provenance import check_same_run, provenance
from cosmos_sim.training.recipe import Recipe
from cosmos_sim.training.schedule import learning_rate


def train(recipe: Recipe, config: TrainConfig, out: Path | str) -> dict[str, float]:
    """Train ``recipe.model`` and return the final figures of ``recipe.evaluate``.

    Everything lands in ``out``: ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/``, ``samples/`` and, at the end,
    ``export/`` (written by the recipe) and ``metrics.json`` (the final figures). The same call made again resumes from
    the newest checkpoint, and does nothing once the run is finished. A resumed run repeats an unbroken one bit for bit
    where the device's kernels are deterministic: always on a CPU with as many threads; on CUDA if the recipe's
    operations are (``torch.use_deterministic_algorithms`` tells).

    SIGTERM and Ctrl-C save a checkpoint and raise ``Interrupted``, a ``SystemExit``.

    Raises:
        ValueError: if ``out`` holds a run of another recipe or config (naming the field), or another process trains
            there.
        FloatingPointError: at a loss or gradient that is not finite, naming the step. Nothing of it has been saved.
        OSError: if a checkpoint cannot be written; the one before is intact.
    """
    out = Path(out)
    with only_run(out):
        run = provenance(recipe, config)
        done = _finished(out, run)
        if done is not None:
            tqdm.write(f"{out} is finished: {config.steps} steps, exported to {out / 'export'}")
            return done
        device = select_device(config.device)
        with process_settings(device, config.threads):
            return _Run(recipe, config, out, run, device).train()


class _Run:
    """One process's part of a run."""

    def __init__(
        self, recipe: Recipe, config: TrainConfig, out: Path, run: dict[str, Any], device: torch.device
    ) -> None:
        self.recipe, self.config, self.out, self.device = recipe, config, out, device
        self.provenance = run
        self.model = recipe.model.to(device)
        self.optimizer = make_optimizer(self.model, config)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.ema = Ema(self.model, config.ema, config.ema_kind)
        self.checkpoints = Checkpoints(out / "checkpoints", keep=config.keep)
        self.start = 0
        self.window = Window()
        newest = self.checkpoints.newest()
        if newest:
            check_same_run(newest, run, out)
            self.start = newest["step"]
            self.window = Window(newest["window"])
            self.checkpoints.load(self.start, self.model, self.ema, self.optimizer)
            tqdm.write(f"resuming {out} after step {self.start}")
        self.pending: list[tuple[int, dict[str, Tensor]]] = []
        self.clock = (time.perf_counter(), self.start)

    def train(self) -> dict[str, float]:
        config = self.config
        with ExitStack() as stack:
            log = stack.enter_context(closing(Log(self.out, self.start)))
            interrupt = stack.enter_context(Interrupt())
            source = stack.enter_context(closing(batches(self.recipe, config, self.device, self.start)))
            interval = 0.5 if sys.stderr.isatty() else 30.0
            bar = stack.enter_context(
                tqdm(total=config.steps, initial=self.start, desc=self.recipe.name, mininterval=interval)
            )
            if self.start % config.eval_every == 0 and 0 < self.start < config.steps:
                self.evaluate(self.start, log)
            self.clock = time.perf_counter(), self.start  # without the start-up and evaluation above
            for step, drawn in zip(range(self.start, config.steps), source, strict=True):
                self.step(step, drawn)
                bar.update()
                done, last, stop = step + 1, step + 1 == config.steps, interrupt.signal
                logs = last or done % config.log_every == 0
                saves = last or done % config.save_every == 0 or stop is not None
                if logs or saves or self.device.type == "cpu":
                    self.collect()
                if logs:
                    self.report(done, log, bar)
                if saves:
                    log.sync()
                    self.save(done)
                if stop is not None:
                    raise self.stopped(done, stop)
                if done % config.eval_every == 0 and not last:
                    self.evaluate(done, log)
                    self.clock = time.perf_counter(), done
            figures = self.evaluate(config.steps, log)
            log.sync()
            if interrupt.signal is not None:
                raise self.stopped(config.steps, interrupt.signal)
        self.finish(figures)
        return figures

    def step(self, step: int, drawn: list[Any]) -> None:
        """One update of the weights; its figures wait in ``pending``, so that CUDA need not be waited for."""
        self.model.train()
        torch.manual_seed(stream_seed(self.config.seed, step, Stream.GLOBAL))
        generator = stream_generator(self.config.seed, step, Stream.LOSS, self.device)
        figures: dict[str, Tensor] = {}
        for batch in drawn:
            with autocast(self.device, self.config.autocast):
                losses = self.recipe.loss(batch, step, generator)
            torch.autograd.backward(losses["loss"] / len(drawn))
            for name, value in losses.items():
                figures[name] = figures.get(name, 0) + value.detach().float() / len(drawn)
        limit = math.inf if self.config.grad_clip is None else self.config.grad_clip
        figures["grad_norm"] = torch.nn.utils.clip_grad_norm_(self.parameters, limit)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, self.config)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(step)
        self.pending.append((step, figures))

    def collect(self) -> None:
        """Bring the figures of the pending steps to the CPU, and stop at one that is not finite."""
        for step, figures in self.pending:
            values = dict(zip(figures, torch.stack([*figures.values()]).tolist(), strict=True))
            for name in ("loss", "grad_norm"):
                if not math.isfinite(values[name]):
                    raise FloatingPointError(
                        f"{name} is {values[name]} at step {step} of {self.recipe.name!r} (from 0; seed "
                        f"{self.config.seed}, which make its batch); the checkpoints in {self.checkpoints.folder} "
                        f"are from before"
                    )
            self.window.add(values)
        self.pending.clear()

    def report(self, done: int, log: Log, bar: tqdm) -> None:
        """Log the means since the last report, and how fast the steps went by."""
        means = self.window.means()
        self.window = Window()
        log.write(done, "train", {**means, "lr": learning_rate(done - 1, self.config)})
        (before, since), self.clock = self.clock, (time.perf_counter(), done)
        speed = {"steps/s": (done - since) / (self.clock[0] - before)}
        if hasattr(self.recipe, "batch_size"):
            speed["samples/s"] = speed["steps/s"] * self.config.accumulate * self.recipe.batch_size
        log.curves(done, {f"speed/{name}": value for name, value in speed.items()})
        bar.set_postfix(loss=f"{means['loss']:.4g}", **{name: f"{value:.3g}" for name, value in speed.items()})

    def stopped(self, done: int, signum: int) -> Interrupted:
        tqdm.write(f"stopped after step {done} and saved: the same call goes on from there")
        return Interrupted(signum)

    def save(self, step: int) -> None:
        meta = {**self.provenance, "window": self.window.state()}
        self.checkpoints.save(step, self.model, self.ema, self.optimizer, meta)

    def evaluate(self, step: int, log: Log) -> dict[str, float]:
        """The figures and videos of the averaged weights; those of the log where it has them."""
        known = log.figures(step, "eval")
        if known is not None:
            return known
        self.model.eval()
        torch.manual_seed(stream_seed(self.config.seed, 0, Stream.GLOBAL))
        with self.ema.swapped(), torch.no_grad(), autocast(self.device, self.config.autocast):
            figures = self.recipe.evaluate(stream_generator(self.config.seed, 0, Stream.EVALUATE, self.device))
            videos = self.recipe.sample(stream_generator(self.config.seed, 0, Stream.SAMPLE, self.device))
        log.videos(step, videos, self.config.sample_fps)
        figures = {name: float(value) for name, value in figures.items()}
        if figures:
            log.write(step, "eval", figures)
        return figures

    def finish(self, figures: dict[str, float]) -> None:
        self.model.eval()
        with new_folder(self.out / "export") as folder, self.ema.swapped(), torch.no_grad():
            self.recipe.export(folder)
        with new_file(self.out / "metrics.json") as partial:
            partial.write_text(json.dumps(figures, indent=2) + "\n")


def _finished(out: Path, run: dict[str, Any]) -> dict[str, float] | None:
    """The figures of a run that has exported, or ``None``; one of another recipe or config is refused."""
    record = out / "run.json"
    if record.exists():
        check_same_run(json.loads(record.read_text()), run, out)
    else:
        with new_file(record) as partial:
            partial.write_text(json.dumps(run, indent=2) + "\n")
    metrics = out / "metrics.json"
    return json.loads(metrics.read_text()) if metrics.exists() and (out / "export").is_dir() else None
