"""How a scripted expert moves: one hand that sees the true state, and the few motions that every script is made of.

A script is a generator that yields one action a step; between two of them the policy shows the hand the new state.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32
from numpy import ndarray
from numpy.random import Generator
from scipy.spatial.transform import Rotation

Action = Float32[ndarray, "7"]
Script = Iterator[Action]
Point = Float[ndarray, "3"]

OPEN, CLOSED, STILL = -1.0, 1.0, 0.0

_STEP = 0.05
"""Metres that an action of 1 asks for (the controller's scale)."""
_TURN = 0.5
"""Radians that an action of 1 asks for."""
_GAIN = 1.8
"""The controller realises about 43% of what is asked, so more is asked than is wanted; much more overshoots."""
_TURN_GAIN = 1.2
_CORRELATION = 0.7
"""How much of its disturbance an action shares with the one before."""


@dataclass(frozen=True)
class Habits:
    """What distinguishes one skill from another."""

    noise: float
    """Standard deviation of the disturbance of each of the six motions, which drifts from step to step."""
    aim: float
    """Standard deviation, in metres, of where the object is grasped and put."""
    blunder: float
    """Probability that an attempt is made in a way that is bound to fail."""
    pace: tuple[float, float]
    """Range of the largest command used, drawn anew for each attempt."""


class Hand:
    """The hand of one episode: what it sees, how it trembles, and its source of chance."""

    def __init__(self, generator: Generator, habits: Habits) -> None:
        self.generator = generator
        self.habits = habits
        self._state: Mapping[str, ndarray] = {}
        self._tremor = np.zeros(6)

    def see(self, state: Mapping[str, ndarray]) -> None:
        """Take in the true state before the next action."""
        self._state = state

    def __getitem__(self, name: str) -> Point:
        """Where the object or place ``name`` is, in metres."""
        return np.asarray(self._state[f"{name}_pos"], dtype=float)

    @property
    def state(self) -> Mapping[str, ndarray]:
        """All that it sees."""
        return self._state

    @property
    def position(self) -> Point:
        return np.asarray(self._state["eef_pos"], dtype=float)

    @property
    def rotation(self) -> Rotation:
        return Rotation.from_quat(self._state["eef_quat"])

    @property
    def lean(self) -> Float[ndarray, "3"]:
        """The rotation, for small angles, that makes the hand point straight down."""
        return np.cross(self.rotation.apply([0.0, 0.0, 1.0]), [0.0, 0.0, -1.0])

    def holds(self, name: str) -> bool:
        """Whether the fingers are around ``name`` and not closed upon nothing."""
        near = np.linalg.norm(self[name] - self.position) < 0.045
        return bool(near and self._state["gripper"][0] > 0.025)

    def turn_to(self, name: str, *, is_long: bool = False) -> float:
        """Radians about the vertical by which the fingers are off the nearest faces of the box ``name``.

        Of one that ``is_long`` along its own x axis these are the two long ones.
        """
        across = self.rotation.apply([0.0, 1.0, 0.0])  # the fingers open along the hand's x axis
        sides = Rotation.from_quat(self._state[f"{name}_quat"]).as_matrix()
        side = sides[:, 0 if is_long else np.argmin(np.abs(sides[2]))]
        angle = np.arctan2(side[1], side[0]) - np.arctan2(across[1], across[0])
        period = np.pi if is_long else np.pi / 2
        return float((angle + period / 2) % period - period / 2)

    def toward(self, point: Point, *, grip: float, pace: float = 1.0, turn: float = 0.0) -> Action:
        """The action that brings the hand nearer to ``point``, turns it by ``turn`` and keeps it upright."""
        motion = _GAIN * (point - self.position) / _STEP
        motion = motion * min(1.0, pace / max(np.abs(motion).max(), 1e-9))
        spin = np.clip(_TURN_GAIN * (self.lean + np.array([0.0, 0.0, turn])) / _TURN, -0.5, 0.5)
        return self.trembling(np.concatenate([motion, spin]), grip)

    def trembling(self, motion: Float[ndarray, "6"], grip: float) -> Action:
        """``motion`` with the hand's disturbance: a first-order autoregression of stationary deviation ``noise``."""
        shock = self.habits.noise * np.sqrt(1 - _CORRELATION**2) * self.generator.standard_normal(6)
        self._tremor = _CORRELATION * self._tremor + shock
        weight = np.array([1.0, 1.0, 1.0, 0.3, 0.3, 0.3])
        command = np.append(motion + weight * self._tremor, grip)
        return np.clip(command, -1.0, 1.0).astype(np.float32)

    def pace(self) -> float:
        return float(self.generator.uniform(*self.habits.pace))

    def sideways(self, low: float, high: float) -> Point:
        """A horizontal displacement in a random direction, of a length between ``low`` and ``high`` metres."""
        angle = self.generator.uniform(0, 2 * np.pi)
        return self.generator.uniform(low, high) * np.array([np.cos(angle), np.sin(angle), 0.0])


def go(
    hand: Hand,
    target: Point | Callable[[], Point],
    *,
    grip: float,
    pace: float = 1.0,
    turn: Callable[[], float] | None = None,
    tolerance: float = 0.012,
    steps: int = 30,
) -> Script:
    """Move to ``target`` (followed if it is a function) until within ``tolerance`` metres, or for ``steps`` steps."""
    for _ in range(steps):
        point = target() if callable(target) else target
        angle = turn() if turn else 0.0
        if np.linalg.norm(point - hand.position) < tolerance and abs(angle) < 0.12:
            return
        yield hand.toward(point, grip=grip, pace=pace, turn=angle)


def stay(hand: Hand, *, grip: float, steps: int) -> Script:
    """Stay in place for ``steps`` steps while the gripper opens, closes or rests."""
    place = hand.position
    for _ in range(steps):
        yield hand.toward(place, grip=grip)


def above(point: Point, height: float) -> Point:
    return point + np.array([0.0, 0.0, height])
