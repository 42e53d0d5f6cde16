"""Regions redrawn in the colours that a world gave them, with the shape and the shading that the source shows."""

from collections.abc import Iterable, Mapping

import cv2
import numpy as np
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray

Frames = Mapping[str, UInt8[ndarray, "t h w 3"]]
Masks = Mapping[str, Bool[ndarray, "t h w"]]

SMEAR = 1 / 10
"""Of a frame's height: as far around a region the world's own drawing of it may reach."""

_LUMINANCE = np.array((0.299, 0.587, 0.114), np.float32)
"""BT.601."""


def recolour(source: Frames, made: Frames, regions: Iterable[Masks]) -> dict[str, UInt8[ndarray, "t h w 3"]]:
    """``made`` with each region drawn anew: the source's luminance times one colour, that which the world gave it.

    A small world paints a thing in the right colour, but in a ragged shape that no longer says where the thing is. If
    a region is of one material, light and paint scale its pixels: its colour is the gain, for each channel, that takes
    the source's luminance nearest to what was made (least squares), one for the whole clip and all cameras, so that
    views agree and nothing flickers. What was made close around the regions is filled in from farther off (Telea
    2004), since it holds what of the thing was drawn beside its place.

    Args:
        source: of each camera.
        made: frames of the same shapes.
        regions: camera to the pixels of one region; no pixel belongs to two.
    """
    regions = list(regions)
    whole = {camera: np.any([masks[camera] for masks in regions], axis=0) for camera in made} if regions else {}
    drawn = {camera: _filled(frames, whole[camera]) if regions else frames for camera, frames in made.items()}
    for masks in regions:
        cores = {camera: _core(mask) for camera, mask in masks.items()}
        if not any(core.any() for core in cores.values()):
            cores = dict(masks)
        shades = np.concatenate([_shade(source[camera], core) for camera, core in cores.items()])
        if not shades.any():
            continue
        colours = np.concatenate([made[camera][core] for camera, core in cores.items()]).astype(np.float32)
        gain = shades @ colours / (shades @ shades)
        darkest, brightest = np.quantile(shades, (0.02, 0.98))
        for camera, mask in masks.items():
            shade = np.clip(_shade(source[camera], mask), darkest, brightest)
            drawn[camera][mask] = np.clip(np.rint(shade[:, None] * gain), 0, 255)
    return drawn


def _shade(frames: UInt8[ndarray, "t h w 3"], mask: Bool[ndarray, "t h w"]) -> Float32[ndarray, " n"]:
    return frames[mask].astype(np.float32) @ _LUMINANCE


def _core(mask: Bool[ndarray, "t h w"]) -> Bool[ndarray, "t h w"]:
    """``mask`` without its outline, whose pixels are mixtures with what is behind."""
    kernel = np.ones((3, 3), np.uint8)
    return np.stack([cv2.erode(one.astype(np.uint8), kernel) for one in mask]).astype(bool)


def _filled(frames: UInt8[ndarray, "t h w 3"], mask: Bool[ndarray, "t h w"]) -> UInt8[ndarray, "t h w 3"]:
    """``frames`` with ``mask`` and what is around it filled in; as they are where nothing else is shown."""
    reach = max(1, round(SMEAR * frames.shape[1]))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    filled = []
    for image, one in zip(frames, mask, strict=True):
        around = cv2.dilate(one.astype(np.uint8), kernel)
        filled.append(cv2.inpaint(image, around, 3, cv2.INPAINT_TELEA) if not around.all() else image)
    return np.stack(filled)
