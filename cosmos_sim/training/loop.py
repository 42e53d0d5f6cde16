"""The training loop."""

import json
import math
import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from cosmos_sim.data.files import new_file
from cosmos_sim.training.batches import batches, part_of_step
from cosmos_sim.training.checkpoint import Checkpoints, run_tensors
from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.device import (
    Stream,
    autocast,
    computes_in_bf16,
    process_settings,
    stream_generator,
    stream_seed,
)
from cosmos_sim.training.ema import Ema
from cosmos_sim.training.interrupt import Interrupt, Interrupted, only_run
from cosmos_sim.training.judge import Judge
from cosmos_sim.training.layout import Layout, open_layout
from cosmos_sim.training.log import Log, Window
from cosmos_sim.training.optimizer import make_optimizer
from cosmos_sim.training.parallel import clip_gradients, parallelise
from cosmos_sim.training.provenance import check_same_run, provenance, resolved
from cosmos_sim.training.recipe import Recipe
from cosmos_sim.training.schedule import learning_rate
from cosmos_sim.training.speed import Speed


def train(recipe: Recipe, config: TrainConfig, out: Path | str) -> dict[str, float]:
    """Train ``recipe.model`` and return the final figures of ``recipe.evaluate``.

    Everything lands in ``out``: ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/``, ``samples/`` and, at the end,
    ``export/`` (written by the recipe) and ``metrics.json`` (the final figures). The same call made again resumes from
    the newest checkpoint, and does nothing once the run is finished. A resumed run repeats an unbroken one bit for bit
    where the device's kernels are deterministic: always on a CPU with as many threads; on CUDA if the recipe's
    operations are (``torch.use_deterministic_algorithms`` tells). On another number of processes sums are made in
    another order, and losses agree to rounding.

    Several processes are started by ``torchrun``; each makes this call, and all see the same ``out``.

    SIGTERM and Ctrl-C, in any process, save a checkpoint and raise ``Interrupted``, a ``SystemExit``, in all.

    Raises:
        ValueError: if ``out`` holds a run of another recipe or config (naming the field), another process trains
            there, or the processes are not as many as ``config.parallel`` wants, or the recipe's model cannot be spread
            over them.
        FloatingPointError: at a loss or gradient that is not finite, naming the step. Nothing of it has been saved but
            ``bad_step.json``, which names the samples of its batch.
        OSError: if a checkpoint cannot be written, at the next step; the one before is intact.
    """
    out = Path(out)
    with open_layout(config.parallel, config.device) as layout, ExitStack() as stack:
        if hasattr(recipe, "close"):
            stack.callback(recipe.close)
        _in_first(layout, lambda: stack.enter_context(only_run(out)))
        run = _in_first(layout, lambda: {**provenance(recipe, config), "resolved": resolved(config, layout)})
        done = _in_first(layout, lambda: _finished(out, run, config))
        if done is not None:
            if layout.main:
                tqdm.write(f"{out} is finished: {config.steps} steps, exported to {out / 'export'}")
            return done
        stack.enter_context(process_settings(layout.device, config.threads))
        return _Run(recipe, config, out, run, layout).train()


@dataclass(frozen=True)
class _Step:
    """What is kept of a step until its figures are brought to the CPU."""

    index: int
    figures: dict[str, Tensor]
    samples: list[str]


