"""AdaLN-LoRA: how the noise level (and the action) sets shift, scale and gate of every layer, in fp32."""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_sim.world_model.fusion import join_linear


def modulation(width: int, rank: int, out_features: int) -> nn.Sequential:
    """SiLU and two linear layers through a narrow middle."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, rank, bias=False), nn.Linear(rank, out_features, bias=False))


class Modulations(nn.Module):
    """Several :func:`modulation`\\ s of the same input in two products rather than two each."""

    down: Float[Tensor, "n*r d"]
    up: Float[Tensor, "n*m r"]

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number

    @classmethod
    def join(cls, owner: nn.Module, name: str, parts: Mapping[str, nn.Module]) -> None:
        """Give ``owner`` the child ``name`` in place of ``parts``, whose names state dicts keep."""
        owner.register_module(name, cls(len(parts)))
        for joint, layer in (("down", "1"), ("up", "2")):
            join_linear(
                owner, f"{name}.{joint}", {f"{key}.{layer}": part.get_submodule(layer) for key, part in parts.items()}
            )

    def forward(self, emb: Float[Tensor, "b t d"], adaln: Float[Tensor, "b t m"]) -> Float[Tensor, "n b t m"]:
        low = rearrange(F.linear(F.silu(emb), self.down), "b t (n r) -> n (b t) r", n=self.number)
        high = low @ rearrange(self.up, "(n m) r -> n r m", n=self.number)
        return rearrange(high, "n (b t) m -> n b t m", b=len(emb)) + adaln


def modulate(
    x: Float[Tensor, "b t h w d"], modulation: Float[Tensor, "b t d3"]
) -> tuple[Float[Tensor, "b t h w d"], Float[Tensor, "b t 1 1 d"]]:
    """``LN(x) * (1 + scale) + shift`` and the gate, both in ``x``'s dtype."""
    shift, scale, gate = modulation[:, :, None, None].to(x.dtype).chunk(3, dim=-1)
    return layer_norm(x) * (1 + scale) + shift, gate


def layer_norm(x: Tensor) -> Tensor:
    """In the input's dtype, with sums in fp32: autocast would keep a copy of ``x`` in fp32 for the backward pass."""
    with without_autocast(x):
        return F.layer_norm(x, x.shape[-1:], eps=1e-6)


def without_autocast(x: Tensor) -> torch.autocast:
    """The context in which the original computes in fp32."""
    return torch.autocast(x.device.type, enabled=False)
