"""Training of inverse dynamics on episodes with actions: a recipe for :func:`cosmos_sim.training.train`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, UInt8
from numpy import ndarray
from scipy import stats
from torch import Tensor, nn

from cosmos_sim.data.images import stretch
from cosmos_sim.data.origins import labelled_of
from cosmos_sim.data.statistics import statistics
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.data.windows import all_windows, draw, motion_weights
from cosmos_sim.training.layout import WHOLE, Part
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, InverseDynamicsConfig

EVALUATED_EPISODES = 24


@dataclass(frozen=True)
class InverseDynamicsRecipeConfig:
    """What inverse dynamics learn from."""

    data: tuple[str, ...]
    net: InverseDynamicsConfig
    labels: float = 1.0
    """Share of the episodes to train on whose actions may be seen."""
    batch_size: int = 16
    """Chunks a step."""
    jitter: float = 0.1
    """Largest change of a chunk's contrast (as a factor) and brightness (of 1)."""
    blur: float = 0.5
    """Share of the chunks that are seen at half or a third of the resolution, as imagined frames look."""
    translation: int = 3
    """How many of an action's first values are a translation, whose error is told in shares of the mean step."""
    seed: int = 0
    """Draws the initial weights."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 < self.labels <= 1:
            raise ValueError(f"labels must lie in (0, 1], got {self.labels}")
        for name in ("jitter", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if not 0 <= self.translation <= self.net.action_dim:
            raise ValueError(f"translation must lie in 0 .. {self.net.action_dim}, got {self.translation}")


@dataclass(frozen=True)
class InverseDynamicsBatch:
    """Frames, and the actions between them."""

    frames: Mapping[str, UInt8[Tensor, "b k1 r r c"]]
    actions: Float[Tensor, "b k a"]
    jitter: Float[Tensor, "b 2"]
    states: Float[Tensor, "b k1 n"] | None
    """Proprioception with each frame, where it is seen."""


class InverseDynamicsRecipe:
    """Flow matching of the actions between frames; satisfies :class:`cosmos_sim.training.Recipe`."""

    name = "inverse dynamics"
    READER: ClassVar[type[InverseDynamics]] = InverseDynamics

    def __init__(
        self,
        config: InverseDynamicsRecipeConfig,
        stores: Sequence[EpisodeStore],
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """``stores`` are the datasets ``config.data``, opened, with the cameras that the network sees.

        Raises:
            ValueError: for a dataset with actions of another size, or without an episode that is long enough.
        """
        self.config, self.stores = config, stores
        self.provenance = dict(provenance or {})
        self.batch_size = config.batch_size
        self.figures: dict[str, float] = {}
        for name, store in zip(config.data, stores, strict=True):
            if store.info.action_dim != config.net.action_dim:
                raise ValueError(
                    f"{name!r} has actions of {store.info.action_dim} values, {config.net.action_dim} are read"
                )
            if config.net.state_dim not in (0, store.info.state_dim):
                raise ValueError(
                    f"{name!r} has proprioception of {store.info.state_dim} values, {config.net.state_dim} are seen"
                )
        length = config.net.chunk + 1
        self.labelled = [labelled_of(store.info.path, store.train, share=config.labels) for store in stores]
        """Of each dataset, the episodes whose actions are seen."""
        self.windows = [
            all_windows(store.lengths.tolist(), length, episodes=episodes)
            for store, episodes in zip(stores, self.labelled, strict=True)
        ]
        self.weights = [
            motion_weights(windows, store.states(), store.successes())
            for windows, store in zip(self.windows, stores, strict=True)
        ]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.net = self.READER.NET(config.net)
        self.model: nn.Module = self.net
        actions = np.concatenate(
            [store.action[store.rows(episodes)] for store, episodes in zip(stores, self.labelled, strict=True)]
        )
        self.net.low.copy_(torch.from_numpy(actions.min(0)))
        self.net.high.copy_(torch.from_numpy(actions.max(0)))
        if (sense := self.net.sense) is not None:
            known = [
                store.state[store.rows([episode])]
                for store, episodes in zip(stores, self.labelled, strict=True)
                for episode in episodes
            ]
            figures, changes = statistics(known), statistics([np.diff(states, axis=0) for states in known])
            sense.mean.copy_(torch.tensor(figures.mean))
            sense.spread.copy_(torch.tensor(figures.scale))
            sense.change.copy_(torch.tensor(changes.scale))
        two = [len(np.unique(values)) == 2 for values in actions.T]
        self.net.binary.copy_(torch.tensor(two))

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> InverseDynamicsBatch:
        """Chunks of one dataset, drawn in proportion to their windows over the steps, those that move more often."""
        n = self.config.batch_size
        share = torch.tensor([float(len(windows)) for windows in self.windows])
        which = int(torch.multinomial(share, 1, generator=generator))
        drawn = draw(self.windows[which], n, generator, weights=self.weights[which])
        jitter, coarse = self.disguise(n, generator)
        clips = self.stores[which].clips(drawn.select(part.of(np.arange(n))))
        frames = self.seen(clips.frames, part.of(coarse).tolist())
        states = torch.from_numpy(clips.state) if self.config.net.state_dim else None
        return InverseDynamicsBatch(frames, torch.from_numpy(clips.action[:, :-1]), part.of(jitter), states)

    def loss(self, batch: InverseDynamicsBatch, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": self.net.loss(batch.frames, batch.actions, batch.jitter, generator, batch.states)}

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """The reader's errors on real frames of held-out episodes (of those trained on, if none).

        ``translation_error``: the mean length of the translation's error, in shares of the mean length of the true one;
        ``binary_accuracy``: how often values that are one of two are right; ``error``: the mean absolute error of all
        other values, in shares of their range; ``deviation_rank``: Spearman's correlation of an action's deviation with
        its error, 1 where doubt says how wrong it is.
        """
        reader = self.READER(self.net, figures={})
        truth, read, doubt = [], [], []
        for store in self.stores:
            episodes = [e for e in store.held_out or store.train if store.lengths[e] > self.config.net.chunk]
            for episode in episodes[:EVALUATED_EPISODES]:
                found = store.episode(episode)
                reading = reader.read(found.frames, found.state)
                truth.append(found.action[:-1])
                read.append(reading.action)
                doubt.append(reading.deviation)
        self.figures = action_figures(
            np.concatenate(truth),
            np.concatenate(read),
            np.concatenate(doubt),
            span=(self.net.high - self.net.low).cpu().numpy(),
            binary=reader.binary,
            translation=self.config.translation,
        )
        return self.figures

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """No videos: actions are read."""
        return {}

    def export(self, folder: Path) -> None:
        if not self.figures:  # a run that was stopped between its last evaluation and here
            self.evaluate(torch.Generator())
        counts = [
            f"{len(chosen)} of {len(store.train)}" for chosen, store in zip(self.labelled, self.stores, strict=True)
        ]
        metadata = {**self.provenance, "episodes with actions": ", ".join(counts)}
        self.READER(self.net, figures=self.figures, metadata=metadata).write(folder)

    def disguise(self, n: int, generator: torch.Generator) -> tuple[Float[Tensor, "n 2"], Int64[Tensor, "n"]]:
        """For each of ``n`` clips another contrast and brightness, and what its resolution is divided by."""
        jitter = self.config.jitter * (2 * torch.rand((n, 2), generator=generator) - 1)
        jitter[:, 0] += 1
        fate, blur = torch.rand(n, generator=generator), self.config.blur
        return jitter, torch.where(fate < blur / 2, 2, torch.where(fate < blur, 3, 1))

    def seen(
        self, frames: Mapping[str, UInt8[ndarray, "b t h w c"]], coarse: Sequence[int]
    ) -> dict[str, UInt8[Tensor, "b t r r c"]]:
        """Clips at the network's resolution, each after it was brought to that divided by its ``coarse``."""
        side = self.config.net.resolution
        found = {}
        for camera in self.config.net.cameras:
            videos = [
                stretch(stretch(video, (side // factor, side // factor)) if factor > 1 else video, (side, side))
                for video, factor in zip(frames[camera], coarse, strict=True)
            ]
            found[camera] = torch.from_numpy(np.stack(videos))
        return found


def action_figures(
    truth: Float32[ndarray, "t a"],
    read: Float32[ndarray, "t a"],
    deviation: Float32[ndarray, "t a"],
    *,
    span: Float32[ndarray, "a"],
    binary: ndarray,
    translation: int,
) -> dict[str, float]:
    """How near actions that were read are to the true ones; see :meth:`InverseDynamicsRecipe.evaluate`."""
    figures: dict[str, float] = {}
    moves = np.linalg.norm(truth[:, :translation], axis=1)
    if translation and moves.any():
        off = np.linalg.norm(read[:, :translation] - truth[:, :translation], axis=1)
        figures["translation_error"] = float(off.mean() / moves.mean())
    if binary.any():
        figures["binary_accuracy"] = float((np.abs(read - truth)[:, binary] < span[binary] / 2).mean())
    if not binary.all():
        error = (np.abs(read - truth) / np.maximum(span, 1e-6))[:, ~binary]
        figures["error"] = float(error.mean())
        rank = stats.spearmanr(deviation[:, ~binary].mean(1), error.mean(1)).statistic
        figures["deviation_rank"] = float(np.nan_to_num(rank))
    return figures
