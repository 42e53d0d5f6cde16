"""What the verbs mean: where an instruction wants its object to be, and whether it is there."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from cosmos_sim.envs.twin.instructions import CONTAINERS, Instruction
from cosmos_sim.envs.twin.props import TABLE_TOP
from cosmos_sim.envs.twin.tabletop_shapes import BOTTOM, SIZES, is_inside, radius

Point = Float[ndarray, "3"]

DIRECTIONS: dict[str, Point] = {
    "left": np.array([0.0, -1.0, 0.0]),
    "right": np.array([0.0, 1.0, 0.0]),
    "forward": np.array([1.0, 0.0, 0.0]),
}
"""As the camera before the robot shows them, in the world's axes; forward is towards that camera."""
RAISED = 0.04
"""Metres above where it rests at which a lifted object counts as such."""
PUSH = 0.10
"""How far a push should go; seven tenths of it is enough, half as much sideways too much."""
ASTRAY = 0.05
"""How far off the line an object may come to rest that was pushed, or placed beside another."""
GAP = 0.025
"""Between an object and the one it is placed beside."""


@dataclass(frozen=True, eq=False)
class Situation:
    """What decides whether an instruction is carried out."""

    start: Point
    """Where the thing was when the episode began; metres, world frame, as all places."""
    thing: Point
    held: bool
    """Whether the fingers grasp the thing."""
    target: Point | None = None
    target_rotation: Float[ndarray, "3 3"] | None = None
    touching: bool = False
    """Whether thing and target touch."""


def rest_height(shape: str) -> float:
    """Height of the middle of ``shape`` on the table."""
    return TABLE_TOP + SIZES[shape][2]


def goal_of(instruction: Instruction, start: Point, target: Point | None) -> Point:
    """Where the middle of the thing should be, given where it began and where the target's is now."""
    shape = instruction.thing.shape
    verb, _, way = instruction.verb.partition(" ")
    if verb == "lift":
        return start + np.array([0.0, 0.0, 0.10])
    if verb == "push":
        return start + PUSH * DIRECTIONS[way]
    assert target is not None
    assert instruction.target is not None
    height, beside = SIZES[shape][2], instruction.target.shape
    if verb == "stack":
        return target + np.array([0.0, 0.0, SIZES[beside][2] + height])
    if beside in CONTAINERS and way == "in":
        return target + np.array([0.0, 0.0, BOTTOM - SIZES[beside][2] + height])
    place = target + _apart(instruction) * DIRECTIONS[way.removesuffix(" of")]
    return np.array([place[0], place[1], rest_height(shape)])


def is_done(instruction: Instruction, now: Situation) -> bool:
    """Whether the thing is where the instruction wants it; for all but ``lift`` it must be let go and at rest there.

    - lift: raised by more than 4 cm.
    - push: 7 to 20 cm from where it began in that direction, at most 5 cm (and half as far) astray, on the table.
    - stack: touches the target, its middle above the target's top and within 3 cm of its axis.
    - place in: within the container's walls and not above it.
    - place left of, right of: on that side, not farther than 6 cm beyond where the two are 2.5 cm apart whichever way
      they are turned, at most 5 cm before or behind, on the table.
    """
    shape = instruction.thing.shape
    verb, _, way = instruction.verb.partition(" ")
    if verb == "lift":
        return bool(now.thing[2] > now.start[2] + RAISED)
    if now.held:
        return False
    on_table = abs(now.thing[2] - rest_height(shape)) < 0.02
    if verb == "push":
        along, astray = _along(now.thing - now.start, DIRECTIONS[way])
        return bool(on_table and 0.7 * PUSH < along < 2 * PUSH and astray < min(ASTRAY, along / 2))
    assert now.target is not None
    assert now.target_rotation is not None
    assert instruction.target is not None
    offset = now.thing - now.target
    if verb == "stack":
        above = offset[2] > SIZES[instruction.target.shape][2]
        return bool(now.touching and above and np.hypot(*offset[:2]) < 0.03)
    if way == "in":
        return is_inside(instruction.target.shape, now.target_rotation.T @ offset)
    along, astray = _along(offset, DIRECTIONS[way.removesuffix(" of")])
    return bool(on_table and 0.04 < along < _apart(instruction) + 0.06 and astray < ASTRAY)


def _apart(instruction: Instruction) -> float:
    """How far the middles of thing and target are apart when one is placed beside the other."""
    assert instruction.target is not None
    return radius(instruction.thing.shape) + radius(instruction.target.shape) + GAP


def _along(offset: Point, way: Point) -> tuple[float, float]:
    """How far ``offset`` goes along the horizontal ``way``, and how far astray of it to either side."""
    along = float(offset @ way)
    return along, float(np.linalg.norm((offset - along * way)[:2]))
