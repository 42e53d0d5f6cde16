"""What each pixel of a video belongs to."""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

BACKGROUND = "background"
"""The name of what is none of the segments looked for."""


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
        return self.ids == self._index(name)

    def choose(self, names: Sequence[str]) -> "Segments":
        """Only ``names``, in their order, from id 1 on; all the rest becomes the background, id 0.

        Raises:
            ValueError: for a name that there is none of, or that comes twice.
        """
        table = np.zeros(256, np.uint8)
        for k, name in enumerate(names, start=1):
            table[self._index(name)] = k
        return Segments(table[self.ids], (BACKGROUND, *names))

    def _index(self, name: str) -> int:
        if name not in self.names:
            near = difflib.get_close_matches(name, self.names, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(self.names)}"
            raise ValueError(f"unknown segment {name!r}: {hint}")
        return self.names.index(name)
