"""Ulysses context parallelism: several processes share the tokens of a video, around a DiT that knows nothing of it.

Each process holds some of the places of every frame (the frame's tokens, padded to equal shares, as there are always
more places than frames to share). What is per frame, the noise level and the actions, stays whole. Self-attention
exchanges tokens for heads, by one all-to-all there and one back, and attends to whole videos with some of the heads
(DeepSpeed-Ulysses, arXiv 2309.14509), so that every kernel and mask serves as it is; padding never comes to it.
"""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, cast

import torch
import torch.distributed as dist
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn
from torch.distributed._functional_collectives import all_gather_tensor_autograd, all_to_all_single_autograd

from cosmos_sim.world_model.attention import SelfAttention
from cosmos_sim.world_model.control import ControlBranch, ControlledDiT
from cosmos_sim.world_model.dit import DiT


class ContextParallel:
    """Shares the tokens of ``network`` among the processes of ``group``, from the first block to the last layer.

    Of a network with control branches, each branch's blocks have the same share of its tokens.

    All of them give the network the same inputs and get the same, whole output. The gradient of the output is summed
    over the group on its way back, and the gradients of weights are those through the own tokens: their mean over the
    group is that of one process without it.

    Raises:
        ValueError: the heads do not divide among the processes.
    """

    def __init__(self, network: DiT | ControlledDiT, group: dist.ProcessGroup) -> None:
        dit = network.base if isinstance(network, ControlledDiT) else network
        heads, degree = dit.config.num_heads, group.size()
        if heads % degree:
            raise ValueError(f"{heads} attention heads do not divide among context={degree} processes")
        self.enabled = True
        """Whether tokens are shared: for videos they should be, for images there are too few. It stays as it is from a
        forward pass to the end of its backward pass, in which blocks may run again."""
        self.group, self.degree, self.rank = group, degree, group.rank()
        self.size = [0, 0]
        self.rope: tuple[Tensor, ...] = ()
        dit.blocks[0].register_forward_pre_hook(self._split)
        for block in dit.blocks:
            self._share(block)
        if isinstance(network, ControlledDiT):
            for branch in cast(Iterable[ControlBranch], network.branches.values()):
                for block in branch.control_blocks:
                    block.register_forward_pre_hook(
                        partial(self._split_control, first=block is branch.control_blocks[0])
                    )
                    self._share(block)
        dit.final_layer.register_forward_hook(self._join)

    def _share(self, block: nn.Module) -> None:
        """Let a block know the positions of the tokens it is given, and exchange them for heads."""
        block.register_forward_pre_hook(self._place)
        attention = cast(SelfAttention, block.get_submodule("self_attn"))
        attention.attention = partial(self._exchange, attention.attention)  # type: ignore[method-assign]

    def _split(self, block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        """Keep the own places of the first block's input, and their positions for every block."""
        if not self.enabled:
            return None
        x, signal, *rest = inputs
        t, *self.size = x.shape[1:4]
        tables = (rearrange(table, "(t n) e -> t n e", t=t) for table in signal.rope)
        self.rope = tuple(self._cut(table).flatten(0, 1) for table in tables)
        return self._own(x), signal, *rest

    def _split_control(self, block: nn.Module, inputs: tuple[Any, ...], *, first: bool) -> tuple[Any, ...] | None:
        """As :meth:`_split`: of the control and the network's input for a branch's first block, of maps for each."""
        if not self.enabled:
            return None
        c, signal, text, modulations, x, weight = inputs
        weight = self._own(weight) if isinstance(weight, Tensor) else weight
        own = (self._own(c), self._own(x)) if first else (c, x)
        return own[0], signal, text, modulations, own[1], weight

    def _place(self, block: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...] | None:
        if not self.enabled:
            return None
        x, signal, *rest = inputs
        return x, signal._replace(rope=self.rope), *rest

    def _join(self, layer: nn.Module, inputs: tuple[Any, ...], out: Tensor) -> Float[Tensor, "b t h w p"] | None:
        if not self.enabled:
            return None
        h, w = self.size
        own = rearrange(out, "b t 1 n p -> n b t p").contiguous()
        places = all_gather_tensor_autograd(own, 0, self.group)[: h * w]
        return rearrange(places, "(h w) b t p -> b t h w p", h=h)

    def _own(self, x: Float[Tensor, "b t h w d"]) -> Float[Tensor, "b t 1 n d"]:
        """This process's share of a video's tokens."""
        return self._cut(rearrange(x, "b t h w d -> b t 1 (h w) d"))

    def _cut(self, x: Float[Tensor, "... n d"]) -> Float[Tensor, "... m d"]:
        """This process's share of the places, padded with zeros where they do not divide."""
        padded = F.pad(x, (0, 0, 0, -x.shape[-2] % self.degree))
        return padded.chunk(self.degree, dim=-2)[self.rank].contiguous()

    def _exchange(
        self, attention: Callable[..., Tensor], q: Tensor, k: Tensor, v: Tensor, frames: int
    ) -> Float[Tensor, "b heads n e"]:
        """``attention`` of all places with this process's heads, given and returned as its places with all heads."""
        if not self.enabled:
            return attention(q, k, v, frames)
        places = self.size[0] * self.size[1]
        own = rearrange(torch.stack([q, k, v]), "i b (r m) (t n) e -> r i b m t n e", r=self.degree, t=frames)
        whole = rearrange(self._all_to_all(own), "r i b m t n e -> i b m t (r n) e")[..., :places, :]
        y = attention(*whole.flatten(3, 4).unbind(), frames)
        y = F.pad(rearrange(y, "b m (t n) e -> b m t n e", t=frames), (0, 0, 0, -places % self.degree))
        back = self._all_to_all(rearrange(y, "b m t (r n) e -> r b m t n e", r=self.degree))
        return rearrange(back, "r b m t n e -> b (r m) (t n) e")

    def _all_to_all(self, x: Float[Tensor, "r ..."]) -> Float[Tensor, "r ..."]:
        return all_to_all_single_autograd(x.contiguous(), None, None, self.group)
