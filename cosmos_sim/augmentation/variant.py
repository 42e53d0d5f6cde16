"""One variant of an episode: its controls, its pictures, and whether they pass the checks."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np
from jaxtyping import Bool, Float, UInt8
from numpy import ndarray

from cosmos_sim.augmentation.annotators import Annotator, Recorded, known_phrases
from cosmos_sim.augmentation.checks import ROBOT, InverseDynamics, View, score_variant
from cosmos_sim.augmentation.control_videos import control_videos, region
from cosmos_sim.augmentation.limits import Limits
from cosmos_sim.augmentation.plan import AugmentConfig, Job
from cosmos_sim.augmentation.recolour import recolour
from cosmos_sim.data.annotations import read_annotations
from cosmos_sim.data.encoding import encode_video
from cosmos_sim.data.images import stretch
from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.types import Episode
from cosmos_sim.world_model.control_video import ControlVideo
from cosmos_sim.world_model.views import join_views, split_views, whole_size

Frames = Mapping[str, UInt8[ndarray, "t h w 3"]]


class Translator(Protocol):
    """What is needed of a :class:`~cosmos_sim.world_model.transfer.Transfer`."""

    @property
    def views(self) -> tuple[str, ...] | None: ...

    def size_for(self, height: int, width: int) -> tuple[int, int]: ...

    def translate(
        self,
        controls: Mapping[str, ControlVideo],
        *,
        prompt: str,
        seed: int,
        guidance: float | None = None,
        steps: int | None = None,
        source: UInt8[ndarray, "t h w 3"] | None = None,
        keep: Float[ndarray, "t h w"] | None = None,
    ) -> Iterator[UInt8[ndarray, "t h w 3"]]: ...


@dataclass(frozen=True)
class Attempt:
    """One try at a variant."""

    seed: int
    scores: Mapping[str, float]
    faults: tuple[str, ...]
    """What the checks found; none if it was accepted."""


@dataclass(frozen=True)
class Variant:
    """A variant as it was made: by its last attempt, which is accepted or the last that was allowed."""

    attempts: tuple[Attempt, ...]
    videos: Mapping[str, bytes]
    """Camera to its video, encoded as a dataset holds it."""
    seconds: float

    @property
    def accepted(self) -> bool:
        return not self.attempts[-1].faults


@dataclass(frozen=True, eq=False)
class Source:
    """An episode with what all its variants share."""

    index: int
    episode: Episode
    views: Mapping[str, View]
    controls: Mapping[str, Mapping[str, ControlVideo]]
    """Camera, or ``""`` for all side by side, to the controls by kind."""
    kept: Mapping[str, Bool[ndarray, "t h w"]]
    """Camera to the pixels that stay as they are; empty where nothing is to."""
    recoloured: tuple[Mapping[str, Bool[ndarray, "t h w"]], ...]
    """Of each region that is drawn anew, likewise."""


class Augmenter:
    """Makes variants, one at a time; keeps the last episode's controls.

    Args:
        config: what is made.
        world: makes videos along controls.
        annotator: finds the robot and the objects in what was made, and in sources without annotations of their own.
        limits: what scores are good enough; all are, for a calibration that is to see them.
        inverse_dynamics: reads actions off frames, if there is one that can.

    Raises:
        ValueError: cameras that are not those that the world makes side by side, or one without limits, which would
            pass unchecked.
    """

    def __init__(
        self,
        config: AugmentConfig,
        world: Translator,
        annotator: Annotator,
        *,
        limits: Limits,
        inverse_dynamics: InverseDynamics | None = None,
    ) -> None:
        self.config, self.world, self.annotator = config, world, annotator
        self.limits, self.inverse_dynamics = limits, inverse_dynamics
        info = dataset_info(config.dataset)
        self.cameras = info.cameras if config.cameras is None else config.cameras
        if world.views is not None and set(self.cameras) != set(world.views):
            raise ValueError(
                f"the world makes the cameras {', '.join(world.views)} side by side, "
                f"{config.dataset!r} is to change {', '.join(self.cameras)}"
            )
        limited = {name.rpartition(".")[0] for name in limits.worst}
        if limits.worst and (bare := [camera for camera in self.cameras if camera not in limited]):
            raise ValueError(
                f"there are no limits of the checks for {', '.join(bare)}, only for {', '.join(sorted(limited - {''}))}"
            )
        self._path = info.path
        self._last: Source | None = None

    def vary(self, job: Job) -> Variant:
        """Make the variant ``job``, again from another seed while it fails its checks.

        Raises:
            ValueError: the source's episode cannot be read, or does not fit the world.
            FloatingPointError: the world made NaN or infinity.
        """
        source = self.source(job.episode)
        began, attempts = perf_counter(), []
        for number in range(self.config.attempts):
            seed = job.seed(self.config, number)
            frames = self.paint(source, job, seed)
            scores = self.score(source, frames)
            attempts.append(Attempt(seed, scores, tuple(self.limits.faults(scores))))
            if not attempts[-1].faults:
                break
        fps = int(source.episode.fps)
        videos = {camera: encode_video(video, fps=fps) for camera, video in frames.items()}
        return Variant(tuple(attempts), videos, perf_counter() - began)

    def source(self, episode: int) -> Source:
        """Read an episode and find its controls, unless it was the last one."""
        if self._last is None or self._last.index != episode:
            (read,) = read_episodes(self._path, [episode], list(self.cameras))
            readers = self._readers(episode)
            views = {camera: self._view(video, readers[camera]) for camera, video in read.frames.items()}
            self._last = Source(
                episode,
                read,
                views,
                self._controls(read.frames, readers, episode),
                _regions(read.frames, self.config.keep, readers) if self.config.keep else {},
                tuple(_regions(read.frames, (name,), readers) for name in self.config.recolour),
            )
        return self._last

    def paint(self, source: Source, job: Job, seed: int) -> Frames:
        """The frames of one attempt, at the source's sizes, its regions recoloured or kept where they are to be."""
        caption, made = job.prompt.caption, {}
        for camera, controls in source.controls.items():
            pieces = self.world.translate(
                controls,
                prompt=caption.of(camera) if camera else caption.caption,
                seed=seed,
                guidance=self.config.guidance,
                steps=self.config.steps,
                **self._kept(source, camera),
            )
            made[camera] = np.concatenate(list(pieces))
        shown = source.episode.frames
        sizes = {camera: (video.shape[1], video.shape[2]) for camera, video in shown.items()}
        if self.world.views is not None:
            frames = split_views(made[""], self.world.views, sizes=sizes)
        else:
            frames = {camera: stretch(video, sizes[camera]) for camera, video in made.items()}
        frames = recolour(shown, frames, source.recoloured)
        for camera, mask in source.kept.items():
            frames[camera] = np.where(mask[..., None], shown[camera], frames[camera])
        return frames

    def score(self, source: Source, frames: Frames) -> dict[str, float]:
        """The checks of frames that are to show what ``source`` does."""
        return score_variant(
            source.views,
            {camera: self._view(video, self.annotator) for camera, video in frames.items()},
            actions=source.episode.action,
            inverse_dynamics=self.inverse_dynamics,
        )

    def _readers(self, episode: int) -> dict[str, Annotator]:
        """The truth that was recorded with an episode, where it was, else the annotator."""
        truth = read_annotations(self._path, episode)
        return {
            camera: self.annotator if truth is None or camera not in truth.cameras else Recorded(truth, camera)
            for camera in self.cameras
        }

    def _view(self, frames: UInt8[ndarray, "t h w 3"], reader: Annotator) -> View:
        known = (*known_phrases(self.annotator),)
        objects = [name for name in known if name != ROBOT and (not reader.names or name in reader.names)]
        return View(frames, reader.segments(frames, (ROBOT, *objects)))

    def _controls(
        self, frames: Frames, readers: Mapping[str, Annotator], seed: int
    ) -> dict[str, dict[str, ControlVideo]]:
        together = [frames] if self.world.views is not None else [{camera: video} for camera, video in frames.items()]
        found = {}
        for videos in together:
            found["" if self.world.views is not None else next(iter(videos))] = control_videos(
                videos,
                self.config.specs,
                size=self._size(videos),
                views=self.world.views,
                annotators=readers,
                seed=seed,
            )
        return found

    def _kept(self, source: Source, camera: str) -> dict[str, ndarray]:
        """What guided generation is given of ``camera``, or of all side by side: frames, and where they are kept."""
        if not source.kept:
            return {}
        cameras = (camera,) if camera else tuple(source.kept)
        frames = {name: source.episode.frames[name] for name in cameras}
        masks = {name: source.kept[name].astype(np.float32) for name in cameras}
        views, size = self.world.views or cameras, self._size(frames)
        return {"source": join_views(frames, views, size=size), "keep": join_views(masks, views, size=size)}

    def _size(self, videos: Frames) -> tuple[int, int]:
        """At which the world makes videos side by side."""
        return self.world.size_for(*whole_size(videos, list(videos)))


def _regions(
    videos: Frames, names: tuple[str, ...], readers: Mapping[str, Annotator]
) -> dict[str, Bool[ndarray, "t h w"]]:
    return {camera: region(video, names, readers[camera]) for camera, video in videos.items()}


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """An attempt as JSON holds it."""
    scores = {name: round(value, 5) for name, value in attempt.scores.items()}
    return {"seed": attempt.seed, "scores": scores, "faults": list(attempt.faults)}


def read_attempt(raw: Mapping[str, Any]) -> Attempt:
    """What :func:`attempt_json` wrote."""
    return Attempt(raw["seed"], raw["scores"], tuple(raw["faults"]))


def camera_file(folder: Path, camera: str) -> Path:
    """Where a staged variant keeps the video of a camera."""
    return folder / f"{camera}.mp4"
