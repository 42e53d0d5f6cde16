"""A Transfer2.5 in miniature: every part real, random weights, seconds on a CPU."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from tiny_predict import DIT, SIZE, WordText, lively, tiny_dit, tiny_wan

from cosmos_sim.world_model.control import ControlBranch, ControlConfig, ControlledDiT
from cosmos_sim.world_model.denoise import SamplingConfig
from cosmos_sim.world_model.dit import DiTConfig
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.transfer import Transfer, TransferConfig

BRANCH = ControlConfig(blocks=2, every=1, channels=DIT.latent_channels + DIT.masks + 1)
TOKENIZER = TokenizerConfig(latent_channels=4, patch=2, encoder_width=8, decoder_width=8, multipliers=(1, 2))
VIEWS = ("agentview", "wrist")


def tiny_controlled(kinds: Sequence[str], config: DiTConfig = DIT) -> ControlledDiT:
    branches = {kind: lively(ControlBranch(config, BRANCH), seed=1 + i) for i, kind in enumerate(kinds)}
    return ControlledDiT(tiny_dit(config), branches)


def tiny_tokenizer() -> Tokenizer:
    torch.manual_seed(0)
    return Tokenizer(TOKENIZER).eval().requires_grad_(False)


def tiny_transfer(
    kinds: Sequence[str] = ("edge", "blur"),
    *,
    sampling: SamplingConfig | None = None,
    low_vram: bool = False,
    **changes: object,
) -> Transfer:
    """With the Wan tokenizer: chunks of 9 frames of 32x48 in 3 latents of 4x6."""
    config = TransferConfig(
        DIT, sampling or SamplingConfig(steps=2, guidance=1.0), kinds=tuple(kinds), chunk=9, size=SIZE
    )
    return Transfer(
        replace(config, **changes),
        dit=lambda: tiny_controlled(kinds),
        tokenizer=tiny_wan,
        text=WordText(),
        device=torch.device("cpu"),
        low_vram=low_vram,
    )


def tiny_views_transfer(kinds: Sequence[str] = ("edge", "blur"), *, steps: int = 2) -> Transfer:
    """Frame by frame, two cameras side by side: chunks of 5 frames of 16x32 in latents of 4x8."""
    config = TransferConfig(
        DIT,
        SamplingConfig(steps=steps, guidance=1.0),
        temporal=1,
        spatial=4,
        kinds=tuple(kinds),
        chunk=5,
        size=(16, 32),
        views=VIEWS,
        negative_prompt=None,
    )
    return Transfer(
        config,
        dit=lambda: tiny_controlled(kinds),
        tokenizer=tiny_tokenizer,
        text=WordText(),
        device=torch.device("cpu"),
    )
