"""A world of the package's own kind with random weights: two unequal cameras, 5 actions, 3 states."""

from dataclasses import replace

import numpy as np
import torch

from cosmos_sim.data.starts import Starts
from cosmos_sim.types import WorldSpec
from cosmos_sim.world_model.dynamics import SMALL_DIT, Dynamics, DynamicsConfig
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.world import World, WorldConfig


def tiny_world(**spec) -> World:
    cameras = {"side": (48, 64), "top": (48, 48)}
    values = {
        "task": "move the tile",
        "cameras": cameras,
        "action_low": (-1.0,) * 5,
        "action_high": (1.0,) * 5,
        "state_low": (-4.0,) * 3,
        "state_high": (4.0,) * 3,
        "fps": 10.0,
        "horizon": 6,
    }
    spec = WorldSpec(**(values | spec))
    torch.manual_seed(0)
    tokenizer = TokenizerConfig(latent_channels=4, encoder_width=8, decoder_width=8)
    dit = replace(SMALL_DIT, model_channels=32, num_blocks=2, num_heads=2, adaln_lora_dim=8, latent_channels=4)
    dynamics = DynamicsConfig(state_dim=3, action_dim=5, latent_size=(6, 14), dit=dit)
    config = WorldConfig(spec=spec, tokenizer=tokenizer, dynamics=dynamics)
    model = Dynamics(dynamics)
    with torch.no_grad():
        for parameter in model.parameters():
            # Layers that begin at zero would hide the actions.
            parameter.add_(0.1 * torch.randn_like(parameter))
    rng = np.random.default_rng(0)
    starts = Starts(
        frames={camera: rng.integers(0, 256, (4, *size, 3), dtype=np.uint8) for camera, size in cameras.items()},
        state=rng.normal(size=(4, 3)).astype(np.float32),
        seeds=np.array([10, 11, 12, 13]),
        tasks=(spec.task,) * 4,
    )
    return World(config, Tokenizer(tokenizer), model, starts=starts, card="# tiny\n", device="cpu", dtype="float32")
