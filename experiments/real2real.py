"""Table 13 of the Cosmos-Predict2.5 paper, in the simulator: does a Transfer world make policies robust?

    python experiments/real2real.py --world transfer --out runs/real2real --workers 2

Demonstrations of lifting a cube are recorded in one scene. Three kinds of diffusion policies learn from them: ``base``
from the demonstrations alone, ``baseline`` with standard image augmentation on the fly, and ``proposed`` from the
demonstrations and five variants of each that ``cosmos-sim augment`` makes; sizes, steps and seeds are the same. All
are tried in the ten scenes of the table, nine of which no training of world or policy has shown, from the same starts.

Every stage is kept under ``--out``, so that a stopped run goes on. Prints the table, and writes the figures
(``--json``), the chart (``--picture``), and videos of trials that succeeded and that failed (``OUT/videos``,
``--film``).
"""

import argparse
import datetime
import json
import multiprocessing
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real2real_film import film_grid, film_trials
from real2real_table import chart, figures, table

from cosmos_sim.cli import main as command
from cosmos_sim.collection.collect import collect
from cosmos_sim.collection.plan import CollectionConfig
from cosmos_sim.data.processes import serve_parent
from cosmos_sim.envs.twin.scenes import SCENES
from cosmos_sim.evaluation.evaluate import versions
from cosmos_sim.evaluation.outcome import fingerprint
from cosmos_sim.evaluation.report import strict_json, write_whole
from cosmos_sim.evaluation.trials import Trial, TwinTrials, load_trials, save_trials
from cosmos_sim.policies.demonstrations import Selection
from cosmos_sim.policies.image_augmentation import find_augmentation
from cosmos_sim.policies.load import load_policy
from cosmos_sim.policies.recipe import policy_recipe
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.training.provenance import git_commit

TASK, HORIZON = "Lift", 60
FIRST_SEED = 20_000
"""Of the starts that policies are tried from: neither a world's shipped starts nor any collection's."""
LOOKS = range(5000, 6000)
"""Starts for looking at policies while choosing sizes, in the scene of the demonstrations alone."""
COLLECTION_SEED, LENGTH = 41, 33
"""The demonstrations; experts are done after 24 steps at most."""
SIGHT = {"resolution": 64, "crop": 56}
BATCH = 32


@dataclass(frozen=True)
class Arm:
    """How one kind of policy is trained."""

    augmented: bool = False
    """Whether from the augmented dataset, which holds the demonstrations too."""
    image_augmentation: str | None = None


ARMS = {"base": Arm(), "baseline": Arm(image_augmentation="standard"), "proposed": Arm(augmented=True)}


@dataclass(frozen=True)
class Job:
    """One policy to train, and what it is to be tried in."""

    arm: str
    seed: int
    data: Path
    out: Path
    steps: int
    scenes: tuple[str, ...]
    starts: tuple[int, ...]
    device: str

    @property
    def run(self) -> Path:
        return self.out / "policies" / f"{self.arm}-{self.seed}"

    def trials(self, scene: str) -> Path:
        """Where the trials in ``scene`` are kept: they are of these weights and no others."""
        name = f"{scene}-{self.starts[0]}-{len(self.starts)}.npz"
        return self.out / "trials" / f"{self.arm}-{self.seed}-{fingerprint(self.run / 'export')[:12]}" / name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="all that is made and found is kept here")
    parser.add_argument("--world", default="transfer", help="a shipped name, a folder or a hub id")
    parser.add_argument("--demonstrations", type=int, default=100)
    parser.add_argument("--variants", type=int, default=5, help="of each demonstration")
    parser.add_argument("--seeds", type=int, default=3, help="policies of each kind")
    parser.add_argument("--trials", type=int, default=30, help="of each policy in each scene")
    parser.add_argument("--steps", type=int, default=2500, help="of each training")
    parser.add_argument("--scenes", nargs="+", default=list(SCENES), choices=SCENES, metavar="SCENE")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS, metavar="ARM")
    parser.add_argument("--augment", nargs=argparse.REMAINDER, default=[], help="further options of the augmentation")
    parser.add_argument("--workers", type=int, default=1, help="processes that record, train and try")
    parser.add_argument("--device", default="auto", help="of policies; variants are made where cosmos-sim makes them")
    parser.add_argument("--look", action="store_true", help="try in the first scene, from starts that do not count")
    parser.add_argument("--json", type=Path, default=Path("experiments/real2real.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/media/real2real.svg"))
    parser.add_argument("--film", type=Path, default=Path("docs/media/real2real.webp"))
    arguments = parser.parse_args()
    out, scenes = arguments.out, tuple(scene for scene in SCENES if scene in arguments.scenes)
    if scenes[0] != "base" or (len(scenes) < 2 and not arguments.look):
        parser.error(f"--scenes must be base, where the demonstrations are from, and others, got {' '.join(scenes)}")
    demonstrations = record(out / "demonstrations", arguments.demonstrations, workers=arguments.workers)
    augmented = None
    if any(ARMS[arm].augmented for arm in arguments.arms):
        augmented = augment(demonstrations, out / "augmented", arguments)
    starts = LOOKS[: arguments.trials] if arguments.look else range(FIRST_SEED, FIRST_SEED + arguments.trials)
    jobs = [
        Job(
            arm,
            seed,
            augmented if augmented is not None and ARMS[arm].augmented else demonstrations,
            out,
            arguments.steps,
            scenes[:1] if arguments.look else scenes,
            tuple(starts),
            arguments.device,
        )
        for seed in range(arguments.seeds)
        for arm in arguments.arms
    ]
    for job in finished(jobs, workers=arguments.workers):
        solved = {scene: sum(trial.success for trial in load_trials(job.trials(scene))) for scene in job.scenes}
        print(f"{job.arm}-{job.seed}: {sum(solved.values())}/{len(starts) * len(solved)} {solved}", flush=True)
    if arguments.look:
        return
    trials = {(job.arm, job.seed, scene): load_trials(job.trials(scene)) for job in jobs for scene in scenes}
    found = figures(verdicts(trials, arguments.arms, arguments.seeds, scenes), scenes)
    write_whole(arguments.json, strict_json(found | told(arguments, trials)))
    write_whole(arguments.picture, chart(found, scenes))
    with TwinTrials(TASK, horizon=HORIZON, scene=scenes[0]) as twin:
        film_trials(trials, twin, out / "videos")
        film_grid(
            {arm: {scene: trials[arm, 0, scene] for scene in scenes} for arm in arguments.arms}, twin, arguments.film
        )
    print(table(found, scenes))
    print(f"\n{arguments.json}, {arguments.picture}, {arguments.film} and {out / 'videos'} are written")


