"""Policies in the simulator twin, recorded by several processes into one dataset."""

import json
import multiprocessing
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from cosmos_sim.collection.card import card
from cosmos_sim.collection.plan import SKILLS, CollectionConfig, plan_episode, plan_instruction, plan_scene
from cosmos_sim.collection.staging import Staging
from cosmos_sim.data.captions import EpisodeCaption, write_captions
from cosmos_sim.data.processes import serve_parent
from cosmos_sim.types import Episode, Policy

if TYPE_CHECKING:
    from cosmos_sim.envs.twin.env import CosmosTwin

STATE_NAMES = ("x", "y", "z", "rotation_x", "rotation_y", "rotation_z", "gripper_opening")
ACTION_NAMES = ("x", "y", "z", "rotation_x", "rotation_y", "rotation_z", "gripper")


@dataclass(frozen=True)
class Collected:
    """A finished collection."""

    path: Path
    episodes: int
    successes: int
    new: int
    """Episodes that this call recorded; the others were there from before."""


def collect(config: CollectionConfig, out: str | Path, *, workers: int = 1, progress: bool = True) -> Collected:
    """Record the episodes of ``config`` with ``workers`` processes and assemble them as the LeRobot dataset ``out``.

    Episodes are staged one by one in ``<out>.collecting`` (6 MB each for 60 steps), so that a process killed at any
    moment is continued by the same call; ``out`` is whole or is not there. ``meta/collection.json`` tells the seed, the
    skill, the success, the scene and the instruction of each episode, ``meta/simulator_state.npz`` the twin's true
    state at each row, ``meta/captions.jsonl`` the scenes in words, and ``meta/annotations`` true depth and segments if
    they are asked for.

    Returns:
        What is at ``out``; if it was complete before, nothing is done.

    Raises:
        ValueError: if ``out`` holds something else, or was begun with another config (naming the difference).
        OSError: if the disk is full or a process dies; what was recorded is kept.
    """
    if workers < 1:
        raise ValueError(f"workers must be at least 1, got {workers}")
    out = Path(out).absolute()
    staging = Staging(out)
    if _finished(config, out):
        staging.remove()
        return _summary(out, new=0)
    with staging.opened(config):
        missing = sorted(set(range(config.episodes)) - staging.recorded())
        _record_all(config, staging, missing, workers=workers, progress=progress)
        _assemble(config, staging, out, progress=progress)
    staging.remove()
    return _summary(out, new=len(missing))


def _finished(config: CollectionConfig, out: Path) -> bool:
    """Whether ``out`` is this collection; :class:`ValueError` if it is anything else than that or nothing."""
    file = out / "meta" / "collection.json"
    if not file.is_file():
        if out.exists() and (not out.is_dir() or any(out.iterdir())):
            raise ValueError(f"{str(out)!r} exists already and is not a collection")
        return False
    differences = config.differences(json.loads(file.read_text())["config"])
    if differences:
        raise ValueError(f"{str(out)!r} was collected with other options: {'; '.join(differences)}")
    return True


def _summary(out: Path, *, new: int) -> Collected:
    episodes = json.loads((out / "meta" / "collection.json").read_text())["episodes"]
    return Collected(out, len(episodes), sum(episode["success"] for episode in episodes), new)


def _record_all(
    config: CollectionConfig, staging: Staging, missing: list[int], *, workers: int, progress: bool
) -> None:
    """Record the episodes ``missing`` into ``staging``, in whatever order they come."""
    if not missing:
        return
    successes = sum(staging.succeeded(index) for index in staging.recorded())
    done = config.episodes - len(missing)
    pool = ProcessPoolExecutor(
        max_workers=min(workers, len(missing)),
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start_worker,
        initargs=(config, staging),
    )
    bar = tqdm(total=config.episodes, initial=done, desc=config.task, unit="episode", disable=not progress)
    try:
        for future in as_completed([pool.submit(_record_one, index) for index in missing]):
            successes, done = successes + future.result(), done + 1
            bar.set_postfix_str(f"{successes / done:.0%} solved", refresh=False)
            bar.update()
    except BrokenProcessPool as error:
        raise OSError("a recording process died") from error
    finally:
        bar.close()
        pool.shutdown(cancel_futures=True)


