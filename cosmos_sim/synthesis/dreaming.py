"""One dream: a video of what an instruction says, the actions read off it, and what speaks against either."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Protocol

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

from cosmos_sim.data.images import stretch
from cosmos_sim.envs.twin.replay import replay
from cosmos_sim.synthesis.imagining import Imagines, Videos
from cosmos_sim.synthesis.plan import DreamConfig, Job
from cosmos_sim.synthesis.scores import action_scores, cycle_score, failure_score
from cosmos_sim.synthesis.starts import Start, Starts
from cosmos_sim.types import Frames, WorldModel
from cosmos_sim.world_model.inverse_dynamics import ActionReading


class Labeller(Protocol):
    """What is needed of :class:`~cosmos_sim.world_model.inverse_dynamics.InverseDynamics`, or of latent actions."""

    @property
    def cameras(self) -> tuple[str, ...]: ...

    @property
    def binary(self) -> Bool[ndarray, "a"]: ...

    def read(
        self, frames: Frames, state: Float32[ndarray, "t n"] | None = None, *, samples: int = 8, seed: int = 0
    ) -> ActionReading: ...


@dataclass(frozen=True, eq=False)
class ActionRange:
    """Of the seed dataset's actions, each number of shape ``a``: what pseudo-actions are held against."""

    low: Float32[ndarray, "a"]
    high: Float32[ndarray, "a"]
    spread: Float32[ndarray, "a"]


@dataclass(frozen=True, eq=False)
class Replayed:
    """What the pseudo-actions did in the simulator."""

    success: bool
    state: Float32[ndarray, "t1 n"]


@dataclass(frozen=True, eq=False)
class Dream:
    """A labelled video: frame ``k + 1`` is what action ``k`` led to."""

    frames: Videos
    reading: ActionReading
    state: Float32[ndarray, "t1 n"] | None
    """Proprioception as it was imagined with the frames, else as a world predicts it under the actions, if one is
    asked."""
    scores: Mapping[str, float]
    start: Start
    replayed: Replayed | None
    seconds: float


class Dreaming:
    """Makes dreams, one at a time.

    Args:
        config: what is made.
        imagines: goes on from a frame as a text says.
        labeller: reads the actions.
        usual: range and spread of the seed dataset's actions.
        starts: where dreams begin.
        world: carries the actions out in imagination, if there is one that can.

    Raises:
        ValueError: networks and dataset that do not fit each other.
    """

    def __init__(
        self,
        config: DreamConfig,
        imagines: Imagines,
        labeller: Labeller,
        *,
        usual: ActionRange,
        starts: Starts,
        world: WorldModel | None = None,
    ) -> None:
        self.config, self.imagines, self.labeller = config, imagines, labeller
        self.usual, self.starts, self.world = usual, starts, world
        self.cameras = starts.cameras
        shown = imagines.cameras
        if shown is not None and set(shown) != set(self.cameras):
            raise ValueError(f"the model imagines {', '.join(shown)}, the dataset shows {', '.join(self.cameras)}")
        if shown is None and len(self.cameras) != 1:
            raise ValueError(f"the model imagines one camera, the dataset shows {', '.join(self.cameras)}")
        asked = {"the labeller": labeller.cameras} | ({} if world is None else {"the world": tuple(world.spec.cameras)})
        for who, cameras in asked.items():
            if missing := sorted(set(cameras) - set(self.cameras)):
                raise ValueError(f"{who} sees {', '.join(missing)}, which the dataset does not show")
        if len(labeller.binary) != len(usual.low):
            raise ValueError(f"the labeller reads {len(labeller.binary)} numbers, an action has {len(usual.low)}")
        if world is not None and world.spec.action_dim != len(usual.low):
            raise ValueError(f"the world takes {world.spec.action_dim} numbers, an action has {len(usual.low)}")

    def dream(self, job: Job) -> Dream:
        """Imagine, label and score ``job``.

        Raises:
            ValueError: a start that cannot be read.
            FloatingPointError: the model made NaN or infinity.
        """
        began, seed = perf_counter(), job.seed(self.config)
        start = self.starts.of(job, seed)
        made = self.imagines.imagine(start, job.instruction, frames=self.config.frames, seed=seed)
        reading = self.labeller.read(made.frames, made.state, samples=self.config.samples, seed=seed)
        state, scores = self.score(made.frames, start, reading, seed=seed)
        replayed = None
        if self.config.twin is not None and start.seed is not None:
            done = replay(
                self.config.twin, start.seed, reading.action, instruction=start.told(job.instruction), split=start.split
            )
            replayed = Replayed(done.success, done.state)
            scores["replay"] = float(not done.success)
        state = state if made.state is None else made.state
        return Dream(made.frames, reading, state, scores, start, replayed, perf_counter() - began)

    def score(
        self, frames: Videos, start: Start, reading: ActionReading, *, seed: int
    ) -> tuple[Float32[ndarray, "t1 n"] | None, dict[str, float]]:
        """What a world predicts of the proprioception, and the scores that need no truth."""
        usual = self.usual
        scores = action_scores(
            reading, binary=self.labeller.binary, low=usual.low, high=usual.high, spread=usual.spread
        )
        if self.world is None:
            return None, scores
        spec = self.world.spec
        first = {camera: stretch(start.frames[camera][None], size) for camera, size in spec.cameras.items()}
        state = self.world.reset(first, start.state[None], [seed])
        actions = np.clip(reading.action, spec.action_low, spec.action_high).astype(np.float32)
        _, told = self.world.step(state, actions[None])
        dream = {camera: stretch(frames[camera], size) for camera, size in spec.cameras.items()}
        rolled = {camera: np.concatenate([first[camera], told.frames[camera][0]]) for camera in spec.cameras}
        scores["cycle"] = cycle_score(dream, rolled)
        if told.success is not None:
            scores["failure"] = failure_score(told.success[0])
        return np.concatenate([start.state[None], told.proprioception[0]]).astype(np.float32), scores
