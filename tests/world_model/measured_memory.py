"""What a transformer really takes, from torch's own memory tracker, on a CPU that keeps what a GPU would keep."""

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.distributed._tools.mem_tracker import MemTracker

from cosmos_sim.training.layout import Checkpointing, Layout, ParallelConfig
from cosmos_sim.training.parallel import Unit, parallelise
from cosmos_sim.world_model.dit import DiT

CPU = torch.device("cpu")


class FusedNorm(torch.autograd.Function):
    """RMS norm that keeps for its derivative what CUDA's kernel keeps: its input and one number a row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, shape: tuple[int, ...], weight: Tensor, eps: float) -> Tensor:
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + eps)
        ctx.save_for_backward(x, scale, weight)
        return x * scale * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, weight = ctx.saved_tensors
        normalised, gradient = x * scale, gradients[0]
        own, gradient = (gradient * normalised).flatten(0, -2).sum(0), gradient * weight
        return scale * (gradient - normalised * (gradient * normalised).mean(-1, keepdim=True)), None, own, None


def use_fused_norms(patch: pytest.MonkeyPatch) -> None:
    """On a CPU torch composes RMS norms of single operations, each of which keeps its inputs."""
    patch.setattr(F, "rms_norm", FusedNorm.apply)


def blocks_checkpointed(model: DiT, level: Checkpointing) -> DiT:
    layout = Layout(ParallelConfig(checkpointing=level), CPU)
    parallelise(model, [Unit(tuple(model.blocks), repeated=True)], layout, bf16=False)
    return model


class Tracked:
    """Bytes of all tensors that came to be within the ``with`` block, and of the model's weights before it."""

    def __init__(self, model: DiT, optimizer: torch.optim.Optimizer | None = None) -> None:
        self.tracker = MemTracker()
        self.tracker.track_external(model, *([] if optimizer is None else [optimizer]))

    def __enter__(self) -> "Tracked":
        self.tracker.__enter__()
        self.before = self.now
        return self

    def __exit__(self, *error: Any) -> None:
        self.tracker.__exit__(*error)

    @property
    def now(self) -> int:
        return self.tracker.get_tracker_snapshot("current")[CPU]["Total"]

    @property
    def peak(self) -> int:
        return self.tracker.get_tracker_snapshot("peak")[CPU]["Total"]
