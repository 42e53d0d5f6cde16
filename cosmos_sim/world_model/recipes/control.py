"""Training of control branches beside a frozen Cosmos-Predict2.5 network.

Cosmos-Predict2.5 (arXiv 2511.00062), section 6.1: a branch of each kind is trained by itself, on the network's own
loss, with control videos made of the clips.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_sim.data.clips import ClipRef, ClipSet
from cosmos_sim.training.layout import WHOLE, Layout, Part
from cosmos_sim.training.parallel import Unit
from cosmos_sim.training.weights import full_tensors, named_weights
from cosmos_sim.world_model.checkpoints.stored import Weights
from cosmos_sim.world_model.context_parallel import ContextParallel
from cosmos_sim.world_model.control import Control, ControlBranch, ControlledDiT
from cosmos_sim.world_model.flops import attention_flops, branch_flops, forward_flops
from cosmos_sim.world_model.recipes.control_config import ControlRecipeConfig
from cosmos_sim.world_model.recipes.control_export import export
from cosmos_sim.world_model.recipes.control_extract import Extractor
from cosmos_sim.world_model.recipes.control_start import initialise
from cosmos_sim.world_model.recipes.predict import PredictBatch, PredictRecipe
from cosmos_sim.world_model.recipes.predict_latents import Found
from cosmos_sim.world_model.recipes.predict_sample import Network
from cosmos_sim.world_model.recipes.predict_start import Start
from cosmos_sim.world_model.tokenizer import Tokenizer
from cosmos_sim.world_model.units import controlled_units
from cosmos_sim.world_model.wan import WanTokenizer


@dataclass(frozen=True)
class ControlBatch(PredictBatch):
    """Samples with their control videos."""

    controls: list[Found]


class ControlRecipe(PredictRecipe):
    """Train a :class:`~cosmos_sim.world_model.control.ControlBranch`; satisfies :class:`cosmos_sim.training.Recipe`.

    Args:
        start: the frozen network: a checkpoint.
        extract: makes control videos, of the config's kind.
        branch: the weights of one to go on from.
        others: as of :class:`~cosmos_sim.world_model.recipes.predict.PredictRecipe`.

    Raises:
        ValueError: as there; or the network is not there whole, or ``extract`` makes another kind of control.
    """

    name = "control"
    config: ControlRecipeConfig

    def __init__(
        self,
        config: ControlRecipeConfig,
        clips: ClipSet,
        tokenizer: WanTokenizer | Tokenizer,
        start: Start,
        extract: Extractor,
        *,
        branch: Weights | None = None,
        **others: Any,
    ) -> None:
        if not start.stored or start.fresh:
            missing = f"it lacks {start.fresh[0]}" if start.fresh else "there is none"
            raise ValueError(f"a control branch is trained beside a network that is trained already: {missing}")
        if extract.kind != config.control:
            raise ValueError(f"control={config.control!r}, but videos of the control {extract.kind!r} are made")
        self.extract, self.branch = extract, branch
        self._alone: dict[str, float] | None = None
        super().__init__(config, clips, tokenizer, start, **others)

    def units(self) -> Sequence[Unit]:
        return controlled_units(self._controlled)

    def initialise(self, module: nn.Module, name: str) -> None:
        initialise(self.start, module, name, branch=self.branch)

    def split_context(self, layout: Layout) -> None:
        assert layout.context_group is not None
        self._context = ContextParallel(self._controlled, layout.context_group)

    def cost(self, batch: PredictBatch) -> tuple[int, int]:
        """As of a network whose weights are frozen, and of the branch's blocks, whose are not."""
        tokens, _ = super().cost(batch)
        dit, context = self.config.dit, batch.conditions.context
        size, text = self.latents.size(batch.clips[0]), 0 if context is None else context.shape[1]
        operations = 2 * forward_flops(dit, size, text_tokens=text) + attention_flops(dit, size, text_tokens=text)
        operations += 3 * branch_flops(dit, self.config.branch, size, text_tokens=text)
        return tokens, len(batch.names) * operations

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """The loss on held-out clips as of the network alone, and with it what that has without the control."""
        if self._alone is None:  # the network is frozen
            judged = cast(Iterator[ControlBatch], self._judged(part, generator.device))
            batches = (replace(batch, controls=[]) for batch in judged)
            self._alone = {f"without_{name}": value for name, value in self._losses(batches).items()}
        self.figures = {**super().evaluate(generator, part), **self._alone}
        return self.figures

    def export(self, folder: Path) -> None:
        shapes = {name: tensor.shape for name, tensor in named_weights(self.model).items()}
        export(folder, shapes, full_tensors(self.model), self.config, self.made())

    def _batch(self, refs: Sequence[ClipRef], seeds: list[int], **given: Any) -> ControlBatch:
        found = list(self._pool.map(self._control_of, refs, seeds))
        batch = super()._batch([ref for ref, _ in found], seeds, **given)
        return ControlBatch(**vars(batch), controls=[control for _, control in found])

    def _control_of(self, ref: ClipRef, seed: int) -> tuple[ClipRef, Found]:
        """The control of a clip; and which clip it is, in case that another stands in for it."""
        variant = seed % self.config.variants if self.extract.random else 0
        key = self.extract.key(ref.key, variant)
        if self.latents.has(ref.key) and (latent := self.latents.find(key)) is not None:
            return ref, Found(key, latent)
        clip = self.clips.load_or_replace(ref)
        if clip.ref != ref:
            return self._control_of(clip.ref, seed)
        frames = self.extract(clip, self.clips.views(ref), variant)
        return ref, Found(key, None, torch.from_numpy(frames))

    def _build(self) -> ControlledDiT:
        network = self.start.network()
        with torch.device("meta"):
            return ControlledDiT(network, {self.config.control: ControlBranch(network.config, self.config.branch)})

    @property
    def _controlled(self) -> ControlledDiT:
        return cast(ControlledDiT, self.model)

    def _network(self, batch: PredictBatch) -> Network:
        return self._controlled.bound(self._controls(batch))

    def _shown(self, batch: PredictBatch) -> Sequence[Float[Tensor, "1 c t h w"]]:
        return [control.latent for control in self._controls(batch).values()]

    def _controls(self, batch: PredictBatch) -> dict[str, Control]:
        assert isinstance(batch, ControlBatch)
        if not batch.controls:
            return {}
        return {self.config.control: Control(self.latents.of(batch.controls, batch.time.device))}
