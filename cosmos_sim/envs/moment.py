"""Where imagined episodes stand, as a value: saving, restoring and branching are nothing but keeping it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from numpy import ndarray


@dataclass(frozen=True, eq=False)
class Cohort:
    """Episodes whose worlds share one state of the world model: ``worlds[i]`` is entry ``i`` of its batch."""

    state: Any
    worlds: Int64[ndarray, "m"]


@dataclass(frozen=True, eq=False)
class Trail:
    """What trust in ``n`` imagined episodes is judged by: the latest ``k`` steps, and what came of it so far."""

    seen: Float32[ndarray, "n k d"]
    """Of each of these steps, by the inverse dynamics; 0 before an episode's first."""
    action: Float32[ndarray, "n k a"]
    trust: Float64[ndarray, "n t"]
    """After each action of the latest step; not a number before an episode's ``k``-th."""
    streak: Int64[ndarray, "n"]
    """Frames in a row, up to the latest, that are trusted too little."""
    lost: Bool[ndarray, "n"]
    """Where the episode was truncated for that."""

    def select(self, worlds: Int64[ndarray, "m"]) -> "Trail":
        return Trail(**{field.name: getattr(self, field.name)[worlds] for field in fields(self)})


@dataclass(frozen=True, eq=False)
class Moment:
    """Where ``n`` imagined episodes stand, and what the ``t`` actions of the latest step led to.

    Never changed, only replaced. :meth:`last` gives what is seen now.
    """

    cohorts: tuple[Cohort, ...]
    frames: Mapping[str, UInt8[ndarray, "n t h w c"]]
    """After each action of the latest step; before the first step, the start."""
    agent_pos: Float32[ndarray, "n t k"]
    probability: Float64[ndarray, "n t"]
    """Of success; not a number before the first step."""
    executed: Int64[ndarray, "n"]
    """How many of the latest step's actions belong to the episode: fewer than ``t`` where it ended among them, 0 where
    it had not begun or had ended before."""
    seed: Int64[ndarray, "n"]
    """The seed of each episode, from which its world draws its noise."""
    start_seed: Int64[ndarray, "n"]
    """The seed that made the start frame (see :class:`~cosmos_sim.data.starts.Starts`)."""
    task: ndarray
    """What is to be done in each episode: ``n`` texts."""
    step: Int64[ndarray, "n"]
    """Actions taken since the start."""
    streak: Int64[ndarray, "n"]
    """Frames in a row, up to the latest, that look solved."""
    terminated: Bool[ndarray, "n"]
    truncated: Bool[ndarray, "n"]
    trail: Trail | None = None
    """What trust is judged by; ``None`` where it is not."""

    def __len__(self) -> int:
        return len(self.step)

    @property
    def ended(self) -> Bool[ndarray, "n"]:
        return self.terminated | self.truncated

    def last(self, values: ndarray) -> ndarray:
        """Of ``values`` (``n t ...``) of the latest step, those after the episode's latest action: ``n ...``."""
        return values[:, 0] if values.shape[1] == 1 else values[np.arange(len(self)), self.executed - 1]

    def waiting(self, t: int) -> "Moment":
        """This moment after ``t`` more actions that are taken in none of the worlds."""

        def kept(values: ndarray) -> ndarray:
            return np.broadcast_to(self.last(values)[:, None], (len(self), t, *values.shape[2:]))

        return replace(
            self,
            frames={camera: kept(images) for camera, images in self.frames.items()},
            agent_pos=kept(self.agent_pos),
            probability=kept(self.probability),
            executed=np.zeros_like(self.executed),
            trail=None if self.trail is None else replace(self.trail, trust=kept(self.trail.trust)),
        )

    def put(self, worlds: Int64[ndarray, "m"], part: "Moment") -> "Moment":
        """This moment with the ``m`` episodes of ``part`` in place of those of ``worlds``; the cohorts stay.

        ``part`` holds as many actions as this moment, or only a start.
        """

        def changed(into: ndarray, values: ndarray) -> ndarray:
            copy = into.copy()
            copy[worlds] = values
            return copy

        def arrays(into: Any, values: Any) -> dict[str, Any]:
            return {
                field.name: changed(getattr(into, field.name), getattr(values, field.name))
                for field in fields(into)
                if field.name not in ("cohorts", "frames", "trail")
            }

        frames = {camera: changed(images, part.frames[camera]) for camera, images in self.frames.items()}
        trail = None if self.trail is None else Trail(**arrays(self.trail, part.trail))
        return replace(self, frames=frames, trail=trail, **arrays(self, part))
