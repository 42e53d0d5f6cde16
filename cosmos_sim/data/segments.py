"""What each pixel of a video belongs to."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray


@dataclass(frozen=True, eq=False)
class Segments:
    """An index into ``names`` for each pixel of ``t`` frames.

    Raises :class:`ValueError` for ids of another type or shape, names that repeat, and an id without a name.
    """

    ids: UInt8[ndarray, "t h w"]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.ids.dtype != np.uint8 or self.ids.ndim != 3:
            raise ValueError(f"ids must be uint8 (t, h, w), got {self.ids.dtype} {self.ids.shape}")
        if not self.names or len(set(self.names)) < len(self.names) or len(self.names) > 256:
            raise ValueError(f"segments need 1 to 256 different names, got {self.names}")
        if self.ids.size and (largest := int(self.ids.max())) >= len(self.names):
            raise ValueError(f"there is an id {largest}, but only {len(self.names)} have names")

    def mask(self, name: str) -> Bool[ndarray, "t h w"]:
        """Which pixels belong to ``name``; :class:`ValueError` if there is none of that name."""
        if name not in self.names:
            raise ValueError(f"there is no segment {name!r}; there are {', '.join(self.names)}")
        return self.ids == self.names.index(name)
