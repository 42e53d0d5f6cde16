"""What a scene adds to the simulator's model, to be seen only: a table top, a backdrop, a dish, props and a cabinet."""

import mujoco
import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from cosmos_sim.envs.twin.scene import MAX_PROPS

TABLE_TOP = 0.8
"""Height of the table's top in metres."""
TABLE_WIDTH = 0.8
WALL_WIDTH = 1.6
"""Sides of the square table top and of the square backdrop in metres."""
DISH_RADIUS = 0.045

DRAWER_SHIFTS: dict[str, float] = {"left_upper": 0.16, "left_lower": 0.22, "right_upper": 0.28, "right_lower": 0.0}
"""How far each drawer of the cabinet is out when it is open, in metres."""

_TABLE_PIXELS, _WALL_PIXELS = 512, 256
_TABLE_CELLS, _WALL_CELLS = 24, 8  # light is computed at corners: so many that a patch of it keeps its shape
_WALL_X = -1.35
_CABINET_FRONT = -1.05
_RIM = ((0.0, 0.0), (0.030, 0.0), (DISH_RADIUS, 0.018), (0.0415, 0.019), (0.028, 0.006), (0.0, 0.006))


def add_props(spec: mujoco.MjSpec) -> None:
    """Add to ``spec`` all that scenes may show, as geometry of group 1 named ``scene_*`` that nothing collides with."""
    for name, pixels in (("scene_table", _TABLE_PIXELS), ("scene_wall", _WALL_PIXELS)):
        spec.add_texture(
            name=name,
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
            rgb1=[0.5, 0.5, 0.5],
            width=pixels,
            height=pixels,
        )
        material = spec.add_material(name=name, specular=0.1, shininess=0.1)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = name
    spec.visual.quality.numquads = 1
    spec.geom("table_visual").pos[2] -= 0.002  # under the painted top
    spec.add_material(name="scene_paint", specular=0.2, shininess=0.2)
    for name, width, cells in (("scene_table", TABLE_WIDTH, _TABLE_CELLS), ("scene_wall", WALL_WIDTH, _WALL_CELLS)):
        grid, corners, faces = _grid(cells)
        spec.add_mesh(
            name=name,
            uservert=((grid - [0.5, 0.5, 0.0]) * width).ravel(),
            usertexcoord=corners.ravel(),
            userface=faces.ravel(),
            userfacetexcoord=faces.ravel(),
            inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
        )
    vertices, faces = lathe(_RIM, sides=28)
    spec.add_mesh(name="scene_dish", uservert=vertices.ravel(), userface=faces.ravel())
    _add_geom(spec, "scene_table", "scene_table", pos=[0, 0, TABLE_TOP], meshname="scene_table")
    upright = [0.5, 0.5, 0.5, 0.5]  # the mesh's x along the world's y, its y upwards: it faces the camera
    _add_geom(spec, "scene_wall", "scene_wall", pos=[_WALL_X, 0, 0.7], quat=upright, meshname="scene_wall")
    _add_geom(spec, "scene_dish", "scene_paint", pos=[0, 0, TABLE_TOP], meshname="scene_dish")
    for index in range(MAX_PROPS):
        _add_geom(spec, f"scene_prop_{index}", "scene_paint", pos=[0, 0, TABLE_TOP], size=[0.02, 0.02, 0.02])
    _add_cabinet(spec)
    spec.worldbody.add_light(
        name="scene_lamp",
        type=mujoco.mjtLightType.mjLIGHT_SPOT,
        castshadow=False,
        active=False,
        ambient=[0, 0, 0],
        specular=[0.1, 0.1, 0.1],
    )


def _add_cabinet(spec: mujoco.MjSpec) -> None:
    """Two blocks of drawers, one on each side of the arm; of each drawer the front, the handle and the body."""
    for side, sign in (("left", -1), ("right", 1)):
        middle = sign * 0.42
        _add_box(spec, f"scene_cabinet_{side}_block", [_CABINET_FRONT - 0.15, middle, 0.42], [0.14, 0.22, 0.42])
        for row, height in (("upper", 0.735), ("lower", 0.545)):
            drawer = f"scene_cabinet_{side}_{row}"
            _add_box(spec, f"{drawer}_front", [_CABINET_FRONT, middle, height], [0.012, 0.205, 0.085])
            _add_box(spec, f"{drawer}_handle", [_CABINET_FRONT + 0.025, middle, height], [0.012, 0.06, 0.008])
            _add_box(spec, f"{drawer}_body", [_CABINET_FRONT - 0.145, middle, height - 0.015], [0.134, 0.19, 0.07])


def _add_box(spec: mujoco.MjSpec, name: str, position: list[float], size: list[float]) -> None:
    _add_geom(spec, name, "scene_paint", pos=position, size=size)


def _add_geom(spec: mujoco.MjSpec, name: str, material: str, **placed: object) -> None:
    kind = mujoco.mjtGeom.mjGEOM_MESH if "meshname" in placed else mujoco.mjtGeom.mjGEOM_BOX
    spec.worldbody.add_geom(
        name=name, type=kind, material=material, group=1, contype=0, conaffinity=0, mass=0, **placed
    )


def _grid(cells: int) -> tuple[Float[ndarray, "n 3"], Float[ndarray, "n 2"], Int[ndarray, "m 3"]]:
    """The unit square in ``cells`` by ``cells`` cells facing z: corners, their places in a texture, and triangles."""
    y, x = np.meshgrid(*[np.linspace(0, 1, cells + 1)] * 2, indexing="ij")
    corners = np.stack([x.ravel(), y.ravel()], axis=1)
    first = (np.arange(cells)[:, None] * (cells + 1) + np.arange(cells)).ravel()
    right, up, across = first + 1, first + cells + 1, first + cells + 2
    faces = np.concatenate([np.stack([first, right, across], axis=1), np.stack([first, across, up], axis=1)])
    return np.pad(corners, ((0, 0), (0, 1))), corners, faces


def lathe(profile: tuple[tuple[float, float], ...], *, sides: int) -> tuple[Float[ndarray, "n 3"], Int[ndarray, "m 3"]]:
    """A closed body of revolution about z; ``profile`` is radius and height from pole to pole, counterclockwise."""
    angles = np.arange(sides) * 2 * np.pi / sides
    rings = [np.stack([r * np.cos(angles), r * np.sin(angles), np.full(sides, z)], axis=1) for r, z in profile[1:-1]]
    poles = np.array([[0.0, 0.0, profile[0][1]], [0.0, 0.0, profile[-1][1]]])
    here = np.arange(sides)
    there = (here + 1) % sides
    faces = [np.stack([np.full(sides, 0), there + 2, here + 2], axis=1)]
    for ring in range(len(rings) - 1):
        low, high = 2 + ring * sides, 2 + (ring + 1) * sides
        faces.append(np.stack([low + here, low + there, high + there], axis=1))
        faces.append(np.stack([low + here, high + there, high + here], axis=1))
    last = 2 + (len(rings) - 1) * sides
    faces.append(np.stack([np.full(sides, 1), last + here, last + there], axis=1))
    return np.concatenate([poles, *rings]), np.concatenate(faces)
