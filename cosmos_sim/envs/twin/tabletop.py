"""robosuite's table with everything on it that the twin's instructions speak of."""

from typing import Any
from xml.etree import ElementTree

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from robosuite.environments.manipulation.manipulation_env import ManipulationEnv
from robosuite.models.arenas import TableArena
from robosuite.models.tasks import ManipulationTask

from cosmos_sim.envs.twin.props import TABLE_TOP
from cosmos_sim.envs.twin.tabletop_bodies import add_bodies
from cosmos_sim.envs.twin.tabletop_goals import Situation, goal_of, is_done
from cosmos_sim.envs.twin.tabletop_layout import Layout, draw_layout
from cosmos_sim.envs.twin.tabletop_looks import PAINT, TEXTURE, TEXTURE_PIXELS
from cosmos_sim.envs.twin.tabletop_shapes import BODIES, SIZES

_TABLE_SIZE = (0.8, 0.8, 0.05)
_PARKED, _ASIDE = np.array([4.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
"""Behind the camera. A body that is not used hangs there: nothing pulls it and nothing touches it."""


class Tabletop(ManipulationEnv):
    """One model for all episodes: each puts some of the bodies on the table, in its colours, and parks the others."""

    def __init__(self, *, use_object_obs: bool, **kwargs: Any) -> None:
        assert not use_object_obs
        self.layout = draw_layout(0)
        super().__init__(**kwargs)

    def arrange(self, layout: Layout) -> None:
        """Make the model that of ``layout``: which bodies are in use, and in which colours. Moves nothing."""
        self.layout = layout
        model = self.sim.model._model
        colours = {placed.body: PAINT[placed.thing.colour] for placed in layout.placed}
        for body, geoms in self._geoms.items():
            used = body in colours
            model.body_gravcomp[model.body(body).id] = not used
            model.geom_contype[geoms] = model.geom_conaffinity[geoms] = used & (model.geom_group[geoms] == 0)
            model.geom_rgba[geoms, :3] = colours.get(body, (0.5, 0.5, 0.5))

    def truth(self) -> dict[str, Float[ndarray, "k"]]:
        """What the instruction means now: ``thing_pos``, ``thing_quat`` (x y z w) and ``thing_size`` (half its
        extents), ``target_pos`` (for verbs without a target where the thing began) and ``goal_pos``, where the thing's
        middle should be.
        """
        now, thing = self._situation(), self.layout.placed[0]
        return {
            "thing_pos": now.thing.copy(),
            "thing_quat": self.sim.data._data.body(thing.body).xquat[[1, 2, 3, 0]],
            "thing_size": np.array(SIZES[thing.thing.shape]),
            "target_pos": (now.start if now.target is None else now.target).copy(),
            "goal_pos": goal_of(self.layout.instruction, now.start, now.target),
        }

    def reward(self, action: Any = None) -> float:
        """1 when the instruction is carried out, otherwise 0."""
        return float(self._check_success())

    def _check_success(self) -> bool:
        return is_done(self.layout.instruction, self._situation())

    def _situation(self) -> Situation:
        data, bodies = self.sim.data._data, [placed.body for placed in self.layout.placed]
        thing = self._touched[bodies[0]]
        now = {"start": self.layout.placed[0].start, "thing": data.body(bodies[0]).xpos}
        held = self._check_grasp(self.robots[0].gripper, thing)
        if self.layout.instruction.target is None:
            return Situation(**now, held=held)
        target = data.body(bodies[1])
        touching = self.check_contact(thing, self._touched[bodies[1]])
        return Situation(
            **now, held=held, target=target.xpos, target_rotation=target.xmat.reshape(3, 3), touching=touching
        )

    def _load_model(self) -> None:
        super()._load_model()
        robot = self.robots[0].robot_model
        robot.set_base_xpos(robot.base_xpos_offset["table"](_TABLE_SIZE[0]))
        arena = TableArena(
            table_full_size=_TABLE_SIZE, table_friction=(0.6, 0.005, 0.0001), table_offset=(0, 0, TABLE_TOP)
        )
        arena.set_origin([0, 0, 0])
        pixels = str(TEXTURE_PIXELS)
        flat = {"type": "2d", "builtin": "flat", "width": pixels, "height": pixels, "rgb1": "0.5 0.5 0.5"}
        ElementTree.SubElement(arena.asset, "texture", flat, name=TEXTURE)
        ElementTree.SubElement(arena.asset, "material", name=TEXTURE, texture=TEXTURE, specular="0.1", shininess="0.1")
        ElementTree.SubElement(arena.asset, "material", name="things", specular="0.2", shininess="0.2")
        arena.table_visual.set("material", TEXTURE)
        add_bodies(arena.worldbody, arena.asset)
        self.model = ManipulationTask(mujoco_arena=arena, mujoco_robots=[robot])

    def _setup_references(self) -> None:
        super()._setup_references()
        model = self.sim.model._model
        self._geoms = {body: np.flatnonzero(model.geom_bodyid == model.body(body).id) for body in BODIES}
        self._touched = {
            body: [model.geom(index).name for index in geoms if model.geom_group[index] == 0]
            for body, geoms in self._geoms.items()
        }

    def _reset_internal(self) -> None:
        super()._reset_internal()
        self.arrange(self.layout)
        data = self.sim.data._data
        for index, body in enumerate(BODIES):
            data.joint(f"{body}_joint").qpos[:3] = _PARKED + 0.3 * index * _ASIDE
        for placed in self.layout.placed:
            turn = [np.cos(placed.yaw / 2), 0.0, 0.0, np.sin(placed.yaw / 2)]
            data.joint(f"{placed.body}_joint").qpos[:] = [*placed.start, *turn]
