"""Control videos of clips to train on: of each camera by itself, as they are made when a video is to be translated."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from jaxtyping import UInt8, UInt16
from numpy import ndarray

from cosmos_sim.data.clips import Clip
from cosmos_sim.data.segments import Segments


@dataclass(frozen=True, eq=False)
class View:
    """What a clip shows of one camera."""

    frames: UInt8[ndarray, "t h w 3"]
    depth: UInt16[ndarray, "t h w"] | None = None
    """Millimetres; ``None``, as are the segments, where the clip has no annotations."""
    segments: Segments | None = None


@dataclass(frozen=True)
class Extractor:
    """Makes the control video of a view, and says what of it depends on."""

    kind: str
    """Of :data:`cosmos_sim.world_model.control.KINDS`."""
    draw: Callable[[View, int], UInt8[ndarray, "t h w 3"]]
    """From a view and a seed."""
    annotated: bool = False
    """Whether it needs annotations."""
    random: bool = True
    """Whether the seed matters."""
    version: int = 1
    """To be raised when ``draw`` gives other videos than before: those that are kept do not count then."""

    def key(self, clip: str, variant: int) -> str:
        """The key under which the latents of a video are kept; the clip's at its end."""
        return f"{self.kind}{self.version}.{variant}-{clip}"

    def __call__(self, clip: Clip, widths: tuple[int, ...], variant: int) -> UInt8[ndarray, "t h w 3"]:
        """The control video of a clip whose cameras, side by side, are of ``widths``.

        All of them are drawn with one seed, which differs between clips and between variants of one.

        Raises:
            ValueError: it needs annotations, and the clip has none.
        """
        if self.annotated and clip.annotations is None:
            raise ValueError(f"{clip.name} has no annotations, which the control {self.kind} is made of")
        seed = int.from_bytes(blake2b(f"{variant} {clip.ref.key}".encode(), digest_size=4).digest())
        return np.concatenate([self.draw(view, seed) for view in _views(clip, widths)], axis=2)


def _views(clip: Clip, widths: tuple[int, ...]) -> list[View]:
    parts = np.split(clip.frames, np.cumsum(widths)[:-1], axis=2)
    known = clip.annotations
    if known is None:
        return [View(part) for part in parts]
    return [
        View(part, known.depth[camera], Segments(known.segments[camera], known.names))
        for part, camera in zip(parts, known.cameras, strict=True)
    ]
