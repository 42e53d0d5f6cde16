"""What a run's weights are worth: figures and videos on held-out data, and the artefacts made of them."""

import json
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path

import torch

from cosmos_sim.data.files import new_file, new_folder
from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.device import Stream, autocast, stream_generator, stream_seed
from cosmos_sim.training.ema import Ema
from cosmos_sim.training.layout import Layout
from cosmos_sim.training.log import Log
from cosmos_sim.training.recipe import Recipe
from cosmos_sim.training.weights import full_tensors


class Judge:
    """Evaluates and exports what ``recipe`` trains. All processes make every call together."""

    def __init__(self, recipe: Recipe, config: TrainConfig, out: Path, layout: Layout, ema: Ema) -> None:
        self.recipe, self.config, self.out, self.layout, self.ema = recipe, config, out, layout, ema

    def evaluate(self, step: int, log: Log | None) -> dict[str, float]:
        """The figures of the averaged weights, and videos in the log; those that the log has already, if it has them.

        Args:
            log: in the first process.
        """
        known: dict[str, float] | None = self.layout.gather(log and log.figures(step, "eval"))[0]
        if known is not None:
            self._tell(known)
            return known
        with self._judging(self.ema.swapped()):
            figures = self._figures()
            videos = self.recipe.sample(stream_generator(self.config.seed, 0, Stream.SAMPLE, self.layout.device))
        if log is not None:
            log.videos(step, videos, self.config.sample_fps)
            if figures:
                log.write(step, "eval", figures)
        return figures

    def finish(self, figures: dict[str, float]) -> None:
        """Export the averaged weights and, if asked, the plain ones; and note the final ``figures``."""
        self._export("export", self.ema.swapped())
        if self.config.export_plain:
            with self._judging(nullcontext()):
                self._figures()
            self._export("export_plain", nullcontext())
        if self.layout.main:
            with new_file(self.out / "metrics.json") as partial:
                partial.write_text(json.dumps(figures, indent=2) + "\n")

    def _judging(self, weights: AbstractContextManager[None]) -> ExitStack:
        """The model with these weights, in its final form: no gradients, no dropout, but autocast."""
        self.recipe.model.eval()
        torch.manual_seed(stream_seed(self.config.seed, 0, Stream.GLOBAL))
        with ExitStack() as stack:
            stack.enter_context(weights)
            stack.enter_context(torch.no_grad())
            stack.enter_context(autocast(self.layout.device, self.config.autocast))
            return stack.pop_all()

    def _figures(self) -> dict[str, float]:
        """What the recipe finds, the mean over all processes (over those that have the figure)."""
        generator = stream_generator(self.config.seed, 0, Stream.EVALUATE, self.layout.device)
        found = self.recipe.evaluate(generator, self.layout.part(split=True))
        rows = self.layout.gather({name: float(value) for name, value in found.items()})
        names = dict.fromkeys(name for row in rows for name in row)
        values = {name: [row[name] for row in rows if name in row] for name in names}
        means = {name: sum(some) / len(some) for name, some in values.items()}
        self._tell(means)
        return means

    def _tell(self, figures: dict[str, float]) -> None:
        """Let a recipe that shows figures in what it exports show these."""
        if hasattr(self.recipe, "figures"):
            self.recipe.figures = dict(figures)

    def _export(self, name: str, weights: AbstractContextManager[None]) -> None:
        """Have the recipe write its artefact into the folder ``name``."""
        self.recipe.model.eval()
        with weights, torch.no_grad():
            if self.layout.main:
                with new_folder(self.out / name) as folder:
                    self.recipe.export(folder)
            else:
                for _ in full_tensors(self.recipe.model):
                    pass
