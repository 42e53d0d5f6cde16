"""Training of Cosmos-Predict2.5 networks, at every size and stage.

Cosmos-Predict2.5 (arXiv 2511.00062), sections 3.1, 4.1, 4.2.1 and 6.6, and the released code where they differ.
"""

import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor, nn

from cosmos_sim.data.clips import ClipRef, ClipSet
from cosmos_sim.training.device import map_tensors
from cosmos_sim.training.layout import WHOLE, Layout, Part
from cosmos_sim.training.parallel import Unit
from cosmos_sim.training.weights import full_tensors, named_weights
from cosmos_sim.world_model.attention import attention_kernels
from cosmos_sim.world_model.context_parallel import ContextParallel
from cosmos_sim.world_model.dit import DiT
from cosmos_sim.world_model.flops import attention_flops, forward_flops
from cosmos_sim.world_model.flow import interpolate
from cosmos_sim.world_model.recipes.predict_adapter import add_adapter
from cosmos_sim.world_model.recipes.predict_conditions import Conditioner, Conditions, check_fit
from cosmos_sim.world_model.recipes.predict_config import PredictRecipeConfig
from cosmos_sim.world_model.recipes.predict_draws import draw, is_image_step, noise_like
from cosmos_sim.world_model.recipes.predict_export import Stream, export, trained
from cosmos_sim.world_model.recipes.predict_latents import Found, Latents
from cosmos_sim.world_model.recipes.predict_loss import known_mask, rarity, velocity_errors
from cosmos_sim.world_model.recipes.predict_sample import Network, continued
from cosmos_sim.world_model.recipes.predict_start import Start, thaw
from cosmos_sim.world_model.recipes.predict_text import Captions
from cosmos_sim.world_model.tokenizer import Tokenizer
from cosmos_sim.world_model.units import dit_units
from cosmos_sim.world_model.wan import WanTokenizer


@dataclass(frozen=True)
class PredictBatch:
    """Samples of one size. Those that are not in the cache of latents come as frames, to be encoded on the device."""

    names: list[str]
    clips: list[Found]
    seeds: list[int]
    """Of each sample's noise."""
    time: Float[Tensor, "b"]
    known: Int64[Tensor, "b"]
    conditions: Conditions


