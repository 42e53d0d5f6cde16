"""What the numbers of a dataset look like: the figures by which actions and states are normalised."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

_CONSTANT = 1e-6
"""A standard deviation below this share of the largest magnitude is rounding error of float32, not motion."""


@dataclass(frozen=True)
class Statistics:
    """Figures of each of ``n`` entries over all steps; ``q01`` and ``q99`` are quantiles."""

    mean: tuple[float, ...]
    std: tuple[float, ...]
    """Of the population (divided by the number of steps); exactly 0 for an entry that never changes."""
    minimum: tuple[float, ...]
    maximum: tuple[float, ...]
    q01: tuple[float, ...]
    q99: tuple[float, ...]
    count: int

    @property
    def scale(self) -> tuple[float, ...]:
        """:attr:`std`, with 1 in place of 0: what is safe to divide by."""
        return tuple(std if std > 0 else 1.0 for std in self.std)

    def to_dict(self) -> dict[str, Any]:
        """As plain lists and numbers, for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of :meth:`to_dict`; :class:`ValueError` for missing or unknown keys or unequal lengths."""
        names = {field.name for field in fields(cls)}
        if set(values) != names:
            raise ValueError(f"statistics must have the keys {sorted(names)}, got {sorted(values)}")
        vectors = {name: tuple(map(float, values[name])) for name in names - {"count"}}
        if len({len(vector) for vector in vectors.values()}) != 1:
            raise ValueError(f"statistics of unequal lengths: {sorted({len(v) for v in vectors.values()})}")
        return cls(**vectors, count=int(values["count"]))


def statistics(values: Float32[ndarray, "t n"] | Iterable[Float32[ndarray, "t n"]]) -> Statistics:
    """The figures of ``values``, given whole or as the parts of several episodes, computed in ``float64``.

    Raises:
        ValueError: for no values, parts of different widths, or values that are not finite.
    """
    parts = [values] if isinstance(values, ndarray) else list(values)
    widths = {part.shape[1:] for part in parts}
    if not parts or not sum(map(len, parts)) or any(len(width) != 1 for width in widths) or len(widths) != 1:
        raise ValueError(f"statistics need values of shape (t, n), got {[part.shape for part in parts][:4]}")
    x = np.concatenate(parts).astype(np.float64)
    if not np.isfinite(x).all():
        row = int(np.flatnonzero(~np.isfinite(x).all(axis=1))[0])
        raise ValueError(f"statistics of values that are not finite: row {row} is {x[row].tolist()}")
    std = x.std(axis=0)
    std[std <= _CONSTANT * np.abs(x).max(axis=0)] = 0.0
    low, high = np.quantile(x, [0.01, 0.99], axis=0)
    return Statistics(
        mean=tuple(x.mean(axis=0).tolist()),
        std=tuple(std.tolist()),
        minimum=tuple(x.min(axis=0).tolist()),
        maximum=tuple(x.max(axis=0).tolist()),
        q01=tuple(low.tolist()),
        q99=tuple(high.tolist()),
        count=len(x),
    )
