"""Windows of consecutive steps inside episodes: which there are, how often each is drawn, and the steps of each.

Everything here is a pure function of arrays and a generator; :mod:`cosmos_sim.data.store` turns windows into frames.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64
from numpy import ndarray


@dataclass(frozen=True, eq=False)
class Windows:
    """``n`` windows of ``length`` steps: window ``i`` is steps ``start[i] .. start[i] + length - 1`` of an episode."""

    episode: Int64[ndarray, "n"]
    start: Int64[ndarray, "n"]
    length: int

    def __len__(self) -> int:
        return len(self.episode)

    def select(self, indices: Int64[ndarray, "k"]) -> "Windows":
        """The windows at ``indices``, in that order, repeats allowed."""
        return Windows(self.episode[indices], self.start[indices], self.length)

    def steps(self) -> Int64[ndarray, "n length"]:
        """The steps of every window, beyond the episode's ends where the window is."""
        return self.start[:, None] + np.arange(self.length, dtype=np.int64)


def all_windows(
    lengths: Sequence[int], length: int, *, episodes: Sequence[int] | None = None, before: int = 0, after: int = 0
) -> Windows:
    """Every window of ``length`` steps in episodes of ``lengths`` steps.

    Args:
        lengths: the steps of every episode of a dataset.
        length: the steps of a window.
        episodes: the episodes to take windows from (such as those to train on); all by default.
        before: how many steps a window may begin before its episode does.
        after: how many steps a window may end after its episode does.

    Raises:
        ValueError: if an argument is out of range, or no episode is long enough.
    """
    if length < 1 or not 0 <= before < length or not 0 <= after < length:
        raise ValueError(f"windows need length > before, after >= 0, got {length=}, {before=}, {after=}")
    chosen = range(len(lengths)) if episodes is None else episodes
    for episode in chosen:
        if not 0 <= episode < len(lengths):
            raise ValueError(f"there are episodes 0..{len(lengths) - 1}, not {episode}")
    starts = [np.arange(-before, lengths[episode] + after - length + 1, dtype=np.int64) for episode in chosen]
    if not any(map(len, starts)):
        longest = max((lengths[episode] for episode in chosen), default=0)
        raise ValueError(f"no window of {length} steps: the longest of {len(chosen)} episodes has {longest}")
    counts = [len(start) for start in starts]
    return Windows(np.repeat(np.asarray(chosen, dtype=np.int64), counts), np.concatenate(starts), length)


def clamp(
    steps: Int64[ndarray, "n t"], lengths: Int64[ndarray, "n"]
) -> tuple[Int64[ndarray, "n t"], Bool[ndarray, "n t"]]:
    """Padding: steps outside an episode become its first or last step, and are ``False`` in the mask returned."""
    inside = (steps >= 0) & (steps < lengths[:, None])
    return np.clip(steps, 0, lengths[:, None] - 1), inside


def motion_weights(
    windows: Windows,
    states: Sequence[Float32[ndarray, "t k"]],
    successes: Sequence[Bool[ndarray, "t"]] | None = None,
    *,
    factor: float = 3.0,
    quantile: float = 0.5,
) -> Float[ndarray, "n"]:
    """How often each window should be drawn: ``factor`` where something happens, 1 elsewhere.

    Something happens where the state's path within the window (the sum of its steps, each entry divided by its standard
    deviation over the dataset) is longer than the ``quantile`` of all windows', or where success changes.

    Raises:
        ValueError: if ``factor < 1`` or ``quantile`` is outside [0, 1].
    """
    if factor < 1 or not 0 <= quantile <= 1:
        raise ValueError(f"weights need factor >= 1 and a quantile in [0, 1], got {factor=}, {quantile=}")
    spread = np.concatenate(states).std(axis=0)
    scale = np.where(spread > 0, spread, 1.0)
    path = _sums(windows, [np.linalg.norm(np.diff(state / scale, axis=0), axis=1) for state in states])
    busy = path > np.quantile(path, quantile)
    if successes is not None:
        busy |= _sums(windows, [np.diff(success.astype(np.int64)) != 0 for success in successes]) > 0
    return np.where(busy, factor, 1.0)


def draw(
    windows: Windows, count: int, generator: torch.Generator, *, weights: Float[ndarray, "n"] | None = None
) -> Windows:
    """``count`` windows drawn with replacement, alike or in proportion to ``weights``, by ``generator`` alone.

    Raises:
        ValueError: if ``weights`` do not fit the windows, are negative or not finite, or are all zero.
    """
    n = len(windows)
    if weights is None:
        return windows.select(torch.randint(n, (count,), generator=generator).numpy())
    if weights.shape != (n,) or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise ValueError(f"{n} windows need as many finite weights >= 0, some above, got shape {weights.shape}")
    edges = np.cumsum(weights, dtype=np.float64)
    places = torch.rand(count, generator=generator, dtype=torch.float64).numpy() * edges[-1]
    return windows.select(np.searchsorted(edges, places, side="right").astype(np.int64))


def _sums(windows: Windows, changes: Sequence[ndarray]) -> Float[ndarray, "n"]:
    """The sum in each window of ``changes[episode]``, whose entry ``k`` is the change from step ``k`` to the next."""
    totals = [np.concatenate([[0.0], np.cumsum(change, dtype=np.float64)]) for change in changes]
    first = np.concatenate([[0], np.cumsum([len(total) for total in totals])[:-1]])
    lengths = np.asarray([len(total) for total in totals])[windows.episode]
    low = np.clip(windows.start, 0, lengths - 1)
    high = np.clip(windows.start + windows.length - 1, 0, lengths - 1)
    flat = np.concatenate(totals)
    result: ndarray = flat[first[windows.episode] + high] - flat[first[windows.episode] + low]
    return result
