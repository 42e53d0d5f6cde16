"""The action-conditioned Predict2.5 in miniature, random weights: 12 actions at a time, 13 frames, 4 latents."""

import numpy as np
import torch

from cosmos_sim.data.starts import Starts
from cosmos_sim.types import WorldSpec
from cosmos_sim.world_model.denoise import SamplingConfig
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.predict_world import PredictWorld, PredictWorldConfig
from cosmos_sim.world_model.wan import WanConfig, WanTokenizer

CAMERAS = {"top": (32, 32), "side": (32, 16)}


def tiny_chunk_world() -> PredictWorld:
    spec = WorldSpec(
        task="move the tile",
        cameras=CAMERAS,
        action_low=(-1.0, -0.5, 0.0),
        action_high=(1.0, 0.5, 2.0),
        state_low=(),
        state_high=(),
        fps=6.0,
        horizon=20,
        chunk=12,
        has_success=False,
    )
    dit = DiT(
        DiTConfig(
            latent_channels=4,
            model_channels=48,
            num_blocks=2,
            num_heads=2,
            adaln_lora_dim=8,
            context_dim=20,
            context_in_dim=36,
            action_dim=12,
        )
    )
    wan = WanConfig(
        width=4,
        latent_channels=4,
        multipliers=(1, 1, 2, 2),
        num_res_blocks=1,
        latents_mean=(0.1, -0.2, 0.3, -0.4),
        latents_std=(1.5, 0.5, 2.0, 0.8),
    )
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in dit.parameters():
            # Layers that begin at zero would hide the actions.
            parameter.add_(0.1 * torch.randn_like(parameter))
    rng = np.random.default_rng(0)
    starts = Starts(
        frames={camera: rng.integers(0, 256, (3, *size, 3), dtype=np.uint8) for camera, size in CAMERAS.items()},
        state=np.zeros((3, 0), np.float32),
        seeds=np.array([10, 11, 12]),
        tasks=(spec.task,) * 3,
    )
    sampling = SamplingConfig(steps=1, solver="euler", guidance=0.0)
    config = PredictWorldConfig(spec, sampling)
    return PredictWorld(config, WanTokenizer(wan), dit, starts=starts, device="cpu", dtype="float32")
