"""Small networks of the released format, with every weight drawn."""

from pathlib import Path

import torch
from safetensors.torch import load_file

from cosmos_sim.world_model.checkpoints.network import open_network
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.dit import DiT, DiTConfig

BASE = DiTConfig(
    latent_channels=4,
    model_channels=48,
    num_blocks=3,
    num_heads=3,
    adaln_lora_dim=8,
    context_dim=20,
    context_in_dim=36,
)
CONFIGS = {
    "base": BASE,
    "no-projection": DiTConfig(**{**vars(BASE), "context_in_dim": None, "padding_mask": False, "num_blocks": 2}),
    "action": DiTConfig(**{**vars(BASE), "action_dim": 28, "rope_ratio": (1.0, 2.0, 2.0)}),
    "action-chunk": DiTConfig(**{**vars(BASE), "action_dim": 84, "action_layout": "chunk"}),
}


def network(config: DiTConfig, dtype: torch.dtype = torch.float32) -> DiT:
    torch.manual_seed(0)
    model = DiT(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(0.2 * torch.randn_like(parameter) + (1.0 if parameter.ndim == 1 else 0.0))
    return model.to(dtype).eval()


def nvidia_state(model: DiT, prefix: str = "net.") -> dict[str, torch.Tensor]:
    """The state dict that NVIDIA's code would save of this network."""
    head = model.config.head_dim
    spatial = 2 * (head // 6)
    tables = {
        "pos_embedder.seq": torch.arange(128.0),
        "pos_embedder.dim_spatial_range": torch.arange(0, spatial, 2) / spatial,
        "pos_embedder.dim_temporal_range": torch.arange(0, head - 2 * spatial, 2) / (head - 2 * spatial),
    }
    return {prefix + name: tensor.contiguous() for name, tensor in (tables | model.state_dict()).items()}


def same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Bit for bit, dtypes and names too."""
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype, name
        assert torch.equal(found[name], tensor), name


def stored(path: Path) -> tuple[DiTConfig, dict[str, torch.Tensor]]:
    """What a checkpoint of any format holds."""
    opened = open_network(open_source(path))
    return opened.config, {name: tensor.read() for name, tensor in opened.weights.items()}


def shards(folder: Path) -> dict[str, torch.Tensor]:
    """All tensors of a folder's safetensors files, by the reference reader."""
    return {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
