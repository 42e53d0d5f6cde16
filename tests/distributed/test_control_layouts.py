"""Control branches on two processes: the velocity and the gradients are those of one."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from processes import free_ports, launch, ranked
from torch import nn
from torch.distributed.tensor import DTensor

from cosmos_sim.training.layout import Layout, ParallelConfig, open_layout
from cosmos_sim.training.parallel import parallelise
from cosmos_sim.world_model.context_parallel import ContextParallel
from cosmos_sim.world_model.control import Control, ControlBranch, ControlledDiT
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.units import controlled_units

BASE = DiTConfig(
    latent_channels=4,
    model_channels=48,
    num_blocks=3,
    num_heads=4,
    adaln_lora_dim=8,
    context_dim=24,
    context_in_dim=20,
    image_dim=6,
)
LAYOUTS = {
    "sharded": ParallelConfig(checkpointing="full"),
    "context": ParallelConfig(context=2, checkpointing="selective"),
    "context, compiled": ParallelConfig(context=2, compile=True),
}


def made() -> ControlledDiT:
    dit = DiT(BASE)
    return ControlledDiT(dit, {kind: ControlBranch.beside(dit) for kind in ("edge", "seg")})


def weights() -> dict[str, torch.Tensor]:
    """The same for every process; nothing is zero, so that every path has a gradient."""
    torch.manual_seed(0)
    model = made()
    for parameter in model.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    return model.state_dict()


def found(layout: Layout) -> dict[str, Any]:
    """The velocity of two samples, and the mean gradient of a loss on it; 15 places of a frame do not divide by two."""
    given = weights()

    def initialise(module: nn.Module, name: str) -> None:
        prefix = f"{name}." if name else ""
        module.load_state_dict({key.removeprefix(prefix): given[key] for key in given if key.startswith(prefix)})

    with torch.device("meta"):
        model = made()
    parallelise(model, controlled_units(model), layout, bf16=False, initialise=initialise)
    if layout.context_group is not None:
        ContextParallel(model, layout.context_group)
    generator = torch.Generator().manual_seed(1)
    latent, edge, seg = (torch.randn(2, 4, 2, 6, 10, generator=generator) for _ in range(3))
    context, image = torch.randn(2, 5, 20, generator=generator), torch.randn(2, 3, 6, generator=generator)
    where = torch.rand(2, 2, 3, 5, generator=generator)
    time = torch.tensor([[10.0, 300.0], [700.0, 50.0]])
    mask = torch.zeros(2, 1, 2, 6, 10)
    mask[:, :, :1] = 1
    own = layout.part(split=True)
    controls = {"edge": Control(own.of(edge), 0.7, own.of(where)), "seg": Control(own.of(seg), 0.6)}
    velocity = model(
        own.of(latent),
        own.of(time),
        own.of(mask),
        controls=controls,
        context=own.of(context),
        image_context=own.of(image),
    )
    ((velocity - own.of(latent)) ** 2).mean().backward()
    gradients = {
        name: p.grad.full_tensor() if isinstance(p.grad, DTensor) else p.grad
        for name, p in model.named_parameters()
        if p.requires_grad
    }
    parts = layout.gather(velocity.detach())
    whole = torch.stack(parts, dim=1).flatten(0, 1) if own.count > 1 else velocity.detach()
    return {"velocity": whole, "gradients": gradients, "alike": all(torch.equal(part, parts[0]) for part in parts)}


def work(index: int, folder: Path, ports: list[int]) -> None:
    for port, (name, config) in zip(ports, LAYOUTS.items(), strict=True):
        with ranked(index, 2, port), pytest.MonkeyPatch.context() as patch, open_layout(config, "cpu") as layout:
            patch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
            results = found(layout)
            if layout.main:
                torch.save(results, folder / f"{name}.pt")


def test_every_layout_computes_the_same(tmp_path: Path):
    launch(work, 2, tmp_path, free_ports(len(LAYOUTS)))
    expected = found(Layout(ParallelConfig(), torch.device("cpu")))
    largest = max(gradient.abs().max() for gradient in expected["gradients"].values())
    assert {name.split(".")[1] for name in expected["gradients"]} == {"edge", "seg"}
    for name in LAYOUTS:
        got = torch.load(tmp_path / f"{name}.pt", weights_only=True)
        assert got["alike"] == name.startswith("context")
        torch.testing.assert_close(got["velocity"], expected["velocity"], rtol=1e-5, atol=1e-5)
        assert set(got["gradients"]) == set(expected["gradients"])
        for weight, gradient in expected["gradients"].items():
            assert gradient.abs().max() > 1e-6 * largest, weight
            assert (got["gradients"][weight] - gradient).abs().max() <= 2e-5 * largest, (name, weight)
