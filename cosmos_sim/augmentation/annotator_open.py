"""Annotators by name: large networks of the hub, which know no names, or a small one trained on a simulator."""

from collections.abc import Sequence

import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.augmentation.annotator_depth import DepthAnything
from cosmos_sim.augmentation.annotator_grounded import GroundedSam
from cosmos_sim.augmentation.annotators import Annotator
from cosmos_sim.data.segments import Segments
from cosmos_sim.training.device import select_device
from cosmos_sim.world_model import annotator as trained

HUB = "hub"


class HubAnnotator:
    """For any video: :class:`DepthAnything` for depth, :class:`GroundedSam` for segments of any phrase."""

    names: tuple[str, ...] = ()

    def __init__(self, *, device: str | torch.device = "auto") -> None:
        self._depth, self._segments = DepthAnything(device=device), GroundedSam(device=device)

    def depth(self, frames: UInt8[ndarray, "t h w 3"]) -> Float32[ndarray, "t h w"]:
        return self._depth(frames)

    def segments(self, frames: UInt8[ndarray, "t h w 3"], phrases: Sequence[str]) -> Segments:
        return self._segments(frames, phrases)


def find_annotator(name: str, *, device: str | torch.device = "auto") -> Annotator:
    """``hub``, or a trained annotator's folder, shipped name or hub id.

    Raises:
        ValueError: there is no such annotator.
    """
    if name == HUB:
        return HubAnnotator(device=device)
    return trained.Annotator.from_pretrained(name, device=select_device(str(device)))
