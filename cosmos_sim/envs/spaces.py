"""The Gymnasium spaces of a world, and the checks that hold actions and observations to them."""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.vector.utils import batch_space
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.types import Frames, WorldSpec

_TOLERANCE = 1e-5
"""How far outside its bounds an action may lie, as a share of the bounds' width, before it is refused."""


def action_space(spec: WorldSpec, chunk: int = 1) -> spaces.Box:
    """``Box`` of the world's action bounds, in the dataset's own units: ``(a,)``, or ``(chunk, a)`` for several."""
    bounds = _box(spec.action_low, spec.action_high)
    if chunk == 1:
        return bounds
    chunks = batch_space(bounds, chunk)
    assert isinstance(chunks, spaces.Box)
    return chunks


def observation_space(spec: WorldSpec) -> spaces.Dict:
    """``{"pixels": {camera: uint8 h w 3}, "agent_pos": float32 n}``."""
    pixels: dict[str, spaces.Space[Any]] = {
        camera: spaces.Box(0, 255, (height, width, 3), dtype=np.uint8)
        for camera, (height, width) in spec.cameras.items()
    }
    return spaces.Dict({"pixels": spaces.Dict(pixels), "agent_pos": agent_pos_space(spec)})


def agent_pos_space(spec: WorldSpec) -> spaces.Box:
    """``Box`` of the world's proprioception, in the dataset's own units."""
    return _box(spec.state_low, spec.state_high)


def check_actions(actions: object, space: spaces.Box, shape: tuple[int, ...]) -> Float32[ndarray, "..."]:
    """``actions`` as ``float32`` of ``shape``, brought exactly into the bounds of ``space``, which is of one action.

    The last axis of ``shape`` is the action's.

    Raises :class:`ValueError`, naming the value, for another shape, for what is not a number, for NaN and infinity,
    and for a value outside the bounds by more than rounding (1e-5 of their width).
    """
    try:
        array = np.asarray(actions, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError(f"an action must be numbers of shape {shape}, got {actions!r}") from error
    if array.shape != shape:
        raise ValueError(f"an action must have shape {shape}, got {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"an action must be finite, got {array[_first(~np.isfinite(array))]} in {array.tolist()}")
    slack = _TOLERANCE * np.minimum(space.high - space.low, np.float32(1e6))
    outside = (array < space.low - slack) | (array > space.high + slack)
    if outside.any():
        where = _first(outside)
        raise ValueError(
            f"action component {where[-1]} must lie in [{space.low[where[-1]]:g}, {space.high[where[-1]]:g}], "
            f"got {array[where]:g}; clip it or use gymnasium.wrappers.ClipAction"
        )
    return np.clip(array, space.low, space.high)


def side_by_side(frames: Frames) -> ndarray:
    """All cameras in one picture, left to right, tops aligned, black below the lower ones: ``uint8``, ``h w 3``."""
    images = list(frames.values())
    height = max(image.shape[0] for image in images)
    return np.concatenate([np.pad(image, ((0, height - len(image)), (0, 0), (0, 0))) for image in images], axis=1)


def _box(low: tuple[float, ...], high: tuple[float, ...]) -> spaces.Box:
    return spaces.Box(np.asarray(low, dtype=np.float32), np.asarray(high, dtype=np.float32), dtype=np.float32)


def _first(mask: ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(mask)[0])
