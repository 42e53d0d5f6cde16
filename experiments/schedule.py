"""The first ablation of Predict2.5's paper at small scale: the shift of training times, and the draw from high noise.

    python experiments/schedule.py --data runs/lift/world --steps 4000 --device cuda

Section 4.1 of the paper (arXiv 2511.00062) moves training times towards noise as videos grow (shift 5 at 720p) and
takes 5% of the samples from the top 2% of noise, against artifacts and for temporal consistency. Here a small network
learns clips of a robot over a frozen tokenizer in four ways, shift 1 or 5 with that share or without, from the same
seed and the same batches. Each is judged on held-out clips:

- the loss by noise level;
- clips that go on from a real first frame under the real actions: PSNR, SSIM, and how far frames change from one to the
  next otherwise than the real ones do (``change error``, levels of 255);
- clips from nothing but noise and the actions: by how much frames change from one to the next (``motion``), and by how
  much that changes (``flicker``), beyond the real clips'; levels of 255, 0 being right.

Clips are sampled on both schedules, so that the training's shift and the sampler's do not mix. Intervals are Student's
over clips; differences are paired, to the same clip of the base (shift 5 with high noise). Finished trainings cost
nothing when it is called again, begun ones go on.
"""

import argparse
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from small_predict import Training, samples

from cosmos_sim.data.clips import ClipSet
from cosmos_sim.data.files import new_file
from cosmos_sim.data.sources import open_source
from cosmos_sim.evaluation.table import grid
from cosmos_sim.metrics.intervals import mean_interval
from cosmos_sim.metrics.temporal import change_error, flicker, motion
from cosmos_sim.metrics.video import psnr, ssim
from cosmos_sim.training import TrainConfig
from cosmos_sim.training.device import autocast, select_device
from cosmos_sim.training.layout import Part
from cosmos_sim.world_model.recipes.predict import PredictRecipe
from cosmos_sim.world_model.recipes.stages import Stage

LEVELS = (0.1, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)
SHIFTS = (1.0, 5.0)


@dataclass(frozen=True)
class Variant:
    shift: float
    high_noise: float

    @property
    def name(self) -> str:
        return f"shift-{self.shift:g}" + ("-high-noise" if self.high_noise else "")


