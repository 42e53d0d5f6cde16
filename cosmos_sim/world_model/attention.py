"""Attention of the diffusion transformer: over the video's own tokens, and to text and actions."""

import difflib
from contextlib import AbstractContextManager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from cosmos_sim.world_model.attention_products import attend_by_products, pays_in_products
from cosmos_sim.world_model.fusion import join_linear
from cosmos_sim.world_model.rope import rotate

KERNELS: dict[str, list[SDPBackend]] = {
    "auto": [
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ],
    "cudnn": [SDPBackend.CUDNN_ATTENTION],
    "flash": [SDPBackend.FLASH_ATTENTION],
    "efficient": [SDPBackend.EFFICIENT_ATTENTION],
    "math": [SDPBackend.MATH],
}


def attention_kernels(name: str = "auto") -> AbstractContextManager[None]:
    """A ``with`` block in which attention runs on one of torch's kernels, or on the first of them that can.

    Args:
        name: ``cudnn``, ``flash``, ``efficient``, ``math``; ``auto`` tries them in that order, which puts cuDNN's, the
            fastest on Hopper, before torch's own choice. A kernel that cannot run makes torch raise a RuntimeError.

    Raises:
        ValueError: for an unknown name.
    """
    if name not in KERNELS:
        near = difflib.get_close_matches(name, KERNELS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {sorted(KERNELS)}"
        raise ValueError(f"unknown attention kernel {name!r}; {hint}")
    return sdpa_kernel(KERNELS[name], set_priority=True)


class KeysValues(NamedTuple):
    """What one layer reads from its context; constant over sampling steps, so it can be computed once."""

    keys: Float[Tensor, "b heads l e"]
    values: Float[Tensor, "b heads l e"]
    image: "KeysValues | None" = None
    """Those of an image whose style the layer reads beside the text."""

    def expand(self, batch: int) -> "KeysValues":
        """The same for each of a batch."""
        keys, values = (x.expand(batch, -1, -1, -1) for x in self[:2])
        return KeysValues(keys, values, None if self.image is None else self.image.expand(batch))


class Attention(nn.Module):
    """Projections of multi-head attention with RMS-normalised queries and keys."""

    def __init__(self, width: int, context_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(context_width, width, bias=False)
        self.v_proj = nn.Linear(context_width, width, bias=False)
        self.output_proj = nn.Linear(width, width, bias=False)
        self.q_norm = RMSNorm(width // num_heads, eps=1e-6)
        self.k_norm = RMSNorm(width // num_heads, eps=1e-6)

    def heads(self, x: Float[Tensor, "b n d"]) -> Float[Tensor, "b heads n e"]:
        return rearrange(x, "b n (heads e) -> b heads n e", heads=self.num_heads)


class SelfAttention(Attention):
    """Of all tokens to all, or to those of their own and earlier frames; positions are rotary."""

    qkv_weight: nn.Parameter | None

    def __init__(self, width: int, num_heads: int, *, causal: bool) -> None:
        super().__init__(width, width, num_heads)
        self.causal = causal
        self.register_parameter("qkv_weight", None)

    def forward(self, x: Float[Tensor, "b n d"], rope: tuple[Tensor, Tensor], *, frames: int) -> Float[Tensor, "b n d"]:
        if self.qkv_weight is None:
            q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        else:
            q, k, v = F.linear(x, self.qkv_weight).chunk(3, dim=-1)
        q, k, v = self.heads(q), self.heads(k), self.heads(v)
        q, k = rotate(self.q_norm(q), *rope).to(v.dtype), rotate(self.k_norm(k), *rope).to(v.dtype)
        return self.output_proj(rearrange(self.attention(q, k, v, frames), "b heads n e -> b n (heads e)"))

    def attention(self, q: Tensor, k: Tensor, v: Tensor, frames: int) -> Float[Tensor, "b heads n e"]:
        return attend_causally(q, k, v, frames) if self.causal else attend(q, k, v)

    def fuse(self) -> None:
        """Project queries, keys and values in one product; state dicts keep the three names."""
        join_linear(self, "qkv_weight", {"q_proj": self.q_proj, "k_proj": self.k_proj, "v_proj": self.v_proj})
        del self.q_proj, self.k_proj, self.v_proj


class CrossAttention(Attention):
    """Of all tokens to the text, and of each frame's tokens to its own actions; there is no mask, as released.

    With ``image``, also of all tokens to those of an image (as wide as the network), with queries of their own; the
    two sums are added before ``output_proj``.
    """

    def __init__(self, width: int, context_width: int, num_heads: int, *, image: bool = False) -> None:
        super().__init__(width, context_width, num_heads)
        if image:
            self.q_img = nn.Linear(width, width, bias=False)
            self.k_img = nn.Linear(width, width, bias=False)
            self.v_img = nn.Linear(width, width, bias=False)
            self.q_img_norm = RMSNorm(width // num_heads, eps=1e-6)
            self.k_img_norm = RMSNorm(width // num_heads, eps=1e-6)

    def forward(
        self,
        x: Float[Tensor, "b n d"],
        text: Float[Tensor, "b l e"] | KeysValues,
        actions: Float[Tensor, "b t e"] | None = None,
        image: Float[Tensor, "b m d"] | None = None,
    ) -> Float[Tensor, "b n d"]:
        q = self.q_norm(self.heads(self.q_proj(x)))
        k, v, seen = text if isinstance(text, KeysValues) else self.keys_values(text, image)
        if actions is None:
            y = attend(q.to(v.dtype), k.to(v.dtype), v)
        else:
            y = attend_per_frame(q.to(v.dtype), KeysValues(k.to(v.dtype), v), self.keys_values(actions))
        if seen is not None:
            q = self.q_img_norm(self.heads(self.q_img(x)))
            y = y + attend(q.to(v.dtype), seen.keys.to(v.dtype), seen.values)
        return self.output_proj(rearrange(y, "b heads n e -> b n (heads e)"))

    def keys_values(self, context: Float[Tensor, "b l e"], image: Float[Tensor, "b m d"] | None = None) -> KeysValues:
        seen = None
        if image is not None:
            seen = KeysValues(self.k_img_norm(self.heads(self.k_img(image))), self.heads(self.v_img(image)))
        return KeysValues(self.k_norm(self.heads(self.k_proj(context))), self.heads(self.v_proj(context)), seen)


class RMSNorm(nn.RMSNorm):
    """In the input's dtype, whatever the weight's."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


def attend(
    q: Float[Tensor, "b heads n e"], k: Float[Tensor, "b heads l e"], v: Float[Tensor, "b heads l e"]
) -> Float[Tensor, "b heads n e"]:
    """``softmax(q k^T / sqrt(e)) v`` by the fastest of torch's kernels."""
    return attend_by_products(q, k, v) if pays_in_products(q, v) else F.scaled_dot_product_attention(q, k, v)


def attend_causally(q: Tensor, k: Tensor, v: Tensor, frames: int) -> Float[Tensor, "b heads n e"]:
    """:func:`attend` of each frame's tokens to those of its own and earlier frames.

    One call a frame, none of them masked: every kernel serves, and the half that a mask would hide is not computed.
    """
    n = q.shape[2] // frames
    return torch.cat(
        [attend(part, k[:, :, : n * (i + 1)], v[:, :, : n * (i + 1)]) for i, part in enumerate(q.split(n, dim=2))],
        dim=2,
    )


def attend_per_frame(q: Tensor, text: KeysValues, actions: KeysValues) -> Float[Tensor, "b heads n e"]:
    """:func:`attend` of each frame's tokens to the whole text and to its own action (``b heads t e``)."""
    b, _, t, _ = actions.keys.shape
    k, v = (
        torch.cat(
            [
                repeat(shared, "b heads l e -> (b t) heads l e", t=t),
                rearrange(own.to(shared.dtype), "b heads t e -> (b t) heads 1 e"),
            ],
            dim=2,
        )
        for shared, own in zip(text[:2], actions[:2], strict=True)
    )
    y = attend(rearrange(q, "b heads (t n) e -> (b t) heads n e", t=t), k, v)
    return rearrange(y, "(b t) heads n e -> b heads (t n) e", b=b)
