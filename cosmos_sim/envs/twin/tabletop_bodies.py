"""The bodies of the tabletop as MuJoCo models them."""

from xml.etree import ElementTree

import numpy as np
from scipy.spatial.transform import Rotation

from cosmos_sim.envs.twin.instructions import CONTAINERS
from cosmos_sim.envs.twin.props import lathe
from cosmos_sim.envs.twin.tabletop_shapes import BODIES, BOTTOM, SIZES, WALL, Size

Geom = dict[str, str]

_SIDES = 16
_BOWL_FOOT = 0.042
_DENSITY = 400.0
_CONTAINER_DENSITY = 1500.0
_TOUCHED = {"group": "0", "condim": "4", "solref": "0.01 1", "friction": "0.6 0.005 0.0001", "rgba": "0 0 0 0"}
_SEEN = {"group": "1", "contype": "0", "conaffinity": "0", "mass": "0", "material": "things"}


def add_bodies(worldbody: ElementTree.Element, asset: ElementTree.Element) -> None:
    """Add all of :data:`BODIES` to a model: weightless until they are put in use, see :class:`Tabletop`.

    As everywhere in robosuite, geometry of group 0 is touched and weighs, and that of group 1 is seen.
    """
    asset.append(_bowl_mesh())
    for name, shape in BODIES.items():
        body = ElementTree.SubElement(worldbody, "body", name=name, gravcomp="1", pos="0 0 1.5")
        ElementTree.SubElement(body, "freejoint", name=f"{name}_joint")
        touched = {"bowl": _bowl, "tray": _tray}.get(shape, _solid)(SIZES[shape])
        seen = [{"type": "mesh", "mesh": "bowl"}] if shape == "bowl" else touched
        density = {"density": str(_CONTAINER_DENSITY if shape in CONTAINERS else _DENSITY)}
        for index, geom in enumerate(touched):
            ElementTree.SubElement(body, "geom", {"name": f"{name}_{index}"} | density | _TOUCHED | geom)
        for geom in seen:
            ElementTree.SubElement(body, "geom", _SEEN | geom)


def _solid(size: Size) -> list[Geom]:
    x, y, z = size
    return [{"type": "cylinder", "size": _words(x, z)} if x == y < z else {"type": "box", "size": _words(*size)}]


def _tray(size: Size) -> list[Geom]:
    x, y, z = size
    boxes = [((0.0, 0.0, BOTTOM / 2 - z), (x, y, BOTTOM / 2))]
    boxes += [((side * (x - WALL), 0.0, 0.0), (WALL, y, z)) for side in (-1, 1)]
    boxes += [((0.0, side * (y - WALL), 0.0), (x - 2 * WALL, WALL, z)) for side in (-1, 1)]
    return [{"type": "box", "pos": _words(*place), "size": _words(*half)} for place, half in boxes]


def _bowl(size: Size) -> list[Geom]:
    """A disc and a ring of boxes that lean outwards."""
    rim, _, z = size
    middle, lean = (rim + _BOWL_FOOT) / 2 - WALL, np.arctan2(rim - _BOWL_FOOT, 2 * z)
    half = (WALL, rim * np.tan(np.pi / _SIDES), np.hypot(rim - _BOWL_FOOT, 2 * z) / 2)
    geoms: list[Geom] = [
        {"type": "cylinder", "size": _words(_BOWL_FOOT, BOTTOM / 2), "pos": _words(0, 0, BOTTOM / 2 - z)}
    ]
    for angle in np.arange(_SIDES) * 2 * np.pi / _SIDES:
        place = (middle * np.cos(angle), middle * np.sin(angle), 0.0)
        quaternion = np.roll(Rotation.from_euler("ZY", [angle, lean]).as_quat(), 1)
        geoms.append({"type": "box", "size": _words(*half), "pos": _words(*place), "quat": _words(*quaternion)})
    return geoms


def _bowl_mesh() -> ElementTree.Element:
    rim, _, z = SIZES["bowl"]
    outer = [(0.0, -z), (_BOWL_FOOT, -z), ((_BOWL_FOOT + 3 * rim) / 4, -0.15 * z), (rim, z)]
    inner = [(radius - 2 * WALL, max(height, BOTTOM - z)) for radius, height in reversed(outer[1:])]
    vertices, faces = lathe((*outer, *inner, (0.0, BOTTOM - z)), sides=2 * _SIDES)
    return ElementTree.Element("mesh", name="bowl", vertex=_words(*vertices.ravel()), face=_words(*faces.ravel()))


def _words(*numbers: float) -> str:
    return " ".join(f"{number:.9g}" for number in numbers)
