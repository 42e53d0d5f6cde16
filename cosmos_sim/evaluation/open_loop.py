"""A world beside recorded episodes, under the same actions: how far, and for how long, can it be believed?"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import torch
from jaxtyping import Bool, Float, Float32, UInt8
from numpy import ndarray

from cosmos_sim.envs.success import SuccessRule
from cosmos_sim.evaluation.likeness import CameraResult, CameraSum
from cosmos_sim.evaluation.pose_reader import PoseReader
from cosmos_sim.evaluation.success_head import Verdicts, verdicts
from cosmos_sim.types import Episode, Frames, WorldModel


class ShowableWorld(WorldModel, Protocol):
    """A world model that also shows what its tokenizer alone makes of real frames."""

    def encode(self, frames: Frames) -> torch.Tensor: ...

    def reconstruct(self, frames: Frames) -> Mapping[str, UInt8[ndarray, "b t h w c"]]: ...


@dataclass(frozen=True)
class Beside:
    """A figure of the world beside the same of what bounds it."""

    world: float
    copy: float
    """Of the window's first frame (or position), the last one seen."""
    ceiling: float
    """Of the true frame through the tokenizer and back."""


@dataclass(frozen=True)
class Distances:
    """Of many distances, in millimetres."""

    median: float
    mean: float

    @classmethod
    def of(cls, metres: Float[ndarray, "n"]) -> "Distances":
        return cls(1000 * float(np.median(metres)), 1000 * float(np.mean(metres)))


@dataclass(frozen=True)
class HorizonResult:
    """Everything after ``horizon`` actions, over the windows in which the hand moved far enough by then."""

    horizon: int
    windows: int
    left_out: int
    """Windows that reach the horizon, but whose hand moved less than ``min_path``."""
    cameras: dict[str, CameraResult]
    latent_l2: Beside
    """Mean squared difference of normalised latents, all cameras together (IRASim's Latent L2, Zhu et al., arXiv
    2406.14540). Here the frames as they are shown are encoded again, so that any frames can be measured by it."""
    position_error: Distances
    """Of the predicted from the true position: the first three values of the state, taken to be metres."""
    position_error_copy: Distances
    """The same of the window's first position."""
    read_error: Distances | None
    """Of the position that a pose reader reads off the imagined frame from the true one; ``None`` without a reader."""
    read_error_real: Distances | None
    """The reader's own, on the true frames."""


@dataclass(frozen=True)
class OpenLoop:
    """What :func:`open_loop` found."""

    episodes: int
    windows: int
    min_path: float
    horizons: list[HorizonResult]
    success: Verdicts | None
    """The success head on imagined frames, episodes imagined from their start, against the recording, which for those
    recorded in the simulator is the simulator's truth under the same actions. ``None`` where either has no such."""


@dataclass(frozen=True)
class _Window:
    frames: Mapping[str, UInt8[ndarray, "t1 h w c"]]
    state: Float32[ndarray, "t1 n"]
    action: Float32[ndarray, "t a"]
    success: Bool[ndarray, "t"] | None
    """Of an episode's first window only, which runs for as long as an episode of the world does."""
    path: Float[ndarray, "t1"]
    """Metres that the hand moved up to each frame: the sum of the steps' lengths."""


@dataclass
class _At:
    """What is pooled at one horizon."""

    windows: int = 0
    left_out: int = 0
    cameras: dict[str, CameraSum] = field(default_factory=dict)
    latents: list[Float[ndarray, "3 n"]] = field(default_factory=list)
    distances: dict[str, list[Float[ndarray, "n"]]] = field(default_factory=dict)


