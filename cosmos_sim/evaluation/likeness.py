"""How like the truth imagined frames are, beside doing nothing and beside the best that their tokenizer could do."""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.metrics.video import changed, ssim

_PEAK = 255.0


@dataclass(frozen=True)
class Likeness:
    """How like the true frames some other frames are."""

    psnr: float
    """dB, squared error pooled over all windows."""
    psnr_changed: float | None
    """The same where the true frame differs from the window's first; ``None`` if nothing changed."""
    ssim: float


@dataclass(frozen=True)
class CameraResult:
    """One camera at one horizon."""

    world: Likeness
    copy: Likeness
    """The window's first frame, the last one seen, in place of a prediction: a world must beat it."""
    ceiling: Likeness
    """The true frame through the tokenizer and back: no world on this tokenizer can beat it."""
    closed: float | None
    """Share of the way in dB from ``copy`` to ``ceiling`` that the world goes; ``None`` where there is no way to go."""


@dataclass
class LikenessSum:
    """Pools :class:`Likeness` over batches of frames, none of which is kept."""

    error: float = 0.0
    values: int = 0
    error_changed: float = 0.0
    values_changed: int = 0
    ssim: float = 0.0
    frames: int = 0

    def add(
        self,
        *,
        truth: UInt8[ndarray, "n h w c"],
        estimate: UInt8[ndarray, "n h w c"],
        start: UInt8[ndarray, "n h w c"],
    ) -> None:
        """``start``, the windows' first frames, tells what changed."""
        squared = (truth.astype(np.int32) - estimate) ** 2
        moved = changed(start, truth)
        self.error += float(squared.sum(dtype=np.int64))
        self.values += squared.size
        self.error_changed += float(squared[moved].sum(dtype=np.int64))
        self.values_changed += int(moved.sum()) * truth.shape[-1]
        self.ssim += ssim(truth=truth, estimate=estimate) * len(truth)
        self.frames += len(truth)

    def result(self) -> Likeness:
        return Likeness(
            psnr=_decibels(self.error, self.values),
            psnr_changed=_decibels(self.error_changed, self.values_changed) if self.values_changed else None,
            ssim=self.ssim / self.frames,
        )


@dataclass
class CameraSum:
    """Pools :class:`CameraResult`."""

    world: LikenessSum = field(default_factory=LikenessSum)
    copy: LikenessSum = field(default_factory=LikenessSum)
    ceiling: LikenessSum = field(default_factory=LikenessSum)

    def add(
        self,
        *,
        truth: UInt8[ndarray, "n h w c"],
        world: UInt8[ndarray, "n h w c"],
        ceiling: UInt8[ndarray, "n h w c"],
        start: UInt8[ndarray, "n h w c"],
    ) -> None:
        for pool, estimate in ((self.world, world), (self.copy, start), (self.ceiling, ceiling)):
            pool.add(truth=truth, estimate=estimate, start=start)

    def result(self) -> CameraResult:
        world, copy, ceiling = self.world.result(), self.copy.result(), self.ceiling.result()
        gap = ceiling.psnr - copy.psnr
        closed = (world.psnr - copy.psnr) / gap if np.isfinite(gap) and gap > 0 else None
        return CameraResult(world, copy, ceiling, closed)


def _decibels(error: float, values: int) -> float:
    return float("inf") if error == 0 else 10 * float(np.log10(_PEAK**2 * values / error))
