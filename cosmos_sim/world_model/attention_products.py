"""Attention in matrix products, head by head: on CPUs with bf16 more than twice as fast as torch's own kernel.

That kernel multiplies bf16 no faster than fp32; oneDNN does. A head's scores, of a thousand tokens or so, stay in the
CPU's cache from one product to the next.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

KEYS = 512
"""Fewer keys are faster in torch's kernel."""
SCORES = 1 << 22
"""Of one head; for the backward pass they are kept, which for more of them takes too much memory and too much time."""


def pays_in_products(q: Float[Tensor, "b heads n e"], v: Float[Tensor, "b heads l e"]) -> bool:
    """Whether attention in products is the faster: for bf16 on a CPU and many keys."""
    if v.device.type != "cpu" or v.dtype != torch.bfloat16 or v.shape[2] < KEYS or torch.compiler.is_compiling():
        return False
    return not torch.is_grad_enabled() or q.shape[2] * v.shape[2] <= SCORES


def attend_by_products(
    q: Float[Tensor, "b heads n e"], k: Float[Tensor, "b heads l e"], v: Float[Tensor, "b heads l e"]
) -> Float[Tensor, "b heads n e"]:
    """``softmax(q k^T / sqrt(e)) v``; where gradients are wanted, scores are rounded to bf16."""
    if torch.is_grad_enabled() and (q.requires_grad or k.requires_grad or v.requires_grad):
        result: Tensor = _Products.apply(q, k, v)
        return result
    return _by_rows(q, k, v)


def _by_rows(q: Tensor, k: Tensor, v: Tensor, *, rows: int = 256) -> Tensor:
    """Some rows at a time. Scores and softmax are in fp32, weights in bf16, as in torch's kernel."""
    b, heads, n, e = q.shape
    y = torch.empty(b * heads, n, e, dtype=v.dtype)
    flat = (x.flatten(0, 1) for x in (q.float() * e**-0.5, k.float(), v))
    for out, q_head, k_head, v_head in zip(y, *flat, strict=True):
        for some, part in zip(out.split(rows), q_head.split(rows), strict=True):
            scores = part @ k_head.T
            torch.mm(torch.softmax(scores, dim=-1, out=scores).to(v.dtype), v_head, out=some)
    return y.unflatten(0, (b, heads))


class _Products(torch.autograd.Function):
    """With weights ``p = softmax(q k^T)``, ``y = p v`` and a gradient ``g`` of ``y``: ``dv = p^T g``,
    ``ds = p * (g v^T - sum(g * y))``, ``dq = ds k``, ``dk = ds^T q`` (Dao et al., arXiv 2205.14135, section B.2)."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        b, heads, n, e = q.shape
        q, k, v = (x.reshape(b * heads, -1, e) for x in (q * e**-0.5, k, v))
        y, weights = torch.empty_like(q), q.new_empty(b * heads, n, k.shape[1])
        for i in range(len(q)):
            torch.softmax(q[i] @ k[i].T, dim=-1, out=weights[i])
            torch.mm(weights[i], v[i], out=y[i])
        ctx.save_for_backward(q, k, v, y, weights)
        return y.unflatten(0, (b, heads))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        q, k, v, y, weights = ctx.saved_tensors
        b, heads, _, e = grad.shape
        grad = grad.reshape(y.shape)
        shared = (grad.float() * y.float()).sum(dim=-1, keepdim=True).to(grad.dtype)
        dq, dk, dv = (torch.empty_like(x) for x in (q, k, v))
        for i in range(len(q)):
            torch.mm(weights[i].T, grad[i], out=dv[i])
            scores = (grad[i] @ v[i].T).sub_(shared[i]).mul_(weights[i])
            torch.mm(scores, k[i], out=dq[i])
            torch.mm(scores.T, q[i], out=dk[i])
        dq, dk, dv = (x.unflatten(0, (b, heads)) for x in (dq * e**-0.5, dk, dv))
        return dq, dk, dv