class PredictRecipe:
    """Train a :class:`~cosmos_sim.world_model.dit.DiT`; satisfies :class:`cosmos_sim.training.Recipe`.

    Args:
        clips: the data, made for the config's stage.
        tokenizer: frozen; it goes to the device when a clip is encoded.
        start: the network and where its weights come from.
        cache: the folder of latents, which any number of runs and processes may share.
        captions: embeddings of the clips' captions, for a network that reads them.
        seed: of the choice of image steps; that of the run.
        workers: threads that decode clips.
        provenance: whatever else the export should say about its making.

    Raises:
        ValueError: stage, data, tokenizer and network do not go together.
    """

    name = "predict"

    def __init__(
        self,
        config: PredictRecipeConfig,
        clips: ClipSet,
        tokenizer: WanTokenizer | Tokenizer,
        start: Start,
        *,
        cache: Path,
        captions: Captions | None = None,
        seed: int = 0,
        workers: int = 4,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        stage = config.stage
        check_fit(config.dit, stage, tokenizer, action_dim=clips.action_dim, text=captions is not None)
        if workers < 1:
            raise ValueError(f"workers must be at least 1, not {workers}")
        self.config, self.clips, self.start, self.seed = config, clips, start, seed
        self.batch_size, self.provenance = stage.batch_size, dict(provenance or {})
        self.latents = Latents(tokenizer, cache)
        mean, std = self._action_figures()
        self.conditioner = Conditioner(config.dit, tokenizer.temporal, captions, mean, std)
        self.model = self._build()
        self.unseen = True
        """Whether the clips that the network is judged on are kept from training."""
        self.held_out = self._kept_from_training()
        self.figures: dict[str, float] = {}
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
        self._context: ContextParallel | None = None
        self._kernels: ExitStack | None = None

    def units(self) -> Sequence[Unit]:
        assert isinstance(self.model, DiT)
        return dit_units(self.model)

    def initialise(self, module: nn.Module, name: str) -> None:
        self.start.initialise(module, name)

    def split_context(self, layout: Layout) -> None:
        assert layout.context_group is not None
        assert isinstance(self.model, DiT)
        self._context = ContextParallel(self.model, layout.context_group)

    def splits(self, step: int) -> bool:
        """Whether the samples of ``step`` are videos, whose tokens a context group shares."""
        return not is_image_step(step, seed=self.seed, share=self.config.stage.images)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)
        if self._kernels is not None:
            self._kernels.close()

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> PredictBatch:
        stage, images = self.config.stage, not self.splits(step)
        refs = self.clips.draw(stage.batch_size, generator, images=images, part=part)
        seeds: list[int] = part.of(torch.randint(2**62, (stage.batch_size,), generator=generator)).tolist()
        shares = (1.0,) if images else stage.known
        draws = draw(seeds, times=self.config.times, known=shares, text_dropout=stage.text_dropout)
        return self._batch(refs, seeds, time=draws.time, known=draws.known, dropped=draws.dropped.tolist())

    def loss(self, batch: PredictBatch, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        self._choose_kernels(generator.device)
        data = self._data(batch)
        weight = rarity(data, self.config.rare) if self.config.rare else None
        return {"loss": self._errors(batch, data, self.splits(step), weight).mean()}

    def names(self, batch: PredictBatch) -> list[str]:
        return batch.names

    def cost(self, batch: PredictBatch) -> tuple[int, int]:
        """Tokens, and operations of the loss and its gradient. A matrix product costs its own again for the gradient of
        its input and, unless its weights are frozen, for theirs; attention costs twice its own again."""
        config, context = self.config.dit, batch.conditions.context
        size, text = self.latents.size(batch.clips[0]), 0 if context is None else context.shape[1]
        forward = forward_flops(config, size, text_tokens=text)
        operations = 3 * forward
        if self.config.adapter is not None:
            operations = 2 * forward + attention_flops(config, size, text_tokens=text)
        count = len(batch.names)
        return count * math.prod(size) // math.prod(config.patch), count * operations

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """The loss on frames to be generated of held-out clips, by noise level (``loss/0.5``), and its mean.

        Videos begin from one given latent where the stage trains that. Noise is each clip's own, always the same.
        """
        self.figures = self._losses(self._judged(part, generator.device))
        return self.figures

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """Held-out clips, real above generated from the same beginning, text and actions."""
        shown = {}
        for ref in self.held_out[: self.config.samples]:
            batch = self._held_out(ref, generator.device)
            data = self._data(batch)
            self._share_tokens(self.config.stage.frames > 1)
            known = data[:, :, : int(batch.known)]
            noise, sampling = noise_like(data, batch.seeds), self.config.sampling
            latent = continued(self._network(batch), known, noise, sampling, batch.conditions)
            videos = [data, *self._shown(batch), latent]
            shown[batch.names[0]] = np.concatenate([self.latents.frames(video) for video in videos], axis=1)
        return shown

    def export(self, folder: Path) -> None:
        parts = {name: tensor.shape for name, tensor in named_weights(self.model).items()}
        stream = Stream(full_tensors(self.model))
        network, adapter = trained(parts, stream, self.config.dit, self.config.adapter)
        try:
            export(
                folder,
                network,
                None if self.start.fresh else adapter,
                self.config,
                clips=self.clips,
                held_out=self.held_out,
                tokenizer=self.latents.tokenizer,
                conditioner=self.conditioner,
                provenance=self.made(),
            )
        finally:
            stream.finish()

    def made(self) -> dict[str, Any]:
        """What the export says about its making."""
        return {
            **self.provenance,
            "new weights": len(self.start.fresh),
            "skipped clips": len(self.clips.skipped),
            "held-out clips": len(self.held_out) if self.unseen else 0,
            "figures": {name: round(value, 5) for name, value in self.figures.items()},
        }

    def _kept_from_training(self) -> list[ClipRef]:
        """The clips to judge by; where none is held out, or all of those are broken, some that are trained on."""
        count, images = self.config.eval_clips, self.config.stage.frames == 1
        why = "there are too few of them, or held_out=0"
        try:
            if held_out := self.clips.held_out(count, images=images):
                self.clips.load_or_replace(held_out[0])
                return held_out
        except ValueError as error:
            why = str(error)
        warnings.warn(f"no clips are kept from training ({why}): figures will be of clips trained on", stacklevel=3)
        self.unseen = False
        return self.clips.draw(count, torch.Generator().manual_seed(0), images=images, part=WHOLE)

    def _batch(
        self,
        refs: Sequence[ClipRef],
        seeds: list[int],
        *,
        time: Float[Tensor, "b"],
        known: Int64[Tensor, "b"],
        dropped: Sequence[bool] | None = None,
    ) -> PredictBatch:
        """The clips of ``refs``, found or decoded; those that turn out to be broken are replaced."""
        found = list(self._pool.map(self._find_or_load, refs))
        refs = [ref for ref, _ in found]
        return PredictBatch(
            names=[self.clips.name(ref) for ref in refs],
            clips=[clip for _, clip in found],
            seeds=seeds,
            time=time,
            known=known,
            conditions=self.conditioner(
                [self.clips.caption(ref) for ref in refs], [self.clips.action(ref) for ref in refs], dropped=dropped
            ),
        )

    def _find_or_load(self, ref: ClipRef) -> tuple[ClipRef, Found]:
        """The latents of a clip, or else its frames; and which it is, in case that another stands in for it."""
        if (latent := self.latents.find(ref.key)) is not None:
            return ref, Found(ref.key, latent)
        clip = self.clips.load_or_replace(ref)
        if clip.ref != ref and (latent := self.latents.find(clip.ref.key)) is not None:
            return clip.ref, Found(clip.ref.key, latent)
        return clip.ref, Found(clip.ref.key, None, torch.from_numpy(clip.frames))

    def _judged(self, part: Part, device: torch.device) -> Iterator[PredictBatch]:
        """A batch on ``device`` of each held-out clip of a part; of all where there is not one for each part."""
        whole = len(self.held_out) // part.count * part.count
        return (self._held_out(ref, device) for ref in (part.of(self.held_out[:whole]) if whole else self.held_out))

    def _losses(self, batches: Iterable[PredictBatch]) -> dict[str, float]:
        """The loss on frames to be generated of some clips, by noise level, and its mean."""
        rows = []
        for batch in batches:
            data = self._data(batch)
            generated = 1 - float(batch.known) / data.shape[2]
            levels = (replace(batch, time=torch.full_like(batch.time, level)) for level in self.config.levels)
            rows.append([float(self._errors(at, data, self.config.stage.frames > 1)) / generated for at in levels])
        means = np.mean(rows, axis=0).tolist()
        named = {f"loss/{level:g}": mean for level, mean in zip(self.config.levels, means, strict=True)}
        return {**named, "loss": float(np.mean(means))}

    def _held_out(self, ref: ClipRef, device: torch.device) -> PredictBatch:
        """A batch on ``device`` of one held-out clip, with noise and given latents that are always the same."""
        shares = self.config.stage.known if self.config.stage.frames > 1 else (1.0,)
        known = 1 if shares[1:2] != () and shares[1] > 0 else int(np.argmax(shares))
        seed = int(ref.key[:15], 16)
        batch = self._batch([ref], [seed], time=torch.ones(1), known=torch.tensor([known]))
        placed: PredictBatch = map_tensors(batch, lambda tensor: tensor.to(device))
        return placed

    def _data(self, batch: PredictBatch) -> Float[Tensor, "b c t h w"]:
        return self.latents.of(batch.clips, batch.time.device)

    def _errors(
        self,
        batch: PredictBatch,
        data: Float[Tensor, "b c t h w"],
        video: bool,
        weight: Float[Tensor, "b 1 t h w"] | None = None,
    ) -> Float[Tensor, "b"]:
        """Each sample's squared error at its time and from its given latents."""
        noise = noise_like(data, batch.seeds)
        mask = known_mask(batch.known, data)
        time = batch.time.to(data.dtype)
        noisy = torch.where(mask, data, interpolate(data, noise, time[:, None, None, None, None]))
        timestep = 1000 * time[:, None].expand(-1, data.shape[2])
        if self.config.known_time is not None:
            timestep = torch.where(mask[:, 0, :, 0, 0], 1000 * self.config.known_time, timestep)
        self._share_tokens(video)
        predicted = self._network(batch)(
            noisy, timestep, mask.to(data.dtype), context=batch.conditions.context, action=batch.conditions.action
        )
        return velocity_errors(predicted, data, noise, mask, weight)

    def _build(self) -> nn.Module:
        """What is trained, on the meta device."""
        network = self.start.network()
        if self.config.adapter is not None:
            add_adapter(network, self.config.adapter)
            thaw(network, self.start.fresh)
        return network

    def _network(self, batch: PredictBatch) -> Network:
        """What predicts the velocity of the samples of ``batch``."""
        return self.model

    def _shown(self, batch: PredictBatch) -> Sequence[Float[Tensor, "1 c t h w"]]:
        """Latents to be seen between a real video and the one that is generated."""
        return []

    def _share_tokens(self, video: bool) -> None:
        if self._context is not None:
            self._context.enabled = video

    def _choose_kernels(self, device: torch.device) -> None:
        """Attention's fastest kernels until :meth:`close`: the backward pass, which comes later, needs the same."""
        if device.type == "cuda" and self._kernels is None:
            self._kernels = ExitStack()
            self._kernels.enter_context(attention_kernels())

    def _action_figures(self) -> tuple[tuple[float, ...] | None, tuple[float, ...] | None]:
        """What actions are normalised by: a world's own figures where training begins from one, else the data's."""
        if not self.config.stage.actions or not self.config.normalise_actions:
            return None, None
        if self.start.action_mean is not None:
            return self.start.action_mean, self.start.action_std
        figures = self.clips.action_statistics()
        return figures.mean, figures.scale
