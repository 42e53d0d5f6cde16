"""Small networks with control branches, and the files that NVIDIA's and diffusers' code would save of them."""

from dataclasses import replace
from pathlib import Path

import torch
from tiny_networks import BASE, network, nvidia_state

from cosmos_sim.world_model.checkpoints.control import Controls, open_control
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.control import ControlBranch, ControlConfig
from cosmos_sim.world_model.dit import DiT

STYLED = replace(BASE, image_dim=7, num_blocks=5)
ONE = ControlConfig(blocks=3, every=2, channels=4 * 8 + 2)
"""As NVIDIA's: every second of five blocks, room for eight controls in one."""


def branch(base: DiT, number: int = 0, config: ControlConfig = ONE) -> ControlBranch:
    """A branch with no weight at zero, its own for each ``number``, in the network's dtype."""
    torch.manual_seed(10 + number)
    made = ControlBranch(base.config, config)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter) + (1.0 if parameter.ndim == 1 else 0.0))
    return made.to(base.x_embedder.dtype).eval()


def transfer_state(base: DiT, *branches: ControlBranch) -> dict[str, torch.Tensor]:
    """What NVIDIA's MinimalV4LVGControlVaceDiT would save, of one branch or several."""
    state = nvidia_state(base)
    for number, made in enumerate(branches):
        for name, tensor in made.state_dict().items():
            if len(branches) > 1:
                name = name.replace("control_embedder.", f"control_embedder.{number}.")
                name = name.replace("control_blocks.", f"control_blocks_{number}.")
            state[f"net.{name}"] = tensor
    return state


def styled() -> DiT:
    return network(STYLED, torch.bfloat16)


def stored_controls(path: Path, base: Path | None = None) -> Controls:
    return open_control(open_source(path), base=None if base is None else open_source(base))


def held(controls: Controls) -> dict[str, torch.Tensor]:
    """All tensors, by part and name."""
    return {name: tensor.read() for name, tensor in controls.flat().items()}
