"""Wrappers for agents that take other observations than the nested ones of the worlds and the twin."""

from typing import Any

import cv2
import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from numpy import ndarray

_PIXELS, _STATE = "pixels", "agent_pos"


class FlatObservation(gymnasium.ObservationWrapper[Any, ndarray, dict[str, Any]], RecordConstructorArgs):
    """``{"pixels": {camera: ...}, "agent_pos": ...}`` as a flat ``{camera: ..., "agent_pos": ...}``.

    stable-baselines3 and others refuse nested ``Dict`` spaces; its ``MultiInputPolicy`` takes these. ``size`` =
    ``(height, width)`` also resizes every camera (area-averaging where it shrinks), for agents that need all of one
    size or smaller ones; ``None`` leaves the pixels as they are.

    Raises :class:`ValueError` for an environment with other observations, or with a camera called ``agent_pos``.
    """

    def __init__(self, env: gymnasium.Env[dict[str, Any], ndarray], *, size: tuple[int, int] | None = None) -> None:
        RecordConstructorArgs.__init__(self, size=size)
        super().__init__(env)
        if size is not None and (len(size) != 2 or any(side != int(side) or side < 1 for side in size)):
            raise ValueError(f"size must be (height, width) in pixels, got {size!r}")
        nested = env.observation_space
        if not isinstance(nested, spaces.Dict) or set(nested) != {_PIXELS, _STATE}:
            raise ValueError(f"FlatObservation flattens {{'pixels': ..., 'agent_pos': ...}}, not {nested}")
        cameras = nested[_PIXELS]
        if not isinstance(cameras, spaces.Dict) or _STATE in cameras.spaces:
            raise ValueError(f"'pixels' must hold cameras by name, none of them 'agent_pos', got {cameras}")
        self.size = size
        flat = {camera: self._image_space(space) for camera, space in cameras.items()}
        self.observation_space = spaces.Dict({**flat, _STATE: nested[_STATE]})

    def observation(self, observation: dict[str, Any]) -> dict[str, ndarray]:
        images = {camera: self._resized(image) for camera, image in observation[_PIXELS].items()}
        return {**images, _STATE: observation[_STATE]}

    def _image_space(self, space: spaces.Space[Any]) -> spaces.Space[Any]:
        return space if self.size is None else spaces.Box(0, 255, (*self.size, 3), dtype=np.uint8)

    def _resized(self, image: ndarray) -> ndarray:
        if self.size is None or image.shape[:2] == tuple(self.size):
            return image
        height, width = self.size
        return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
