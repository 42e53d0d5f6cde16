"""Any policy in any vector environment: closed loop, in chunks of actions, one record an episode."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    """Steps taken in episodes that were asked for and had not ended."""
    env_seconds: float
    """Time spent in the environment, resets included."""
    policy_seconds: float


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
    where there is none) held after any of its steps. ``info["success_probability"]`` is recorded where there is one.

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
                chunk = _checked(policy.act(observation, info), env)
            for actions in np.moveaxis(chunk, 1, 0):
                with clock.env:
                    observation, _, terminated, truncated, info = env.step(actions)
                success = _verdicts(info, terminated)
                probability = info.get("success_probability")
                for i in np.flatnonzero(live):
                    records[i].act(actions[i], bool(success[i]), None if probability is None else probability[i])
                    records[i].observe(observation, i)
                steps += int(live.sum())
                ended = live & (terminated | truncated)
                finished += int(ended.sum())
                live = live & ~ended
                if progress is not None:
                    progress(Progress(finished, len(seeds), steps, clock.env.seconds, clock.policy.seconds))
                if not live.any():
                    break
        yield from (record.close() for record in records)


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


@dataclass
class _Record:
    seed: int
    frames: dict[str, list[ndarray]] = field(default_factory=dict)
    state: list[ndarray] = field(default_factory=list)
    action: list[ndarray] = field(default_factory=list)
    probability: list[float] = field(default_factory=list)
    success: bool = False

    def observe(self, observation: Observation, index: int) -> None:
        for camera, images in observation["pixels"].items():
            self.frames.setdefault(camera, []).append(np.array(images[index]))
        self.state.append(np.array(observation["agent_pos"][index], dtype=np.float32))

    def act(self, action: ndarray, success: bool, probability: float | None) -> None:
        self.action.append(np.array(action, dtype=np.float32))
        self.success = self.success or success
        if probability is not None:
            self.probability.append(float(probability))

    def close(self) -> Rollout:
        return Rollout(
            frames={camera: np.stack(images) for camera, images in self.frames.items()},
            state=np.stack(self.state),
            action=np.stack(self.action),
            success=self.success,
            seed=self.seed,
            success_probability=np.array(self.probability, dtype=np.float32) if self.probability else None,
        )


def _verdicts(info: Mapping[str, Any], terminated: Bool[ndarray, "b"]) -> Bool[ndarray, "b"]:
    return np.asarray(info.get("is_success", terminated), dtype=bool)


def _checked(chunk: ndarray, env: VectorEnv) -> ndarray:
    expected = env.single_action_space.shape or ()
    chunk = np.asarray(chunk)
    if chunk.ndim != 2 + len(expected) or chunk.shape[0] != env.num_envs or chunk.shape[2:] != expected:
        wanted = f"({env.num_envs}, t, {', '.join(map(str, expected))})"
        raise ValueError(f"the policy must return actions of shape {wanted}, got {chunk.shape}")
    if chunk.shape[1] < 1:
        raise ValueError(f"the policy must return at least one action, got a chunk of shape {chunk.shape}")
    return chunk.astype(env.single_action_space.dtype)
