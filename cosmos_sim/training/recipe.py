"""What the training loop asks of the thing being trained."""

from pathlib import Path
from typing import Any, Protocol

import torch
from jaxtyping import UInt8
from numpy import ndarray
from torch import Tensor, nn

from cosmos_sim.training.layout import WHOLE, Part


class Recipe(Protocol):
    """What is trained, on which data, by which loss. It knows nothing of optimisers, checkpoints or steps to go.

    Rules that make a resumed run repeat an unbroken one:

    - Every random number comes from the generator that is handed in. ``batch`` gets one on the CPU; ``loss``,
      ``evaluate`` and ``sample`` get one on the model's device, so draw with ``device=generator.device``. (Dropout,
      which takes no generator, is safe: the loop seeds torch's global generators before every step.)
    - ``batch`` is called ahead of time from other threads: it must not depend on the model or on earlier calls.

    The loop puts ``model`` on its device; whatever else the recipe holds (a frozen tokenizer, statistics) has to
    follow, for example by ``self.tokenizer.to(generator.device)`` where it is used. The loop also sets
    ``model.train()`` before ``loss`` and ``model.eval()``, no gradients and the averaged (EMA) weights before
    ``evaluate``, ``sample`` and ``export``, and puts autocast around all but ``export``.

    What a recipe may have besides (any of these):

    - ``batch_size: int``: the samples in a whole batch; then samples per second are shown.
    - ``cost(batch) -> (tokens, operations)`` of a loss and its gradient, for all samples of this part of the batch
      (recomputation does not count); then tokens per second and the share of the device's peak (MFU) are shown.
    - ``names(batch) -> list[str]``: which samples these are, for the record of a step whose loss is not finite.
    - ``state() -> dict[str, Tensor]``: what ``loss`` carries from step to step, kept in checkpoints and restored in
      place: always the same names and shapes. For recipes that train in one process.
    - ``figures: dict[str, float]``: of the last evaluation, for the export to tell; on several processes the loop puts
      the means over all of them there.
    - ``close()``: called once, at the end, however that comes.

    To train on several processes it has to have the first of these, and to say in ``batch`` which part is whose:

    - ``units() -> Sequence[Unit]``: the modules whose weights are gathered together (``training/parallel.py``).
    - ``initialise(module, name)``: gives values to a part of a model that was made on the meta device.
    - ``split_context(layout)``: lets the processes of ``layout.context_group`` share the tokens of a sample; called
      once, before any module is wrapped.
    - ``splits(step) -> bool``: whether they do so with the batch of that step (with videos, not with images); without
      it they always do.

    ``loss``, ``evaluate`` and ``sample`` are then called in every process, since weights are gathered by all together.
    """

    name: str
    """What kind of thing this trains, e.g. ``"world"``; a run folder belongs to one."""
    config: Any
    """A (nested) frozen dataclass of plain values, stored beside checkpoints. Resuming with another one is an error."""

    @property
    def model(self) -> nn.Module:
        """The trained parameters. Frozen parts may be inside (``requires_grad=False``)."""
        ...

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> Any:
        """A part of the batch of ``step`` (from 0): CPU tensors in any nesting of dicts, lists, tuples and dataclasses.

        The generator is seeded alike in all processes. Draw the whole batch's samples and take ``part.of`` them before
        anything is read, so that a step has the same samples on any number of processes.
        """
        ...

    def loss(self, batch: Any, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        """Scalars, means over the part; ``"loss"`` is minimised and must be finite, the rest is logged.

        ``batch`` is on the device. The generator is seeded by step and part.
        """
        ...

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """Held-out figures, over this part of the held-out samples: the loop takes the mean over all processes.

        The generator is seeded alike at every call and in all processes, so that curves compare like with like.
        """
        ...

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """Videos for people to look at, by name; may be empty. Those of the first process are kept."""
        ...

    def export(self, folder: Path) -> None:
        """Write the finished artefact into the existing, empty ``folder``, which the loop then renames into place.

        Called in the first process alone. A recipe that trains on several processes reads the weights from
        ``full_tensors(self.model)`` (``training/weights.py``), gone through once and to its end: all other processes
        meanwhile do just that.
        """
        ...
