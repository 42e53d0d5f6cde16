"""The control video and the weight map that a :class:`ControlSpec` asks for, out of one camera's frames."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.augmentation.annotators import Annotator, known_phrases
from cosmos_sim.augmentation.control_spec import ControlSpec
from cosmos_sim.augmentation.controls import blur, depth_frames, edge, segment_frames


def control_frames(
    spec: ControlSpec,
    frames: UInt8[ndarray, "t h w 3"],
    *,
    annotator: Annotator | None = None,
    phrases: Sequence[str] = (),
    seed: int = 0,
) -> UInt8[ndarray, "t h w 3"]:
    """The control video of ``spec``; its region is :func:`control_mask`'s.

    ``annotator`` serves depth and segments, ``phrases`` names the segments (all that the annotator knows by default)
    and ``seed`` draws their colours.

    Raises:
        ValueError: depth or segments without an annotator, segments without a name, or what the control itself raises.
    """
    if spec.kind == "edge":
        return edge(frames, str(spec.preset))
    if spec.kind == "blur":
        return blur(frames, str(spec.preset))
    reader = _needed(spec, annotator)
    if spec.kind == "depth":
        return depth_frames(reader.depth(frames))
    return segment_frames(reader.segments(frames, segment_phrases(reader, phrases)).ids, seed)


def control_mask(
    spec: ControlSpec, frames: UInt8[ndarray, "t h w 3"], *, annotator: Annotator | None = None
) -> Float32[ndarray, "t h w"] | None:
    """1 where ``spec`` holds and 0 elsewhere; ``None`` if it holds everywhere.

    Raises:
        ValueError: a region without an annotator, or one that the annotator does not know.
    """
    if spec.region is None:
        return None
    return _needed(spec, annotator).segments(frames, (spec.region,)).mask(spec.region).astype(np.float32)


def segment_phrases(annotator: Annotator, phrases: Sequence[str]) -> tuple[str, ...]:
    """``phrases``, or all that ``annotator`` knows by itself where there are none.

    Raises:
        ValueError: none are given, and it knows none.
    """
    found = tuple(phrases) or known_phrases(annotator)
    if not found:
        raise ValueError("segments need the phrases to look for: this annotator knows none by itself")
    return found


def _needed(spec: ControlSpec, annotator: Annotator | None) -> Annotator:
    if annotator is None:
        what = f"region {spec.region!r}" if spec.kind in ("edge", "blur") else spec.kind
        raise ValueError(f"control {str(spec)!r} needs an annotator, for its {what}")
    return annotator
