"""Depth by Depth Anything V2, through transformers."""

from itertools import batched
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.training.device import select_device
from cosmos_sim.world_model.hub import hub_folder, load_network

MODEL = "depth-anything/Depth-Anything-V2-Small-hf"
"""Of its sizes the one under Apache 2.0. NVIDIA's controls are from Video-Depth-Anything, of the same family."""

NEAREST, FARTHEST = 1.0, 10.0
"""Distances that the nearest and the farthest point of a clip are put at where the network does not tell metres."""


class DepthAnything:
    """A depth network that is loaded when it is first needed. Each frame is judged by itself: depth may flicker."""

    def __init__(self, model: str = MODEL, *, device: str | torch.device = "auto", batch: int = 8) -> None:
        if batch < 1:
            raise ValueError(f"batch must be 1 or more, got {batch}")
        self.model, self.device, self.batch = model, select_device(str(device)), batch
        self._loaded: tuple[Any, Any] | None = None

    @torch.inference_mode()
    def __call__(self, frames: UInt8[ndarray, "t h w 3"]) -> Float32[ndarray, "t h w"]:
        """Distances of a clip: metres from a metric network.

        From a relative one, which gives disparity up to scale and shift, distances that fall linearly with it, from
        :data:`FARTHEST` to :data:`NEAREST` over the whole clip, so that :func:`controls.depth_frames` shows just what
        the network found.

        Raises:
            ValueError: the weights are missing or incomplete, or frames that are not ``uint8 t h w 3``.
        """
        if frames.ndim != 4 or frames.dtype != np.uint8 or frames.shape[-1] != 3 or frames.size == 0:
            raise ValueError(f"a video is uint8 of t h w 3, got {frames.dtype} of shape {frames.shape}")
        processor, network = self._load()
        found = np.empty(frames.shape[:3], np.float32)
        for part in batched(range(len(frames)), self.batch):
            inputs = processor(images=[frames[k] for k in part], return_tensors="pt").to(self.device)
            results = processor.post_process_depth_estimation(network(**inputs), [frames.shape[1:3]] * len(part))
            for k, result in zip(part, results, strict=True):
                found[k] = result["predicted_depth"].float().cpu().numpy()
        if network.config.depth_estimation_type == "metric":
            return np.maximum(found, 1e-3)
        low, high = found.min(), found.max()
        nearness = (found - low) / max(high - low, np.finfo(np.float32).tiny)
        return (FARTHEST - (FARTHEST - NEAREST) * nearness).astype(np.float32)

    def _load(self) -> tuple[Any, Any]:
        if self._loaded is None:
            folder = hub_folder(self.model, "depth network")
            from transformers import AutoImageProcessor, DepthAnythingForDepthEstimation

            network = load_network(DepthAnythingForDepthEstimation, folder, device=self.device)
            self._loaded = AutoImageProcessor.from_pretrained(folder, local_files_only=True), network
        return self._loaded
