"""What a network's training begins from: nothing, or a checkpoint of any format; brought into memory part by part."""

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import nn

from cosmos_sim.world_model.checkpoints.infer import check_network, expected_shapes
from cosmos_sim.world_model.checkpoints.network import open_merged
from cosmos_sim.world_model.checkpoints.source import open_source
from cosmos_sim.world_model.checkpoints.stored import Weights, shapes
from cosmos_sim.world_model.dit import DiT, DiTConfig, initialise
from cosmos_sim.world_model.predict_world import KIND
from cosmos_sim.world_model.recipes.predict_adapter import base_name, initialise_adapters, is_adapter_weight


@dataclass(frozen=True)
class Start:
    """A network's configuration, and where its weights come from: ``stored``, else drawn from the seed."""

    config: DiTConfig
    stored: Weights = field(default_factory=dict)
    seed: int = 0
    action_mean: tuple[float, ...] | None = None
    action_std: tuple[float, ...] | None = None
    """What a checkpoint that is a whole world normalises actions by."""

    @property
    def fresh(self) -> tuple[str, ...]:
        """The weights that a checkpoint did not have; none where there is no checkpoint."""
        return tuple(name for name in expected_shapes(self.config) if name not in self.stored) if self.stored else ()

    def network(self) -> DiT:
        """The network on the meta device, without memory; :meth:`initialise` gives its parts their weights."""
        with torch.device("meta"):
            return DiT(self.config)

    @torch.no_grad()
    def initialise(self, module: nn.Module, name: str) -> None:
        """Give the weights of a part of the network (memory on a device, anything in it) their first values.

        What is drawn depends on the seed and the part's name alone: not on the other parts, nor on how many processes
        they are spread over. (On CUDA other numbers are drawn than on a CPU.)

        Raises:
            OSError: a checkpoint that cannot be read any more.
        """
        parameters = {base_name(path): parameter for path, parameter in module.named_parameters(prefix=name)}
        if not parameters:
            return
        device = next(iter(parameters.values())).device
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(part_seed(self.seed, base_name(name)))
            if any(path not in self.stored for path in parameters):
                initialise(module, base_name(name))
            for path, parameter in parameters.items():
                if path in self.stored:
                    parameter.copy_(self.stored[path].read())
            initialise_adapters(module)


def begin(
    checkpoint: str | Path | None,
    *,
    config: DiTConfig | None = None,
    action_dim: int | None = None,
    rope_ratio: tuple[float, float, float] | None = None,
    seed: int = 0,
) -> Start:
    """What training begins from.

    A checkpoint's network keeps its sizes. It gains actions where it had none, by embedders that end in zeros and so
    change nothing yet; embedders for rows of another length are made anew in the same way. (NVIDIA's trainer leaves
    such weights uninitialised.)

    Args:
        checkpoint: a file or folder in any format that ``cosmos-sim convert`` reads, or a Predict2.5 world's folder;
            none begins from random weights.
        config: the network where there is no checkpoint.
        action_dim: numbers in one row of actions; none trains without actions.
        rope_ratio: the rotary extrapolation to train with; the network's own when not given.

    Raises:
        ValueError: there is no such checkpoint, it is damaged or foreign, or reads actions that training has not.
    """
    if (checkpoint is None) == (config is None):
        raise ValueError("training begins from a checkpoint or from a config: give one of the two")
    if checkpoint is None:
        assert config is not None
        return Start(replace(config, action_dim=action_dim, rope_ratio=rope_ratio or config.rope_ratio), seed=seed)
    path, world = _world(Path(checkpoint))
    network = open_merged(open_source(path))
    if action_dim is None and network.config.action_dim is not None:
        raise ValueError(
            f"{checkpoint} is conditioned on actions (rows of {network.config.action_dim}): train it with actions"
        )
    same = action_dim == network.config.action_dim
    stored = {n: t for n, t in network.weights.items() if same or not n.startswith("action_embedder")}
    wanted = replace(network.config, action_dim=action_dim, rope_ratio=rope_ratio or network.config.rope_ratio)
    expected = expected_shapes(wanted)
    new = {n: shape for n, shape in expected.items() if n.startswith("action_embedder") and n not in stored}
    check_network(shapes(stored) | new, wanted, str(checkpoint))
    mean, std = (world.get(name) if same else None for name in ("action_mean", "action_std"))
    return Start(wanted, stored, seed, None if mean is None else tuple(mean), None if std is None else tuple(std))


def thaw(network: DiT, names: Sequence[str]) -> None:
    """Train these weights too, beside adapters: what the checkpoint did not have."""
    wanted = set(names)
    for name, parameter in network.named_parameters():
        if not is_adapter_weight(name) and base_name(name) in wanted:
            parameter.requires_grad_(True)


def _world(path: Path) -> tuple[Path, Mapping[str, list[float] | None]]:
    """The network's folder in that of a Predict2.5 world, and the world's config; else the path as it is."""
    config = path / "config.json"
    if config.is_file() and (path / "dit").is_dir():
        values = json.loads(config.read_text())
        if values.get("kind") == KIND:
            return path / "dit", values
    return path, {}


def part_seed(seed: int, name: str) -> int:
    """What the values of the part of that name are drawn from."""
    return int(np.random.SeedSequence((seed, zlib.crc32(name.encode()))).generate_state(1)[0])
