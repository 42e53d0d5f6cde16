"""What a user says of a control in a word: ``edge``, ``edge@low:0.5``, ``blur:robot``, ``blur@very_low:robot:1.0``."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from cosmos_sim.augmentation.controls import BLUR_PRESETS, EDGE_PRESETS, choose, meant
from cosmos_sim.world_model.control import KINDS

PRESETS: dict[str, dict[str, tuple[int, int]]] = {"edge": EDGE_PRESETS, "blur": BLUR_PRESETS}
"""The kinds that have presets, and which."""

USUAL = {"edge": "medium", "blur": "very_low"}
"""The preset where none is given: the paper's choice for robot data (section 6.2.2)."""


@dataclass(frozen=True)
class ControlSpec:
    """One control: its kind, how much it weighs, how strong its preset is, and where it holds.

    Raises:
        ValueError: an unknown kind or preset, a preset of a kind that has none, a weight that is negative or not
            finite, or a region without a name.
    """

    kind: str
    weight: float = 1.0
    preset: str | None = None
    """A name of :data:`EDGE_PRESETS` or :data:`BLUR_PRESETS`, the usual one where none is given; none for depth and
    segments."""
    region: str | None = None
    """The segment that the control is limited to, such as ``robot`` or any phrase; everywhere if ``None``."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown control {self.kind!r}: {meant(self.kind, KINDS)}")
        presets = PRESETS.get(self.kind)
        if presets is not None:
            object.__setattr__(self, "preset", self.preset or USUAL[self.kind])
            choose(presets, str(self.preset), f"preset of {self.kind}")
        elif self.preset is not None:
            raise ValueError(f"preset={self.preset!r} would be ignored: {self.kind} has no presets")
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"the weight of {self.kind} must be 0 or more, got {self.weight}")
        if self.region is not None and not self.region.strip():
            raise ValueError(f"the region of {self.kind} has no name: {self.region!r}")

    def __str__(self) -> str:
        """The word that :func:`parse_control` reads this from."""
        preset = "" if self.preset is None else f"@{self.preset}"
        region = "" if self.region is None else f":{self.region}"
        return f"{self.kind}{preset}{region}:{self.weight}"


DEFAULT = (ControlSpec("edge"), ControlSpec("blur", region="robot"))
"""The paper's controls for robot data: medium edges everywhere, very little blur on the robot (section 6.2.2)."""


def parse_control(text: str) -> ControlSpec:
    """Read ``KIND[@PRESET][:REGION][:WEIGHT]``; a part that is a number is the weight.

    Raises:
        ValueError: naming ``text`` and what is wrong with it.
    """
    head, *parts = (part.strip() for part in text.split(":"))
    kind, at, preset = head.partition("@")
    weight = None if not parts else _number(parts[-1])
    regions = parts if weight is None else parts[:-1]
    if len(regions) > 1 or (at and not preset):
        raise ValueError(f"control {text!r} is not KIND[@PRESET][:REGION][:WEIGHT], such as blur@very_low:robot:1.0")
    try:
        return ControlSpec(kind, 1.0 if weight is None else weight, preset or None, regions[0] if regions else None)
    except ValueError as error:
        raise ValueError(f"control {text!r}: {error}") from None


def parse_controls(texts: Iterable[str]) -> tuple[ControlSpec, ...]:
    """Read several controls.

    Raises:
        ValueError: one that cannot be read, or two of one kind.
    """
    specs = tuple(parse_control(text) for text in texts)
    check_controls(specs)
    return specs


def check_controls(specs: Iterable[ControlSpec]) -> None:
    """:class:`ValueError` if two of ``specs`` are of one kind."""
    seen: dict[str, ControlSpec] = {}
    for spec in specs:
        if spec.kind in seen:
            raise ValueError(f"two controls of one kind: {str(seen[spec.kind])!r} and {str(spec)!r}")
        seen[spec.kind] = spec


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
