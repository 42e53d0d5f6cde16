"""Exponential moving averages of a model's weights."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import nn
from torch.distributed.fsdp import FSDPModule

from cosmos_sim.training.config import EmaKind
from cosmos_sim.training.weights import named_weights, own_shard


def fixed_decay(step: int, decay: float) -> float:
    """``min(decay, (1 + n) / (10 + n))`` at the ``n``-th update (from 0): early averages forget the initial weights.

    The ramp is that of TensorFlow's ``ExponentialMovingAverage(num_updates=n)``.
    """
    return min(decay, (1 + step) / (10 + step))


def power_exponent(width: float) -> float:
    """The exponent gamma of the power average whose standard deviation is ``width`` times the length of the run.

    The largest real root of ``g^3 + 7 g^2 + (16 - s^-2) g + (12 - s^-2)``, s = width (Karras et al. 2024,
    "Analyzing and Improving the Training Dynamics of Diffusion Models", appendix C.1; Cosmos-Predict2.5 takes s = 0.1).
    """
    if not 0 < width < 12**-0.5:
        raise ValueError(f"the relative width of a power average must be in (0, 0.288), but is {width!r}")
    roots = np.roots([1.0, 7.0, 16.0 - width**-2, 12.0 - width**-2])
    return float(roots[np.abs(roots.imag) < 1e-6].real.max())


def power_decay(step: int, exponent: float) -> float:
    """``(1 - 1 / (n + 1)) ** (gamma + 1)`` at the ``n``-th update (from 0).

    After N updates, the weights of update ``i`` (from 1) count ``(i^(gamma+1) - (i-1)^(gamma+1)) / N^(gamma+1)``: the
    profile ``(i/N)^gamma``, whose width grows with the run. The initial weights count nothing.
    """
    return (1 - 1 / (step + 1)) ** (exponent + 1)


class Ema:
    """A running average of a model's trained parameters; buffers are copied as they are, frozen parameters left alone.

    It holds on to the model's tensors, and of sharded ones has the same shards: place and shard the model before.
    """

    def __init__(self, model: nn.Module, value: float, kind: EmaKind = "fixed") -> None:
        """``value`` is the decay of a ``fixed`` average, the relative width of a ``power`` one."""
        self._model = model
        current = named_weights(model)
        self._current = {
            name: tensor
            for name, tensor in current.items()
            if tensor.requires_grad or not isinstance(tensor, nn.Parameter)
        }
        self.weights = {name: tensor.detach().clone() for name, tensor in self._current.items()}
        self._averaged = [name for name, tensor in self._current.items() if tensor.requires_grad]
        self._copied = [name for name in self.weights if not self._current[name].requires_grad]
        self._kind = kind
        self._value = power_exponent(value) if kind == "power" else value

    def decay(self, step: int) -> float:
        """The share that the average keeps at update ``step`` (from 0)."""
        return power_decay(step, self._value) if self._kind == "power" else fixed_decay(step, self._value)

    @torch.no_grad()
    def update(self, step: int) -> None:
        """``average = decay * average + (1 - decay) * weights``, after optimiser step ``step`` (from 0)."""
        averages = [own_shard(self.weights[name]) for name in self._averaged]
        parameters = [own_shard(self._current[name]) for name in self._averaged]
        torch._foreach_lerp_(averages, parameters, 1 - self.decay(step))
        for name in self._copied:
            self.weights[name].copy_(self._current[name])

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Let the model hold the averaged weights within a ``with`` block, and :attr:`weights` the others."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for name, average in self.weights.items():
            mine, theirs = own_shard(average), own_shard(self._current[name])
            kept = mine.clone()
            mine.copy_(theirs)
            theirs.copy_(kept)
        for module in self._model.modules():
            if isinstance(module, FSDPModule):
                module.reshard()  # whole weights that it has gathered already are those of before
