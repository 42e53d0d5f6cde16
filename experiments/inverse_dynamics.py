"""How well actions are read off videos: against the true ones, against their own doubt, and by carrying them out.

    python experiments/inverse_dynamics.py --data held_out --reader idm=runs/idm/export latent=runs/lapa/export \
        --json experiments/inverse_dynamics.json

``--data`` are episodes that ``cosmos-sim collect`` recorded and no reader was trained on. Of each reader it prints, on
all of them and by who acted: the error of the translation as a share of the mean translation of a step, how often the
gripper's command is right, and whether errors grow with the reader's own deviation (a table by tenths of it, and
Spearman's rank correlation). Of the episodes that succeed, the actions are carried out in the simulator from the same
start; so are the true ones, which says how many could succeed at all. Frames may first go through a tokenizer
(``--model``), as dreams do.

The arm's controller gives way, so that not even its true motion tells exactly what it was commanded. ``--floor`` says
how far that goes: a perceptron, trained on the true states of these datasets, reads the same actions off the true
poses, seven of them around each step.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy import ndarray
from scipy.stats import spearmanr
from torch import Tensor, nn

from cosmos_sim.cli._pairs import named_files
from cosmos_sim.data.lerobot import read_episodes
from cosmos_sim.envs.twin.replay import replay
from cosmos_sim.evaluation.report import strict_json, write_whole
from cosmos_sim.metrics.intervals import clopper_pearson
from cosmos_sim.synthesis.dreaming import Labeller
from cosmos_sim.synthesis.imagining import open_imaginer
from cosmos_sim.synthesis.starts import LANGUAGE_TASK
from cosmos_sim.training.provenance import git_commit
from cosmos_sim.types import Episode
from cosmos_sim.world_model.latent_actions import load_inverse_dynamics

BINS = 10
AROUND, FLOOR_STEPS = 3, 4000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="held-out episodes that collect recorded")
    parser.add_argument("--reader", nargs="+", required=True, metavar="NAME=FOLDER", help="what reads the actions")
    parser.add_argument("--model", help="look at what this model's tokenizer leaves of the frames")
    parser.add_argument("--episodes", type=int, default=100, help="the most to read")
    parser.add_argument("--translation", type=int, default=3, help="so many of an action's first numbers")
    parser.add_argument("--gripper", type=int, default=6, help="of an action: its sign opens or closes")
    parser.add_argument("--samples", type=int, default=8)
    parser.add_argument("--floor", type=Path, nargs="+", default=[], help="datasets whose states say what can be told")
    parser.add_argument("--json", type=Path, default=Path("experiments/inverse_dynamics.json"))
    arguments = parser.parse_args()
    told = json.loads((arguments.data / "meta" / "collection.json").read_text())
    found: dict[str, Any] = {}
    for name, folder in named_files(tuple(arguments.reader), "reader").items():
        reader = load_inverse_dynamics(folder)
        found[name] = measured(reader, arguments, told)
        print(told_of(name, found[name]), flush=True)
    content = {
        "study": "actions read off videos of held-out episodes",
        "data": arguments.data.name,
        "through the tokenizer": arguments.model is not None,
        "samples": arguments.samples,
        "commit": git_commit(),
        "readers": found,
    }
    if arguments.floor:
        content["floor"] = floor(arguments, [one["skill"] for one in told["episodes"]])
        print("the true poses' own: " + by_actor_told(content["floor"]), flush=True)
    write_whole(arguments.json, strict_json(content))


def measured(reader: Labeller, arguments: argparse.Namespace, told: dict[str, Any]) -> dict[str, Any]:
    """The figures of one reader."""
    axes, grip = slice(0, arguments.translation), arguments.gripper
    errors, doubts, steps, right, actors = [], [], [], [], []
    again: dict[str, list[bool]] = {"read": [], "true": []}
    for index, episode in episodes(arguments):
        read = reader.read(episode.frames, episode.state, samples=arguments.samples, seed=index)
        true = episode.action[:-1]  # no frame shows what came of the last
        actors.append(told["episodes"][index]["skill"])
        errors.append(np.linalg.norm(read.action[:, axes] - true[:, axes], axis=1))
        steps.append(np.linalg.norm(true[:, axes], axis=1))
        doubts.append(np.sqrt(np.square(read.deviation[:, axes]).mean(axis=1)))
        clear = np.abs(true[:, grip]) > 0.5  # near 0 it stops the fingers
        right.append(np.sign(read.action[clear, grip]) == np.sign(true[clear, grip]))
        if episode.success is not None and episode.success[:-1].any():
            plan = told["episodes"][index]
            words = episode.task if told["config"]["task"] == LANGUAGE_TASK else None
            for kind, actions in (("read", read.action), ("true", true)):
                done = replay(
                    told["config"]["task"],
                    plan["seed"],
                    actions,
                    instruction=words,
                    split=told["config"].get("split"),
                )
                again[kind].append(done.success)
    shares = by_actor(errors, steps, actors)
    error, doubt, step = np.concatenate(errors), np.concatenate(doubts), np.concatenate(steps)
    order = np.array_split(np.argsort(doubt, kind="stable"), BINS)
    rank = spearmanr(doubt, error)
    return {
        "episodes": len(errors),
        "translation error": float(error.mean()),
        "mean translation": float(step.mean()),
        "relative error": shares,
        "gripper accuracy": float(np.concatenate(right).mean()),
        "calibration": [{"deviation": float(doubt[k].mean()), "error": float(error[k].mean())} for k in order],
        "spearman": float(rank.statistic),
        "replayed": {kind: share(flags) for kind, flags in again.items()},
    }


def by_actor(errors: Sequence[ndarray], steps: Sequence[ndarray], actors: Sequence[str]) -> dict[str, float]:
    """The error as a share of a step's mean: of all episodes, and of those of each actor."""
    chosen = {"all": range(len(actors))} | {
        name: [k for k, actor in enumerate(actors) if actor == name] for name in sorted(set(actors))
    }
    return {
        name: float(np.concatenate([errors[k] for k in rows]).mean() / np.concatenate([steps[k] for k in rows]).mean())
        for name, rows in chosen.items()
    }


