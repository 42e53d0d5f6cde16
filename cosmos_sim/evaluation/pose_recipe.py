"""How a pose reader is trained on the real frames of datasets: a recipe for :func:`cosmos_sim.training.train`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.evaluation.pose_reader import PoseNet, PoseReader, PoseReaderConfig
from cosmos_sim.policies.encoder import resize
from cosmos_sim.training.layout import WHOLE, Part

EVALUATED_FRAMES = 1024


@dataclass(frozen=True)
class PoseRecipeConfig:
    """What a reader learns from."""

    data: tuple[str, ...]
    reader: PoseReaderConfig
    batch_size: int = 64
    jitter: float = 0.1
    """Largest change of an image's contrast (as a factor) and brightness (of 1)."""
    coarse: float = 0.5
    """Share of the samples seen at half the resolution: what a reader reads may be blurred."""
    cell: float = 0.03
    """Side in metres of the cells of space that samples are evened out over: in a cell where the hand was ``n`` times
    as often, its frames are drawn ``sqrt(n)`` times as often."""
    seed: int = 0
    """Draws the initial weights."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        for name in ("jitter", "coarse"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.cell <= 0:
            raise ValueError(f"cell must be positive, got {self.cell}")


@dataclass(frozen=True)
class PoseBatch:
    """Real frames, and where the hand was in them."""

    frames: Mapping[str, UInt8[Tensor, "b r r c"]]
    position: Float[Tensor, "b k"]
    jitter: Float[Tensor, "b 2"]


class PoseRecipe:
    """Regress the first values of the state on the frames; satisfies :class:`cosmos_sim.training.Recipe`."""

    name = "reader"

    def __init__(
        self, config: PoseRecipeConfig, stores: Sequence[EpisodeStore], *, provenance: Mapping[str, Any] | None = None
    ) -> None:
        """``stores`` are the datasets ``config.data``, opened, with the cameras that the reader sees.

        Raises:
            ValueError: for a dataset whose state is shorter than what is to be read.
        """
        self.config, self.stores = config, stores
        self.provenance = dict(provenance or {})
        self.batch_size = config.batch_size
        dim = config.reader.dim
        for name, store in zip(config.data, stores, strict=True):
            if store.info.state_dim < dim:
                raise ValueError(f"{name!r} has {store.info.state_dim} state values, {dim} are to be read")
        firsts = np.cumsum([0, *(store.info.steps for store in stores)])
        self.firsts = firsts[:-1]
        self.position = np.concatenate([store.state[:, :dim] for store in stores])
        self.train_rows, self.held_out_rows = (
            np.concatenate([f + s.rows(getattr(s, part)) for f, s in zip(self.firsts, stores, strict=True)])
            for part in ("train", "held_out")
        )
        self.edges = np.cumsum(_evened(self.position[self.train_rows], config.cell))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.net = PoseNet(config.reader)
        self.model: nn.Module = self.net
        spread = self.position[self.train_rows]
        self.net.centre.copy_(torch.from_numpy(spread.mean(0)))
        self.net.scale.copy_(torch.from_numpy(np.maximum(spread.std(0), 1e-6)))

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> PoseBatch:
        n = self.config.batch_size
        places = torch.rand(n, generator=generator, dtype=torch.float64).numpy() * self.edges[-1]
        rows = part.of(self.train_rows[np.searchsorted(self.edges, places, side="right")])
        jitter = self.config.jitter * (2 * torch.rand((n, 2), generator=generator) - 1)
        jitter[:, 0] += 1
        jitter, frames = part.of(jitter), self._frames(rows)
        blurred, resolution = round(len(rows) * self.config.coarse), self.config.reader.resolution
        for images in frames.values():
            images[:blurred] = resize(resize(images[:blurred], resolution // 2), resolution)
        return PoseBatch(frames, torch.from_numpy(self.position[rows]), jitter)

    def loss(self, batch: PoseBatch, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        read = self.net(batch.frames, batch.jitter).float()
        return {"loss": F.smooth_l1_loss(read, (batch.position - self.net.centre) / self.net.scale, beta=0.1)}

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """The reader's distance from the truth on real frames of held-out episodes (of those trained on, if none)."""
        rows = self.held_out_rows if len(self.held_out_rows) else self.train_rows
        rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), EVALUATED_FRAMES)).astype(int)]
        reader = PoseReader(self.net, figures={})
        parts = np.array_split(rows, -(-len(rows) // 128))
        read = [reader.read({c: images.numpy() for c, images in self._frames(part).items()}) for part in parts]
        self.net.requires_grad_(True)
        distance = 1000 * np.linalg.norm(np.concatenate(read) - self.position[rows], axis=-1)
        return {
            "median_mm": float(np.median(distance)),
            "p90_mm": float(np.quantile(distance, 0.9)),
            "frames": float(len(rows)),
        }

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """No videos."""
        return {}

    def export(self, folder: Path) -> None:
        PoseReader(self.net, figures=self.evaluate(torch.Generator()), metadata=self.provenance).write(folder)

    def _frames(self, rows: Int64[ndarray, "n"]) -> dict[str, UInt8[Tensor, "n r r c"]]:
        r = self.config.reader.resolution
        source = np.searchsorted(self.firsts, rows, side="right") - 1
        frames = {}
        for camera in self.config.reader.cameras:
            images = torch.empty((len(rows), r, r, 3), dtype=torch.uint8)
            for k in np.unique(source):
                here = source == k
                own = self.stores[k].frames[camera][rows[here] - self.firsts[k]]
                images[torch.from_numpy(here)] = resize(torch.from_numpy(own), r)
            frames[camera] = images
        return frames


def _evened(position: Float[ndarray, "n k"], cell: float) -> Float[ndarray, "n"]:
    """Weights of samples: one over the root of how many share their cell of space."""
    cells = np.floor(position / cell).astype(np.int64)
    _, inverse, counts = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    weights: ndarray = counts[inverse.reshape(-1)] ** -0.5
    return weights
