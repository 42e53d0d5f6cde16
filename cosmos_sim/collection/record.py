"""One episode of a policy in the simulator twin, recorded to a fixed length."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from cosmos_sim.collection.plan import EpisodePlan
from cosmos_sim.data.annotations import Annotations, millimetres
from cosmos_sim.envs.twin.env import CosmosTwin, View
from cosmos_sim.envs.twin.scene import Scene
from cosmos_sim.types import Episode, Policy


def record(
    twin: CosmosTwin,
    policy: Policy,
    plan: EpisodePlan,
    *,
    length: int,
    scene: Scene | None = None,
    instruction: str | None = None,
    annotate: bool = False,
) -> Episode:
    """Let ``policy`` act in ``twin`` for ``length`` steps, on after success; its actions are cut to the twin's range.

    ``twin`` must not end before (``terminate_on_success=False``, ``horizon >= length``). The twin's true state before
    each action is kept in ``info["truth"]``: name to an array of ``length`` rows. In a twin that shows scenes the
    episode looks like ``scene``, or like the twin's own, which ``info["scene"]`` holds with the dish in its place.
    ``instruction`` is what the twin is told where the seed is not to say. ``annotate`` keeps true depth and segments of
    all frames in ``info["annotations"]``.

    Raises:
        ValueError: if the twin ends before ``length`` steps.
    """
    space = twin.action_space
    assert isinstance(space, Box)
    options = {"scene": scene, "instruction": instruction}
    options = {name: value for name, value in options.items() if value is not None}
    observation, info = twin.reset(seed=plan.seed, options=options)
    policy.reset([plan.seed])
    frames: dict[str, list[np.ndarray]] = {camera: [] for camera in observation["pixels"]}
    truth: dict[str, list[np.ndarray]] = {name: [] for name in info["state"]}
    views: dict[str, list[View]] = {camera: [] for camera in observation["pixels"]}
    states, actions, rewards, successes = [], [], [], []
    chunk: list[np.ndarray] = []
    ended = False
    for step in range(length):
        if ended:
            raise ValueError(f"the twin ended after {step} of the {length} steps to record")
        if not chunk:
            chunk = list(policy.act(_batched(observation), _batched(info))[0])
        action = np.clip(chunk.pop(0), space.low, space.high).astype(np.float32)
        for camera, image in observation["pixels"].items():
            frames[camera].append(image)
        if annotate:
            for camera, view in twin.annotate().items():
                views[camera].append(view)
        for name, value in info["state"].items():
            truth[name].append(value)
        states.append(observation["agent_pos"])
        actions.append(action)
        observation, reward, terminated, truncated, info = twin.step(action)
        rewards.append(reward)
        successes.append(info["is_success"])
        ended = terminated or truncated
    extra: dict[str, Any] = {"truth": {name: np.stack(values).astype(np.float32) for name, values in truth.items()}}
    if twin.scene is not None:
        extra["scene"] = twin.scene
    if annotate:
        extra["annotations"] = Annotations(
            depth={camera: millimetres(np.stack([view.depth for view in seen])) for camera, seen in views.items()},
            segments={camera: np.stack([view.segments for view in seen]) for camera, seen in views.items()},
            names=twin.segment_names,
        )
    return Episode(
        frames={camera: np.stack(images) for camera, images in frames.items()},
        state=np.stack(states).astype(np.float32),
        action=np.stack(actions),
        task=twin.task_description,
        success=np.asarray(successes, dtype=bool),
        reward=np.asarray(rewards, dtype=np.float32),
        fps=float(twin.metadata["render_fps"]),
        info=extra,
    )


def _batched(values: Mapping[str, Any]) -> dict[str, Any]:
    """Every array with a leading axis of 1, as policies want it."""
    return {
        key: _batched(value) if isinstance(value, Mapping) else np.asarray(value)[None] for key, value in values.items()
    }
