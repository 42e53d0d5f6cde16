"""One layer of the diffusion transformer."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_sim.world_model.attention import CrossAttention, KeysValues, SelfAttention
from cosmos_sim.world_model.modulation import Modulations, modulate, modulation, without_autocast


class Signal(NamedTuple):
    """What all blocks are told beside the text."""

    emb: Float[Tensor, "b t d"]
    """Embedding of the noise level (and the action) of each temporal token, in fp32."""
    adaln: Float[Tensor, "b t d3"]
    """The modulation that all layers share, in fp32."""
    rope: tuple[Float[Tensor, "n e"], Float[Tensor, "n e"]]
    """Cosines and sines of the tokens' positions."""
    actions: Float[Tensor, "b t d"] | None
    """Each frame's action as a token for cross-attention."""
    image: Float[Tensor, "b m d"] | None = None
    """Tokens of an image whose style is to be taken."""


class Block(nn.Module):
    """Self-attention, cross-attention and MLP, each ``x += gate * f(LN(x) * (1 + scale) + shift)``."""

    def __init__(
        self,
        width: int,
        *,
        heads: int,
        hidden: int,
        context_width: int | None,
        adaln_rank: int,
        causal: bool,
        image: bool = False,
    ) -> None:
        super().__init__()
        self.self_attn = SelfAttention(width, heads, causal=causal)
        self.adaln_modulation_self_attn = modulation(width, adaln_rank, 3 * width)
        self.cross_attn = None
        if context_width is not None:
            self.cross_attn = CrossAttention(width, context_width, heads, image=image)
            self.adaln_modulation_cross_attn = modulation(width, adaln_rank, 3 * width)
        self.mlp = MLP(width, hidden)
        self.adaln_modulation_mlp = modulation(width, adaln_rank, 3 * width)
        self.modulation_names = [name for name, _ in self.named_children() if name.startswith("adaln_modulation")]

    def forward(
        self,
        x: Float[Tensor, "b t h w d"],
        signal: Signal,
        text: Float[Tensor, "b l e"] | KeysValues | None,
        modulations: Iterable[Float[Tensor, "b t d3"]],
    ) -> Float[Tensor, "b t h w d"]:
        """``modulations`` as :meth:`modulations` computes them, or another module for all blocks at once."""
        t, h, w = x.shape[1:4]
        to_self, *to_cross, to_mlp = modulations
        y, gate = modulate(x, to_self)
        y = self.self_attn(rearrange(y, "b t h w d -> b (t h w) d"), signal.rope, frames=t)
        x = x + gate * rearrange(y, "b (t h w) d -> b t h w d", t=t, h=h, w=w)
        if self.cross_attn is not None:
            y, gate = modulate(x, *to_cross)
            y = self.cross_attn(rearrange(y, "b t h w d -> b (t h w) d"), text, signal.actions, signal.image)
            x = x + gate * rearrange(y, "b (t h w) d -> b t h w d", t=t, h=h, w=w)
        y, gate = modulate(x, to_mlp)
        return x + gate * self.mlp(y)

    def modulations(self, signal: Signal) -> list[Float[Tensor, "b t d3"]]:
        """Shift, scale and gate of each sublayer, in fp32."""
        with without_autocast(signal.emb):
            return [self.get_submodule(name)(signal.emb) + signal.adaln for name in self.modulation_names]

    def forget_modulations(self) -> None:
        """Remove the layers whose work another module has taken over."""
        for name in self.modulation_names:
            delattr(self, name)

    def read(self, text: Float[Tensor, "b l e"], image: Float[Tensor, "b m d"] | None = None) -> KeysValues:
        """The keys and values of a text (and an image), to be given to :meth:`forward` in its place."""
        if self.cross_attn is None:
            raise ValueError("this block has no cross-attention that could read a text")
        return self.cross_attn.keys_values(text, image)


def fuse_blocks(owner: nn.Module, name: str) -> None:
    """Join weights of ``owner``'s list of blocks ``name``: queries, keys and values of each, the modulations of all.

    The latter go to ``owner.adaln_modulations``, which is ``None`` until then.
    """
    if "adaln_modulations" in dict(owner.named_children()):
        return
    blocks = cast(Sequence[Block], owner.get_submodule(name))
    for block in blocks:
        block.self_attn.fuse()
    names = [f"{name}.{i}.{part}" for i, block in enumerate(blocks) for part in block.modulation_names]
    Modulations.join(owner, "adaln_modulations", {part: owner.get_submodule(part) for part in names})
    for block in blocks:
        block.forget_modulations()


def modulations_of(blocks: Sequence[Block], joined: Modulations | None, signal: Signal) -> Sequence[Tensor | None]:
    """Shift, scale and gate of all blocks at once, when :func:`fuse_blocks` has joined their layers."""
    if joined is None:
        return [None] * len(blocks)
    with without_autocast(signal.emb):
        return joined(signal.emb, signal.adaln).unflatten(0, (len(blocks), -1)).unbind()


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layer1 = nn.Linear(width, hidden, bias=False)
        self.layer2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer2(F.gelu(self.layer1(x)))
