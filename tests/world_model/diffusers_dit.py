"""diffusers' transformer with the weights of one of ours, for comparison; named here independently of the package."""

from diffusers import CosmosTransformer3DModel

from cosmos_sim.world_model.dit import DiT, DiTConfig

NAMES = (
    ("x_embedder.proj.1", "patch_embed.proj"),
    ("t_embedder.1", "time_embed.t_embedder"),
    ("t_embedding_norm", "time_embed.norm"),
    ("final_layer.adaln_modulation.1", "norm_out.linear_1"),
    ("final_layer.adaln_modulation.2", "norm_out.linear_2"),
    ("final_layer.linear", "proj_out"),
    ("adaln_modulation_self_attn.1", "norm1.linear_1"),
    ("adaln_modulation_self_attn.2", "norm1.linear_2"),
    ("adaln_modulation_cross_attn.1", "norm2.linear_1"),
    ("adaln_modulation_cross_attn.2", "norm2.linear_2"),
    ("adaln_modulation_mlp.1", "norm3.linear_1"),
    ("adaln_modulation_mlp.2", "norm3.linear_2"),
    ("self_attn", "attn1"),
    ("cross_attn", "attn2"),
    ("q_proj", "to_q"),
    ("k_proj", "to_k"),
    ("v_proj", "to_v"),
    ("output_proj", "to_out.0"),
    ("q_norm", "norm_q"),
    ("k_norm", "norm_k"),
    ("mlp.layer1", "ff.net.0.proj"),
    ("mlp.layer2", "ff.net.2"),
    ("blocks.", "transformer_blocks."),
)


def diffusers_name(name: str) -> str:
    """diffusers' name of a weight of the transformer."""
    for ours, theirs in NAMES:
        name = name.replace(ours, theirs)
    return name


def reference(own: DiT) -> CosmosTransformer3DModel:
    """diffusers' transformer with the weights of ``own``."""
    config: DiTConfig = own.config
    model = CosmosTransformer3DModel(
        in_channels=config.latent_channels + 1,
        out_channels=config.latent_channels,
        num_attention_heads=config.num_heads,
        attention_head_dim=config.head_dim,
        num_layers=config.num_blocks,
        mlp_ratio=config.mlp_ratio,
        text_embed_dim=config.context_dim,
        adaln_lora_dim=config.adaln_lora_dim,
        max_size=(16, 64, 64),
        patch_size=config.patch,
        rope_scale=config.rope_ratio,
        concat_padding_mask=config.padding_mask,
        extra_pos_embed_type=None,
        use_crossattn_projection=config.context_in_dim is not None,
        crossattn_proj_in_channels=config.context_in_dim or 1,
        encoder_hidden_states_channels=config.context_dim,
        img_context_dim_in=config.image_dim,
        img_context_dim_out=config.model_channels,
    )
    model.load_state_dict({diffusers_name(name): tensor for name, tensor in own.state_dict().items()}, strict=True)
    return model.eval()
