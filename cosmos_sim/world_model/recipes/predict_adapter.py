"""Fine-tuning of few weights: LoRA (Hu et al. 2021) and DoRA (Liu et al. 2024) by PEFT, around a network's layers."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from cosmos_sim.world_model.dit import DiT

AdapterKind = Literal["lora", "dora"]

NAME = "default"
"""PEFT's name for the only adapter of a network, which is part of its weights' names."""


@dataclass(frozen=True)
class AdapterConfig:
    """Size and places of an adapter. The defaults are those of NVIDIA's LoRA post-training of Cosmos-Predict2.5."""

    kind: AdapterKind = "lora"
    rank: int = 32
    alpha: float = 32.0
    """The low-rank product is scaled by ``alpha / rank``."""
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "output_proj", "mlp.layer1", "mlp.layer2")
    """Ends of the names of the layers that get one."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(AdapterKind):
            raise ValueError(f"adapter must be one of {get_args(AdapterKind)}, not {self.kind!r}")
        if self.rank < 1:
            raise ValueError(f"rank must be at least 1, not {self.rank}")
        if not self.alpha > 0:
            raise ValueError(f"alpha must be positive, not {self.alpha}")
        if not self.targets:
            raise ValueError("an adapter needs at least one target layer")


def add_adapter(network: DiT, config: AdapterConfig) -> None:
    """Put adapters around the target layers, in place; all else is frozen.

    The adapters' weights lie where the network's do and are to be initialised, by :func:`initialise_adapters`.

    Raises:
        ValueError: a target that no linear layer's name ends in.
    """
    from peft import LoraConfig, inject_adapter_in_model

    layers = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    for target in config.targets:
        if not any(f".{name}".endswith(f".{target}") for name in layers):
            ends = sorted({name.rpartition(".")[2] for name in layers if name.startswith("blocks.")})
            raise ValueError(f"no linear layer of the network is called {target!r}; its blocks have {ends}")
    peft = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        target_modules=list(config.targets),
        use_dora=config.kind == "dora",
    )
    with next(network.parameters()).device:
        inject_adapter_in_model(peft, network)


@torch.no_grad()
def initialise_adapters(module: nn.Module) -> None:
    """Adapters that change nothing yet, drawn from torch's global generator; the layers' own weights must be there.

    A is uniform as in PEFT (Kaiming, a = sqrt 5), B zero, and DoRA's magnitudes the norms of the weights' rows.
    """
    from peft.tuners.lora import LoraLayer

    for part in module.modules():
        if isinstance(part, LoraLayer):
            part.reset_lora_parameters(NAME, init_lora_weights=True)
            if NAME in part.lora_magnitude_vector:
                weight = part.get_base_layer().get_parameter("weight")
                magnitude = part.lora_magnitude_vector[NAME].get_parameter("weight")
                magnitude.copy_(torch.linalg.norm(weight, dim=1))


def base_name(name: str) -> str:
    """A weight's name in the network without adapters."""
    return name.replace(".base_layer.", ".")


def is_adapter_weight(name: str) -> bool:
    return ".lora_" in name
