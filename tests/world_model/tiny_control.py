"""Control branches beside a small transformer, with no weight at zero, and what they read."""

from typing import Any

import torch
from tiny_dit import inputs, randomised

from cosmos_sim.world_model.control import Control, ControlBranch, ControlConfig, ControlledDiT
from cosmos_sim.world_model.dit import DiT, DiTConfig


def controlled(base: DiTConfig, *kinds: str, config: ControlConfig | None = None) -> ControlledDiT:
    """Every branch has weights of its own, drawn anew as those of the transformer."""
    dit = randomised(DiT(base))
    branches = {kind: randomised(ControlBranch.beside(dit, config)) for kind in kinds}
    for number, branch in enumerate(branches.values()):
        with torch.no_grad():
            for parameter in branch.parameters():
                parameter.mul_(1 - 0.1 * number)
    return ControlledDiT(dit, branches).eval()


def control_inputs(base: DiTConfig, *kinds: str, seed: int = 5, **shape: Any) -> dict[str, Any]:
    """Arguments of ``ControlledDiT.forward``, with a control of weight 1 for each kind."""
    given = inputs(base, **shape)
    generator = torch.Generator().manual_seed(seed)
    latents = {kind: torch.randn(given["latent"].shape, generator=generator) for kind in kinds}
    return given | {"controls": {kind: Control(latent) for kind, latent in latents.items()}}
