"""Training of an annotator on true depth and segments: a recipe for :func:`cosmos_sim.training.train`."""

import colorsys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_sim.data.annotated import AnnotatedFrames
from cosmos_sim.data.annotations import FARTHEST
from cosmos_sim.training.layout import WHOLE, Part
from cosmos_sim.world_model.annotator import Annotator, AnnotatorConfig, AnnotatorNet, to_images

EVALUATED_FRAMES = 256
"""Of each camera."""
SHOWN_FRAMES = 60


@dataclass(frozen=True)
class AnnotatorRecipeConfig:
    """What an annotator learns from."""

    data: tuple[str, ...]
    annotator: AnnotatorConfig
    batch_size: int = 16
    per_episode: int = 8
    """Frames of each episode and camera, evenly spread."""
    tint: float = 0.2
    """Largest change of a colour channel's contrast (as a factor) and brightness (of 1)."""
    damage: float = 0.5
    """Share of the samples that lose detail and get noise, as frames do that were generated."""
    depth: float = 1.0
    """Weight of the depth's error beside the classes' cross-entropy."""
    seed: int = 0
    """Draws the initial weights."""

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        for name in ("tint", "damage"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must lie in [0, 1], got {getattr(self, name)}")
        if self.depth < 0:
            raise ValueError(f"depth must not be negative, got {self.depth}")


class AnnotatorRecipe:
    """Classify pixels and regress their depth, frame by frame; satisfies :class:`cosmos_sim.training.Recipe`."""

    name = "annotator"

    def __init__(
        self, config: AnnotatorRecipeConfig, data: AnnotatedFrames, *, provenance: Mapping[str, Any] | None = None
    ) -> None:
        """``data`` are moments of the datasets ``config.data``.

        Raises:
            ValueError: for data whose segments have other names than ``config.annotator``, or without any depth.
        """
        if config.annotator.names != data.names:
            raise ValueError(f"the data's segments are {data.names}, the annotator's {config.annotator.names}")
        self.config, self.data = config, data
        self.provenance = dict(provenance or {})
        self.batch_size = config.batch_size
        self.figures: dict[str, float] = {}
        self.judged_rows = data.held_out_rows if len(data.held_out_rows) else data.train_rows
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.net = AnnotatorNet(config.annotator)
        self.model: nn.Module = self.net
        self.class_weights = _class_weights(data)
        logarithms = np.concatenate([_log_depth(depth[data.train_rows]) for depth in data.depth.values()])
        if not len(logarithms):
            raise ValueError(f"{', '.join(config.data)}: no pixel has a depth between 0 and {FARTHEST} mm")
        self.net.centre.fill_(float(logarithms.mean()))
        self.net.scale.fill_(max(float(logarithms.std()), 1e-3))

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> dict[str, Tensor]:
        """Frames of one camera (they may differ in size), cameras taking turns."""
        camera = list(self.data.frames)[step % len(self.data.frames)]
        drawn = torch.randint(len(self.data.train_rows), (self.config.batch_size,), generator=generator)
        rows = part.of(self.data.train_rows[drawn.numpy()])
        return {
            "frames": torch.from_numpy(self.data.frames[camera][rows]),
            "depth": torch.from_numpy(self.data.depth[camera][rows].astype(np.int32)),
            "segments": torch.from_numpy(self.data.segments[camera][rows].astype(np.int64)),
        }

    def loss(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        images = worn(to_images(batch["frames"]), tint=self.config.tint, damage=self.config.damage, generator=generator)
        logits, log_depth = self.net(images)
        classes = F.cross_entropy(logits, batch["segments"], self.class_weights.to(logits.device))
        known = (batch["depth"] > 0) & (batch["depth"] < FARTHEST)
        true = (batch["depth"].clamp_min(1).float() / 1000).log()
        error = F.smooth_l1_loss(log_depth / self.net.scale, true / self.net.scale, beta=0.05, reduction="none")
        depth = (error * known).sum() / known.sum().clamp_min(1)
        return {"loss": classes + self.config.depth * depth, "classes": classes, "depth": depth}

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """On frames of held-out episodes (of those trained on, if none), undamaged.

        ``iou/NAME``: of a class, its pixels pooled over all frames; ``iou`` the mean over the classes that occur.
        ``depth_error``: the mean of ``|read - true| / true`` (AbsRel of Eigen et al., arXiv:1406.2283, section 4.3).
        """
        reader = Annotator(self.net, figures={})
        classes = len(self.data.names)
        confusion, errors = np.zeros((classes, classes), np.int64), []
        rows = _spread(self.judged_rows, EVALUATED_FRAMES)
        for camera, frames in self.data.frames.items():
            reading = reader.read(frames[rows])
            pairs = classes * self.data.segments[camera][rows].astype(np.int64) + reading.segments.ids
            confusion += np.bincount(pairs.reshape(-1), minlength=classes**2).reshape(classes, classes)
            true = self.data.depth[camera][rows]
            known = _known(true)
            errors.append(np.abs(reading.depth[known] * 1000 / true[known] - 1))
        union = confusion.sum(0) + confusion.sum(1) - confusion.diagonal()
        overlap = {
            name: float(confusion[k, k] / union[k]) for k, name in enumerate(self.data.names) if confusion[k].any()
        }
        self.figures = {
            "iou": float(np.mean(list(overlap.values()))),
            **{f"iou/{name}": value for name, value in overlap.items()},
            "depth_error": float(np.concatenate(errors).mean()),
        }
        return self.figures

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """Held-out frames, then true and read segments, then true and read depth."""
        rows = self.judged_rows[:SHOWN_FRAMES]
        reader, videos = Annotator(self.net, figures={}), {}
        for camera, frames in self.data.frames.items():
            reading = reader.read(frames[rows])
            true = self.data.depth[camera][rows].astype(np.float32) / 1000
            videos[camera] = np.concatenate(
                [
                    frames[rows],
                    *(
                        _coloured(ids, len(self.data.names))
                        for ids in (self.data.segments[camera][rows], reading.segments.ids)
                    ),
                    *(_shaded(depth, like=true) for depth in (true, reading.depth)),
                ],
                axis=2,
            )
        return videos

    def export(self, folder: Path) -> None:
        if not self.figures:  # a run that was stopped between its last evaluation and here
            with torch.no_grad():
                self.evaluate(torch.Generator())
        Annotator(self.net, figures=self.figures, metadata=self.provenance).write(folder)


def worn(
    images: Float[Tensor, "b c h w"], *, tint: float, damage: float, generator: torch.Generator
) -> Float[Tensor, "b c h w"]:
    """Images in other colours, a share ``damage`` of them at a half or a quarter of the resolution and with noise."""
    b, c = images.shape[:2]

    def drawn(*shape: int) -> Tensor:
        return torch.rand((b, *shape), generator=generator, device=generator.device).to(images.device)

    contrast, brightness = (tint * (2 * drawn(c, 1, 1) - 1) for _ in range(2))
    images = (images * (1 + contrast) + brightness).clamp(-1, 1)
    hurt, very = drawn(1, 1, 1) < damage, drawn(1, 1, 1) < 0.3
    coarse = torch.where(very, _coarse(images, 4), _coarse(images, 2))
    noise = torch.randn(images.shape, generator=generator, device=generator.device).to(images.device)
    return torch.where(hurt, (coarse + 0.1 * drawn(1, 1, 1) * noise).clamp(-1, 1), images)


def _coarse(images: Float[Tensor, "b c h w"], factor: int) -> Float[Tensor, "b c h w"]:
    small = F.avg_pool2d(images, factor, ceil_mode=True, count_include_pad=False)
    return F.interpolate(small, size=images.shape[-2:], mode="bilinear")


def _class_weights(data: AnnotatedFrames) -> Float[Tensor, "k"]:
    """One over the root of a class's share of the pixels, scaled to a mean of 1 a pixel; 0 for what never occurs."""
    count = sum(
        (np.bincount(ids[data.train_rows].reshape(-1), minlength=len(data.names)) for ids in data.segments.values()),
        np.zeros(len(data.names)),
    )
    share = count / count.sum()
    weights = np.where(share > 0, np.maximum(share, 1e-6) ** -0.5, 0)
    return torch.from_numpy(weights / (weights * share).sum()).float()


def _known(depth: ndarray) -> Bool[ndarray, "..."]:
    known: ndarray = (depth > 0) & (depth < FARTHEST)
    return known


def _log_depth(depth: ndarray) -> Float32[ndarray, "n"]:
    """Of the pixels whose depth is known, in metres."""
    logarithm: ndarray = np.log(depth[_known(depth)].astype(np.float32) / 1000)
    return logarithm


def _spread(rows: Int64[ndarray, "n"], count: int) -> Int64[ndarray, "k"]:
    picked: ndarray = rows[np.linspace(0, len(rows) - 1, min(len(rows), count)).astype(int)]
    return picked


def _coloured(ids: UInt8[ndarray, "t h w"], classes: int) -> UInt8[ndarray, "t h w 3"]:
    """The first class black, the others of hues as far apart as can be."""
    hues = [colorsys.hsv_to_rgb(k / max(1, classes - 1), 0.8, 1.0) for k in range(classes - 1)]
    palette = np.array([(0.0, 0.0, 0.0), *hues])
    coloured: ndarray = (255 * palette).astype(np.uint8)[ids]
    return coloured


def _shaded(depth: Float32[ndarray, "t h w"], *, like: Float32[ndarray, "t h w"]) -> UInt8[ndarray, "t h w 3"]:
    """Near is bright, in the range of ``like`` without its outermost hundredths."""
    near, far = np.quantile(like, [0.01, 0.99])
    shade = 255 * np.clip((far - depth) / max(far - near, 1e-6), 0, 1)
    return np.repeat(shade.astype(np.uint8)[..., None], 3, axis=-1)