def floor(arguments: argparse.Namespace, skills: Sequence[str]) -> dict[str, float]:
    """What :func:`by_actor` says of actions read off the true states."""
    axes = slice(0, arguments.translation)
    known = [poses(episode, axes) for path in arguments.floor for episode in read_episodes(path, cameras=[])]
    given, wanted = (torch.cat(part) for part in zip(*known, strict=True))
    mean, deviation = given.mean(0), given.std(0).clamp_min(1e-6)
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Linear(given.shape[1], 128), nn.Linear(128, 128), nn.Linear(128, wanted.shape[1])
        net = nn.Sequential(layers[0], nn.SiLU(), layers[1], nn.SiLU(), layers[2])
    optimiser = torch.optim.AdamW(net.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, FLOOR_STEPS)
    for _ in range(FLOOR_STEPS):
        rows = torch.randint(len(given), (256,), generator=generator)
        loss = nn.functional.mse_loss(net((given[rows] - mean) / deviation), wanted[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    errors, steps, actors = [], [], []
    for index, episode in enumerate(islice(read_episodes(arguments.data, cameras=[]), arguments.episodes)):
        given, wanted = poses(episode, axes)
        with torch.no_grad():
            read = net((given - mean) / deviation).clamp(-1, 1)
        errors.append((read - wanted).norm(dim=1).numpy())
        steps.append(wanted.norm(dim=1).numpy())
        actors.append(skills[index])
    return by_actor(errors, steps, actors)


def poses(episode: Episode, axes: slice) -> tuple[Tensor, Tensor]:
    """The changes of the state in the steps around each action, and the state before it; and the actions."""
    state, action = (torch.from_numpy(np.asarray(part, np.float32)) for part in (episode.state, episode.action))
    change = state.diff(dim=0)
    around = change.unfold(0, 2 * AROUND, 1).flatten(1)  # of the actions from AROUND - 1 on
    count = len(around)
    return torch.cat([around, state[AROUND - 1 :][:count]], dim=1), action[AROUND - 1 :][:count, axes]


def episodes(arguments: argparse.Namespace) -> Iterator[tuple[int, Episode]]:
    """Episodes with their numbers, as the tokenizer shows them if there is to be one."""
    model = None if arguments.model is None else open_imaginer(arguments.model, device="cpu")
    for index, episode in enumerate(islice(read_episodes(arguments.data), arguments.episodes)):
        frames = episode.frames if model is None else model.reconstructed(episode.frames)
        yield index, Episode(frames, episode.state, episode.action, episode.task, episode.success, fps=episode.fps)


def share(flags: list[bool]) -> dict[str, Any]:
    """How many succeed, with the 95% interval of Clopper and Pearson."""
    if not flags:
        return {"successes": 0, "trials": 0}
    interval = clopper_pearson(sum(flags), len(flags))
    return {"successes": sum(flags), "trials": len(flags), "low": interval.low, "high": interval.high}


def by_actor_told(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:.1%}" for name, value in shares.items())


def told_of(name: str, figures: dict[str, Any]) -> str:
    """Figures as lines of text."""
    lines = [
        f"{name}: {figures['episodes']} episodes",
        f"  translation off by, of a step's mean: {by_actor_told(figures['relative error'])}",
        f"  gripper right in {figures['gripper accuracy']:.1%}",
        f"  error by deviation, rank correlation {figures['spearman']:.2f}: "
        + ", ".join(f"{one['error']:.2f}" for one in figures["calibration"]),
    ]
    for kind, shares in figures["replayed"].items():
        if shares["trials"]:
            low, high = shares["low"], shares["high"]
            lines.append(
                f"  {kind} actions replayed: {shares['successes']}/{shares['trials']} succeed ({low:.0%} to {high:.0%})"
            )
    return "\n".join(lines)


if __name__ == "__main__":
    main()