@dataclass
class _Worker:
    """What a recording process keeps between episodes."""

    config: CollectionConfig
    staging: Staging
    twin: "CosmosTwin"
    trained: dict[str, Policy]
    """The trained policies that have acted here."""

    def actor(self, name: str) -> Policy:
        if name in SKILLS:
            from cosmos_sim.policies.scripted import scripted_policy

            return scripted_policy(self.config.task, name)
        if name not in self.trained:
            import torch

            from cosmos_sim.policies.load import load_policy

            torch.set_num_threads(1)  # the cores are busy with as many recording processes
            self.trained[name] = load_policy(name)
        return self.trained[name]


_worker: _Worker | None = None


def _start_worker(config: CollectionConfig, staging: Staging) -> None:
    """Make this process ready to record."""
    global _worker
    serve_parent()
    from cosmos_sim.envs.twin.env import CosmosTwin

    scene = plan_scene(config, 0)
    twin = CosmosTwin(config.task, horizon=config.length, terminate_on_success=False, scene=scene, split=config.split)
    _worker = _Worker(config, staging, twin, {})


def _record_one(index: int) -> bool:
    """Record and stage episode ``index``; returns whether the task was solved."""
    from cosmos_sim.collection.record import record

    assert _worker is not None
    config, plan = _worker.config, plan_episode(_worker.config, index)
    episode = record(
        _worker.twin,
        _worker.actor(plan.skill),
        plan,
        length=config.length,
        scene=plan_scene(config, index),
        instruction=plan_instruction(config, index),
        annotate=config.annotate,
    )
    _worker.staging.save(index, episode)
    assert episode.success is not None
    return bool(episode.success.any())


def _assemble(config: CollectionConfig, staging: Staging, out: Path, *, progress: bool) -> None:
    """Make the dataset of the staged episodes, complete with its sidecars, and rename it to ``out``."""
    from cosmos_sim.data.lerobot import write_dataset

    entries: list[dict[str, object]] = []
    truths: list[dict[str, np.ndarray]] = []
    captions: dict[int, EpisodeCaption] = {}

    def episodes() -> Iterator[Episode]:
        for index in tqdm(range(config.episodes), "assembling", unit="episode", disable=not progress):
            episode, plan = staging.load(index), plan_episode(config, index)
            assert episode.success is not None
            solved = np.flatnonzero(episode.success)
            entries.append(
                asdict(plan) | {"success": len(solved) > 0, "solved_at": int(solved[0]) if len(solved) else None}
            )
            if config.split is not None:
                entries[-1]["instruction"] = episode.task
            truths.append(dict(episode.info["truth"]))
            if "scene" in episode.info:
                entries[-1]["scene"] = episode.info["scene"].to_dict()
                captions[index] = episode.info["scene"].caption
            yield episode

    temporary = staging.folder / "dataset"
    for stale in staging.folder.glob("*dataset*"):
        shutil.rmtree(stale)
    write_dataset(episodes(), temporary, robot_type="panda", state_names=STATE_NAMES, action_names=ACTION_NAMES)
    np.savez(
        temporary / "meta" / "simulator_state.npz",
        **{name: np.concatenate([truth[name] for truth in truths]) for name in truths[0]},
    )
    if captions:
        write_captions(temporary, captions)
    if config.annotate:
        shutil.copytree(staging.annotations / "meta", temporary / "meta", dirs_exist_ok=True)
    record = {"config": config.as_json(), "episodes": entries}
    (temporary / "meta" / "collection.json").write_text(json.dumps(record, indent=1))
    (temporary / "README.md").write_text(card(config, entries))
    temporary.rename(out)
