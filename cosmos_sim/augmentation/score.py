"""How a generated video keeps to its controls, and how good it looks: Table 12's figures of one clip and of many."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum
from typing import Literal

from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.augmentation.annotators import Annotator, known_phrases
from cosmos_sim.augmentation.control_spec import ControlSpec, check_controls
from cosmos_sim.augmentation.controls import EDGE_PRESETS, blur
from cosmos_sim.augmentation.extract import control_mask, segment_phrases
from cosmos_sim.metrics.control import blur_ssim, depth_si_rmse, edge_f1, mask_miou
from cosmos_sim.metrics.drift import chunk_scores, rnds
from cosmos_sim.metrics.intervals import Interval, mean_interval
from cosmos_sim.metrics.quality import Quality, sharpness

FIGURES: dict[str, Literal["higher", "lower"]] = {
    "blur_ssim": "higher",
    "edge_f1": "higher",
    "depth_si_rmse": "lower",
    "mask_miou": "higher",
    "mask_recall": "higher",
    "quality": "higher",
    "source_quality": "higher",
}
"""The figures of a clip, in Table 12's order, and which way is better."""


@dataclass(frozen=True)
class Mean:
    """A figure over clips."""

    value: float
    clips: int
    interval: Interval | None
    """Student's, of 95%, of clips taken as independent, which those of one episode are not quite; ``None`` for one."""


def score_clip(
    source: UInt8[ndarray, "t h w 3"],
    generated: UInt8[ndarray, "t h w 3"],
    specs: Sequence[ControlSpec],
    *,
    truth: Annotator | None = None,
    annotator: Annotator | None = None,
    phrases: Sequence[str] = (),
    quality: Quality = sharpness,
) -> dict[str, float]:
    """The figures of one clip against the controls ``specs``, each with its preset and within its region.

    Args:
        source: what the controls were taken from.
        generated: the clip to judge, of the same size and length.
        specs: one of a kind; the weights do not matter.
        truth: reads depth, segments and regions off the source; ``annotator`` by default.
        annotator: reads depth and segments off the generated clip.
        phrases: the segments to compare; all that both annotators know by themselves by default.
        quality: judges each clip by itself.

    Returns:
        By the names of :data:`FIGURES`. The figure of a control is missing whose region the source does not show.

    Raises:
        ValueError: clips that do not fit, a control twice, or one that needs an annotator that is not given.
    """
    check_controls(specs)
    truth = truth or annotator
    figures: dict[str, float] = {}
    for spec in specs:
        mask = control_mask(spec, source, annotator=truth)
        where = None if mask is None else mask > 0
        if where is not None and not where.any():
            continue
        if spec.kind == "edge":
            thresholds = EDGE_PRESETS[str(spec.preset)]
            score = edge_f1(truth=source, estimate=generated, thresholds=thresholds, where=where)
            figures["edge_f1"] = score.f1
        elif spec.kind == "blur":
            figures["blur_ssim"] = blur_ssim(truth=source, estimate=generated, blur=_blur_of(spec), where=where)
        else:
            if truth is None or annotator is None:
                raise ValueError(f"control {str(spec)!r} needs an annotator of generated frames")
            if spec.kind == "depth":
                there, here = truth.depth(source), annotator.depth(generated)
                figures["depth_si_rmse"] = depth_si_rmse(truth=there, estimate=here, where=where)
            else:
                names = _shared(truth, annotator, phrases)
                ids, found = truth.segments(source, names).ids, annotator.segments(generated, names).ids
                masks = mask_miou(truth=ids, estimate=found, where=where)
                figures |= {"mask_miou": masks.miou, "mask_recall": masks.recall}
    figures |= {"quality": quality(generated), "source_quality": quality(source)}
    return {name: figures[name] for name in FIGURES if name in figures}


@dataclass(frozen=True)
class ClipScore:
    """What was found of one clip."""

    name: str
    controls: tuple[str, ...]
    figures: Mapping[str, float]
    decay: tuple[float, ...] = ()
    """Quality of each chunk relative to the source's and to the first chunk's (RNDS); none if it was not asked for."""


@dataclass(frozen=True)
class TransferScore:
    """What was found of many clips."""

    clips: tuple[ClipScore, ...]

    @property
    def means(self) -> dict[str, Mean]:
        """Each figure over the clips that have it."""
        found = {}
        for name in FIGURES:
            values = [clip.figures[name] for clip in self.clips if name in clip.figures]
            if values:
                interval = mean_interval(values) if len(values) > 1 else None
                found[name] = Mean(fsum(values) / len(values), len(values), interval)
        return found

    @property
    def decay(self) -> tuple[float, ...]:
        """The curve of RNDS, each chunk over the clips that are as long."""
        length = max((len(clip.decay) for clip in self.clips), default=0)
        columns = [[clip.decay[k] for clip in self.clips if len(clip.decay) > k] for k in range(length)]
        return tuple(fsum(column) / len(column) for column in columns)


def clip_decay(
    source: UInt8[ndarray, "t h w 3"],
    generated: UInt8[ndarray, "t h w 3"],
    *,
    chunk: int,
    quality: Quality = sharpness,
) -> tuple[float, ...]:
    """:func:`cosmos_sim.metrics.drift.rnds` of every ``chunk`` frames.

    Raises:
        ValueError: clips of unequal length, a chunk below 1, or a quality that is not above 0.
    """
    if len(source) != len(generated):
        raise ValueError(f"the source has {len(source)} frames, the generated clip {len(generated)}")
    truth, estimate = (list(chunk_scores(video, quality, chunk=chunk)) for video in (source, generated))
    return rnds(truth=truth, estimate=estimate)


def score_text(score: TransferScore) -> str:
    """The means as a table, and the curve of RNDS where there is one."""
    lines = [f"{'figure':<16}{'mean':>9}  {'95% interval':<18}{'clips':>5}  better"]
    for name, mean in score.means.items():
        span = "" if mean.interval is None else f"{mean.interval.low:.4f} .. {mean.interval.high:.4f}"
        lines.append(f"{name:<16}{mean.value:>9.4f}  {span:<18}{mean.clips:>5}  {FIGURES[name]}")
    if score.decay:
        lines.append("RNDS " + " ".join(f"{value:.3f}" for value in score.decay))
    return "\n".join(lines)


def _blur_of(spec: ControlSpec) -> Callable[[UInt8[ndarray, "t h w 3"]], UInt8[ndarray, "t h w 3"]]:
    return lambda frames: blur(frames, str(spec.preset))


def _shared(truth: Annotator, annotator: Annotator, phrases: Sequence[str]) -> tuple[str, ...]:
    """``phrases``, or the segments that both know; all of one's, where the other looks for any phrase.

    Raises:
        ValueError: there are none.
    """
    if phrases or not truth.names:
        return segment_phrases(annotator, phrases)
    shared = tuple(name for name in known_phrases(truth) if not annotator.names or name in annotator.names)
    if not shared:
        raise ValueError(f"no segment is known to both: {', '.join(truth.names)}; {', '.join(annotator.names)}")
    return shared
