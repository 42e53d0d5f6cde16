"""What imagines a video from a moment and an instruction: a Predict2.5 network, or a small world that is told."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.images import stretch
from cosmos_sim.data.pretrained import find_folder, kind_of, shipped
from cosmos_sim.synthesis.starts import Start
from cosmos_sim.world_model.load_predict import load_predict
from cosmos_sim.world_model.load_transfer import find_model, load_transfer
from cosmos_sim.world_model.pipeline import Pipeline
from cosmos_sim.world_model.transfer_folder import is_transfer
from cosmos_sim.world_model.views import join_views, split_views, whole_size
from cosmos_sim.world_model.world import KIND, World

Videos = Mapping[str, UInt8[ndarray, "t h w 3"]]


@dataclass(frozen=True, eq=False)
class Imagined:
    """What is imagined from a moment on, that moment first."""

    frames: Videos
    """At the start's sizes."""
    state: Float32[ndarray, "t n"] | None = None
    """Proprioception with each frame, from what imagines it."""


class Imagines(Protocol):
    """Goes on from a moment as an instruction says."""

    @property
    def cameras(self) -> tuple[str, ...] | None:
        """What it shows; any one camera if ``None``."""

    def imagine(self, start: Start, instruction: str, *, frames: int, seed: int) -> Imagined:
        """So many frames of each camera.

        Raises:
            ValueError: a start or an option that it cannot take.
            FloatingPointError: NaN or infinity.
        """

    def reconstructed(self, videos: Videos) -> Videos:
        """What its tokenizer leaves of real videos, the first frames of which stay as they are."""


class PredictImaginer:
    """A video network, which sees all cameras side by side or one alone.

    Args:
        guidance, steps: of sampling; the network's own if ``None``.
    """

    def __init__(self, pipeline: Pipeline, *, guidance: float | None = None, steps: int | None = None) -> None:
        self.pipeline, self.guidance, self.steps = pipeline, guidance, steps

    @property
    def cameras(self) -> tuple[str, ...] | None:
        return self.pipeline.views

    def imagine(self, start: Start, instruction: str, *, frames: int, seed: int) -> Imagined:
        single = {camera: image[None] for camera, image in start.frames.items()}
        views = self.cameras or tuple(single)
        given = join_views(single, views, size=self.pipeline.size_for(*whole_size(single, views)))
        pieces = self.pipeline.continued(
            given, prompt=instruction, seed=seed, frames=frames, guidance=self.guidance, steps=self.steps
        )
        return Imagined(_after(single, split_views(np.concatenate(list(pieces)), views, sizes=_sizes(single))))

    def reconstructed(self, videos: Videos) -> Videos:
        return _after(videos, self.pipeline.reconstructed(videos))


class WorldImaginer:
    """A small world that takes an instruction in the place of actions, shows its own cameras and tells the state."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def cameras(self) -> tuple[str, ...]:
        return tuple(self.world.spec.cameras)

    def imagine(self, start: Start, instruction: str, *, frames: int, seed: int) -> Imagined:
        single = {camera: image[None] for camera, image in start.frames.items()}
        told = np.repeat(self.world.told(instruction)[None, None], frames - 1, axis=1)
        _, made = self.world.step(self.world.reset(self._seen(single), start.state[None], [seed]), told)
        sizes = _sizes(single)
        videos = {
            camera: np.concatenate([single[camera], stretch(made.frames[camera][0], sizes[camera])])
            for camera in self.cameras
        }
        return Imagined(videos, np.concatenate([start.state[None], made.proprioception[0]]))

    def reconstructed(self, videos: Videos) -> Videos:
        batch = {camera: frames[None] for camera, frames in self._seen(videos).items()}
        sizes = _sizes(videos)
        coded = self.world.reconstruct(batch)
        return _after(videos, {camera: stretch(coded[camera][0], sizes[camera]) for camera in self.cameras})

    def _seen(self, videos: Videos) -> Videos:
        """The videos of its cameras at its own sizes."""
        return {camera: stretch(videos[camera], size) for camera, size in self.world.spec.cameras.items()}


def open_imaginer(
    model: str, *, device: str, guidance: float | None = None, steps: int | None = None
) -> PredictImaginer | WorldImaginer:
    """What imagines: a packed world, a Cosmos-Predict2.5 checkpoint, or a small world that is told.

    Raises:
        ValueError: none of them; a small world that takes actions; guidance of a small world, which has none.
    """
    folder = find_imaginer(model)
    if folder.is_dir() and kind_of(folder) == KIND:
        if guidance is not None:
            raise ValueError(f"guidance={guidance} would be ignored: {model!r} is a small world, which has none")
        world = World.from_pretrained(folder, device=device, sampling_steps=steps)
        if world.config.words is None:
            raise ValueError(f"{model!r} takes actions, no instructions: train a world with --instructed to dream")
        return WorldImaginer(world)
    load = load_transfer if folder.is_dir() and is_transfer(folder) else load_predict
    return PredictImaginer(load(folder, device=device), guidance=guidance, steps=steps)


def find_imaginer(model: str) -> Path:
    """The folder or file of what imagines.

    Raises:
        ValueError: there is none.
    """
    return find_folder(model, KIND) if model in shipped(KIND) else find_model(model)


def _sizes(videos: Videos) -> dict[str, tuple[int, int]]:
    return {camera: (frames.shape[1], frames.shape[2]) for camera, frames in videos.items()}


def _after(real: Videos, made: Videos) -> Videos:
    """The first real frame, and what was made of the rest."""
    return {camera: np.concatenate([real[camera][:1], frames[1:]]) for camera, frames in made.items()}
