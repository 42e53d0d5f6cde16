"""The configuration of diffusers' control network."""

from importlib.metadata import version
from typing import Any

from cosmos_sim.world_model.checkpoints.network import diffusers_config
from cosmos_sim.world_model.control import ControlConfig
from cosmos_sim.world_model.dit import DiTConfig

CONTROLNET = "CosmosControlNetModel"


def controlnet_config(config: ControlConfig, base: DiTConfig) -> dict[str, Any]:
    """``config.json`` of the ``CosmosControlNetModel`` that computes the same.

    Raises:
        ValueError: there is none.
    """
    transformer = diffusers_config(base)
    if not base.padding_mask:
        raise ValueError("diffusers has no control network with padding_mask=False")
    return {
        "_class_name": CONTROLNET,
        "_diffusers_version": version("diffusers"),
        "n_controlnet_blocks": config.blocks,
        "in_channels": config.channels,
        "latent_channels": base.in_channels,
        "model_channels": base.model_channels,
        "crossattn_proj_in_channels": transformer["crossattn_proj_in_channels"],
        "use_crossattn_projection": transformer["use_crossattn_projection"],
        **{name: transformer[name] for name in _COMMON},
    }


_COMMON = (
    "num_attention_heads",
    "attention_head_dim",
    "mlp_ratio",
    "text_embed_dim",
    "adaln_lora_dim",
    "patch_size",
    "max_size",
    "rope_scale",
    "extra_pos_embed_type",
    "img_context_dim_in",
    "img_context_dim_out",
    "encoder_hidden_states_channels",
)
"""What diffusers' control network and transformer call by the same names."""
