"""The tasks of the simulator twin: what is to be done, how long it may take, and where the camera stands."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from cosmos_sim.envs.twin.instructions import check_split
from cosmos_sim.envs.twin.tabletop_shapes import BODIES

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Viewpoint:
    """A fixed camera: where it stands, what it looks at (metres, world frame), and its vertical field of view."""

    position: Vector
    target: Vector
    degrees: float

    def rotation(self) -> Float[ndarray, "3 3"]:
        """Camera axes as columns (x right, y up, z backwards: MuJoCo's convention), with the horizon level."""
        backward = np.subtract(self.position, self.target)
        backward = backward / np.linalg.norm(backward)
        right = np.cross([0.0, 0.0, 1.0], backward)
        right = right / np.linalg.norm(right)
        return np.stack([right, np.cross(backward, right), backward], axis=1)


@dataclass(frozen=True)
class Task:
    """One task as the twin offers it."""

    name: str
    """robosuite's name, by which :mod:`cosmos_sim.envs.twin.tabletop` adds ``Tabletop``."""
    description: str
    """The instruction in words."""
    horizon: int
    """Steps of 0.1 s after which an episode is truncated."""
    agentview: Viewpoint
    objects: Mapping[str, str]
    """State name to MuJoCo body: ``cube`` gives ``cube_pos`` and ``cube_quat``."""
    places: Mapping[str, Vector] = field(default_factory=dict)
    """State name to a fixed point of the scene (metres, world frame)."""
    is_told: bool = False
    """Whether each episode has an instruction of its own; ``description`` is then of none of them."""


TASKS: dict[str, Task] = {
    "Lift": Task(
        name="Lift",
        description="lift the cube",
        horizon=60,
        agentview=Viewpoint(position=(0.62, 0.0, 1.26), target=(-0.04, 0.0, 0.95), degrees=32.0),
        objects={"cube": "cube_main"},
    ),
    "Stack": Task(
        name="Stack",
        description="stack the red cube on the green cube",
        horizon=100,
        agentview=Viewpoint(position=(0.62, 0.0, 1.30), target=(-0.04, 0.0, 0.94), degrees=35.0),
        objects={"red_cube": "cubeA_main", "green_cube": "cubeB_main"},
    ),
    "PickPlaceCan": Task(
        name="PickPlaceCan",
        description="put the can in the bin",
        horizon=150,
        agentview=Viewpoint(position=(0.88, 0.03, 1.86), target=(0.06, 0.02, 0.97), degrees=44.0),
        objects={"can": "Can_main"},
        places={"bin": (0.1975, 0.4025, 0.8)},
    ),
    "Tabletop": Task(
        name="Tabletop",
        description="follow the instruction",
        horizon=100,
        agentview=Viewpoint(position=(0.72, 0.0, 1.40), target=(-0.02, 0.0, 0.87), degrees=36.0),
        objects={body: body for body in BODIES},
        is_told=True,
    ),
}


def find_split(task: Task, split: str | None) -> str | None:
    """Where ``task`` draws its instructions from: ``split`` or, where it is told what to do, ``seen``.

    Raises:
        ValueError: for an unknown split, and for one of a task that is always the same.
    """
    if split is None:
        return "seen" if task.is_told else None
    if not task.is_told:
        raise ValueError(f"{task.name!r} is always the same task and has no split {split!r}")
    check_split(split)
    return split


def find_task(name: str) -> Task:
    """The task called ``name``, or described so in words; a ``ValueError`` with a suggestion where there is none."""
    known = TASKS | {task.description: task for task in TASKS.values()}
    if name in known:
        return known[name]
    close = difflib.get_close_matches(str(name), known, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"Unknown task {name!r}; the twin has {', '.join(TASKS)}.{hint}")