def open_loop(
    world: ShowableWorld,
    episodes: Iterable[Episode],
    *,
    horizons: Sequence[int] = (12, 50),
    stride: int = 24,
    min_path: float = 0.05,
    batch: int = 16,
    reader: PoseReader | None = None,
    rule: SuccessRule = SuccessRule(),  # noqa: B008, frozen
    progress: Callable[[int], None] | None = None,
) -> OpenLoop:
    """Imagine recorded episodes from their own frames and actions, and measure at each of ``horizons``.

    Windows begin every ``stride`` steps of every episode and run to the longest horizon that they reach; a horizon is
    measured on the windows that reach it and whose hand has moved ``min_path`` metres by then, since where nothing
    moves a copy is hard to beat and says nothing. The world sees a window's first frame and state, and its actions.
    The first window of an episode with recorded success goes on to its end (or to the world's own horizon), for the
    success head. One episode at a time is held in memory, and ``batch`` windows.

    Args:
        world: what is measured.
        episodes: recordings that it was not trained on. The first three values of their state are taken to be a
            position in metres; where they are not, ``min_path=0`` measures every window, and the position's figures are
            in thousandths of the state's unit.
        horizons: numbers of actions after which to measure.
        stride: steps between the beginnings of windows.
        min_path: how far, in metres, the hand must have moved in a window by the horizon.
        batch: windows imagined at once.
        reader: reads the hand's position off the imagined and the true frames.
        rule: when an episode counts as solved by the success head.
        progress: told how many windows are done.

    Raises:
        ValueError: if no window reaches the shortest horizon; for horizons and strides below 1, a negative path, or a
            reader of other cameras.
    """
    chosen = sorted({int(horizon) for horizon in horizons})
    if not chosen or chosen[0] < 1:
        raise ValueError(f"horizons must be whole numbers of at least 1, got {list(horizons)}")
    if stride < 1:
        raise ValueError(f"stride must be at least 1, got {stride}")
    if not min_path >= 0:
        raise ValueError(f"min_path must not be negative, got {min_path}")
    pools = {horizon: _At(cameras={camera: CameraSum() for camera in world.spec.cameras}) for horizon in chosen}
    probabilities: list[tuple[ndarray, ndarray]] = []
    counted, lengths = 0, []

    def windows() -> Iterator[_Window]:
        for episode in episodes:
            lengths.append(len(episode))
            yield from _windows(episode, world, stride, chosen)

    for group in itertools.batched(windows(), batch):
        shown, predicted = _imagine(world, group, chosen, first_seed=counted)
        counted += len(group)
        for horizon, moments in shown.items():
            _pool(world, pools[horizon], horizon, group, moments, min_path, reader)
        probabilities += [(w.success, p) for w, p in zip(group, predicted, strict=True) if w.success is not None]
        if progress is not None:
            progress(counted)
    if not any(pool.windows + pool.left_out for pool in pools.values()):
        longest = max(lengths, default=0)
        raise ValueError(f"no window of {chosen[0]} steps: the longest of {len(lengths)} episodes has {longest} rows")
    return OpenLoop(
        episodes=len(lengths),
        windows=counted,
        min_path=min_path,
        horizons=[_result(horizon, pool) for horizon, pool in pools.items() if pool.windows],
        success=verdicts(probabilities, rule=rule) if probabilities else None,
    )


def _windows(episode: Episode, world: WorldModel, stride: int, horizons: Sequence[int]) -> Iterator[_Window]:
    last = len(episode) - 1
    steps = np.linalg.norm(np.diff(episode.state[:, :3].astype(np.float64), axis=0), axis=-1)
    for start in range(0, max(1, last - horizons[0] + 1), stride):
        judged = start == 0 and world.spec.has_success and episode.success is not None
        reached = [start + horizon for horizon in horizons if start + horizon <= last]
        if not judged and not reached:
            continue
        measured = max(reached, default=start)
        # The last action's outcome was judged, but not seen: an episode of t rows has t actions and t frames.
        end = max(measured, start + min(len(episode), world.spec.horizon)) if judged else measured
        yield _Window(
            frames={camera: episode.frames[camera][start : measured + 1] for camera in world.spec.cameras},
            state=episode.state[start : measured + 1],
            action=episode.action[start:end],
            success=np.asarray(episode.success[start:end], dtype=bool)
            if judged and episode.success is not None
            else None,
            path=np.concatenate([[0.0], np.cumsum(steps[start:measured])]),
        )


@dataclass(frozen=True)
class _Moments:
    """What some of the windows show after a number of actions."""

    rows: list[int]
    frames: Mapping[str, UInt8[ndarray, "n h w c"]]
    state: Float32[ndarray, "n k"]


