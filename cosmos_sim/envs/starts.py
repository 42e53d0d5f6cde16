"""Where imagined episodes begin: shipped start frames, fresh resets of the simulator, or episodes of a dataset."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import gymnasium
import numpy as np

from cosmos_sim.data.starts import Starts
from cosmos_sim.types import WorldModel, WorldSpec

_OPTIONS = ("start", "twin_seed")


class StartSource(Protocol):
    """Gives one start at a time, always as :class:`Starts` of length one."""

    def of_episode(self, seed: int) -> Starts:
        """The start of the episode that is seeded by ``seed``: the same one every time."""

    def made_from(self, twin_seed: int) -> Starts:
        """The start that the simulator's ``reset(seed=twin_seed)`` gives."""

    def at(self, index: int) -> Starts:
        """The start at ``index``, for sources that are lists."""

    def close(self) -> None: ...


class ListedStarts:
    """Starts that are there already. The episode seeded by ``s`` begins from number ``s`` modulo their count."""

    def __init__(self, starts: Starts) -> None:
        self._starts = starts

    def of_episode(self, seed: int) -> Starts:
        return self._starts.select([seed % len(self._starts)])

    def made_from(self, twin_seed: int) -> Starts:
        return self._starts.select([self._starts.index(twin_seed)])

    def at(self, index: int) -> Starts:
        return self._starts.select([index])

    def close(self) -> None:
        pass


class TwinStarts:
    """Starts that the simulator makes when asked: the episode seeded by ``s`` begins from its ``reset(seed=s)``.

    Raises :class:`ValueError` if the simulator has no such task or does not see what the world of ``spec`` sees.
    """

    def __init__(self, spec: WorldSpec) -> None:
        self._spec = spec
        self._twin = gymnasium.make("CosmosTwin-v0", task=spec.task)
        self.of_episode(0)

    def of_episode(self, seed: int) -> Starts:
        return _fitting(_reset_twin(self._twin, [seed]), self._spec)

    def made_from(self, twin_seed: int) -> Starts:
        return self.of_episode(twin_seed)

    def at(self, index: int) -> Starts:
        raise ValueError(f"starts='twin' is no list, so there is no start {index}; choose one by 'twin_seed'")

    def close(self) -> None:
        self._twin.close()


def starts_from_twin(task: str, seeds: Sequence[int], *, split: str | None = None) -> Starts:
    """The simulator's observations after ``reset(seed)`` for each of ``seeds``; ``task`` by its name or in words."""
    twin = gymnasium.make("CosmosTwin-v0", task=task, split=split)
    try:
        return _reset_twin(twin, seeds)
    finally:
        twin.close()


def starts_from_lerobot(path: str | Path) -> Starts:
    """The first frame of every episode of the LeRobot dataset at ``path``; ``seeds`` are the episodes' indices."""
    from cosmos_sim.data.lerobot import read_episodes

    first = [
        Starts(
            frames={camera: frames[:1].copy() for camera, frames in episode.frames.items()},
            state=episode.state[:1].copy(),
            seeds=np.array([number], dtype=np.int64),
            tasks=(episode.task,),
        )
        for number, episode in enumerate(read_episodes(path))
    ]
    return Starts.concatenate(first)


def start_source(starts: str | Path | Starts, world: WorldModel) -> StartSource:
    """What the environments' ``starts`` argument names, checked against the cameras and the state of ``world``.

    ``"world"`` are the start frames shipped with the world, ``"twin"`` fresh resets of the simulator, any other string
    the folder or hub id of a LeRobot dataset. Raises :class:`ValueError` for starts that do not fit the world.
    """
    if isinstance(starts, Starts):
        return ListedStarts(_fitting(starts, world.spec))
    if starts == "world":
        shipped = getattr(world, "starts", None)
        if shipped is None:
            raise ValueError("starts='world', but this world ships no start frames: give a Starts, a dataset or 'twin'")
        return ListedStarts(_fitting(shipped, world.spec))
    if starts == "twin":
        return TwinStarts(world.spec)
    if not Path(starts).is_dir() and "/" not in str(starts):
        raise ValueError(
            f"starts must be 'world', 'twin', a Starts, or a LeRobot dataset's folder or hub id, got {str(starts)!r}"
        )
    return ListedStarts(_fitting(starts_from_lerobot(starts), world.spec))


def choose_start(source: StartSource, seed: int, options: Mapping[str, Any]) -> Starts:
    """The start that ``reset(seed, options)`` asks for, of length one.

    ``options`` may hold ``start`` (its number in the list) or ``twin_seed`` (the simulator's seed that made it), not
    both. Raises :class:`ValueError` for any other option and for a start that is not there.
    """
    for name in options:
        if name not in _OPTIONS:
            near = difflib.get_close_matches(str(name), _OPTIONS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(_OPTIONS)}"
            raise ValueError(f"unknown reset option {name!r}{hint}")
    if len(options) > 1:
        raise ValueError(f"options 'start' and 'twin_seed' exclude each other, got {dict(options)}")
    for name, value in options.items():
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 0:
            raise ValueError(f"option {name!r} must be a whole number, not negative, got {value!r}")
        return source.at(int(value)) if name == "start" else source.made_from(int(value))
    return source.of_episode(seed)


def _reset_twin(twin: gymnasium.Env, seeds: Sequence[int]) -> Starts:
    observations, infos = zip(*(twin.reset(seed=int(seed)) for seed in seeds), strict=True)
    return Starts(
        frames={camera: np.stack([o["pixels"][camera] for o in observations]) for camera in observations[0]["pixels"]},
        state=np.stack([o["agent_pos"] for o in observations]).astype(np.float32),
        seeds=np.array(seeds, dtype=np.int64),
        tasks=tuple(info["task"] for info in infos),
    )


def _fitting(starts: Starts, spec: WorldSpec) -> Starts:
    """``starts`` with the cameras of ``spec`` in its order, others left out; so is the state where it has none."""
    for camera, (height, width) in spec.cameras.items():
        if camera not in starts.frames:
            raise ValueError(f"the world sees {camera!r}, but the starts have only {', '.join(starts.frames)}")
        if starts.frames[camera].shape[1:3] != (height, width):
            raise ValueError(
                f"camera {camera!r} of the world is {height}x{width}, but the starts' frames are "
                f"{'x'.join(map(str, starts.frames[camera].shape[1:3]))}"
            )
    if spec.state_dim and starts.state.shape[1] != spec.state_dim:
        raise ValueError(f"the world's state has {spec.state_dim} values, but the starts' has {starts.state.shape[1]}")
    return replace(
        starts,
        frames={camera: starts.frames[camera] for camera in spec.cameras},
        state=starts.state[:, : spec.state_dim],
    )
