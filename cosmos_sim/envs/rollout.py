"""Any policy in any vector environment: closed loop, in chunks of actions, one record an episode."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from jaxtyping import Bool
from numpy import ndarray

from cosmos_sim.types import Observation, Policy, Rollout


@dataclass(frozen=True)
class Progress:
    """Where :func:`rollouts` stands after a step of the whole batch."""

    finished: int
    """Episodes that have ended."""
    episodes: int
    """Episodes asked for."""
    steps: int
    """Actions taken in episodes that were asked for and had not ended."""
    env_seconds: float
    """Time spent in the environment, resets included."""
    policy_seconds: float


@runtime_checkable
class Playing(Protocol):
    """A vector environment whose step is a chunk of actions, and which also takes chunks of any other length.

    :class:`~cosmos_sim.envs.world_vector.CosmosWorldVector` says what ``play`` returns.
    """

    def play(self, actions: ndarray) -> tuple[Any, ndarray, ndarray, ndarray, dict[str, Any]]: ...


def rollouts(
    policy: Policy,
    env: VectorEnv,
    seeds: Sequence[int],
    *,
    progress: Callable[[Progress], None] | None = None,
    options: Callable[[Sequence[int]], Mapping[str, Any]] | None = None,
) -> Iterator[Rollout]:
    """Run one episode from every seed, ``env.num_envs`` at a time, and yield them in the order of ``seeds``.

    Episode ``i`` starts from ``env.reset(seed=seeds[i])`` and the policy draws that episode's randomness from the same
    seed, so that neither the number of environments nor the other episodes change it, up to the rounding of batched
    arithmetic. An episode ends where its environment first reports ``terminated`` or ``truncated``, in mid-chunk too;
    what the environment says of it afterwards is ignored. It is a success if ``info["is_success"]`` (``terminated``
    where there is none) held after any of its steps. ``info["success_probability"]`` and ``info["trust"]`` are recorded
    where there are such.

    In an environment whose step is a chunk of ``c`` actions the policy's chunks are played as they are, whatever their
    length, ``c`` actions at a time; ``info["chunk"]`` tells what each of them led to. A world of chunks takes as long
    for fewer than ``c`` actions as for ``c``, so the policy's own chunk decides what an episode costs.

    Args:
        policy: anything that acts.
        env: gives ``{"pixels": {camera: ...}, "agent_pos": ...}`` and ends every episode by itself. Its autoreset mode
            is anything but ``SAME_STEP``, which hides an episode's last observation. The caller closes it.
        seeds: one an episode.
        progress: called after every step of the batch.
        options: from the seeds of a batch, the ``options`` of its ``env.reset``.

    Raises:
        ValueError: for such an environment, or for actions that are not ``(num_envs, t >= 1, *action_shape)``.
    """
    mode = env.metadata.get("autoreset_mode")
    if mode == AutoresetMode.SAME_STEP:
        raise ValueError(
            f"rollouts need an autoreset mode other than {mode}: it replaces an episode's last observation"
        )
    return _run(policy, env, [int(seed) for seed in seeds], progress, options)


def _run(
    policy: Policy,
    env: VectorEnv,
    seeds: list[int],
    progress: Callable[[Progress], None] | None,
    options: Callable[[Sequence[int]], Mapping[str, Any]] | None,
) -> Iterator[Rollout]:
    clock = _Clock()
    finished = steps = 0
    player = _Player.of(env)
    for first in range(0, len(seeds), env.num_envs):
        wanted = seeds[first : first + env.num_envs]
        batch = wanted + [wanted[-1]] * (env.num_envs - len(wanted))
        policy.reset(batch)
        with clock.env:
            chosen = None if options is None else dict(options(batch))
            observation, info = env.reset(seed=batch, options=chosen)  # type: ignore[arg-type]
        records = [_Record(seed) for seed in wanted]
        for i, record in enumerate(records):
            record.observe(observation, i)
        live = np.arange(env.num_envs) < len(wanted)
        while live.any():
            with clock.policy:
                chunk = player.checked(policy.act(observation, info))
            for first in range(0, chunk.shape[1], player.length):
                actions = chunk[:, first : first + player.length]
                with clock.env:
                    observation, _, terminated, truncated, info = player.play(actions)
                success = _verdicts(info, terminated)
                for i in np.flatnonzero(live):
                    steps += records[i].act(actions[i], observation, info, i)
                    records[i].success |= bool(success[i])
                ended = live & (terminated | truncated)
                finished += int(ended.sum())
                live = live & ~ended
                if progress is not None:
                    progress(Progress(finished, len(seeds), steps, clock.env.seconds, clock.policy.seconds))
                if not live.any():
                    break
        yield from (record.close() for record in records)


@dataclass(frozen=True)
class _Player:
    """What takes a policy's actions, ``n t a``, in an environment."""

    play: Callable[[ndarray], tuple[Any, ndarray, ndarray, ndarray, dict[str, Any]]]
    length: int
    """The most that it takes at once."""
    shape: tuple[int, ...]
    """Of the actions of all environments but for ``t``."""
    dtype: np.dtype

    @classmethod
    def of(cls, env: VectorEnv) -> "_Player":
        space = env.single_action_space
        shape, dtype = space.shape or (), np.dtype(space.dtype)
        if len(shape) == 2 and isinstance(env, Playing):
            return cls(env.play, shape[0], (env.num_envs, *shape[1:]), dtype)
        return cls(lambda actions: env.step(actions[:, 0]), 1, (env.num_envs, *shape), dtype)

    def checked(self, chunk: ndarray) -> ndarray:
        chunk = np.asarray(chunk)
        if chunk.ndim != 1 + len(self.shape) or (chunk.shape[0], *chunk.shape[2:]) != self.shape:
            wanted = f"({self.shape[0]}, t, {', '.join(map(str, self.shape[1:]))})"
            raise ValueError(f"the policy must return actions of shape {wanted}, got {chunk.shape}")
        if chunk.shape[1] < 1:
            raise ValueError(f"the policy must return at least one action, got a chunk of shape {chunk.shape}")
        return chunk.astype(self.dtype)