def _imagine(
    world: WorldModel, windows: Sequence[_Window], horizons: Sequence[int], *, first_seed: int
) -> tuple[dict[int, _Moments], list[Float32[ndarray, "t"]]]:
    """What each horizon shows, and every window's probabilities of success (empty for a world without such a head).

    All windows go on together until the shortest ends, then the others, and so on.
    """
    first = {camera: np.stack([window.frames[camera][0] for window in windows]) for camera in world.spec.cameras}
    seeds = range(first_seed, first_seed + len(windows))
    state = world.reset(first, np.stack([window.state[0] for window in windows]), seeds)
    going, done = list(range(len(windows))), 0
    shown: dict[int, _Moments] = {}
    success: list[list[ndarray]] = [[] for _ in windows]
    for until in sorted({*horizons, *(len(window.action) for window in windows)}):
        kept = [place for place, row in enumerate(going) if len(windows[row].action) >= until]
        if not kept:
            break
        state, going = world.select(state, kept), [going[place] for place in kept]
        actions = np.stack([windows[row].action[done:until] for row in going])
        state, prediction = world.step(state, actions)
        if prediction.success is not None:
            for row, probability in zip(going, prediction.success, strict=True):
                success[row].append(probability)
        if until in horizons:
            seen = [place for place, row in enumerate(going) if len(windows[row].state) > until]
            shown[until] = _Moments(
                rows=[going[place] for place in seen],
                frames={camera: video[seen, -1] for camera, video in prediction.frames.items()},
                state=prediction.proprioception[seen, -1],
            )
        done = until
    return shown, [np.concatenate(parts) if parts else np.zeros(0, np.float32) for parts in success]


def _pool(
    world: ShowableWorld,
    pool: _At,
    horizon: int,
    windows: Sequence[_Window],
    moments: _Moments,
    min_path: float,
    reader: PoseReader | None,
) -> None:
    far = [place for place, row in enumerate(moments.rows) if windows[row].path[horizon] >= min_path]
    pool.windows += len(far)
    pool.left_out += len(moments.rows) - len(far)
    if not far:
        return
    group = [windows[moments.rows[place]] for place in far]
    imagined = {camera: images[far] for camera, images in moments.frames.items()}
    start = {camera: np.stack([w.frames[camera][0] for w in group]) for camera in world.spec.cameras}
    truth = {camera: np.stack([w.frames[camera][horizon] for w in group]) for camera in world.spec.cameras}
    best = {camera: v[:, 0] for camera, v in world.reconstruct({c: v[:, None] for c, v in truth.items()}).items()}
    for camera, sums in pool.cameras.items():
        sums.add(truth=truth[camera], world=imagined[camera], ceiling=best[camera], start=start[camera])
    true_latent = _latents(world, truth)
    pool.latents.append(
        np.stack([np.mean((_latents(world, x) - true_latent) ** 2, axis=(1, 2, 3)) for x in (imagined, start, best)])
    )
    position = np.stack([w.state[horizon, :3] for w in group])
    estimates = {"predicted": moments.state[far, :3], "copy": np.stack([w.state[0, :3] for w in group])}
    if reader is not None:
        estimates |= {"read": reader.read(imagined), "read_real": reader.read(truth)}
    for name, estimate in estimates.items():
        distance = np.linalg.norm(estimate - position[:, : estimate.shape[1]], axis=-1)
        pool.distances.setdefault(name, []).append(distance)


def _latents(world: ShowableWorld, frames: Mapping[str, UInt8[ndarray, "n h w c"]]) -> Float[ndarray, "n c h w"]:
    return world.encode({camera: images[:, None] for camera, images in frames.items()})[:, 0].float().cpu().numpy()


def _result(horizon: int, pool: _At) -> HorizonResult:
    distances = {name: Distances.of(np.concatenate(parts)) for name, parts in pool.distances.items()}
    return HorizonResult(
        horizon=horizon,
        windows=pool.windows,
        left_out=pool.left_out,
        cameras={camera: sums.result() for camera, sums in pool.cameras.items()},
        latent_l2=Beside(*np.concatenate(pool.latents, axis=1).mean(axis=1).tolist()),
        position_error=distances["predicted"],
        position_error_copy=distances["copy"],
        read_error=distances.get("read"),
        read_error_real=distances.get("read_real"),
    )
