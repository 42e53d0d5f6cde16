"""Regions redrawn: the source's shape and shading, the world's colour."""

import numpy as np
from numpy import ndarray

from cosmos_sim.augmentation.recolour import recolour

SIZES = {"front": (40, 48), "hand": (30, 32)}
TABLE, SHADE = (90, 160, 60), 150


def scene(*, shift: int = 0) -> tuple[dict[str, ndarray], dict[str, ndarray]]:
    """Grey frames in which a thing of two faces, one half as bright as the other, moves; and where it is."""
    frames, masks = {}, {}
    for camera, (height, width) in SIZES.items():
        frames[camera] = np.full((4, height, width, 3), 220, np.uint8)
        masks[camera] = np.zeros((4, height, width), bool)
        for k in range(4):
            x = 8 + k + shift
            frames[camera][k, 10:15, x : x + 8] = SHADE
            frames[camera][k, 15:20, x : x + 8] = SHADE // 2
            masks[camera][k, 10:20, x : x + 8] = True
    return frames, masks


def made_in(colour: tuple[float, float, float], *, shift: int = 0) -> dict[str, ndarray]:
    """What a world makes that paints the thing in ``colour``, but ``shift`` pixels beside its place."""
    frames, masks = scene(shift=shift)
    made = {}
    for camera, shown in frames.items():
        painted = (shown.astype(float) * colour).astype(np.uint8)
        made[camera] = np.where(masks[camera][..., None], painted, np.array(TABLE, np.uint8))
    return made


def test_a_region_that_was_painted_right_stays_and_so_does_what_is_far_from_it() -> None:
    source, masks = scene()
    made = made_in((0.2, 0.4, 1.0))
    drawn = recolour(source, made, [masks])
    for camera in SIZES:
        assert np.abs(drawn[camera].astype(int) - made[camera]).max() <= 2  # rounding of the filling in


def test_what_was_painted_beside_its_place_is_drawn_where_it_is_and_gone_where_it_was() -> None:
    source, masks = scene()
    drawn = recolour(source, made_in((0.2, 0.4, 1.0), shift=2), [masks])
    for camera, frames in drawn.items():
        mask = masks[camera]
        bright, dark = (np.unique(frames[mask & (source[camera][..., 0] == s)], axis=0) for s in (SHADE, SHADE // 2))
        assert len(bright) == len(dark) == 1  # one colour, in two shades
        np.testing.assert_allclose(bright / dark, 2, rtol=0.05)
        beside = np.roll(mask, 2, axis=2) & ~mask
        assert np.abs(frames[beside].astype(int) - TABLE).max() <= 2
    assert len({tuple(drawn[camera][masks[camera]][0]) for camera in SIZES}) == 1  # in both views


def test_the_colour_is_the_least_squares_solution() -> None:
    source, masks = scene()
    rng = np.random.default_rng(0)
    source = {camera: rng.integers(0, 256, frames.shape, np.uint8) for camera, frames in source.items()}
    made = {camera: rng.integers(0, 256, frames.shape, np.uint8) for camera, frames in source.items()}
    core = {camera: mask & np.roll(mask, 1, 1) & np.roll(mask, -1, 1) for camera, mask in masks.items()}
    core = {camera: one & np.roll(one, 1, 2) & np.roll(one, -1, 2) for camera, one in core.items()}
    shade = np.concatenate([source[c][core[c]] @ np.array((0.299, 0.587, 0.114)) for c in SIZES])
    colour = np.concatenate([made[c][core[c]] for c in SIZES]).astype(float)
    gain = np.linalg.lstsq(shade[:, None], colour, rcond=None)[0][0]
    drawn = recolour(source, made, [masks])
    within = {c: core[c] & (np.abs(source[c] @ np.array((0.299, 0.587, 0.114)) - 128) < 40) for c in SIZES}
    for camera, where in within.items():
        expected = np.outer(source[camera][where] @ np.array((0.299, 0.587, 0.114)), gain)
        np.testing.assert_allclose(drawn[camera][where], expected, atol=0.51)


def test_one_pixel_nothing_and_everything() -> None:
    source, masks = scene()
    made = made_in((1.0, 0.5, 0.5))
    nowhere = {camera: np.zeros_like(mask) for camera, mask in masks.items()}
    everywhere = {camera: np.ones_like(mask) for camera, mask in masks.items()}
    for regions in ([], [nowhere]):
        for camera, frames in recolour(source, made, regions).items():
            np.testing.assert_array_equal(frames, made[camera])
    whole = recolour(source, made, [everywhere])
    assert all(frames.shape == made[camera].shape for camera, frames in whole.items())
    dot = {camera: mask.copy() for camera, mask in nowhere.items()}
    dot["front"][2, 12, 12] = True
    drawn = recolour(source, made, [dot])
    np.testing.assert_allclose(drawn["front"][2, 12, 12], made["front"][2, 12, 12], atol=1)
    black = {camera: np.zeros_like(frames) for camera, frames in source.items()}
    assert np.isfinite(recolour(black, made, [masks])["front"]).all()
