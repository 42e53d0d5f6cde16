"""What a training sample is conditioned on beside its given frames: text and actions, as the network takes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor

from cosmos_sim.world_model.action_conditioning import actions_of_chunk, actions_per_latent
from cosmos_sim.world_model.dit import DiTConfig
from cosmos_sim.world_model.predict_world import TOKENS
from cosmos_sim.world_model.recipes.predict_text import Captions
from cosmos_sim.world_model.recipes.stages import Stage
from cosmos_sim.world_model.tokenizer import Tokenizer, VideoTokenizer
from cosmos_sim.world_model.wan import WanTokenizer


@dataclass(frozen=True)
class Conditions:
    """Those of a batch; what a network does not read is ``None``."""

    context: Float[Tensor, "b l d"] | None
    action: Float[Tensor, "b t a"] | None


@dataclass(frozen=True)
class Conditioner:
    """Makes :class:`Conditions` for a network.

    ``captions`` embeds text; without it a network that reads text gets the zero embedding of text that is left out.
    Actions become ``(action - mean) / std``.
    """

    dit: DiTConfig
    temporal: int
    """Frames in a latent after the first."""
    captions: Captions | None
    action_mean: tuple[float, ...] | None
    action_std: tuple[float, ...] | None

    def __call__(
        self,
        captions: Sequence[str],
        actions: Sequence[Float32[ndarray, "t a"] | None],
        *,
        dropped: Sequence[bool] | None = None,
    ) -> Conditions:
        """Those of some samples, of which some have their text ``dropped``; on the CPU."""
        left_out = dropped or [False] * len(captions)
        return Conditions(self._context(captions, left_out), self._action(actions))

    def _context(self, captions: Sequence[str], dropped: Sequence[bool]) -> Float[Tensor, "b l d"] | None:
        config = self.dit
        if config.context_dim is None:
            return None
        if self.captions is None:  # attention to many equal tokens is attention to one, unless actions stand beside
            tokens = TOKENS if config.action_injection == "cross_attention" else 1
            return torch.zeros(len(captions), tokens, config.context_in_dim or config.context_dim)
        known = self.captions
        rows = [
            known.zeros if out else known.embedding(caption) for caption, out in zip(captions, dropped, strict=True)
        ]
        return torch.stack(rows)

    def _action(self, actions: Sequence[Float32[ndarray, "t a"] | None]) -> Float[Tensor, "b t a"] | None:
        if self.dit.action_dim is None:
            return None
        stacked = torch.from_numpy(np.stack([np.asarray(action, np.float32) for action in actions]))
        if self.action_mean is not None and self.action_std is not None:
            stacked = (stacked - torch.tensor(self.action_mean)) / torch.tensor(self.action_std)
        if self.dit.action_layout == "chunk":
            return actions_of_chunk(stacked)
        return actions_per_latent(stacked, compression=self.temporal)


def row_width(config: DiTConfig | None, tokenizer: VideoTokenizer, *, frames: int, action_dim: int) -> int:
    """Numbers in a row of actions (``DiTConfig.action_dim``): those of a latent or, for such a network, of a chunk."""
    whole = config is not None and config.action_layout == "chunk"
    return action_dim * (frames - 1 if whole else tokenizer.temporal)


def check_fit(
    config: DiTConfig, stage: Stage, tokenizer: WanTokenizer | Tokenizer, *, action_dim: int | None, text: bool
) -> None:
    """Refuse a stage, a network, a tokenizer and data that do not go together.

    Args:
        action_dim: numbers in an action of the data, if it has actions.
        text: whether there are embeddings of captions.

    Raises:
        ValueError: naming what does not fit.
    """
    latents = tokenizer.latent_length(stage.frames)
    if tokenizer.config.latent_channels != config.latent_channels:
        raise ValueError(
            f"the tokenizer makes latents of {tokenizer.config.latent_channels} channels, the network takes "
            f"{config.latent_channels}"
        )
    if config.patch[0] != 1:
        raise ValueError(f"patch={config.patch} joins latent frames, of which some may be given and others not")
    for height, width in stage.sizes:
        for side, patch in zip(tokenizer.latent_size(height, width), config.patch[1:], strict=True):
            if side % patch:
                cell = tokenizer.spatial * patch
                raise ValueError(f"videos of {height}x{width} do not divide into patches of {cell} pixels")
    most = max(k for k, share in enumerate(stage.known) if share)
    if stage.frames > 1 and most >= latents:
        raise ValueError(
            f"known={stage.known} gives {most} latents, but {stage.frames} frames make no more than {latents}"
        )
    if stage.actions != (config.action_dim is not None) or stage.actions != (action_dim is not None):
        raise ValueError(
            f"actions={stage.actions} in the stage, but the network takes rows of action_dim={config.action_dim} and "
            f"the data have action_dim={action_dim}"
        )
    if action_dim is not None:
        wanted = row_width(config, tokenizer, frames=stage.frames, action_dim=action_dim)
        if config.action_dim != wanted:
            raise ValueError(
                f"the network takes rows of action_dim={config.action_dim}, but actions of {action_dim} make {wanted}"
            )
    if text and config.context_dim is None:
        raise ValueError("a text encoder would be ignored: the network reads no text")
    if not text and config.context_dim is not None and not stage.actions and stage.text_dropout < 1:
        raise ValueError(
            f"the network reads text, and text_dropout={stage.text_dropout} leaves it out of some samples only: give a "
            "text encoder, or text_dropout=1"
        )
