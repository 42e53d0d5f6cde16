"""The learned world and the twin as LeRobot environments, for ``lerobot-eval`` and ``lerobot-train``.

LeRobot finds them with ``--env.discover_packages_path=cosmos_sim.envs``::

    lerobot-eval --env.discover_packages_path=cosmos_sim.envs --env.type=cosmos_world --env.world=lift \\
        --policy.path=... --eval.n_episodes=20 --eval.batch_size=10
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.envs.utils import NEW_ROLLOUT_OPTION, freeze_after_episode_end
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE
from numpy import ndarray

from cosmos_sim.envs.held import HeldWorlds
from cosmos_sim.envs.rewards_lerobot import LeRobotReward
from cosmos_sim.envs.world_vector import Step
from cosmos_sim.envs.worlds import read_spec


@EnvConfig.register_subclass("cosmos_world")
@dataclass
class CosmosWorldEnv(EnvConfig):
    """``--env.type=cosmos_world``: imagined episodes, all environments as one batch of the world model.

    The arguments are those of :class:`~cosmos_sim.envs.world.CosmosWorld`; ``episode_length`` is its ``horizon`` and
    ``reward_classifier`` the folder or hub id of a LeRobot reward classifier, its ``reward_model``. Features, ``fps``
    and ``task`` come from the world's ``config.json``. Actions are clipped to the world's bounds. LeRobot's policies
    choose one action at a time: a Predict2.5 world begins again from every frame, at the price of a chunk an action.
    """

    task: str | None = None
    world: str = "lift"
    episode_length: int | None = None
    device: str | None = None
    dtype: str | None = None
    sampling_steps: int | None = None
    starts: str = "world"
    success_threshold: float = 0.5
    success_frames: int = 2
    reward_classifier: str | None = None

    def __post_init__(self) -> None:
        spec = read_spec(self.world)
        if not spec.has_success and self.reward_classifier is None:
            raise ValueError(f"world {self.world!r} has no success head: give reward_classifier=")
        if self.task not in (None, spec.task):
            raise ValueError(f"the task of world {self.world!r} is {spec.task!r}, got task={self.task!r}")
        self.task = spec.task
        self.fps = round(spec.fps)
        self.features, self.features_map = _features(spec.cameras, state_dim=spec.state_dim, action_dim=spec.action_dim)

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {
            "world": self.world,
            "horizon": self.episode_length,
            "device": self.device,
            "dtype": self.dtype,
            "sampling_steps": self.sampling_steps,
            "starts": self.starts,
            "success_threshold": self.success_threshold,
            "success_frames": self.success_frames,
            "chunk": 1,
            "render_mode": "rgb_array",
        }

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, VectorEnv]]:
        """One batch of ``n_envs`` worlds in this process: it needs no others, whatever ``use_async_envs`` says."""
        judge = None if self.reward_classifier is None else LeRobotReward(self.reward_classifier, device=self.device)
        return {self.type: {0: _Worlds(n_envs, **self.gym_kwargs, reward_model=judge)}}


@EnvConfig.register_subclass("cosmos_twin")
@dataclass
class CosmosTwinEnv(EnvConfig):
    """``--env.type=cosmos_twin``: the simulator, for the same evaluation in the world's truth.

    ``task``, ``split`` (of ``Tabletop``) and ``episode_length`` (its ``horizon``) are arguments of
    :class:`~cosmos_sim.envs.twin.env.CosmosTwin`. Policies are told each episode's own instruction. Actions are clipped
    to its bounds.
    """

    task: str | None = "Lift"
    split: str | None = None
    episode_length: int | None = None

    def __post_init__(self) -> None:
        from cosmos_sim.envs.twin.env import CAMERAS, FPS, IMAGE_SIZE

        self.fps = FPS
        self.features, self.features_map = _features(
            dict.fromkeys(CAMERAS, (IMAGE_SIZE, IMAGE_SIZE)), state_dim=7, action_dim=7
        )

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        return {
            "task": self.task,
            "split": self.split,
            "horizon": self.episode_length,
            "render_mode": "rgb_array",
        }

    def create_envs(self, n_envs: int, use_async_envs: bool = False) -> dict[str, dict[int, VectorEnv]]:
        """``n_envs`` simulators, each in its own process if ``use_async_envs``."""

        def make() -> gymnasium.Env:
            import cosmos_sim  # noqa: F401  registers the id in the processes of their own

            return _Twin(gymnasium.make("CosmosTwin-v0", **self.gym_kwargs))

        makers = [freeze_after_episode_end(make)] * n_envs
        if use_async_envs and n_envs > 1:
            return {self.type: {0: AsyncVectorEnv(makers, context="spawn", autoreset_mode=AutoresetMode.NEXT_STEP)}}
        return {self.type: {0: SyncVectorEnv(makers, autoreset_mode=AutoresetMode.NEXT_STEP)}}


class _Worlds(HeldWorlds):
    """Takes what LeRobot gives: its own reset option, and actions that no one has clipped."""

    def reset(self, *, seed: Any = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        return super().reset(seed=seed, options=_ours(options))

    def step(self, actions: ndarray) -> Step:
        return super().step(_clipped(actions, self.action_space))


class _Twin(gymnasium.Wrapper):
    """As :class:`_Worlds`, for one simulator."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        return self.env.reset(seed=seed, options=_ours(options))

    def step(self, action: ndarray) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        return self.env.step(_clipped(action, self.action_space))


def _clipped(actions: ndarray, space: gymnasium.Space) -> ndarray:
    assert isinstance(space, gymnasium.spaces.Box)
    return np.clip(actions, space.low, space.high)


def _ours(options: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (options or {}).items() if name != NEW_ROLLOUT_OPTION}


def _features(
    cameras: Mapping[str, tuple[int, int]], *, state_dim: int, action_dim: int
) -> tuple[dict[str, PolicyFeature], dict[str, str]]:
    """LeRobot's description of the spaces, and the names under which its policies know them."""
    features = {ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(action_dim,))}
    names = {ACTION: ACTION}
    if state_dim:
        features["agent_pos"] = PolicyFeature(type=FeatureType.STATE, shape=(state_dim,))
        names["agent_pos"] = OBS_STATE
    for camera, size in cameras.items():
        features[f"pixels/{camera}"] = PolicyFeature(type=FeatureType.VISUAL, shape=(*size, 3))
        names[f"pixels/{camera}"] = f"{OBS_IMAGES}.{camera}"
    return features, names
