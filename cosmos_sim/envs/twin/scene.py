"""What a twin's scene looks like, as a value: everything that can be seen and that moves nothing."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cosmos_sim.data.captions import EpisodeCaption
from cosmos_sim.envs.twin.scene_words import CAPTION, WRIST_CAPTION
from cosmos_sim.envs.twin.tasks import Vector, Viewpoint
from cosmos_sim.envs.twin.textures import PATTERNS, Colour

SHAPES = ("box", "can", "ball", "capsule", "egg")
"""The shapes that props may have."""

MAX_PROPS = 4

DISH_PLACES = ((-0.13, 0.02), (0.135, 0.165))
"""Where a dish may lie: from and to in x, and in y on either side (metres). The arm's way to the cube is elsewhere."""


def _check_colours(**colours: Sequence[float]) -> None:
    for name, colour in colours.items():
        if len(colour) != 3 or not all(0 <= value <= 1 for value in colour):
            raise ValueError(f"{name} must be red, green and blue in 0 to 1, got {colour}")


@dataclass(frozen=True)
class Surface:
    """A painted surface: ``pattern`` of two colours, ``period`` metres from one repetition to the next."""

    pattern: str
    first: Colour
    second: Colour
    period: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            near = difflib.get_close_matches(self.pattern, PATTERNS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(PATTERNS)}"
            raise ValueError(f"unknown pattern {self.pattern!r}; {hint}")
        _check_colours(first=self.first, second=self.second)
        if not 0.02 <= self.period <= 2:
            raise ValueError(f"period must be 0.02 to 2 metres, got {self.period}")


@dataclass(frozen=True)
class Cabinet:
    """A cabinet behind the arm, on both of its sides; ``open`` with its upper drawers pulled out."""

    colour: Colour
    open: bool = False

    def __post_init__(self) -> None:
        _check_colours(colour=self.colour)


@dataclass(frozen=True)
class Lamp:
    """A lamp at ``position`` that shines ``colour`` onto ``target`` in a cone of half angle ``degrees``."""

    position: Vector
    target: Vector
    colour: Colour
    degrees: float

    def __post_init__(self) -> None:
        _check_colours(colour=self.colour)
        if not 1 <= self.degrees <= 90:
            raise ValueError(f"the half angle of a lamp must be 1 to 90 degrees, got {self.degrees}")


@dataclass(frozen=True)
class Light:
    """Light of ``colour``: what comes from everywhere, what from the camera's side, and what along ``direction``.

    The strengths multiply the colours of what they fall on; their sum on a surface is about 1 in a well lit scene. A
    ``lamp`` adds a patch of light.
    """

    colour: Colour = (1.0, 1.0, 1.0)
    ambient: float = 0.38
    fill: float = 0.1
    strength: float = 0.55
    direction: Vector = (-0.6, -0.25, -1.0)
    lamp: Lamp | None = None

    def __post_init__(self) -> None:
        _check_colours(colour=self.colour)
        for name in ("ambient", "fill", "strength"):
            if not 0 <= getattr(self, name) <= 2:
                raise ValueError(f"{name} must be 0 to 2, got {getattr(self, name)}")
        if not any(self.direction):
            raise ValueError("the direction of light must not be (0, 0, 0)")


@dataclass(frozen=True)
class Prop:
    """Something that lies on the table and nothing collides with; ``size`` are half extents in metres."""

    shape: str
    size: Vector
    colour: Colour
    place: tuple[float, float]
    yaw: float = 0.0

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise ValueError(f"unknown shape {self.shape!r}; there are {', '.join(SHAPES)}")
        _check_colours(colour=self.colour)
        if not all(0 < half <= 0.15 for half in self.size):
            raise ValueError(f"the half extents of a prop must be over 0 and at most 0.15 metres, got {self.size}")


