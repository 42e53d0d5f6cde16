"""Robot actions as the transformer takes them, for any robot: their layouts and their embedder.

Cosmos-Predict2.5 (arXiv 2511.00062), section 6.6 and table 20, compares three ways in: added to the timestep
embedding (released, and the best), as tokens for cross-attention, and as channels beside the latent.
"""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

ActionInjection = Literal["timestep", "cross_attention", "channels"]
ActionLayout = Literal["latent", "chunk"]


class ActionEmbedder(nn.Module):
    """Linear, tanh GELU, linear."""

    def __init__(self, in_features: int, hidden: int, out_features: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden)
        self.fc2 = nn.Linear(hidden, out_features)

    def forward(self, action: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(action), approximate="tanh"))


def actions_per_latent(actions: Float[Tensor, "b t a"], *, compression: int = 4) -> Float[Tensor, "b t_latent ca"]:
    """Actions laid out as latent frames are: zeros for latent 0, then ``compression`` actions for each.

    The layout of the released action-conditioned checkpoint (7 numbers x 4 = ``action_dim`` 28). Action ``k`` leads
    from frame ``k`` to ``k + 1``, and latent ``j`` holds the frames ``4j - 3`` to ``4j``.

    Raises:
        ValueError: the actions are not ``b t a``, there are none, or they do not fill whole latents.
    """
    if actions.ndim != 3:
        raise ValueError(f"actions must be [batch, time, action], not of shape {tuple(actions.shape)}")
    count = actions.shape[1]
    if compression < 1:
        raise ValueError(f"compression must be at least 1, not {compression}")
    if count == 0 or count % compression:
        raise ValueError(f"{count} actions do not fill whole latents: each latent after the first takes {compression}")
    rows = rearrange(actions, "b (t c) a -> b t (c a)", c=compression)
    return F.pad(rows, (0, 0, 1, 0))


def actions_of_chunk(actions: Float[Tensor, "b t a"]) -> Float[Tensor, "b 1 ta"]:
    """The whole chunk flattened into one row for all frames (``action_layout="chunk"``; 7 numbers x 12 = 84).

    Raises:
        ValueError: the actions are not ``b t a``, or there are none.
    """
    if actions.ndim != 3 or actions.shape[1] == 0:
        raise ValueError(f"actions must be [batch, time, action] with time > 0, not of shape {tuple(actions.shape)}")
    return rearrange(actions, "b t a -> b 1 (t a)")


def hold(actions: Float[Tensor, "b t a"], chunk: int) -> Float[Tensor, "b chunk a"]:
    """``actions``, the last of them repeated until there are as many as a chunk takes."""
    return torch.cat([actions, actions[:, -1:].expand(-1, chunk - actions.shape[1], -1)], dim=1)
