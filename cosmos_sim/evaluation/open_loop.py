"""A world beside recorded episodes, under the same actions: how far, and for how long, can it be believed?"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.metrics.confusion import Confusion, confusion
from cosmos_sim.metrics.video import changed, psnr, ssim
from cosmos_sim.types import Episode, Frames, WorldModel


class ShowableWorld(WorldModel, Protocol):
    """A world model that also shows what its tokenizer alone makes of real frames."""

    def reconstruct(self, frames: Frames) -> Mapping[str, UInt8[ndarray, "b t h w c"]]: ...


@dataclass(frozen=True)
class Likeness:
    """How like the true frames some other frames are."""

    psnr: float
    """dB, squared error pooled over all windows."""
    psnr_changed: float | None
    """The same where the true frame differs from the window's first; ``None`` if nothing changed."""
    ssim: float


@dataclass(frozen=True)
class CameraResult:
    """One camera at one horizon."""

    world: Likeness
    copy: Likeness
    """The window's first frame in place of a prediction: a world must beat it."""
    ceiling: Likeness
    """The true frame through the tokenizer and back: no world on this tokenizer can beat it."""


@dataclass(frozen=True)
class HorizonResult:
    """Everything after ``horizon`` actions."""

    horizon: int
    windows: int
    cameras: dict[str, CameraResult]
    position_error: float
    """Mean distance in millimetres of the predicted from the true position, the first three values of the state."""
    position_error_copy: float
    """The same for the window's first position."""


@dataclass(frozen=True)
class OpenLoop:
    """What :func:`open_loop` found."""

    episodes: int
    horizons: list[HorizonResult]
    success: Confusion | None
    """The success head against the recording, at every imagined frame; ``None`` where either has no such."""


@dataclass(frozen=True)
class _Window:
    frames: Mapping[str, UInt8[ndarray, "t1 h w c"]]
    state: Float32[ndarray, "t1 n"]
    action: Float32[ndarray, "t a"]
    success: ndarray | None


@dataclass(frozen=True)
class _Imagined:
    frames: Mapping[str, UInt8[ndarray, "t h w c"]]
    state: Float32[ndarray, "t n"]
    success: ndarray | None


def open_loop(
    world: ShowableWorld,
    episodes: Sequence[Episode],
    *,
    horizons: Sequence[int] = (1, 12, 50),
    stride: int = 24,
    batch: int = 16,
    progress: Callable[[int, int], None] | None = None,
) -> OpenLoop:
    """Imagine recorded episodes from their own frames and actions, and measure at each of ``horizons``.

    Windows begin every ``stride`` steps of every episode and run to the longest horizon or the episode's end; a horizon
    is measured on the windows that reach it. The world sees a window's first frame and state, and its actions.

    Args:
        world: what is measured.
        episodes: recordings that it was not trained on.
        horizons: numbers of actions after which to measure.
        stride: steps between the beginnings of windows.
        batch: windows imagined at once.
        progress: told how many windows are done, of how many.

    Raises:
        ValueError: if no window reaches the shortest horizon, or for horizons and strides below 1.
    """
    chosen = sorted({int(horizon) for horizon in horizons})
    if not chosen or chosen[0] < 1:
        raise ValueError(f"horizons must be whole numbers of at least 1, got {list(horizons)}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    windows = [w for episode in episodes for w in _windows(episode, world, stride, chosen[0], chosen[-1])]
    if not windows:
        longest = max((len(episode) for episode in episodes), default=0)
        raise ValueError(f"no window of {chosen[0]} steps: the longest of {len(episodes)} episodes has {longest} rows")
    imagined: list[_Imagined] = []
    for first in range(0, len(windows), batch):
        imagined += _imagine(world, windows[first : first + batch])
        if progress is not None:
            progress(len(imagined), len(windows))
    pairs = list(zip(windows, imagined, strict=True))
    results = []
    for horizon in chosen:
        reaching = [pair for pair in pairs if len(pair[0].action) >= horizon]
        if reaching:
            results.append(_at(world, horizon, reaching))
    return OpenLoop(len(episodes), results, _success(pairs))


def _windows(episode: Episode, world: WorldModel, stride: int, shortest: int, longest: int) -> Iterator[_Window]:
    last = len(episode) - 1
    for start in range(0, last - shortest + 1, stride):
        end = min(start + longest, last)
        yield _Window(
            frames={camera: episode.frames[camera][start : end + 1] for camera in world.spec.cameras},
            state=episode.state[start : end + 1],
            action=episode.action[start:end],
            success=None if episode.success is None else np.asarray(episode.success[start:end], dtype=bool),
        )


def _imagine(world: WorldModel, windows: Sequence[_Window]) -> list[_Imagined]:
    """Shorter windows are padded with idle actions, and what follows their end is dropped."""
    length = max(len(window.action) for window in windows)
    actions = np.zeros((len(windows), length, world.spec.action_dim), dtype=np.float32)
    for row, window in zip(actions, windows, strict=True):
        row[: len(window.action)] = window.action
    first = {camera: np.stack([window.frames[camera][0] for window in windows]) for camera in world.spec.cameras}
    state = world.reset(first, np.stack([window.state[0] for window in windows]), range(len(windows)))
    _, prediction = world.step(state, actions)
    return [
        _Imagined(
            frames={camera: video[i, : len(window.action)] for camera, video in prediction.frames.items()},
            state=prediction.proprioception[i, : len(window.action)],
            success=None if prediction.success is None else prediction.success[i, : len(window.action)] > 0.5,
        )
        for i, window in enumerate(windows)
    ]


def _at(world: ShowableWorld, horizon: int, pairs: Sequence[tuple[_Window, _Imagined]]) -> HorizonResult:
    start = {camera: np.stack([w.frames[camera][0] for w, _ in pairs]) for camera in world.spec.cameras}
    truth = {camera: np.stack([w.frames[camera][horizon] for w, _ in pairs]) for camera in world.spec.cameras}
    shown = world.reconstruct({camera: images[:, None] for camera, images in truth.items()})
    cameras = {}
    for camera, true in truth.items():
        estimate = np.stack([i.frames[camera][horizon - 1] for _, i in pairs])
        moved = changed(start[camera], true)
        cameras[camera] = CameraResult(
            world=_likeness(true, estimate, moved),
            copy=_likeness(true, start[camera], moved),
            ceiling=_likeness(true, shown[camera][:, 0], moved),
        )
    true_position = np.stack([w.state[horizon, :3] for w, _ in pairs])
    estimated = np.stack([i.state[horizon - 1, :3] for _, i in pairs])
    first = np.stack([w.state[0, :3] for w, _ in pairs])
    return HorizonResult(
        horizon=horizon,
        windows=len(pairs),
        cameras=cameras,
        position_error=_millimetres(estimated - true_position),
        position_error_copy=_millimetres(first - true_position),
    )


def _likeness(truth: ndarray, estimate: ndarray, moved: ndarray) -> Likeness:
    return Likeness(
        psnr=psnr(truth=truth, estimate=estimate),
        psnr_changed=psnr(truth=truth, estimate=estimate, where=moved) if moved.any() else None,
        ssim=ssim(truth=truth, estimate=estimate),
    )


def _millimetres(difference: ndarray) -> float:
    return float(1000 * np.mean(np.linalg.norm(difference, axis=-1)))


def _success(pairs: Sequence[tuple[_Window, _Imagined]]) -> Confusion | None:
    known = [(w.success, i.success) for w, i in pairs if w.success is not None and i.success is not None]
    if not known:
        return None
    return confusion(truth=np.concatenate([t for t, _ in known]), verdict=np.concatenate([v for _, v in known]))
