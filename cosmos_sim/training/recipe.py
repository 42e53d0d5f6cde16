"""What the training loop asks of the thing being trained."""

from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor, nn


class Recipe(Protocol):
    """What is trained, on which data, by which loss. It knows nothing of optimisers, checkpoints or steps to go.

    Rules that make a resumed run repeat an unbroken one:

    - Every random number comes from the generator that is handed in. ``batch`` gets one on the CPU; ``loss``,
      ``evaluate`` and ``sample`` get one on the model's device, so draw with ``device=generator.device``. (Dropout,
      which takes no generator, is safe: the loop seeds torch's global generators before every step.)
    - ``batch`` is called ahead of time from other threads: it must not depend on the model or on earlier calls.

    The loop moves ``model`` to its device; whatever else the recipe holds (a frozen tokenizer, statistics) has to
    follow, for example by ``self.tokenizer.to(generator.device)`` where it is used. The loop also sets
    ``model.train()`` before ``loss`` and ``model.eval()``, no gradients and the averaged (EMA) weights before
    ``evaluate``, ``sample`` and ``export``, and puts autocast around all but ``export``.

    A recipe may also have an attribute ``batch_size``, the samples in a batch; then samples per second are shown.
    """

    name: str
    """What kind of thing this trains, e.g. ``"world"``; a run folder belongs to one."""
    config: Any
    """A (nested) frozen dataclass of plain values, stored beside checkpoints. Resuming with another one is an error."""

    @property
    def model(self) -> nn.Module:
        """The trained parameters. Frozen parts may be inside (``requires_grad=False``)."""
        ...

    def batch(self, step: int, generator: torch.Generator) -> Any:
        """The batch of step ``step`` (from 0): CPU tensors in any nesting of dicts, lists, tuples and dataclasses."""
        ...

    def loss(self, batch: Any, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Scalars; ``"loss"`` is minimised and must be finite, the rest is logged. ``batch`` is on the device."""
        ...

    def evaluate(self, generator: torch.Generator) -> dict[str, float]:
        """Held-out figures. The generator is seeded alike at every call, so that curves compare like with like."""
        ...

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """Videos for people to look at, by name; may be empty."""
        ...

    def export(self, folder: Path) -> None:
        """Write the finished artefact into the existing, empty ``folder``, which the loop then renames into place."""
        ...