class _Run:
    """One process's part of a run."""

    def __init__(self, recipe: Recipe, config: TrainConfig, out: Path, run: dict[str, Any], layout: Layout) -> None:
        self.recipe, self.config, self.out, self.layout = recipe, config, out, layout
        self.device, self.provenance = layout.device, run
        self.model = recipe.model
        _place(recipe, config, layout)
        self.optimizer = make_optimizer(self.model, config)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.ema = Ema(self.model, config.ema, config.ema_kind)
        self.checkpoints = Checkpoints(out / "checkpoints", keep=config.keep, layout=layout)
        self.start = 0
        self.window = Window()
        newest = self.checkpoints.newest()
        if newest:
            check_same_run(newest, run, out)
            self.start = newest["step"]
            self.window = Window(newest["window"])
            self.checkpoints.load(self.start, self.tensors())
            self.say(f"resuming {out} after step {self.start}")
        if config.warmup >= config.steps:
            highest = learning_rate(config.steps - 1, config)
            self.say(f"warmup={config.warmup} takes all {config.steps} steps: the learning rate ends at {highest:.2g}")
        self.pending: list[_Step] = []
        self.judge = Judge(recipe, config, out, layout, self.ema)
        self.log: Log | None = None
        self.speed = Speed(layout, self.start)

    def train(self) -> dict[str, float]:
        config = self.config
        with ExitStack() as stack:
            if self.layout.main:
                self.log = stack.enter_context(
                    closing(Log(self.out, self.start, wandb=config.wandb, config=self.provenance))
                )
            interrupt = stack.enter_context(Interrupt())
            stack.callback(self.checkpoints.wait)
            source = stack.enter_context(closing(batches(self.recipe, config, self.layout, self.start)))
            bar = stack.enter_context(
                tqdm(
                    total=config.steps,
                    initial=self.start,
                    desc=self.recipe.name,
                    mininterval=0.5 if sys.stderr.isatty() else 30.0,
                    disable=not self.layout.main,
                )
            )
            if self.start % config.eval_every == 0 and 0 < self.start < config.steps:
                self.judge.evaluate(self.start, self.log)
            self.speed.start(self.start)  # without the start-up and evaluation above
            for step, drawn in zip(range(self.start, config.steps), source, strict=True):
                self.step(step, drawn)
                bar.update()
                done, last = step + 1, step + 1 == config.steps
                stop = self.asked_to_stop(interrupt)
                logs = last or done % config.log_every == 0
                saves = last or done % config.save_every == 0 or stop is not None
                if logs or saves or self.device.type == "cpu":
                    self.collect()
                if logs:
                    self.report(done, bar)
                if saves:
                    self.save(done)
                if stop is not None:
                    raise self.stopped(done, stop)
                if done % config.eval_every == 0 and not last:
                    self.judge.evaluate(done, self.log)
                    self.speed.start(done)
            figures = self.judge.evaluate(config.steps, self.log)
            if self.log is not None:
                self.log.sync()
            self.checkpoints.wait()
            stop = self.asked_to_stop(interrupt)
            if stop is not None:
                raise self.stopped(config.steps, stop)
        self.judge.finish(figures)
        return figures

    def step(self, step: int, drawn: list[Any]) -> None:
        """One update of the weights; its figures wait in ``pending``, so that CUDA need not be waited for."""
        config, recipe = self.config, self.recipe
        part = part_of_step(recipe, self.layout, step)
        self.model.train()
        torch.manual_seed(stream_seed(config.seed, step, Stream.GLOBAL, part.index))
        generator = stream_generator(config.seed, step, Stream.LOSS, self.device, part=part.index)
        figures: dict[str, Tensor] = {}
        samples: list[str] = []
        for batch in drawn:
            with autocast(self.device, config.autocast):
                losses = recipe.loss(batch, step, generator)
            torch.autograd.backward(losses["loss"] / len(drawn))
            for name, value in losses.items():
                figures[name] = figures.get(name, 0) + value.detach().float() / len(drawn)
            if hasattr(recipe, "cost"):
                tokens, operations = recipe.cost(batch)
                self.speed.add(tokens, operations, processes=self.layout.size // part.count)
            if hasattr(recipe, "names"):
                samples += recipe.names(batch)
        figures["grad_norm"] = clip_gradients(self.parameters, config.grad_clip or math.inf)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(step, config)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.ema.update(step)
        self.pending.append(_Step(step, figures, samples))

    def asked_to_stop(self, interrupt: Interrupt) -> int | None:
        """The signal that any process was sent, known to all at the same step; a failed checkpoint is raised in all."""
        mine = interrupt.signal
        if not self.layout.any(mine is not None or self.checkpoints.failed):
            return None
        told = self.layout.gather((mine, self.checkpoints.failed))
        if any(failed for _, failed in told):
            self.checkpoints.wait()
        return next((number for number, _ in told if number is not None), None)

    def collect(self) -> None:
        """Bring the means of the pending steps' figures to the CPU, and stop at one that is not finite."""
        if not self.pending:
            return
        own = torch.cat([torch.stack([*step.figures.values()]) for step in self.pending])
        means = iter(self.layout.mean(own).tolist())
        for step in self.pending:
            values = {name: next(means) for name in step.figures}
            if not all(math.isfinite(values[name]) for name in ("loss", "grad_norm")):
                self.record_bad(step)
            self.window.add(values)
        self.pending.clear()

    def record_bad(self, step: _Step) -> None:
        """Leave the identity of the step's batch in ``bad_step.json``, and stop."""
        own = {name: value.item() for name, value in step.figures.items()}
        processes = self.layout.gather({"figures": own, "samples": step.samples})
        if self.layout.main:
            record = {"step": step.index, "seed": self.config.seed, "processes": processes}
            with new_file(self.out / "bad_step.json") as partial:
                partial.write_text(json.dumps(record, indent=2) + "\n")
        bad = {name: [row["figures"][name] for row in processes] for name in ("loss", "grad_norm")}
        name, value = next((n, v) for n, values in bad.items() for v in values if not math.isfinite(v))
        raise FloatingPointError(
            f"{name} is {value} at step {step.index} of {self.recipe.name!r} (from 0; seed {self.config.seed}, which "
            f"make its batch: see {self.out / 'bad_step.json'}); the checkpoints in {self.checkpoints.folder} are from "
            f"before"
        )

    def report(self, done: int, bar: tqdm) -> None:
        """Log the means since the last report, and how fast the steps went by."""
        means = self.window.means()
        self.window = Window()
        batch_size = getattr(self.recipe, "batch_size", None)
        speed = self.speed.read(done, samples=batch_size and batch_size * self.config.accumulate)
        if self.log is not None:
            self.log.write(done, "train", {**means, "lr": learning_rate(done - 1, self.config)})
            self.log.curves(done, {f"speed/{name}": value for name, value in speed.items()})
            bar.set_postfix(loss=f"{means['loss']:.4g}", **{name: f"{value:.3g}" for name, value in speed.items()})

    def save(self, step: int) -> None:
        """Begin to write a checkpoint, which goes on in the background."""
        if self.log is not None:
            self.log.sync()
        meta = {**self.provenance, "window": self.window.state()}
        self.checkpoints.save(step, self.tensors(), meta)

    def tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds."""
        carried = self.recipe.state() if hasattr(self.recipe, "state") else {}
        tensors = run_tensors(self.model, self.ema, self.optimizer)
        return tensors | {f"recipe.{name}": tensor for name, tensor in carried.items()}

    def stopped(self, done: int, signum: int) -> Interrupted:
        self.checkpoints.wait()
        self.say(f"stopped after step {done} and saved: the same call goes on from there")
        return Interrupted(signum)

    def say(self, line: str) -> None:
        if self.layout.main:
            tqdm.write(line)


def _place(recipe: Recipe, config: TrainConfig, layout: Layout) -> None:
    """Put the recipe's model where the layout wants it.

    Raises:
        ValueError: the recipe does not say how its model is spread over several processes.
    """
    if layout.size > 1 and not hasattr(recipe, "units"):
        raise ValueError(f"{recipe.name!r} trains in one process, but there are {layout.size}")
    if layout.config.context > 1:
        if not hasattr(recipe, "split_context"):
            raise ValueError(
                f"{recipe.name!r} has no tokens to share: parallel.context must be 1, not {layout.config.context}"
            )
        recipe.split_context(layout)
    parallelise(
        recipe.model,
        recipe.units() if hasattr(recipe, "units") else (),
        layout,
        bf16=computes_in_bf16(layout.device, config.autocast),
        initialise=getattr(recipe, "initialise", None),
    )


def _in_first[Result](layout: Layout, action: Callable[[], Result]) -> Result:
    """What ``action`` returns or raises in the first process, in all of them; it is called in that one alone."""
    result: Result | None = None
    error: Exception | None = None
    if layout.main:
        try:
            result = action()
        except Exception as caught:
            error = caught
    result, error = layout.gather((result, error))[0]
    if error is not None:
        raise error
    return result


def _finished(out: Path, run: dict[str, Any], config: TrainConfig) -> dict[str, float] | None:
    """The figures of a run that has exported, or ``None``; one of another recipe or config is refused.

    A run that ended before it logged or saved anything, of a mistake in its config maybe, leaves the folder free.
    """
    record, log = out / "run.json", out / "metrics.jsonl"
    begun = (log.exists() and log.stat().st_size > 0) or any((out / "checkpoints").glob("step-*"))
    if record.exists() and begun:
        check_same_run(json.loads(record.read_text()), run, out)
    else:
        with new_file(record) as partial:
            partial.write_text(json.dumps(run, indent=2) + "\n")
    metrics = out / "metrics.json"
    exported = [(out / name).is_dir() for name in ("export", *(["export_plain"] if config.export_plain else []))]
    return json.loads(metrics.read_text()) if metrics.exists() and all(exported) else None
