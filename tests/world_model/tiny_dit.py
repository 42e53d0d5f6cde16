"""A small transformer of the released format, with no weight at zero, and inputs for it."""

from typing import Any

import torch

from cosmos_sim.world_model.dit import DiT, DiTConfig

TINY = DiTConfig(
    latent_channels=4,
    model_channels=48,
    num_blocks=3,
    num_heads=3,
    adaln_lora_dim=8,
    context_dim=20,
    context_in_dim=36,
    rope_ratio=(1.0, 2.0, 2.0),
)


def randomised[M: torch.nn.Module](module: M) -> M:
    """Every weight drawn anew, so that nothing is hidden by a zero; sums keep the size of their terms."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            noise = torch.randn_like(parameter)
            parameter.copy_(1 + 0.2 * noise if parameter.ndim == 1 else noise * parameter.shape[1] ** -0.5)
    return module.eval()


def inputs(
    config: DiTConfig, *, b: int = 2, size: tuple[int, int, int] = (3, 4, 6), known: int = 1, text: int = 5
) -> dict[str, Any]:
    """Arguments of ``DiT.forward``: the first ``known`` frames are given, noise levels differ between frames."""
    generator = torch.Generator().manual_seed(1)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    tokens = size[0] // config.patch[0]
    mask = torch.zeros(b, 1, *size)
    mask[:, :, :known] = 1
    found: dict[str, Any] = {
        "latent": draw(b, config.latent_channels, *size),
        "timestep": 1000 * torch.rand(b, tokens, generator=generator),
        "condition_mask": mask,
    }
    if config.context_dim is not None:
        found["context"] = draw(b, text, config.context_in_dim or config.context_dim)
    if config.action_dim is not None:
        found["action"] = draw(b, tokens if config.action_layout == "latent" else 1, config.action_dim)
    return found


def output(model: DiT, **arguments: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(**arguments)
