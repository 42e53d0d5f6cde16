"""The configuration of a network, read off the shapes of its weights."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from cosmos_sim.data.pretrained import check_fit
from cosmos_sim.world_model.action_conditioning import ActionLayout
from cosmos_sim.world_model.dit import DiT, DiTConfig

Shapes = Mapping[str, tuple[int, ...]]

ESSENTIAL = (
    "x_embedder.proj.1.weight",
    "final_layer.linear.weight",
    "blocks.0.self_attn.q_norm.weight",
    "blocks.0.mlp.layer1.weight",
    "blocks.0.adaln_modulation_self_attn.1.weight",
)
FAMILIES = {
    "control_": "a Transfer2.5 network, with control branches",
    "view_embeddings.": "a multiview network",
    "extra_pos_embedder.": "a Predict1 network",
    "learnable_pos_embed.": "a Predict1 network",
}
"""Relatives that are recognised by a prefix of their names, so that the refusal can say what they are."""


@dataclass(frozen=True)
class Unseen:
    """What the shapes of a network's weights do not say. The defaults are those of the released 720p networks."""

    patch: tuple[int, int, int] = (1, 2, 2)
    rope_ratio: tuple[float, float, float] = (1.0, 3.0, 3.0)
    """(1, 2, 2) in the networks for 480p."""
    action_layout: ActionLayout = "latent"
    control_every: int | None = None
    """Distance of the blocks that a control branch gives hints to; when not given its blocks spread over all."""


def infer_config(found: Shapes, unseen: Unseen | None = None, *, where: str) -> DiTConfig:
    """The configuration of the network that has weights of these names and shapes, every one of them accounted for.

    Args:
        found: shapes by our names.
        unseen: what shapes do not say; its defaults when not given.
        where: what to call the checkpoint in errors.

    Raises:
        ValueError: it is no Cosmos-Predict2.5 network; the message names the first missing and unexpected weights.
    """
    unseen = unseen or Unseen()
    if unseen.action_layout != Unseen.action_layout and "action_embedder_B_D.fc1.weight" not in found:
        raise ValueError(f"action_layout={unseen.action_layout!r} would be ignored: {where} has no action embedder")
    if missing := [name for name in ESSENTIAL if name not in found]:
        check_fit(found, expected_shapes(DiTConfig()), where, what=f"Cosmos-Predict2.5 (no {missing[0]})")
    width, features = found["x_embedder.proj.1.weight"]
    pixels = math.prod(unseen.patch)
    latent = found["final_layer.linear.weight"][0] // pixels
    masks = features // pixels - latent
    if masks not in (1, 2) or features % pixels:
        raise ValueError(
            f"{where}: x_embedder.proj.1.weight takes {features} features; for {latent} latent channels and patches "
            f"of {unseen.patch} it should be {(latent + 2) * pixels}, or {(latent + 1) * pixels} without a padding mask"
        )
    numbers = {int(part) for name in found if name.startswith("blocks.") and (part := name.split(".")[1]).isdigit()}
    keys, text = found.get("blocks.0.cross_attn.k_proj.weight"), found.get("crossattn_proj.0.weight")
    action = found.get("action_embedder_B_D.fc1.weight")
    image = found.get("img_context_proj.0.weight")
    config = DiTConfig(
        latent_channels=latent,
        model_channels=width,
        num_blocks=len(numbers),
        num_heads=width // found["blocks.0.self_attn.q_norm.weight"][0],
        mlp_ratio=found["blocks.0.mlp.layer1.weight"][0] / width,
        adaln_lora_dim=found["blocks.0.adaln_modulation_self_attn.1.weight"][0],
        patch=unseen.patch,
        padding_mask=masks == 2,
        context_dim=keys[1] if keys else None,
        context_in_dim=text[1] if text else None,
        rope_ratio=unseen.rope_ratio,
        action_dim=action[1] if action else None,
        action_layout=unseen.action_layout,
        image_dim=image[1] if image else None,
    )
    check_network(found, config, where)
    return config


def check_network(found: Shapes, config: DiTConfig, where: str) -> None:
    """Compare names and shapes with those of the network of ``config``.

    Raises:
        ValueError: they differ; the message names the first that are missing, unexpected or misshapen.
    """
    families = {text for prefix, text in FAMILIES.items() if any(name.startswith(prefix) for name in found)}
    relative = f"; it looks like {', '.join(sorted(families))}, which is not read" if families else ""
    try:
        check_fit(found, expected_shapes(config), where, what="a Cosmos-Predict2.5 network of its size")
    except ValueError as error:
        raise ValueError(f"{error}{relative}") from None


def expected_shapes(config: DiTConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network's weights; nothing is allocated."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in DiT(config).state_dict().items()}
