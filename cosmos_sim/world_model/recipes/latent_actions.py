"""Training of latent actions on the frames of all episodes and the actions of few: a recipe for
:func:`cosmos_sim.training.train`."""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from einops import repeat
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor

from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.data.windows import all_windows, draw
from cosmos_sim.training.layout import WHOLE, Part
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, prepared
from cosmos_sim.world_model.latent_actions import (
    LatentActions,
    LatentActionsConfig,
    LatentActionsNet,
    Painted,
    code_index,
)
from cosmos_sim.world_model.recipes.inverse_dynamics import (
    EVALUATED_EPISODES,
    InverseDynamicsBatch,
    InverseDynamicsRecipe,
    InverseDynamicsRecipeConfig,
)

COLLAPSED = 2.0
"""A code of less perplexity tells less than one bit."""


@dataclass(frozen=True)
class LatentActionsRecipeConfig(InverseDynamicsRecipeConfig):
    """What latent actions learn from."""

    net: LatentActionsConfig
    videos: tuple[str, ...] = ()
    """More datasets, whose actions nobody looks at: of other robots, or without any."""
    pairs: int = 64
    """Pairs of frames a step, of all episodes, that eyes, codes and painters learn from."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pairs < 1:
            raise ValueError(f"pairs must be at least 1, got {self.pairs}")


@dataclass(frozen=True)
class LatentActionsBatch(InverseDynamicsBatch):
    """Chunks with their actions, and pairs of frames whose actions nobody is told."""

    pairs: Mapping[str, UInt8[Tensor, "n 2 r r c"]]
    pairs_jitter: Float[Tensor, "n 2"]


class LatentActionsRecipe(InverseDynamicsRecipe):
    """Painting of later frames by codes, and flow matching of the labelled episodes' actions by what the eyes see.

    Both go on at once, since no gradient of the actions reaches eyes or codes.
    """

    name = "latent actions"
    READER: ClassVar[type[InverseDynamics]] = LatentActions
    config: LatentActionsRecipeConfig
    net: LatentActionsNet

    def __init__(
        self,
        config: LatentActionsRecipeConfig,
        stores: Sequence[EpisodeStore],
        *,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """``stores`` are the datasets ``config.data``, then ``config.videos``, opened, with the cameras that are seen.

        Raises:
            ValueError: as :class:`InverseDynamicsRecipe`.
        """
        super().__init__(config, stores[: len(config.data)], provenance=provenance)
        self.watched, length = stores, config.net.apart + 1
        self.pairs = [all_windows(store.lengths.tolist(), length, episodes=store.train) for store in stores]

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> LatentActionsBatch:
        """Chunks of the labelled episodes of one dataset, and pairs of frames of all episodes of one dataset."""
        labelled = super().batch(step, generator, part)
        n, apart = self.config.pairs, self.config.net.apart
        share = torch.tensor([float(len(windows)) for windows in self.pairs])
        which = int(torch.multinomial(share, 1, generator=generator))
        drawn = draw(self.pairs[which], n, generator)
        later = part.of(torch.randint(1, apart + 1, (n,), generator=generator)).numpy()
        jitter, coarse = self.disguise(n, generator)
        frames = self.watched[which].clips(drawn.select(part.of(np.arange(n)))).frames
        rows = np.arange(len(later))
        ends = {camera: np.stack([video[:, 0], video[rows, later]], axis=1) for camera, video in frames.items()}
        pairs = self.seen(ends, part.of(coarse).tolist())
        return LatentActionsBatch(**vars(labelled), pairs=pairs, pairs_jitter=part.of(jitter))

    def loss(self, batch: InverseDynamicsBatch, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        assert isinstance(batch, LatentActionsBatch)
        painting = self.net.painting_loss(batch.pairs, batch.pairs_jitter)
        actions = super().loss(batch, step, generator)["loss"]
        return {"loss": painting + actions, "painting": painting, "actions": actions}

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """As :class:`InverseDynamicsRecipe`, and how well the codes tell what changes from one frame to the next.

        ``change_explained``: the share of the squared change of the pixels that painters get right, the mean over the
        cameras; ``code_perplexity``: how many codes are used as much as if all were used alike, the mean over the
        tokens. A token of less than :data:`COLLAPSED` is warned of.
        """
        super().evaluate(generator, part)
        missed: list[ndarray] = []
        changed: list[ndarray] = []
        codes: list[Tensor] = []
        for painted in self._painted(EVALUATED_EPISODES):
            pairs = list(zip(painted.later, painted.real, strict=True))
            missed.append(np.array([(later - real[:, 1]).square().sum().item() for later, real in pairs]))
            changed.append(np.array([(real[:, 1] - real[:, 0]).square().sum().item() for _, real in pairs]))
            codes.append(code_index(painted.codes, self.config.net.levels).cpu())
        explained = 1 - np.sum(missed, axis=0) / np.maximum(np.sum(changed, axis=0), 1e-6)
        used = perplexity(torch.cat(codes).numpy())
        collapsed = int((used < COLLAPSED).sum())
        if collapsed:
            warnings.warn(
                f"{collapsed} of {len(used)} codes have collapsed to less than a bit: their perplexities are "
                f"{', '.join(f'{value:.1f}' for value in used)} of {self.config.net.codes}; fewer tokens, or more "
                f"steps, may help",
                stacklevel=2,
            )
        self.figures |= {"change_explained": float(explained.mean()), "code_perplexity": float(used.mean())}
        return self.figures

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """Of the first held-out episode and each camera, the later frames as they are beside those painted."""
        painted = next(self._painted(1))
        videos = {}
        for camera, later, real in zip(self.config.net.cameras, painted.later, painted.real, strict=True):
            both = torch.cat([real[:, 1], later], dim=-1).clamp(-1, 1)
            factor = self.config.net.resolution // self.config.net.painted
            large = repeat(both, "t c h w -> t (h up) (w across) c", up=factor, across=factor)
            videos[camera] = (127.5 * (large.float() + 1)).round().byte().cpu().numpy()
        return videos

    @torch.no_grad()
    def _painted(self, episodes: int) -> Iterator[Painted]:
        """The steps of so many held-out episodes of each dataset (of those trained on, if none), painted."""
        device = self.net.low.device
        for store in self.stores:
            for episode in (store.held_out or store.train)[:episodes]:
                videos = []
                for frames in self.seen({c: f[None] for c, f in store.episode(episode).frames.items()}, [1]).values():
                    ends = torch.stack([frames[0, :-1], frames[0, 1:]], dim=1)
                    videos.append(prepared(ends.to(device)))
                yield self.net.paint(videos)


def perplexity(codes: Int64[ndarray, "t n"]) -> Float[ndarray, "n"]:
    """Of each column, the exponential of the entropy of its values: as many values, used alike, would be as hard to
    guess."""
    found = []
    for values in codes.T:
        shares = np.unique(values, return_counts=True)[1] / len(values)
        found.append(np.exp(-(shares * np.log(shares)).sum()))
    return np.array(found)
