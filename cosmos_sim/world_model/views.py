"""The cameras of one moment side by side in one frame, as wide as each other, and apart again.

A network that makes them in one frame sees that they show the same scene.
"""

import difflib
from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Shaped
from numpy import ndarray

from cosmos_sim.data.images import stretch

Video = Shaped[ndarray, "t h w *c"]
"""Frames, or masks of them."""


def join_views(videos: Mapping[str, Video], views: Sequence[str], *, size: tuple[int, int]) -> Video:
    """The videos of ``views``, in this order from left to right, each stretched to its part of ``size``.

    Args:
        videos: of each camera, of any sizes; all of the same frames.
        size: height and width of the whole.

    Raises:
        ValueError: other cameras than ``views``, videos of unequal length, or a width that does not divide.
    """
    if set(videos) != set(views):
        odd = sorted(set(videos) ^ set(views))[0]
        near = difflib.get_close_matches(odd, views, n=1)
        hint = f": did you mean {near[0]!r}?" if near and odd not in views else ""
        raise ValueError(f"videos of {sorted(videos)} given, the views are {list(views)}{hint}")
    lengths = {view: len(videos[view]) for view in views}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"the views have unequal numbers of frames: {lengths}")
    part = view_size(views, size)
    return np.concatenate([stretch(videos[view], part) for view in views], axis=2)


def split_views(
    video: Video, views: Sequence[str], *, sizes: Mapping[str, tuple[int, int]] | None = None
) -> dict[str, Video]:
    """The video of each camera out of one of all side by side.

    Args:
        sizes: height and width to bring each to; as they are when not given.

    Raises:
        ValueError: a width that does not divide, or sizes of other cameras.
    """
    _, width = view_size(views, (video.shape[1], video.shape[2]))
    if sizes is not None and set(sizes) != set(views):
        raise ValueError(f"sizes of {sorted(sizes)} given, the views are {list(views)}")
    parts = {view: video[:, :, i * width : (i + 1) * width] for i, view in enumerate(views)}
    return {view: stretch(part, sizes[view]) if sizes else part for view, part in parts.items()}


def whole_size(videos: Mapping[str, Video], views: Sequence[str]) -> tuple[int, int]:
    """Height and width of the videos of ``views`` side by side, as high as the highest."""
    return max(videos[view].shape[1] for view in views), sum(videos[view].shape[2] for view in views)


def view_size(views: Sequence[str], size: tuple[int, int]) -> tuple[int, int]:
    """Height and width of each of ``views`` in frames of ``size``.

    Raises:
        ValueError: the width does not divide.
    """
    if not views or size[1] % len(views):
        raise ValueError(f"frames {size[1]} wide do not divide into the views {list(views)}")
    return size[0], size[1] // len(views)
