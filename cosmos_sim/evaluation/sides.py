"""Policies, worlds and the simulator by name, as contenders and sides of an evaluation."""

import itertools
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gymnasium.vector import VectorEnv

import cosmos_sim
from cosmos_sim.data.pretrained import find_folder
from cosmos_sim.data.starts import Starts
from cosmos_sim.envs.trust import Trust
from cosmos_sim.envs.trust_calibration import FILE
from cosmos_sim.envs.worlds import find_world
from cosmos_sim.evaluation.outcome import fingerprint
from cosmos_sim.evaluation.run import Contender, Side
from cosmos_sim.types import Policy
from cosmos_sim.world_model.latent_actions import find_inverse_dynamics
from cosmos_sim.world_model.world import World

_LEROBOT = "lerobot:"


def contender(source: str, *, device: str = "cpu") -> Contender:
    """The policy named ``source`` (what :func:`~cosmos_sim.policies.load.load_policy` takes), acting on ``device``.

    Raises :class:`ValueError` where there is none.
    """

    def load() -> Policy:
        from cosmos_sim.policies.load import load_policy

        return load_policy(source, device=device)

    if source.startswith(_LEROBOT):
        path, _, query = source.removeprefix(_LEROBOT).partition("?")
        folder = Path(path)
        # A hub id has no content here yet: its name stands for it.
        content = [fingerprint(folder) if folder.is_dir() else path, query]
    else:
        folder = find_folder(source, "policy")
        content = [fingerprint(folder)]
    return Contender(_called(folder), load, {"content": content, "device": device})


def contenders(sources: Sequence[str], *, device: str = "cpu") -> list[Contender]:
    """All of ``sources``, under names that tell them apart. Raises :class:`ValueError` if one is given twice."""
    found = [contender(source, device=device) for source in sources]
    for (first, one), (second, other) in itertools.combinations(zip(sources, found, strict=True), 2):
        if one.identity == other.identity:
            raise ValueError(f"policies {first!r} and {second!r} are the same one: it would count twice")
    names = [one.name for one in found]
    return [
        one if names.count(one.name) == 1 else Contender(source, one.load, one.identity)
        for one, source in zip(found, sources, strict=True)
    ]


def load_world(name: str, *, device: str | None = None, sampling_steps: int | None = None) -> tuple[World, str]:
    """The world called ``name`` and the digest of its folder; ``None`` leaves a choice to the world."""
    folder = find_world(name)
    return World.from_pretrained(folder, device=device or "auto", sampling_steps=sampling_steps), fingerprint(folder)


def trust_folder(trust: str, world: World) -> Path | None:
    """What judges whether a world's frames follow the actions: its own inverse dynamics, if they are calibrated, for
    ``trust="auto"``, nothing for ``"none"``, or the inverse dynamics of that name, folder or hub id.

    Raises :class:`ValueError` where there is none of that name.
    """
    if trust == "auto":
        own = world.inverse_dynamics
        return own if own is not None and (own / FILE).is_file() else None
    return None if trust == "none" else find_inverse_dynamics(trust)


def world_side(
    name: str,
    world: World,
    content: str,
    *,
    horizon: int,
    width: int,
    twin_starts: Starts | None = None,
    split: str | None = None,
    trust: Path | None = None,
) -> Side:
    """A learned world; every episode begins from the start frame that its seed made in the simulator.

    Start frames are those shipped with the world, or ``twin_starts``, which this machine's simulator has made (of
    Tabletop, from its ``split``).
    ``trust`` is the folder of calibrated inverse dynamics that judge the frames; they do not change the episodes.
    """
    judge = None if trust is None else Trust.from_pretrained(trust, device=world.device)
    if judge is not None:
        judge.check(world.spec)

    def make(count: int) -> VectorEnv:
        from cosmos_sim.envs.held import HeldWorlds

        starts = "world" if twin_starts is None else twin_starts
        return HeldWorlds(count, world, horizon=horizon, starts=starts, trust=judge)

    def options(seeds: Sequence[int]) -> Mapping[str, Any]:
        return {"twin_seed": [int(seed) for seed in seeds]}

    identity = {
        "kind": "world",
        "content": content,
        "cosmos_sim": cosmos_sim.__version__,
        "horizon": horizon,
        "device": world.device.type,
        "dtype": str(world.dtype),
        "sampling_steps": len(world.times) - 1,
        "starts": "world" if twin_starts is None else _begun_by(split),
    }
    if trust is not None:
        identity["trust"] = fingerprint(trust)
    return Side(_called(Path(name)), identity, world.spec.fps, width, make, options)


def twin_side(task: str, *, horizon: int, width: int | None = None, split: str | None = None) -> Side:
    """The simulator of ``task``, in as many processes as there are cores; ``split`` is Tabletop's."""

    def make(count: int) -> VectorEnv:
        from cosmos_sim.envs.held import held_twins

        return held_twins(count, task, horizon=horizon, split=split)

    from cosmos_sim.envs.twin.simulation import FPS

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    identity = {
        "kind": "twin",
        "task": task,
        "cosmos_sim": cosmos_sim.__version__,
        "horizon": horizon,
        **_begun_by(split),
    }
    return Side("twin", identity, FPS, min(width or cores, 32), make, processes=True)


def _begun_by(split: str | None) -> dict[str, str]:
    """What decides, with a seed, where the simulator's episodes begin and go."""
    versions = {package: version(package) for package in ("robosuite", "mujoco")}
    return versions if split is None else versions | {"split": split}


def task_text(task: str) -> str:
    """A world's task in words, also where it goes by the simulator's name."""
    from cosmos_sim.envs.twin.tasks import TASKS

    return TASKS[task].description if task in TASKS else task


def start_seeds(worlds: Mapping[str, World], *, episodes: int | None, seeds: Sequence[int] | None) -> list[int]:
    """The seeds to evaluate from: ``seeds``, or the first ``episodes`` start frames of the first world.

    Raises :class:`ValueError` if a world has no such start frame, or not as many.
    """
    if seeds is not None and episodes is not None and episodes != len(seeds):
        raise ValueError(f"episodes={episodes} contradicts the {len(seeds)} seeds given")
    shipped = {name: world.starts for name, world in worlds.items()}
    for name, starts in shipped.items():
        if starts is None:
            raise ValueError(f"world {name!r} ships no start frames (starts.safetensors) to begin episodes from")
    there = {name: starts.seeds.tolist() for name, starts in shipped.items() if starts is not None}
    first = next(iter(there))
    if seeds is None:
        wanted = 10 if episodes is None else episodes
        if not 1 <= wanted <= len(there[first]):
            raise ValueError(
                f"episodes must lie between 1 and the {len(there[first])} starts of {first!r}, got {wanted}"
            )
        chosen = there[first][:wanted]
    else:
        chosen = [int(seed) for seed in seeds]
        if not chosen or len(set(chosen)) != len(chosen):
            raise ValueError(f"seeds must be distinct, at least one, got {chosen}")
    for name, known in there.items():
        absent = sorted(set(chosen) - set(known))
        if absent:
            some = ", ".join(map(str, known[:8])) + (", ..." if len(known) > 8 else "")
            raise ValueError(f"world {name!r} has no start frame of seed {absent[0]}; it has {some}")
    return chosen


def _called(folder: Path) -> str:
    """What training exports lies in a folder that is called alike in every run: the one around it tells them apart."""
    return folder.parent.name if folder.name in ("export", "pretrained_model") else folder.name
