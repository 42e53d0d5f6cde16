"""A recipe for several processes: a residual network of a few blocks learns a function from a fixed set of samples."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn

from cosmos_sim.training.layout import WHOLE, Part
from cosmos_sim.training.parallel import Unit
from cosmos_sim.training.weights import full_tensors


@dataclass(frozen=True)
class BlocksConfig:
    width: int = 37
    blocks: int = 3


@dataclass(frozen=True)
class Blow:
    """What happens to one of the processes in the loss of a step."""

    step: int
    rank: int = 0
    signal: int | None = None
    writing: Path | None = None
    """A folder of checkpoints: the signal comes while one is being written there."""
    factor: float = 1.0
    """What the loss is multiplied with."""
    begun: float = field(default_factory=time.time)

    def strike(self) -> float:
        if self.signal is not None:
            deadline = time.monotonic() + 20
            while self.writing is not None and not self._is_being_written(self.writing):
                assert time.monotonic() < deadline, "no checkpoint is being written"
            os.kill(os.getpid(), self.signal)
        return self.factor

    def _is_being_written(self, folder: Path) -> bool:
        """Whether there is a file of an unfinished checkpoint that no earlier process left."""
        try:
            return any(file.stat().st_mtime > self.begun for file in folder.glob(".step-*/*.distcp"))
        except FileNotFoundError:
            return False


class Block(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        return x + torch.tanh(self.linear(x))


class Blocks(nn.Module):
    def __init__(self, config: BlocksConfig) -> None:
        super().__init__()
        self.first = nn.Linear(3, config.width)
        self.blocks = nn.ModuleList([Block(config.width) for _ in range(config.blocks)])
        self.last = nn.Linear(config.width, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        for block in self.blocks:
            x = block(x)
        return self.last(x)


class BlocksRecipe:
    name = "blocks"
    batch_size = 8

    def __init__(self, config: BlocksConfig | None = None, blow: Blow | None = None) -> None:
        self.config, self.blow = config or BlocksConfig(), blow
        with torch.device("meta"):
            self.model = Blocks(self.config)
        self.data = torch.randn(64, 3, generator=torch.Generator().manual_seed(7))
        self.figures: dict[str, float] = {}
        self.closed = 0

    def units(self) -> Sequence[Unit]:
        return [Unit((block,), repeated=True) for block in self.model.blocks] + [Unit((self.model,))]

    def initialise(self, module: nn.Module, name: str) -> None:
        torch.manual_seed(len(name))
        for parameter in module.parameters():
            if not hasattr(parameter, "placements"):
                nn.init.normal_(parameter, std=0.3 * parameter.shape[-1] ** -0.5)

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> dict[str, Tensor]:
        chosen = part.of(torch.randint(len(self.data), (self.batch_size,), generator=generator))
        return {"index": chosen, "x": self.data[chosen]}

    def names(self, batch: dict[str, Tensor]) -> list[str]:
        return [f"sample {index}" for index in batch["index"].tolist()]

    def cost(self, batch: dict[str, Tensor]) -> tuple[float, float]:
        return 5 * len(batch["x"]), 6.0 * self.config.width**2 * self.config.blocks * len(batch["x"])

    def loss(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        loss = self._error(batch["x"])
        rank = dist.get_rank() if dist.is_initialized() else 0
        if self.blow is not None and (step, rank) == (self.blow.step, self.blow.rank):
            loss = loss * self.blow.strike()
        return {"loss": loss}

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        self.figures = {"mse": self._error(part.of(torch.randn(32, 3, generator=generator))).item()}
        return self.figures

    def sample(self, generator: torch.Generator) -> dict[str, np.ndarray]:
        return {}

    def export(self, folder: Path) -> None:
        save_file({name: tensor.clone() for name, tensor in full_tensors(self.model)}, folder / "model.safetensors")
        (folder / "figures.json").write_text(json.dumps(self.figures))

    def close(self) -> None:
        self.closed += 1

    def _error(self, x: Tensor) -> Tensor:
        return (self.model(x) - x.sin().sum(1, keepdim=True)).square().mean()