class _Stopwatch:
    def __init__(self) -> None:
        self.seconds = 0.0
        self._since = 0.0

    def __enter__(self) -> None:
        self._since = time.perf_counter()

    def __exit__(self, *_: object) -> None:
        self.seconds += time.perf_counter() - self._since


@dataclass
class _Clock:
    env: _Stopwatch = field(default_factory=_Stopwatch)
    policy: _Stopwatch = field(default_factory=_Stopwatch)


_TOLD = ("success_probability", "trust")
"""What an environment may tell of every frame."""


@dataclass
class _Record:
    seed: int
    frames: dict[str, list[ndarray]] = field(default_factory=dict)
    state: list[ndarray] = field(default_factory=list)
    action: list[ndarray] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)
    trust: list[float] = field(default_factory=list)
    success: bool = False

    def observe(self, observation: Observation, index: int) -> None:
        for camera, images in observation["pixels"].items():
            self.frames.setdefault(camera, []).append(np.array(images[index]))
        self.state.append(np.array(observation["agent_pos"][index], dtype=np.float32))

    def act(self, actions: ndarray, observation: Observation, info: Mapping[str, Any], index: int) -> int:
        """Record ``actions`` and what they led to; returns how many of them the episode took."""
        chunk = info.get("chunk")
        if chunk is None:
            taken = len(actions)
            self.observe(observation, index)
            told = {name: info[name][index : index + 1] for name in _TOLD if name in info}
        else:
            taken = int(chunk["executed"][index])
            for k in range(taken):
                pixels = {camera: chunk["pixels"][camera][:, k] for camera in observation["pixels"]}
                self.observe({"pixels": pixels, "agent_pos": chunk["agent_pos"][:, k]}, index)
            told = {name: chunk[name][index, :taken] for name in _TOLD if name in chunk}
        self.action.extend(np.array(actions[:taken], dtype=np.float32))
        self.probability.extend(float(value) for value in told.get("success_probability", ()))
        self.trust.extend(float(value) for value in told.get("trust", ()))
        return taken

    def close(self) -> Rollout:
        return Rollout(
            frames={camera: np.stack(images) for camera, images in self.frames.items()},
            state=np.stack(self.state),
            action=np.stack(self.action),
            success=self.success,
            seed=self.seed,
            success_probability=np.array(self.probability, dtype=np.float32) if self.probability else None,
            trust=np.array(self.trust, dtype=np.float32) if self.trust else None,
        )


def _verdicts(info: Mapping[str, Any], terminated: Bool[ndarray, "b"]) -> Bool[ndarray, "b"]:
    return np.asarray(info.get("is_success", terminated), dtype=bool)
