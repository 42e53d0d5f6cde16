"""A recipe small enough to train in a second: an MLP with dropout and batch norm that learns a sum of sines."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from cosmos_sim.training.layout import WHOLE, Part


@dataclass(frozen=True)
class Shape:
    width: int = 16
    inputs: int = 3


@dataclass(frozen=True)
class MlpConfig:
    shape: Shape = field(default_factory=Shape)
    noise: float = 0.1
    dropout: float = 0.2
    init_seed: int = 1


class MlpRecipe:
    """``at`` maps a step to what shall happen in its loss: a signal, for example, or a factor on the loss."""

    name = "mlp"
    batch_size = 8

    def __init__(
        self, config: MlpConfig | None = None, *, at: Mapping[int, Callable[[], float | None]] | None = None
    ) -> None:
        self.config = config or MlpConfig()
        width, inputs = self.config.shape.width, self.config.shape.inputs
        with torch.random.fork_rng():
            torch.manual_seed(self.config.init_seed)
            self.model = nn.Sequential(
                nn.Linear(inputs, width),
                nn.BatchNorm1d(width),
                nn.GELU(),
                nn.Dropout(self.config.dropout),
                nn.Linear(width, 1),
            )
        self.at = at or {}
        self.losses: dict[int, float] = {}
        self.evaluations = 0

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> dict[str, Tensor]:
        return {"x": part.of(torch.randn(self.batch_size, self.config.shape.inputs, generator=generator))}

    def loss(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        assert self.model.training
        x = batch["x"]
        noise = self.config.noise * torch.randn(len(x), 1, generator=generator, device=generator.device)
        error = self.model(x).float() - x.sin().sum(1, keepdim=True) - noise
        loss = error.square().mean()
        factor = self.at[step]() if step in self.at else None
        self.losses[step] = loss.item()
        return {"loss": loss if factor is None else factor * loss, "error": error.abs().mean()}

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        assert not self.model.training
        assert not torch.is_grad_enabled()
        self.evaluations += 1
        x = torch.randn(64, self.config.shape.inputs, generator=generator, device=generator.device)
        return {"mse": (self.model(x).float() - x.sin().sum(1, keepdim=True)).square().mean().item()}

    def sample(self, generator: torch.Generator) -> dict[str, np.ndarray]:
        shape = (2, 17, 23, 3)
        frames = torch.randint(0, 256, shape, generator=generator, device=generator.device, dtype=torch.uint8)
        return {"noise": frames.cpu().numpy()}

    def export(self, folder: Path) -> None:
        save_file(self.model.state_dict(), folder / "model.safetensors")
