"""What training leaves: a folder that ``cosmos-sim generate`` or ``gymnasium.make`` takes, and an adapter for PEFT."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cosmos_sim.data.clips import ClipRef, ClipSet
from cosmos_sim.data.starts import Starts
from cosmos_sim.types import WorldSpec
from cosmos_sim.world_model.checkpoints.adapter import Adapter, merge, save_peft
from cosmos_sim.world_model.checkpoints.infer import check_network
from cosmos_sim.world_model.checkpoints.network import Network, save_ours
from cosmos_sim.world_model.checkpoints.stored import StoredTensor, Weights, held, shapes
from cosmos_sim.world_model.denoise import SamplingConfig
from cosmos_sim.world_model.dit import DiTConfig
from cosmos_sim.world_model.predict_world import PredictWorldConfig, save_world
from cosmos_sim.world_model.recipes.predict_adapter import NAME, AdapterConfig, base_name, is_adapter_weight
from cosmos_sim.world_model.recipes.predict_card import predict_card
from cosmos_sim.world_model.recipes.predict_conditions import Conditioner
from cosmos_sim.world_model.recipes.predict_config import PredictRecipeConfig
from cosmos_sim.world_model.tokenizer import Tokenizer
from cosmos_sim.world_model.tokenizer_folder import save_tokenizer
from cosmos_sim.world_model.wan import WanTokenizer
from cosmos_sim.world_model.words import FOLDER

CAMERA = "video"
"""What a world calls its camera."""

CHUNKS = 10
"""Chunks of an episode, unless the user of the world says otherwise."""


@dataclass
class Stream:
    """Tensors that come one after another, to be asked for by name in about that order.

    Those of adapters, which are small, can be asked for again; of the others only those are in memory that came before
    they were asked for.
    """

    tensors: Iterator[tuple[str, Tensor]]
    waiting: dict[str, Tensor] = field(default_factory=dict)

    def read(self, name: str) -> Tensor:
        while name not in self.waiting:
            came, tensor = next(self.tensors)
            self.waiting[came] = tensor.cpu()
        return self.waiting[name] if is_adapter_weight(name) else self.waiting.pop(name)

    def finish(self) -> None:
        """Let the rest of them come and go."""
        for _ in self.tensors:
            pass


def trained(
    parts: Mapping[str, torch.Size], stream: Stream, config: DiTConfig, adapter: AdapterConfig | None
) -> tuple[Network, Adapter | None]:
    """The network that was trained, with its adapter merged, and the adapter by itself.

    Args:
        parts: names and shapes of the model's weights, whole, in the order of the stream.

    Raises:
        ValueError: these are not the weights of a network of ``config``.
    """
    named: dict[str, StoredTensor] = {
        name: StoredTensor(tuple(shape), torch.float32, partial(_read, stream, name)) for name, shape in parts.items()
    }
    base: Weights = {base_name(name): tensor for name, tensor in named.items() if not is_adapter_weight(name)}
    found = None
    if adapter is not None:
        weights = {
            name.replace(f".{NAME}.weight", "" if "magnitude" in name else ".weight"): tensor
            for name, tensor in named.items()
            if is_adapter_weight(name)
        }
        found = Adapter(weights, adapter.alpha)
        base = merge(base, found)
    check_network(shapes(base), config, "the trained model")
    return Network(config, base), found


def save_adapter(adapter: Adapter, folder: Path) -> None:
    """Write PEFT's folder of an adapter whose weights have been read before."""
    save_peft(replace(adapter, weights={name: held(t.read()) for name, t in adapter.weights.items()}), folder)


def export(
    folder: Path,
    network: Network,
    adapter: Adapter | None,
    config: PredictRecipeConfig,
    *,
    clips: ClipSet,
    held_out: Sequence[ClipRef],
    tokenizer: WanTokenizer | Tokenizer,
    conditioner: Conditioner,
    provenance: Mapping[str, Any],
) -> None:
    """Write a trained network's folder.

    With actions it is a Predict2.5 world, with start frames out of the held-out clips and the text of the most of them;
    without, a network that ``cosmos-sim generate`` reads, with its tokenizer and, if it was trained with words, its
    text encoder. An adapter lies in ``adapter/`` besides.
    """
    card = predict_card(config, provenance)
    if config.stage.actions:
        spec, starts = world_spec(clips, held_out, config)
        world = PredictWorldConfig(
            spec,
            replace(config.sampling, steps=SamplingConfig.steps, guidance=0.0),
            conditioner.action_mean,
            conditioner.action_std,
            provenance,
        )
        captions = conditioner.captions
        context = None if captions is None else captions.embedding(spec.task)[None]
        save_world(world, network, tokenizer, folder, context=context, starts=starts, card=card)
    else:
        save_ours(network, folder)
        save_tokenizer(tokenizer, folder / ("vae" if isinstance(tokenizer, WanTokenizer) else "tokenizer"))
        (folder / "README.md").write_text(card)
        if conditioner.captions is not None and conditioner.captions.words is not None:
            conditioner.captions.words.save_pretrained(folder / FOLDER)
    if adapter is not None:
        save_adapter(adapter, folder / "adapter")


def world_spec(clips: ClipSet, held_out: Sequence[ClipRef], config: PredictRecipeConfig) -> tuple[WorldSpec, Starts]:
    """The spaces that a world trained on ``clips`` declares, and the first frames of held-out ones.

    An action is in [-1, 1] where the data fill no more than that. The cameras, if there are several side by side, are
    one, ``video``.
    """
    shown = [clips.load_or_replace(ref) for ref in held_out]
    task = Counter(clip.caption for clip in shown).most_common(1)[0][0]
    figures = clips.action_statistics()
    low, high = np.array(figures.minimum), np.array(figures.maximum)
    unit = (low >= -1) & (high <= 1)
    chunk = config.stage.frames - 1
    spec = WorldSpec(
        task=task,
        cameras={CAMERA: shown[0].ref.size},
        action_low=tuple(np.where(unit, -1, low).tolist()),
        action_high=tuple(np.where(unit, 1, high).tolist()),
        state_low=(),
        state_high=(),
        fps=float(shown[0].fps),
        horizon=CHUNKS * chunk,
        chunk=chunk,
        has_success=False,
    )
    starts = Starts(
        frames={CAMERA: np.stack([clip.frames[0] for clip in shown])},
        state=np.zeros((len(shown), 0), np.float32),
        seeds=np.arange(len(shown), dtype=np.int64),
        tasks=tuple(clip.caption for clip in shown),
    )
    return spec, starts


def _read(stream: Stream, name: str) -> Tensor:
    return stream.read(name).float()
