"""A recipe small enough to train in a second: an MLP with dropout and batch norm that fits a sine."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    width: int = 16
    inputs: int = 3


@dataclass(frozen=True)
class MlpConfig:
    shape: Shape = Shape()
    noise: float = 0.1
    init_seed: int = 1


class MlpRecipe:
    name = "mlp"
    batch_size = 8

    def __init__(
        self, config: MlpConfig | None = None, *, bad_step: int | None = None, die_at: int | None = None
    ) -> None:
        self.config = config or MlpConfig()
        width, inputs = self.config.shape.width, self.config.shape.inputs
        with torch.random.fork_rng():
            torch.manual_seed(self.config.init_seed)
            self.model = nn.Sequential(
                nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.GELU(), nn.Dropout(0.2), nn.Linear(width, 1)
            )
        self.bad_step = bad_step
        self.die_at = die_at
        self.losses: dict[int, float] = {}
        self.evaluations = 0

    def batch(self, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"x": torch.randn(self.batch_size, self.config.shape.inputs, generator=generator)}

    def loss(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        x = batch["x"]
        noise = self.config.noise * torch.randn(len(x), 1, generator=generator, device=generator.device)
        error = self.model(x).float() - x.sin().sum(1, keepdim=True) - noise
        loss = error.square().mean()
        self.losses[step] = float(loss.detach())
        if step == self.die_at:
            import os
            import signal

            os.kill(os.getpid(), signal.SIGKILL)
        if step == self.bad_step:
            loss = loss * float("nan")
        return {"loss": loss, "error": error.abs().mean()}

    def evaluate(self, generator: torch.Generator) -> dict[str, float]:
        assert not self.model.training
        assert not torch.is_grad_enabled()
        self.evaluations += 1
        x = torch.randn(64, self.config.shape.inputs, generator=generator, device=generator.device)
        return {"mse": float((self.model(x).float() - x.sin().sum(1, keepdim=True)).square().mean())}

    def sample(self, generator: torch.Generator) -> dict:
        frames = torch.randint(0, 256, (5, 33, 47, 3), generator=generator, device=generator.device, dtype=torch.uint8)
        return {"noise": frames.cpu().numpy()}

    def export(self, folder: Path) -> None:
        save_file(self.model.state_dict(), folder / "model.safetensors")