def record(path: Path, episodes: int, *, workers: int) -> Path:
    """The expert's demonstrations in the scene ``base``, with the simulator's true depth and segments."""
    config = CollectionConfig(
        task=TASK,
        episodes=episodes,
        seed=COLLECTION_SEED,
        length=LENGTH,
        shares={"expert": 1.0},
        scenes="base",
        annotate=True,
    )
    return collect(config, path, workers=workers).path


def augment(source: Path, path: Path, arguments: argparse.Namespace) -> Path:
    """The demonstrations and their variants, by the command that a user would run."""
    words = ["augment", "--dataset", str(source), "--out", str(path), "--model", str(arguments.world)]
    command([*words, "--template", "lift", "--variants", str(arguments.variants), *arguments.augment])
    return path


def finished(jobs: Sequence[Job], *, workers: int) -> Iterable[Job]:
    """``jobs``, each as soon as it and those before it are done, by so many processes."""
    if workers == 1:
        yield from map(judge, jobs)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=serve_parent) as pool:
        yield from pool.map(judge, jobs)


def judge(job: Job) -> Job:
    """Train the policy unless that is done, and try it where that is not done, on one core."""
    torch.set_num_threads(1)
    train(recipe(job), schedule(job), job.run)
    missing = [scene for scene in job.scenes if not job.trials(scene).is_file()]
    if missing:
        policy = load_policy(job.run / "export", device="cpu" if job.device == "auto" else job.device)
        for scene in missing:
            save_trials(job.trials(scene), twin().run(policy, job.starts, scene=scene))
    return job


@cache
def twin() -> TwinTrials:
    """The simulator, one in each process."""
    return TwinTrials(TASK, horizon=HORIZON, scene="base")


def recipe(job: Job) -> Any:
    """The policy's recipe: nothing but the images differs between the arms."""
    name = ARMS[job.arm].image_augmentation
    return policy_recipe(
        Selection(str(job.data), held_out=0.0),
        encoder=SIGHT,
        batch_size=BATCH,
        jitter=0.0,
        image_augmentation=None if name is None else find_augmentation(name),
        seed=job.seed,
    )


def schedule(job: Job) -> TrainConfig:
    return TrainConfig(
        steps=job.steps,
        lr=1e-3,
        weight_decay=1e-4,
        warmup=min(50, job.steps),
        final_lr=0.02,
        ema=0.99,
        seed=job.seed,
        save_every=500,
        eval_every=job.steps,
        keep=1,
        device=job.device,
        threads=1,
    )


Trials = Mapping[tuple[str, int, str], Sequence[Trial]]
"""Of an arm, a seed of training and a scene."""


def verdicts(trials: Trials, arms: Sequence[str], seeds: int, scenes: Sequence[str]) -> dict[str, np.ndarray]:
    """The successes of each arm: policy, scene, start."""
    return {
        arm: np.array([[[t.success for t in trials[arm, seed, scene]] for scene in scenes] for seed in range(seeds)])
        for arm in arms
    }


def told(arguments: argparse.Namespace, trials: Trials) -> dict[str, Any]:
    """How the figures came about, and every trial: the steps to success, or null."""
    settings = ("demonstrations", "variants", "seeds", "trials", "steps", "device")
    world = None
    if any(ARMS[arm].augmented for arm in arguments.arms):
        made = json.loads((arguments.out / "augmented" / "meta" / "augmentation.json").read_text())
        digest = made["settings"]["weights"]
        world = {"name": Path(arguments.world).name, "sha256": digest, "options": arguments.augment}
    return {
        "study": "policies trained on demonstrations of one scene, in ten scenes of the simulator",
        "date": datetime.date.today().isoformat(),
        "commit": git_commit(),
        "settings": {name: getattr(arguments, name) for name in settings} | {"batch": BATCH, **SIGHT},
        "world": world,
        "training": {arm: asdict(ARMS[arm]) for arm in arguments.arms},
        "starts": [FIRST_SEED, FIRST_SEED + arguments.trials - 1],
        "steps to success": {
            f"{arm}-{seed} {scene}": [len(t.action) if t.success else None for t in kept]
            for (arm, seed, scene), kept in trials.items()
        },
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
