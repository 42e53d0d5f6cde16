"""The networks of a pipeline: made when first needed and, on a small card, on it one after another."""

from collections.abc import Callable, Mapping

import torch
from torch import nn


class Parts:
    """Networks by name, each on ``device`` while it is in use.

    Args:
        makers: how to make each; called at its first use.
        low_vram: whether a network leaves the device for the host's memory when another is used.
    """

    def __init__(
        self, makers: Mapping[str, Callable[[], nn.Module]], *, device: torch.device, low_vram: bool = False
    ) -> None:
        self.makers, self.device, self.low_vram = dict(makers), device, low_vram
        self._made: dict[str, nn.Module] = {}

    def use(self, name: str) -> nn.Module:
        """The network ``name``, on the device; with ``low_vram`` the others are not."""
        if self.low_vram:
            self.rest(besides=name)
        if name not in self._made:
            self._made[name] = self.makers[name]().eval().requires_grad_(False)
        return self._made[name].to(self.device)

    def rest(self, *, besides: str | None = None) -> None:
        """Take all networks off the device, or all but one."""
        for name, module in self._made.items():
            if name != besides:
                module.to("cpu")
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
