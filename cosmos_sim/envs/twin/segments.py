"""What each geometry of a twin's model belongs to."""

import mujoco
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.envs.twin.tasks import Task

_ROBOT = ("robot0_", "gripper0_", "fixed_mount0_")
_TABLES = ("table", "bin1", "bin2")


def segment_names(task: Task) -> tuple[str, ...]:
    """The segments of ``task``'s images: the background first, and the task's own objects by their names in the state.

    For Lift these are background, robot, table, cube, dish, prop and cabinet.
    """
    return ("background", "robot", "table", *task.objects, "dish", "prop", "cabinet")


def segments_of(model: mujoco.MjModel, task: Task) -> UInt8[ndarray, "n"]:
    """For each geometry of ``model`` its index into :func:`segment_names`."""
    names = segment_names(task)
    return np.array([names.index(_segment(model, geom, task)) for geom in range(model.ngeom)], np.uint8)


def _segment(model: mujoco.MjModel, geom: int, task: Task) -> str:
    name, body = model.geom(geom).name, model.body(model.geom_bodyid[geom]).name
    if name.startswith("scene_"):
        part = name.split("_")[1]
        return "background" if part == "wall" else part
    for segment, root in task.objects.items():
        if body == root:
            return segment
    if body.startswith(_ROBOT):
        return "robot"
    if body.startswith(_TABLES):
        return "table"
    return "background" if body == "world" else "prop"
