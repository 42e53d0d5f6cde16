"""A few steps of a tiny network's training, on any layout of processes."""

from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from cosmos_sim.training.layout import Layout, ParallelConfig
from cosmos_sim.training.parallel import clip_gradients, parallelise
from cosmos_sim.world_model.context_parallel import ContextParallel
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.units import dit_units

PLAIN = DiTConfig(
    latent_channels=4,
    model_channels=48,
    num_blocks=3,
    num_heads=4,
    adaln_lora_dim=8,
    context_dim=24,
    context_in_dim=20,
    action_dim=5,
)
CAUSAL = replace(PLAIN, causal=True, action_injection="cross_attention")
IMAGE_STEPS = (1, 6)
BATCH = 4


@dataclass(frozen=True)
class Case:
    parallel: ParallelConfig = field(default_factory=ParallelConfig)
    model: DiTConfig = PLAIN
    steps: int = 10
    trained: str = ""
    """What the names of trained parameters contain; the others are frozen."""
    bf16: bool = False


def weights(config: DiTConfig) -> dict[str, Tensor]:
    """The same for every process; nothing is zero, so that every path has a gradient."""
    torch.manual_seed(0)
    model = DiT(config)
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.state_dict()


def train(case: Case, layout: Layout) -> dict[str, Any]:
    """Losses and gradient norms of all steps, whole gradients of the first video and image step."""
    given = weights(case.model)
    held: list[int] = []

    def initialise(module: nn.Module, name: str) -> None:
        held.append(sum(_local(p).numel() for p in model.parameters() if not p.is_meta))
        module.load_state_dict(
            {key.removeprefix(f"{name}."): given[key] for key in given if key.startswith(f"{name}.")}
        )

    with torch.device("meta"):
        model = DiT(case.model)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(case.trained in name)
    context = None if layout.context_group is None else ContextParallel(model, layout.context_group)
    parallelise(model, dit_units(model), layout, bf16=case.bf16, initialise=initialise)
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
    seen: dict[str, torch.dtype] = {}
    for name in ("blocks.1.mlp.layer1", "blocks.1.adaln_modulation_mlp.1", "final_layer.linear"):
        model.get_submodule(name).register_forward_pre_hook(
            lambda module, inputs, name=name: seen.update({name: module.weight.dtype})
        )
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizer = torch.optim.AdamW(trained.values(), lr=1e-3, fused=True)
    losses, norms, gradients = [], [], {}
    for step in range(case.steps):
        split = step not in IMAGE_STEPS
        if context is not None:
            context.enabled = split
        loss = _loss(model, layout, step, split)
        loss.backward()
        if step < 2:
            gradients[step] = {name: _whole(p.grad) for name, p in trained.items()}
        norms.append(float(clip_gradients(trained.values(), 0.5)))
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(layout.mean(loss)))
    return {
        "losses": losses,
        "norms": norms,
        "gradients": gradients,
        "frozen": [name for name, p in model.named_parameters() if not p.requires_grad and p.grad is not None],
        "dtypes": {name: str(dtype) for name, dtype in seen.items()},
        "held": max(held, default=0) / sum(value.numel() for value in given.values()),
    }


def _loss(model: DiT, layout: Layout, step: int, split: bool) -> Tensor:
    config, generator = model.config, torch.Generator().manual_seed(step)
    t, h, w = (3 if split else 1), 3, 5
    size = (config.latent_channels, t, 2 * h, 2 * w)

    def draw(*shape: int) -> Tensor:
        return layout.part(split=split).of(torch.randn(BATCH, *shape, generator=generator))

    latent, target, context, action = draw(*size), draw(*size), draw(7, 20), draw(t, 5)
    timestep = 500 + 100 * draw(t)
    mask = torch.zeros(len(latent), 1, *size[1:])
    if split:
        mask[:, :, 0] = 1
    velocity = model(latent, timestep, mask, context=context, action=action)
    return ((velocity - target) ** 2).mean()


def _local(tensor: Tensor) -> Tensor:
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _whole(tensor: Tensor | None) -> Tensor:
    assert tensor is not None
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).clone()
