"""Randomness of someone else's model, made to come from each episode's own seed."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode


class EpisodeNoise(TorchFunctionMode):
    """While active, noise with one row per episode is drawn row by row from ``generators``.

    Covers ``torch.rand``, ``randn``, their ``_like`` forms and ``torch.normal`` of a size, wherever they are called
    without a generator and their first axis is as long as ``generators``: what diffusion and flow policies draw. Other
    draws are left to torch's global generator.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        super().__init__()
        self.generators = list(generators)

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in _DRAWS and kwargs.get("generator") is None:
            shape, rest = _DRAWS[func](args, kwargs)
            if shape and shape[0] == len(self.generators):
                return self._draw(func, shape, rest)
        return func(*args, **kwargs)

    def _draw(self, func: Callable[..., Any], shape: Sequence[int], rest: dict[str, Any]) -> Tensor:
        device, dtype = rest.get("device"), rest.get("dtype")
        uniform = func in (torch.rand, torch.rand_like)
        draw = torch.rand if uniform else torch.randn
        rows = [draw(tuple(shape[1:]), generator=generator) for generator in self.generators]
        noise = torch.stack(rows) * rest.get("std", 1.0) + rest.get("mean", 0.0)
        return noise.to(device=device, dtype=dtype or torch.get_default_dtype())


def _of_size(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Sequence[int], dict[str, Any]]:
    size = kwargs.get("size", args[0] if len(args) == 1 and isinstance(args[0], tuple | list) else args)
    return tuple(size), kwargs


def _like(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Sequence[int], dict[str, Any]]:
    given: Tensor = args[0] if args else kwargs["input"]
    return tuple(given.shape), {"device": given.device, "dtype": given.dtype, **kwargs}


def _normal(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Sequence[int], dict[str, Any]]:
    named = {**dict(zip(("mean", "std", "size"), args, strict=False)), **kwargs}
    return tuple(named.get("size", ())), named


_DRAWS: dict[Callable[..., Any], Callable[..., tuple[Sequence[int], dict[str, Any]]]] = {
    torch.rand: _of_size,
    torch.randn: _of_size,
    torch.rand_like: _like,
    torch.randn_like: _like,
    torch.normal: _normal,
}