BASE = Variant(5.0, 0.05)
VARIANTS = (BASE, Variant(5.0, 0.0), Variant(1.0, 0.05), Variant(1.0, 0.0))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="a LeRobot dataset with actions")
    parser.add_argument("--work", type=Path, default=Path("runs/schedule"))
    parser.add_argument("--tokenizer", default="lift", help="a shipped world's, a world's folder, or one of its own")
    parser.add_argument("--camera", default="agentview")
    parser.add_argument("--size", type=int, nargs=2, default=(128, 128))
    parser.add_argument("--frames", type=int, default=13)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--width", type=int, default=192)
    parser.add_argument("--blocks", type=int, default=6)
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--clips", type=int, default=48, help="held-out clips to judge on")
    parser.add_argument("--sample-steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--only", nargs="+", choices=[variant.name for variant in VARIANTS])
    parser.add_argument("--out", type=Path, default=Path("experiments/schedule.json"))
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)

    size = (arguments.size[0], arguments.size[1])
    clips = ClipSet(
        [open_source(arguments.data, cameras=(arguments.camera,))],
        frames=arguments.frames,
        fps=None,
        sizes=(size,),
        cache=arguments.work / "cache",
        actions=True,
        every=max(1, arguments.frames // 4),
    )
    # Half of the clips begin from nothing: where there is a first frame, high noise leaves little to decide.
    stage = Stage(
        sizes=(size,),
        frames=arguments.frames,
        images=0.0,
        known=(0.5, 0.5),
        actions=True,
        batch_size=arguments.batch_size,
    )
    training = Training(
        clips,
        arguments.tokenizer,
        stage,
        arguments.width,
        arguments.blocks,
        arguments.heads,
        cache=arguments.work / "cache" / "latents",
        levels=LEVELS,
        eval_clips=arguments.clips,
        sample_steps=arguments.sample_steps,
    )
    config = TrainConfig(
        steps=arguments.steps,
        lr=arguments.lr,
        warmup=min(100, arguments.steps // 10),
        final_lr=0.05,
        ema=0.1,
        ema_kind="power",
        save_every=500,
        eval_every=arguments.steps,
        seed=arguments.seed,
        device=arguments.device,
        threads=arguments.threads,
    )
    found: dict[str, dict[str, Any]] = {}
    for variant in VARIANTS:
        if arguments.only and variant.name not in arguments.only:
            continue
        own = replace(training, stage=replace(stage, shift=variant.shift))
        export = own.train(arguments.work / variant.name, config, high_noise=variant.high_noise)
        found[variant.name] = judge(own, export, arguments.device)
        result = {
            "format": "cosmos-sim schedule 1",
            "training": {
                **{key: getattr(arguments, key) for key in ("steps", "batch_size", "width", "blocks", "heads", "lr")},
                **{key: getattr(arguments, key) for key in ("frames", "size", "camera", "seed")},
                "windows": len(clips),
            },
            "variants": {name: summary(rows, found.get(BASE.name)) for name, rows in found.items()},
            "clips": found,
        }
        with new_file(arguments.out) as partial:
            partial.write_text(json.dumps(result, indent=1) + "\n")
    print(text(result["variants"]))


def judge(training: Training, export: Path, device: str) -> dict[str, dict[str, list[float]]]:
    """Figures by kind and name, each a list over the held-out clips, in their order."""
    from_frame = training.trained(export, device, stage=replace(training.stage, known=(0.0, 1.0)))
    found = {"loss": losses(from_frame, device)}
    for shift in SHIFTS:
        for name, known, measure in (("from a frame", (0.0, 1.0), continuing), ("from noise", (1.0,), beginning)):
            recipe = training.trained(export, device, stage=replace(training.stage, known=known, shift=shift))
            pairs = samples(recipe, device)
            figures = [measure(real, generated) for real, generated in pairs.values()]
            found[f"{name}, sampled with shift {shift:g}"] = {key: [row[key] for row in figures] for key in figures[0]}
    return found


@torch.no_grad()
def losses(recipe: PredictRecipe, device: str) -> dict[str, list[float]]:
    """The held-out loss of each clip by noise level."""
    where, count = select_device(device), len(recipe.held_out)
    rows = []
    with autocast(where, "auto"):
        for k in range(count):
            rows.append(recipe.evaluate(torch.Generator(where).manual_seed(0), Part(k, count)))
    return {key: [row[key] for row in rows] for key in rows[0]}


def continuing(real: Any, generated: Any) -> dict[str, float]:
    """Of the frames after the one that was given."""
    return {
        "psnr": psnr(truth=real[1:], estimate=generated[1:]),
        "ssim": ssim(truth=real[1:], estimate=generated[1:]),
        "change error": change_error(truth=real, estimate=generated),
        "flicker": flicker(generated) - flicker(real),
    }


def beginning(real: Any, generated: Any) -> dict[str, float]:
    return {"motion": motion(generated) - motion(real), "flicker": flicker(generated) - flicker(real)}


def summary(
    rows: Mapping[str, Mapping[str, list[float]]], base: Mapping[str, Mapping[str, list[float]]] | None
) -> dict[str, dict[str, Any]]:
    """Means with intervals over clips, and the same of paired differences to the base."""
    found: dict[str, dict[str, Any]] = {}
    for kind, figures in rows.items():
        found[kind] = {}
        for name, values in figures.items():
            found[kind][name] = of_clips(values)
            if base is not None:
                pairs = zip(values, base[kind][name], strict=True)
                found[kind][name]["minus base"] = of_clips([a - b for a, b in pairs])
    return found


def of_clips(values: list[float]) -> dict[str, Any]:
    interval = mean_interval(values)
    return {"mean": sum(values) / len(values), "low": interval.low, "high": interval.high, "clips": len(values)}


def text(variants: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """A table for each kind of figure: a row a variant, a column a figure."""
    parts = []
    for kind in next(iter(variants.values())):
        names = list(next(iter(variants.values()))[kind])
        body = []
        for variant, kinds in variants.items():
            body.append([variant, *(cell(kinds[kind][name]) for name in names)])
            if variant != BASE.name and "minus base" in kinds[kind][names[0]]:
                body.append(["  minus base", *(cell(kinds[kind][name]["minus base"], sign="+") for name in names)])
        parts.append(f"{kind}\n{grid(['', *names], body)}")
    return "\n\n".join(parts)


def cell(figure: Mapping[str, Any], *, sign: str = "") -> str:
    """The mean, and half the width of its interval."""
    return f"{figure['mean']:{sign}.3f} +- {(figure['high'] - figure['low']) / 2:.3f}"


if __name__ == "__main__":
    main()
