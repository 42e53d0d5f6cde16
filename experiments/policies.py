"""The independently trained policies that the agreement study (agreement.py) judges worlds by.

Each has a family, demonstrations, a mix of skills and a seed of its own; the seed draws the demonstrations, the initial
weights and the batches. None shares a checkpoint with another, and worlds are trained on other collections.

    cosmos-sim collect --task Lift --episodes 440 --length 60 --seed 2 --out runs/demos \\
        --skills expert=.6,noisy=.12,clumsy=.16,wrong=.05,random=.07
    python experiments/policies.py --data runs/demos --out runs/policies --look 12

Resumes where it was stopped; one thread, about half an hour of a CPU core. ``--look`` runs each policy in the simulator
from seeds that the study does not use: the sizes below were chosen by such looks at true success, to spread it, and
never by a world's verdict.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

from cosmos_sim.evaluation.outcome import OutcomeStore
from cosmos_sim.evaluation.run import Arena
from cosmos_sim.evaluation.sides import contender, twin_side
from cosmos_sim.policies.demonstrations import Selection
from cosmos_sim.policies.lerobot_recipe import lerobot_recipe
from cosmos_sim.policies.recipe import policy_recipe
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.training.recipe import Recipe

LEROBOT = {"act": "act", "lerobot-diffusion": "diffusion"}
"""The families that are LeRobot's, by its own names; the others are this package's."""

LEARNING_RATE = {"diffusion": 1e-3, "regression": 1e-3, "act": 3e-4, "lerobot-diffusion": 5e-4}
LOOKS = range(5000, 6000)


@dataclass(frozen=True)
class Spec:
    """One policy: what it is and what it has seen."""

    name: str
    family: str
    demonstrations: int
    skills: tuple[str, ...]
    steps: int
    seed: int
    failures: bool = False
    """Whether episodes that do not succeed are imitated, too."""


SPECS = (
    Spec("diffusion-1", "diffusion", 220, ("expert",), 2000, 101),
    Spec("diffusion-2", "diffusion", 150, ("expert", "noisy"), 1300, 102),
    Spec("diffusion-3", "diffusion", 60, ("expert",), 1000, 103),
    Spec("diffusion-4", "diffusion", 40, ("noisy", "clumsy"), 700, 104),
    Spec("diffusion-5", "diffusion", 12, ("expert",), 500, 105),
    Spec("diffusion-6", "diffusion", 60, ("clumsy", "wrong"), 500, 106, failures=True),
    Spec("diffusion-7", "diffusion", 120, ("expert",), 1700, 107),
    Spec("regression-1", "regression", 250, ("expert",), 1800, 111),
    Spec("regression-2", "regression", 70, ("expert", "noisy"), 800, 112),
    Spec("regression-3", "regression", 25, ("noisy",), 500, 113),
    Spec("regression-4", "regression", 5, ("expert",), 300, 114),
    Spec("regression-5", "regression", 120, ("expert",), 1200, 115),
    Spec("act-1", "act", 240, ("expert",), 1000, 121),
    Spec("act-2", "act", 100, ("expert", "noisy"), 600, 122),
    Spec("act-3", "act", 40, ("clumsy", "random"), 400, 123, failures=True),
    Spec("lerobot-diffusion-1", "lerobot-diffusion", 230, ("expert", "noisy"), 1000, 131),
    Spec("lerobot-diffusion-2", "lerobot-diffusion", 50, ("expert",), 500, 132),
)

SCOUTS = (
    Spec("scout-1", "diffusion", 150, ("expert", "noisy"), 900, 201),
    Spec("scout-2", "diffusion", 40, ("expert",), 500, 202),
    Spec("scout-3", "diffusion", 80, ("noisy", "clumsy"), 500, 203),
    Spec("scout-4", "regression", 60, ("expert", "noisy"), 600, 204),
    Spec("scout-5", "regression", 20, ("expert",), 400, 205),
    Spec("scout-6", "act", 100, ("expert", "noisy"), 400, 206),
    Spec("scout-7", "lerobot-diffusion", 80, ("expert",), 400, 207),
)
"""Policies for the world to learn from, by ``cosmos-sim collect --skills``: what learned policies do, and how they
miss, is not what scripted ones do. They are trained on the world's own data and are not in the study."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="the collection of the command above")
    parser.add_argument("--out", type=Path, required=True, help="a folder for each policy comes here")
    parser.add_argument("--scouts", action="store_true", help="train those that the world learns from instead")
    parser.add_argument("--only", nargs="+", metavar="NAME", default=None)
    parser.add_argument("--look", type=int, default=0, metavar="N", help="episodes in the simulator after training")
    arguments = parser.parse_args()
    specs = SCOUTS if arguments.scouts else SPECS
    unknown = set(arguments.only or ()) - {spec.name for spec in specs}
    if unknown:
        parser.error(f"no policy {', '.join(sorted(unknown))}: choose from {', '.join(spec.name for spec in specs)}")
    for spec in specs:
        if arguments.only is None or spec.name in arguments.only:
            train(recipe(spec, arguments.data), schedule(spec), arguments.out / spec.name)
            if arguments.look:
                solved = look(spec, arguments.out, LOOKS[: arguments.look])
                print(f"{spec.name:22s} {solved:3d}/{arguments.look} in the simulator", flush=True)


def recipe(spec: Spec, data: str) -> Recipe:
    """What ``spec`` learns, from its own draw of the demonstrations in ``data``."""
    selection = Selection(
        data,
        demonstrations=spec.demonstrations,
        draw=spec.seed,
        skills=spec.skills,
        successful=not spec.failures,
    )
    if spec.family in LEROBOT:
        return lerobot_recipe(selection, LEROBOT[spec.family], batch_size=16, seed=spec.seed)
    # A third of the time of the default sizes.
    sight = {"resolution": 64, "crop": 56}
    return policy_recipe(selection, family=spec.family, encoder=sight, batch_size=32, seed=spec.seed)


def schedule(spec: Spec) -> TrainConfig:
    return TrainConfig(
        steps=spec.steps,
        lr=LEARNING_RATE[spec.family],
        weight_decay=1e-4,
        warmup=50,
        final_lr=0.02,
        ema=0.99,
        seed=spec.seed,
        save_every=200,
        eval_every=spec.steps,
        keep=1,
        threads=1,
    )


def source(spec: Spec, out: Path) -> str:
    """What ``load_policy`` takes for the policy of ``spec``, trained into ``out``."""
    return ("lerobot:" if spec.family in LEROBOT else "") + str(out / spec.name / "export")


def look(spec: Spec, out: Path, seeds: range) -> int:
    """How many of the simulator's episodes from ``seeds`` the trained policy solves."""
    with Arena(twin_side("Lift", horizon=60), OutcomeStore(out / "looks")) as arena:
        return sum(outcome.success for outcome in arena.run(contender(source(spec, out)), list(seeds)))


if __name__ == "__main__":
    main()
