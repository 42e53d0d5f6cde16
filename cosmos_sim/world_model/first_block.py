"""First-block caching: most of the network is skipped where its first block says that little has changed."""

from collections.abc import Callable

from torch import Tensor


class FirstBlockCache:
    """Reuses what the later blocks added, for as long as the first block adds nearly the same as when they last ran.

    The change is ``mean |first - last first| / mean |last first|``, ``first`` being what the first block adds to its
    input; below ``threshold`` the rest is taken from memory (the rule of ParaAttention's first-block cache). It is an
    approximation: the error is unbounded in theory and grows with the threshold, so measure it for your weights and
    schedule (``benchmarks/dit_forward.py`` prints seconds and error together). A threshold of 0 is exact.

    One object serves one sequence of evaluations: with guidance, one for each of the two; :meth:`clear` before the next
    video.
    """

    def __init__(self, threshold: float) -> None:
        if not 0 <= threshold < 1:
            raise ValueError(f"threshold must lie in [0, 1), not {threshold}")
        self.threshold = threshold
        self.clear()

    def clear(self) -> None:
        self.evaluations = 0
        self.reused = 0
        self._first: Tensor | None = None
        self._rest: Tensor | None = None

    def __call__(self, x: Tensor, first: Callable[[Tensor], Tensor], rest: Callable[[Tensor], Tensor]) -> Tensor:
        """``rest(first(x))``, or nearly so."""
        middle = first(x)
        added = middle - x
        self.evaluations += 1
        if self._rest is not None and self._changed(added) < self.threshold:
            self.reused += 1
            return middle + self._rest
        out = rest(middle)
        self._first, self._rest = added, out - middle
        return out

    def _changed(self, added: Tensor) -> float:
        last = self._first
        if last is None or last.shape != added.shape:
            return float("inf")
        return ((added - last).abs().float().mean() / last.abs().float().mean().clamp_min(1e-12)).item()
