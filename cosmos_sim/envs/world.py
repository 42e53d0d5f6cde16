"""``CosmosWorld-v0``: one imagined episode at a time, as a Gymnasium environment."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.envs.imagination import Imagination, WorldArguments
from cosmos_sim.envs.moment import Moment
from cosmos_sim.envs.spaces import side_by_side
from cosmos_sim.types import Prediction, WorldModel

RENDER_MODES = ("rgb_array",)


@dataclass(frozen=True, eq=False)
class SavedWorld:
    """Where a :class:`CosmosWorld` stood: the imagined episode and the generator that seeds the next ones."""

    moment: Moment
    generator: Mapping[str, Any]


class CosmosWorld(gymnasium.Env[dict[str, Any], ndarray]):
    """A robot task inside a learned world: each step, a video model imagines what the action leads to.

    Observation
        ``{"pixels": {camera: uint8 h w 3}, "agent_pos": float32 (n,)}``, cameras, sizes, bounds and units as the
        world's ``config.json`` declares them. Those of the shipped worlds are the ones of ``CosmosTwin-v0``.
        ``agent_pos`` is clipped to its bounds; it is empty in a world without proprioception.
    Action
        ``Box`` of ``float32 (a,)`` in the units of the data the world learned from. An action of another shape, not
        finite, or outside the bounds is a :class:`ValueError`. Where a step is a chunk of ``c > 1`` actions (see
        ``chunk``), ``(c, a)``: they are taken one after the other, each leads to a frame of its own, and the
        observation is the last of these.
    Reward
        1 on the step that solves the task, else 0.
    End
        ``terminated`` once the probability of success has been above ``success_threshold`` for ``success_frames``
        consecutive frames; ``truncated`` after ``horizon`` actions and, with ``min_trust``, once trust has been below
        it for ``trust_frames`` consecutive frames: then ``info["trust_lost"]``, and the task is not solved. An episode
        may end at any action of a chunk, and the observation is then the frame that this action led to. A step before
        the first reset or after the end is
        :class:`gymnasium.error.ResetNeeded`.
    Info
        ``is_success``, ``success_probability`` (after a step), ``seed`` (of the episode), ``start_seed`` (the
        simulator's seed that made the start frame, or its episode's index in a dataset) and ``task``, what is to be
        done from this start, in words (also ``env.unwrapped.task_description``). After a step of ``c > 1`` actions also
        ``chunk``: ``pixels`` (``c h w 3`` a camera), ``agent_pos`` (``c n``) and ``success_probability`` (``c``) after
        each of them, and ``executed``, how many of them the episode took before it ended; what was imagined after these
        is no part of it. With ``trust``, also ``trust``: the probability that the frames of the last ``k`` actions (a
        chunk of the inverse dynamics) follow these, not a number before so many were taken, and in ``chunk`` after each
        action; and ``trust_lost``, see *End*.
    Reset
        ``reset(seed=s)`` begins the episode of seed ``s``: its noise is drawn from ``s``, its start is number ``s``
        modulo the number of starts (with ``starts="twin"``, the twin's ``reset(seed=s)``). Without a seed the
        environment's generator draws one. ``options={"start": i}`` begins from start number ``i`` and
        ``options={"twin_seed": s}`` from the start that the twin's seed ``s`` made; the seed then gives the noise only.
        The same seed, options and actions give the same episode, bit for bit, on the same device.

    Arguments
        ``world``: a shipped world's name, a folder, a hub id, or any object that keeps
        :class:`~cosmos_sim.types.WorldModel`. ``device``, ``dtype`` and ``sampling_steps`` are for loading it
        (``None``: as the world decides). ``chunk``: actions of a step (``None``: what the world takes at once, 1 for
        the small ones). Any number will do in any world, so ``chunk=1`` gives a Predict2.5 world, which takes 12 at a
        time, to agents that choose one action at a time; :meth:`play` says how, and each step then costs as much as one
        of 12. ``horizon``: actions until truncation (``None``: the world's).
        ``reward_model``: a :class:`~cosmos_sim.types.RewardModel` that judges the imagined frames (``None``: the
        world's success head; a world without one needs it). ``starts``: ``"world"`` (the start frames shipped with
        it), ``"twin"`` (fresh resets of the simulator), a LeRobot dataset's folder (the first frame of each episode) or
        a :class:`~cosmos_sim.data.starts.Starts`. ``success_threshold``, ``success_frames``: see *End*.
        ``trust``: inverse dynamics that read the actions back off the frames, and their calibration: ``True`` for those
        in the world's folder, a folder, or a :class:`~cosmos_sim.envs.trust.Trust` (``None``: none, which costs and
        tells nothing). ``min_trust``, ``trust_frames`` (``None``: 4 where there is a ``min_trust``): see *End*.
        ``render_mode``: ``None`` or ``"rgb_array"``, all cameras side by side.

    Beyond Gymnasium, on ``env.unwrapped``: :meth:`save_state`, :meth:`restore_state` and :meth:`branch`, for planners,
    and :meth:`play`, for chunks of any length.

    Version history
        v0: first.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012
    action_space: spaces.Box

    def __init__(
        self,
        world: str | Path | WorldModel = "lift",
        *,
        render_mode: str | None = None,
        **arguments: Unpack[WorldArguments],
    ) -> None:
        self.render_mode = check_render_mode(render_mode)
        self._imagination = Imagination.of(world, **arguments)
        self._moment: Moment | None = None
        spec = self._imagination.world.spec
        self.metadata = {**self.metadata, "render_fps": whole(spec.fps / self._imagination.chunk)}
        self.action_space = self._imagination.action_space
        self.observation_space = self._imagination.observation_space
        self.task = spec.task
        self._max_episode_steps = self._imagination.steps

    @property
    def world(self) -> WorldModel:
        """The world model behind the environment."""
        return self._imagination.world

    @property
    def task_description(self) -> str:
        """What is to be done in this episode, in words; before the first, the world's task."""
        return self.task if self._moment is None else self._moment.task[0]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin a new episode; see the class for ``seed`` and ``options``."""
        super().reset(seed=seed)
        episode = episode_seed(seed, self.np_random)
        self._moment = self._imagination.begin(None, [0], [episode], [options or {}])
        return self._seen(self._moment)

    def step(self, action: ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Imagine what ``action`` leads to."""
        return self._advance(self._imagination.chunked(action))

    def play(self, actions: ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """As :meth:`step`, for any number ``t >= 1`` of actions (``t a``), for policies with chunks of their own.

        A world that takes ``c`` at a time imagines them in whole chunks. Where the last is not full, its last action is
        held to the end of it, and the world goes on from the frame that the last action of ``actions`` led to. Two
        limits: a network that shows every frame all actions of its chunk may let held ones be felt in the frames that
        are kept, and such a chunk takes as long as a full one.
        """
        return self._advance(self._imagination.played(actions))

    def _advance(self, actions: Float32[ndarray, "t a"]) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        moment = self._begun()
        if moment.ended[0]:
            raise ResetNeeded(f"the episode ended after {moment.step[0]} actions: reset before the next one")
        self._moment = moment = self._imagination.advance(moment, actions[None], [0])
        terminated = bool(moment.terminated[0])
        observation, info = self._seen(moment)
        return observation, float(terminated), terminated, bool(moment.truncated[0]), info

    def save_state(self) -> SavedWorld:
        """Where the environment stands, as a value that stays what it is whatever happens next."""
        return SavedWorld(self._begun(), self.np_random.bit_generator.state)

    def restore_state(self, state: SavedWorld) -> tuple[dict[str, Any], dict[str, Any]]:
        """Go back to ``state``, which this environment saved; returns its observation and info, as ``reset`` does."""
        if not isinstance(state, SavedWorld):
            raise ValueError(f"restore_state takes what save_state returned, got {type(state).__name__}")
        self._moment = state.moment
        self.np_random.bit_generator.state = state.generator
        return self._seen(state.moment)

    def branch(self, state: SavedWorld, plans: ndarray) -> Prediction:
        """What ``k`` plans of ``t`` actions each (``k t a``) would lead to from ``state``, imagined as one batch.

        Frames are ``k t h w c``, ``success`` is the probability at each frame. The environment stays where it is, and
        the frames of a plan are those that :meth:`step` would give, a chunk at a time (:meth:`play`, for what is left
        over). Nothing ends within a plan.
        """
        if not isinstance(state, SavedWorld):
            raise ValueError(f"branch takes what save_state returned, got {type(state).__name__}")
        return self._imagination.branch(state.moment, plans)

    def render(self) -> ndarray | None:
        """All cameras side by side: ``uint8``, ``h w 3``."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() needs an environment made with render_mode='rgb_array'")
            return None
        moment = self._begun()
        return side_by_side({camera: moment.last(images)[0] for camera, images in moment.frames.items()})

    def close(self) -> None:
        self._imagination.source.close()

    def _begun(self) -> Moment:
        if self._moment is None:
            raise ResetNeeded("the environment has no episode yet: call reset() first")
        return self._moment

    def _seen(self, moment: Moment) -> tuple[dict[str, Any], dict[str, Any]]:
        batch = self._imagination.observation(moment)
        observation = {
            "pixels": {camera: images[0] for camera, images in batch["pixels"].items()},
            "agent_pos": batch["agent_pos"][0],
        }
        return observation, self._imagination.info(moment, 0)


def check_render_mode(mode: str | None) -> str | None:
    """``mode`` if there is such a one, else a :class:`ValueError`."""
    if mode is not None and mode not in RENDER_MODES:
        raise ValueError(f"render_mode must be None or one of {', '.join(RENDER_MODES)}, got {mode!r}")
    return mode


def episode_seed(seed: int | None, generator: np.random.Generator) -> int:
    """The seed of the next episode: ``seed``, or drawn by ``generator`` where it is ``None``."""
    return int(generator.integers(2**31)) if seed is None else int(seed)


def whole(fps: float) -> int | float:
    """``fps`` as an ``int`` where it is one, because video writers insist on it."""
    return int(fps) if fps == int(fps) else fps
