"""Activation checkpointing: what a block keeps for its backward pass, and what it computes again.

Cosmos-Predict2.5 (arXiv 2511.00062), section 4.3: element-wise functions and norms are computed again first, since
they cost little and free much memory (``selective``); for large videos linear layers too (``attention``), but not
attention, which grows with the square of the tokens. ``full`` keeps a block's input alone.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint, create_selective_checkpoint_contexts

from cosmos_sim.training.layout import Checkpointing

_ATTENTION = [
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
]
_PRODUCTS = [torch.ops.aten.mm.default, torch.ops.aten.addmm.default]

KEPT: dict[Checkpointing, list[torch._ops.OpOverload]] = {
    "selective": [*_ATTENTION, *_PRODUCTS],
    "attention": _ATTENTION,
    "full": [],
}
"""The operations whose results a block keeps at each level; ``none`` keeps what every operation asks for."""


def checkpointed(forward: Callable[..., Any], level: Checkpointing) -> Callable[..., Any]:
    """``forward``, keeping for its backward pass what ``level`` says; values and gradients are the same."""
    if level == "none":
        return forward
    options: dict[str, Any] = {"use_reentrant": False}
    if KEPT[level]:
        options["context_fn"] = partial(create_selective_checkpoint_contexts, KEPT[level])

    def rerunning(*inputs: Any) -> Any:
        return checkpoint(forward, *inputs, **options)

    return rerunning
