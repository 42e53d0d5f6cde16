"""All controls of a moment's cameras as a Transfer world takes them: every camera in one frame, at the world's size."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from cosmos_sim.augmentation.annotators import Annotator
from cosmos_sim.augmentation.control_spec import ControlSpec, check_controls
from cosmos_sim.augmentation.extract import control_frames, control_mask
from cosmos_sim.world_model.control_video import ControlVideo
from cosmos_sim.world_model.views import join_views, split_views


def control_videos(
    videos: Mapping[str, UInt8[ndarray, "t _ _ 3"]],
    specs: Sequence[ControlSpec],
    *,
    size: tuple[int, int],
    views: Sequence[str] | None = None,
    annotators: Mapping[str, Annotator] | None = None,
    phrases: Sequence[str] = (),
    seed: int = 0,
    given: Mapping[str, UInt8[ndarray, "t h w 3"]] | None = None,
) -> dict[str, ControlVideo]:
    """The controls that ``specs`` ask for, by kind.

    Each camera's are its own, as in training. Edges and blur are taken from its frames at the size at which they are
    made; depth, segments and regions are read off its own video, and then brought to its place.

    Args:
        videos: of each camera, of any size.
        size: height and width of the world's frames.
        views: the cameras from left to right; of one video alone it need not be given.
        annotators: of each camera, for depth, segments and regions.
        phrases: the segments to look for; all that the annotators know by themselves when none are given.
        seed: of the segments' colours.
        given: control videos of ``size`` by kind that are there already, and are not computed.

    Raises:
        ValueError: cameras that do not fit, a control twice, or one that needs an annotator that is not given.
    """
    check_controls(specs)
    views = tuple(videos) if views is None and len(videos) == 1 else tuple(views or ())
    readers = {view: None if annotators is None else annotators.get(view) for view in videos}
    whole = join_views(videos, views, size=size)
    found = {}
    for spec in specs:
        if given is not None and spec.kind in given:
            frames = given[spec.kind]
        elif spec.kind in ("edge", "blur"):
            frames = np.concatenate([control_frames(spec, part) for part in split_views(whole, views).values()], axis=2)
        else:
            read = {
                view: control_frames(spec, video, annotator=readers[view], phrases=phrases, seed=seed)
                for view, video in videos.items()
            }
            frames = join_views(read, views, size=size)
        mask = None
        if spec.region is not None:
            masks = {view: control_mask(spec, video, annotator=readers[view]) for view, video in videos.items()}
            mask = join_views({view: one for view, one in masks.items() if one is not None}, views, size=size)
        found[spec.kind] = ControlVideo(frames, spec.weight, mask)
    return found


def region(frames: UInt8[ndarray, "t h w 3"], names: Sequence[str], annotator: Annotator) -> Bool[ndarray, "t h w"]:
    """Which pixels of a camera's frames belong to any of ``names``.

    Raises:
        ValueError: a name that the annotator does not know.
    """
    found = annotator.segments(frames, tuple(names))
    return np.isin(found.ids, [found.names.index(name) for name in names])
