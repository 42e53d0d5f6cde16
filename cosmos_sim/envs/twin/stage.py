"""A scene put before the cameras: a model to look at beside the one that is simulated, which it leaves untouched."""

from dataclasses import replace

import mujoco
import numpy as np
from jaxtyping import Float
from numpy import ndarray

from cosmos_sim.envs.twin.cameras import place_camera
from cosmos_sim.envs.twin.props import DRAWER_SHIFTS, TABLE_TOP, TABLE_WIDTH, WALL_WIDTH, add_props
from cosmos_sim.envs.twin.scene import Cabinet, Light, Prop, Scene, Surface, draw_dish_place
from cosmos_sim.envs.twin.tasks import Viewpoint
from cosmos_sim.envs.twin.textures import Colour, paint

_SHAPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "can": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "ball": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "egg": mujoco.mjtGeom.mjGEOM_ELLIPSOID,
}
_BEHIND_THE_SCENE = ("wall_rear_visual", *(f"table_leg{number}_visual" for number in range(1, 5)))
_HANDLES: Colour = (0.30, 0.30, 0.32)


class Stage:
    """The model that cameras draw when a twin shows scenes, and its pose.

    It is the simulated model with what scenes add. Only joint positions come over from the simulation, so a scene
    cannot change how anything moves. :meth:`show` changes arrays and textures in place; which textures it changed, and
    so have to be sent to a renderer again, and which geometry is hidden, is for :class:`Cameras` to know.
    """

    def __init__(self, xml: str, agentview: Viewpoint) -> None:
        spec = mujoco.MjSpec.from_string(xml)
        add_props(spec)
        self.model: mujoco.MjModel = spec.compile()
        self.data = mujoco.MjData(self.model)
        self.hidden = np.zeros(self.model.ngeom, dtype=bool)
        for name in _BEHIND_THE_SCENE:
            self.hidden[self.model.geom(name).id] = True
        self._agentview = agentview
        self._painted: dict[str, Surface] = {}
        for name in DRAWER_SHIFTS:
            self.model.geom(f"scene_cabinet_{name}_body").rgba[:] = (0.12, 0.11, 0.10, 1)
        self._closed = self.model.geom_pos.copy()
        for name in ("table_visual", "cube_g0_vis"):
            self.model.geom(name).matid[:] = self.model.mat("scene_paint").id

    def pose(self, simulated: mujoco.MjData) -> mujoco.MjData:
        """The stage with everything where ``simulated`` has it."""
        self.data.qpos[:] = simulated.qpos
        mujoco.mj_kinematics(self.model, self.data)
        mujoco.mj_camlight(self.model, self.data)
        return self.data

    def show(self, scene: Scene) -> list[int]:
        """Look like ``scene``, whose dish must have a place; returns the textures that are new."""
        assert scene.dish_place is not None
        self._colour("table_visual", scene.table.first)
        self._colour("cube_g0_vis", scene.cube)
        self._colour("scene_dish", scene.dish)
        self.model.geom("scene_dish").pos[:2] = self._closed[self.model.geom("scene_dish").id, :2] + scene.dish_place
        self.model.mat("floorplane").rgba[:3] = scene.floor
        self._show_props(scene.props)
        self._show_cabinet(scene.cabinet)
        self._show_light(scene.light)
        place_camera(self.model, "agentview", scene.camera.of(self._agentview))
        surfaces = {"scene_table": (scene.table, TABLE_WIDTH), "scene_wall": (scene.wall, WALL_WIDTH)}
        return [
            self._paint(name, *surface) for name, surface in surfaces.items() if self._painted.get(name) != surface[0]
        ]

    def _colour(self, geom: str, colour: Colour) -> None:
        # MuJoCo takes exactly this grey for "no colour of its own"
        self.model.geom(geom).rgba[:3] = (0.501, 0.501, 0.501) if colour == (0.5, 0.5, 0.5) else colour

    def _paint(self, name: str, surface: Surface, width: float) -> int:
        texture = self.model.tex(name)
        pixels = paint(
            surface.pattern,
            surface.first,
            surface.second,
            periods=width / surface.period,
            seed=surface.seed,
            size=int(texture.width[0]),
        )
        self.model.tex_data[texture.adr[0] : texture.adr[0] + pixels.size] = pixels.ravel()
        self._painted[name] = surface
        return int(texture.id)

    def _show_props(self, props: tuple[Prop, ...]) -> None:
        index = 0
        while (found := mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_GEOM, f"scene_prop_{index}")) >= 0:
            self.hidden[found] = index >= len(props)
            if index < len(props):
                self._show_prop(found, props[index])
            index += 1

    def _show_prop(self, geom: int, prop: Prop) -> None:
        size = np.array(prop.size)
        lying = prop.shape == "capsule"
        if lying:
            mujoco.mju_mulQuat(self.model.geom_quat[geom], _turn(2, prop.yaw), _turn(1, np.pi / 2))
        else:
            self.model.geom_quat[geom] = _turn(2, prop.yaw)
        height = size[0] if lying else size[2]
        self.model.geom_sameframe[geom] = mujoco.mjtSameFrame.mjSAMEFRAME_NONE  # or the turn would be ignored
        self.model.geom_type[geom] = _SHAPES[prop.shape]
        self.model.geom_size[geom] = size[[0, 2, 2]] if prop.shape in ("can", "capsule") else size
        self.model.geom_rbound[geom] = np.linalg.norm(size) + size.max()
        self.model.geom_pos[geom] = (*prop.place, TABLE_TOP + height)
        self._colour(f"scene_prop_{int(self.model.geom(geom).name.rpartition('_')[2])}", prop.colour)

    def _show_cabinet(self, cabinet: Cabinet | None) -> None:
        for side in ("left", "right"):
            self._part(f"{side}_block", cabinet, shade=0.72)
        for drawer, shift in DRAWER_SHIFTS.items():
            for part in ("front", "handle", "body"):
                geom = self._part(f"{drawer}_{part}", cabinet, shade=1.0 if part == "front" else None)
                self.model.geom_pos[geom, 0] = self._closed[geom, 0] + (shift if cabinet and cabinet.open else 0.0)

    def _part(self, name: str, cabinet: Cabinet | None, *, shade: float | None) -> int:
        geom = self.model.geom(f"scene_cabinet_{name}").id
        self.hidden[geom] = cabinet is None or (name.endswith("body") and not cabinet.open)
        if cabinet is not None and shade is not None:
            red, green, blue = (value * shade for value in cabinet.colour)
            self._colour(f"scene_cabinet_{name}", (red, green, blue))
        elif name.endswith("handle"):
            self._colour(f"scene_cabinet_{name}", _HANDLES)
        return int(geom)

    def _show_light(self, light: Light) -> None:
        colour = np.array(light.colour)
        head, sun, lamp = self.model.vis.headlight, self.model.light(0), self.model.light("scene_lamp")
        head.ambient[:], head.diffuse[:] = light.ambient * colour, light.fill * colour
        sun.diffuse[:], sun.dir[:] = light.strength * colour, _unit(light.direction)
        sun.specular[:] = 0.15 * light.strength * colour
        self.model.light_active[lamp.id] = light.lamp is not None  # a view of booleans by name is a copy
        if light.lamp is not None:
            lamp.pos[:] = light.lamp.position
            lamp.dir[:] = _unit(np.subtract(light.lamp.target, light.lamp.position))
            lamp.diffuse[:] = light.lamp.colour
            lamp.cutoff[:] = light.lamp.degrees
            # falls to a twentieth at the edge of the cone
            lamp.exponent[:] = np.log(0.05) / np.log(np.cos(np.radians(min(light.lamp.degrees, 80))))


def placed(scene: Scene, seed: int) -> Scene:
    """``scene`` with its dish at a place, drawn by ``seed`` where it has none."""
    if scene.dish_place is not None:
        return scene
    return replace(scene, dish_place=draw_dish_place(np.random.default_rng([seed, 1])))


def _turn(axis: int, angle: float) -> Float[ndarray, "4"]:
    quaternion = np.zeros(4)
    quaternion[0], quaternion[1 + axis] = np.cos(angle / 2), np.sin(angle / 2)
    return quaternion


def _unit(vector: object) -> Float[ndarray, "3"]:
    values = np.asarray(vector, dtype=float)
    return values / np.linalg.norm(values)
