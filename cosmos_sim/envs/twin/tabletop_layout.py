"""What an episode of the tabletop begins with: the instruction, the objects and their places, and the look."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from cosmos_sim.envs.twin.instructions import (
    CONTAINERS,
    MOVABLE,
    SHAPES,
    Instruction,
    Thing,
    draw_instruction,
    draw_thing,
    parse_instruction,
)
from cosmos_sim.envs.twin.tabletop_goals import DIRECTIONS, PUSH, Situation, goal_of, is_done, rest_height
from cosmos_sim.envs.twin.tabletop_looks import Look, draw_look
from cosmos_sim.envs.twin.tabletop_shapes import BODIES, radius

MAX_OBJECTS = 4
REACH = ((-0.15, 0.13), (-0.20, 0.20))
"""Range of x and of y, in metres, of all places where objects are or are to be put."""
FINGER_ROOM = 0.038
"""Between any two objects, so that a finger fits between them."""
_BEHIND = 0.055
"""How far behind an object the hand comes down to push it."""
_TURNS: dict[str, float] = {"cube": np.pi / 4, "can": 0.0, "block": np.pi / 4, "bowl": 0.0, "tray": np.pi / 9}
"""How far each shape may be turned about the vertical from where the open fingers go along its narrow side."""


@dataclass(frozen=True)
class Placed:
    """An object on the table: which body it is, and where it begins."""

    thing: Thing
    body: str
    place: tuple[float, float]
    """x and y in metres."""
    yaw: float
    """Radians about the vertical."""

    @property
    def start(self) -> Float[ndarray, "3"]:
        """The place of its middle, in metres."""
        return np.array([*self.place, rest_height(self.thing.shape)])


@dataclass(frozen=True)
class Layout:
    """The beginning of an episode."""

    instruction: Instruction
    placed: tuple[Placed, ...]
    """The thing, the target if there is one, and others that are not meant; no two alike."""
    look: Look


def draw_layout(seed: int, *, instruction: str | None = None, split: str = "seen") -> Layout:
    """The beginning that ``seed`` stands for in ``split``, of ``instruction`` if it is given.

    Objects that are not meant are always such as training sees, and at least one of all objects that are not meant can
    be moved.

    Raises:
        ValueError: for an unknown split, and for what is wrong with the instruction.
    """
    rng = np.random.default_rng([seed, 7])
    drawn = draw_instruction(rng, split)
    told = drawn if instruction is None else parse_instruction(instruction)
    look = draw_look(rng, split)
    things = _with_others(rng, told)
    names = {shape: [name for name, kind in BODIES.items() if kind == shape] for shape in SHAPES}
    bodies = [names[thing.shape].pop(0) for thing in things]
    low, high = np.transpose(REACH)
    while True:
        places = rng.uniform(low, high, (len(things), 2))
        if _has_room(told, things, places):
            break
    yaws = [rng.uniform(-1, 1) * _TURNS[thing.shape] for thing in things]
    placed = [
        Placed(thing, body, (float(x), float(y)), float(yaw))
        for thing, body, (x, y), yaw in zip(things, bodies, places, yaws, strict=True)
    ]
    return Layout(told, tuple(placed), look)


def _with_others(rng: np.random.Generator, instruction: Instruction) -> list[Thing]:
    """The objects that ``instruction`` names, and one or more others, the first of which can be moved."""
    things = list(instruction.things)
    count = int(rng.integers(len(things) + 1, MAX_OBJECTS + 1))
    while len(things) < count:
        among = MOVABLE if len(things) == len(instruction.things) else SHAPES
        used = [thing.shape for thing in things]
        free = [shape for shape in among if used.count(shape) < (1 if shape in CONTAINERS else 2)]
        things.append(draw_thing(rng, free, "seen", other_than=things))
    return things


def _has_room(instruction: Instruction, things: list[Thing], places: Float[ndarray, "n 2"]) -> bool:
    """Whether the objects are far enough apart, and what is to be done has room and is not done yet."""
    radii = np.array([radius(thing.shape) for thing in things])
    apart = np.linalg.norm(places[:, None] - places[None], axis=-1) - radii[:, None] - radii - FINGER_ROOM
    if (apart[~np.eye(len(things), dtype=bool)] < 0).any():
        return False
    start = np.array([*places[0], rest_height(things[0].shape)])
    target = None
    if instruction.target is not None:
        target = np.array([*places[1], rest_height(instruction.target.shape)])
    goal = goal_of(instruction, start, target)
    verb, _, way = instruction.verb.partition(" ")
    if verb == "push":
        line = DIRECTIONS[way][:2]
        behind, beyond = places[0] - (radii[0] + _BEHIND) * line, places[0] + 1.5 * PUSH * line
        steps = np.linspace(behind, beyond, 8)
        return all(_is_free(step, radii[0], places[1:], radii[1:]) for step in steps) and _in_reach(goal[:2])
    if way in ("left of", "right of"):
        situation = Situation(start, start, held=False, target=target, target_rotation=np.eye(3))
        free = _is_free(goal[:2], radii[0] + FINGER_ROOM, places[2:], radii[2:])
        return free and _in_reach(goal[:2]) and not is_done(instruction, situation)
    return True


def _is_free(
    place: Float[ndarray, "2"], room: float, places: Float[ndarray, "n 2"], radii: Float[ndarray, "n"]
) -> bool:
    return bool((np.linalg.norm(places - place, axis=1) > radii + room).all())


def _in_reach(place: Float[ndarray, "2"]) -> bool:
    return all(low <= value <= high for value, (low, high) in zip(place, REACH, strict=True))