@dataclass(frozen=True)
class CameraShift:
    """How far the agentview stands from its usual place, and its aim from its usual target (metres), and its zoom."""

    position: Vector = (0.0, 0.0, 0.0)
    target: Vector = (0.0, 0.0, 0.0)
    degrees: float = 0.0

    def of(self, viewpoint: Viewpoint) -> Viewpoint:
        """``viewpoint``, shifted."""
        position, target = np.add(viewpoint.position, self.position), np.add(viewpoint.target, self.target)
        return Viewpoint(_vector(position), _vector(target), viewpoint.degrees + self.degrees)


@dataclass(frozen=True)
class Words:
    """The phrases that fill a caption's slots."""

    table: str
    cube: str
    dish: str
    light: str
    background: str

    def slots(self) -> dict[str, str]:
        """Slot of the caption to phrase."""
        return {
            "TABLE": self.table,
            "COLOR_CUBE": self.cube,
            "COLOR_DISH": self.dish,
            "SENTENCE_LIGHT": self.light,
            "SENTENCE_BACKGROUND": self.background,
        }


@dataclass(frozen=True)
class Scene:
    """The look of the Lift task: the table and what lies on it, what stands behind, the light, and the camera.

    A scene moves nothing: whatever it shows besides the arm, the table and the cube, nothing collides with.
    ``dish_place`` is the dish's x and y on the table in metres; ``None`` draws it at each reset.

    Raises :class:`ValueError` naming what is out of range.
    """

    words: Words
    table: Surface
    cube: Colour
    dish: Colour
    wall: Surface
    floor: Colour
    light: Light = Light()
    dish_place: tuple[float, float] | None = None
    cabinet: Cabinet | None = None
    props: tuple[Prop, ...] = ()
    camera: CameraShift = CameraShift()

    def __post_init__(self) -> None:
        _check_colours(cube=self.cube, dish=self.dish, floor=self.floor)
        if len(self.props) > MAX_PROPS:
            raise ValueError(f"a scene has at most {MAX_PROPS} props, got {len(self.props)}")

    @property
    def caption(self) -> EpisodeCaption:
        """The scene in words; the wrist sees less of it."""
        slots = self.words.slots()
        return EpisodeCaption(fill(CAPTION, slots), {"wrist": fill(WRIST_CAPTION, slots)})

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Scene":
        """The scene that :meth:`to_dict` or its JSON describes; :class:`ValueError` for unknown or missing fields."""
        parts = {key: _tuples(value) for key, value in values.items()}
        try:
            light = dict(parts["light"])
            light["lamp"] = light["lamp"] and Lamp(**light["lamp"])
            return cls(
                **parts
                | {
                    "words": Words(**parts["words"]),
                    "table": Surface(**parts["table"]),
                    "wall": Surface(**parts["wall"]),
                    "light": Light(**light),
                    "cabinet": parts["cabinet"] and Cabinet(**parts["cabinet"]),
                    "props": tuple(Prop(**prop) for prop in parts["props"]),
                    "camera": CameraShift(**parts["camera"]),
                }
            )
        except (TypeError, KeyError) as error:
            raise ValueError(f"this is not a scene: {error}") from error


def fill(template: str, slots: Mapping[str, str]) -> str:
    """``template`` with each ``[SLOT]`` replaced by its phrase."""
    for slot, phrase in slots.items():
        template = template.replace(f"[{slot}]", phrase)
    return template


def draw_dish_place(rng: np.random.Generator) -> tuple[float, float]:
    """A place for the dish, on either side of the cube."""
    (near, far), (inner, outer) = DISH_PLACES
    side = 1 if rng.random() < 0.5 else -1
    return float(rng.uniform(near, far)), side * float(rng.uniform(inner, outer))


def _vector(values: Any) -> Vector:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _tuples(value: Any) -> Any:
    """Lists, as JSON has them, as tuples, at any depth."""
    if isinstance(value, Mapping):
        return {key: _tuples(part) for key, part in value.items()}
    return tuple(_tuples(part) for part in value) if isinstance(value, list | tuple) else value
