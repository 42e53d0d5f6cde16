"""Where imagined episodes stand, as a value: saving, restoring and branching are nothing but keeping it."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from jaxtyping import Bool, Float32, Float64, Int64, UInt8
from numpy import ndarray


@dataclass(frozen=True, eq=False)
class Cohort:
    """Episodes whose worlds share one state of the world model: ``worlds[i]`` is entry ``i`` of its batch."""

    state: Any
    worlds: Int64[ndarray, "m"]


@dataclass(frozen=True, eq=False)
class Moment:
    """Where ``n`` imagined episodes stand. Never changed, only replaced."""

    cohorts: tuple[Cohort, ...]
    frames: Mapping[str, UInt8[ndarray, "n h w c"]]
    agent_pos: Float32[ndarray, "n k"]
    seed: Int64[ndarray, "n"]
    """The seed of each episode, from which its world draws its noise."""
    start_seed: Int64[ndarray, "n"]
    """The seed that made the start frame (see :class:`~cosmos_sim.data.starts.Starts`)."""
    step: Int64[ndarray, "n"]
    probability: Float64[ndarray, "n"]
    """Of success, after the latest step; not a number before the first."""
    streak: Int64[ndarray, "n"]
    """Frames in a row, up to the latest, that look solved."""
    terminated: Bool[ndarray, "n"]
    truncated: Bool[ndarray, "n"]

    @property
    def ended(self) -> Bool[ndarray, "n"]:
        return self.terminated | self.truncated

    def put(self, worlds: Int64[ndarray, "m"], part: "Moment") -> "Moment":
        """This moment with the ``m`` episodes of ``part`` in place of those of ``worlds``; the cohorts stay."""

        def changed(into: ndarray, values: ndarray) -> ndarray:
            copy = into.copy()
            copy[worlds] = values
            return copy

        arrays: dict[str, Any] = {
            field.name: changed(getattr(self, field.name), getattr(part, field.name))
            for field in fields(self)
            if field.name not in ("cohorts", "frames")
        }
        frames = {camera: changed(images, part.frames[camera]) for camera, images in self.frames.items()}
        return replace(self, frames=frames, **arrays)
