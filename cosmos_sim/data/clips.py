"""Clips to train a video model on: out of any sources, at one frame rate, in buckets of one size and length."""

import json
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.annotations import Annotations
from cosmos_sim.data.clip_annotations import fit_annotations, fit_widths
from cosmos_sim.data.clip_buckets import Bucket, tolerance
from cosmos_sim.data.clip_files import FileRecords
from cosmos_sim.data.clip_plan import ClipConfig, Plan, plan_clips
from cosmos_sim.data.clip_skips import BrokenClip, Skips
from cosmos_sim.data.clip_source import Source
from cosmos_sim.data.images import fit
from cosmos_sim.data.sources import open_source
from cosmos_sim.data.statistics import Statistics, statistics

__all__ = ["BrokenClip", "Clip", "ClipRef", "ClipSet", "Source", "open_source"]

_FORMAT = 1
"""Part of every key: latents of clips that were cut or resized in another way do not count."""


class Share(Protocol):
    """Which samples of a batch are this process's: ``training.layout.Part``."""

    def of(self, items: Any) -> Any: ...


@dataclass(frozen=True)
class ClipRef:
    """Where a sample is; cheap and picklable."""

    key: str
    """A hash of what its frames show: the files' bytes, the window, the rate, the size and the cameras."""
    item: int
    """The index of its video or image in the set."""
    start: int
    """The frame of the video at which it begins, counted at the video's own rate."""
    size: tuple[int, int]
    """Height and width."""
    frames: int
    bucket: int
    window: int
    """The window that was drawn, by its bucket and its index there: this one, or one that it stands in for."""


@dataclass(frozen=True, eq=False)
class Clip:
    """One sample, decoded."""

    frames: UInt8[ndarray, "t h w c"]
    caption: str
    action: Float32[ndarray, "t-1 a"] | None
    """What was done between each frame and the next; ``None`` for an image, or where actions were not asked for."""
    annotations: Annotations | None
    """What its pixels are, of each camera what is seen of it, from left to right; ``None`` where not asked for."""
    fps: float
    """0 for an image file."""
    name: str
    ref: ClipRef


class ClipSet:
    """The clips of some sources.

    Windows: a window of ``frames`` frames at ``fps`` begins at every ``every``-th frame of a video, and its frames are
    those nearest in time. No frame is ever repeated: a video slower than ``fps`` is left out, as is one too short.
    With actions the sources' own rate must be a multiple of ``fps``.

    Buckets: a video goes to the size of ``sizes`` with the nearest aspect ratio (of several the largest that needs no
    enlarging), resized to cover it and cropped, and to the greatest number of ``frames`` that it holds. Image files, or
    where there are none the first frames of all windows, make up buckets of one frame.

    Drawing: with replacement. A bucket is drawn in proportion to its windows, and then each sample of the batch from
    it, all windows alike. There is no epoch in the sense that each window comes once.

    Broken clips are skipped, named and counted in :attr:`skipped`. Each has one clip of its bucket that stands in for
    it (of the next bucket, where all of one are broken), so that what a step trains on does not depend on when the
    fault was met. What is found without decoding (missing files, actions that are not finite) is replaced by
    :meth:`draw` already.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        *,
        frames: int | Sequence[int],
        fps: float | None,
        sizes: Sequence[tuple[int, int]],
        cache: str | Path,
        actions: bool = False,
        captions: bool = False,
        annotations: bool = False,
        held_out: float = 0.1,
        every: int | None = None,
    ) -> None:
        """Look through the sources; nothing is decoded.

        Args:
            sources: see :func:`open_source`.
            frames: frames of a clip, one number or several; 1 alone for images and single frames of videos.
            fps: frames a second; ``None`` for each video's own.
            sizes: the heights and widths that clips are brought to.
            cache: the folder of what is remembered: ``files.jsonl`` (hashes and headers of files) and
                ``skipped.jsonl`` (broken clips). Several sets and processes may share it.
            actions: whether clips come with actions, which every source must then have.
            captions: whether every clip must have a caption; without, those that have none come with an empty one.
            annotations: whether clips come with annotations, and those that have none count as broken.
            held_out: the share of videos (episodes, with all their cameras) kept from training, chosen as in
                :mod:`cosmos_sim.data.split`; a source that is split already keeps its own split.
            every: frames, at ``fps``, from the beginning of a window to that of the next; by default the windows of a
                video touch, and no frame is in two of them.

        Raises:
            ValueError: for an argument out of range, a source that is empty, captions or actions that are missing, no
                video where ``frames`` are to be had, none that is fast and long enough, or nothing left to train on.
        """
        self._config = ClipConfig(
            frames=(frames,) if isinstance(frames, int) else tuple(frames),
            fps=fps,
            sizes=tuple((height, width) for height, width in sizes),
            captions=captions,
            held_out=held_out,
            every=every,
        )
        if not sources:
            raise ValueError("a set of clips needs a source, got none")
        self._annotated = annotations
        self._files = FileRecords(Path(cache) / "files.jsonl")
        self._skips = Skips(Path(cache) / "skipped.jsonl")
        self._plan = plan_clips(sources, self._files, self._config)
        for item in self._plan.items:
            if item.broken is not None:
                self._skips.add(BrokenClip(item.name, item.broken))
        if self.left_out:
            name, why = next(iter(self.left_out.items()))
            warnings.warn(f"{len(self.left_out)} videos are left out, the first of them {name}: {why}", stacklevel=2)
        self.action_dim = _action_dim(self._plan, self._config) if actions else None
        """Numbers in an action; ``None`` for a set without actions."""

    @property
    def left_out(self) -> Mapping[str, str]:
        """The videos that are too slow or too short for a clip, and why."""
        return self._plan.left_out

    def __len__(self) -> int:
        """The clips to train on, of videos (of images, for a set of single frames)."""
        return sum(len(self._plan.buckets[k]) for k in self._plan.pools[self._config.stills, False])

    @property
    def skipped(self) -> Mapping[str, str]:
        """The broken clips met so far, by name, and what is wrong with each."""
        return self._skips.reasons

    def draw(self, count: int, generator: torch.Generator, *, images: bool, part: Share) -> list[ClipRef]:
        """``part`` of a batch of ``count`` clips of one bucket: a function of the generator's state alone.

        All is drawn before the part is taken, so that however many processes share a batch, it is the same.

        Args:
            generator: that of the step, on the CPU.
            images: draw from the buckets of single frames.

        Raises:
            ValueError: there is nothing of the kind to train on, ``part`` does not divide ``count``, or all clips of
                the kind are broken.
        """
        pool = self._plan.pools[images, False]
        if not pool:
            kind = "single frames" if images else f"videos: it was made with frames={list(self._config.frames)}"
            raise ValueError(f"this set has no {kind}")
        ends = np.cumsum([len(self._plan.buckets[k]) for k in pool])
        place = int(torch.randint(int(ends[-1]), (), generator=generator))
        bucket = pool[int(np.searchsorted(ends, place, side="right"))]
        windows = torch.randint(len(self._plan.buckets[bucket]), (count,), generator=generator).tolist()
        return [self._usable(bucket, window) for window in part.of(windows)]

    def held_out(self, count: int, *, images: bool = False) -> list[ClipRef]:
        """Up to ``count`` clips kept from training, spread evenly over the greatest bucket of them: always the same.

        Fewer where there are no more, and none where nothing is held out.
        """
        pool = self._plan.pools[images, True]
        if not pool:
            return []
        bucket = max(pool, key=lambda k: len(self._plan.buckets[k]))
        total = len(self._plan.buckets[bucket])
        count = min(count, total)
        return [self._usable(bucket, k * total // count) for k in range(count)]

    def load(self, ref: ClipRef) -> Clip:
        """Decode a clip.

        Raises:
            BrokenClip: naming it, if it cannot be decoded, or has not the frames or the size that it should have.
        """
        item, (source, index) = self._plan.items[ref.item], self._plan.origin[ref.item]
        times, within = [0.0] * ref.frames, 0.0
        if not item.image:
            rate = self._config.rate(item)
            times = [ref.start / item.fps + k / rate for k in range(ref.frames)]
            within = tolerance(item.fps, rate)
        try:
            known = source.annotations(index, times) if self._annotated else None
            frames = source.read(index, times, within=within)
        except (ValueError, OSError) as error:
            raise BrokenClip(self.name(ref), str(error)) from error
        if frames.shape[1:3] != item.size:
            raise BrokenClip(self.name(ref), f"its frames are {frames.shape[1:3]} pixels, not {item.size}")
        return Clip(
            fit(frames, ref.size),
            item.caption,
            self.action(ref),
            None if known is None else fit_annotations(known, ref.size),
            self._config.rate(item),
            self.name(ref),
            ref,
        )

    def load_or_replace(self, ref: ClipRef) -> Clip:
        """Decode a clip, or the one that stands in for it if it is broken (see its ``ref``); the broken one is noted.

        Raises:
            ValueError: all clips of its kind are broken.
        """
        while True:
            try:
                return self.load(ref)
            except BrokenClip as broken:
                self._skips.add(broken)
                ref = self._usable(ref.bucket, ref.window)

    def name(self, ref: ClipRef) -> str:
        """What a message calls a clip, e.g. ``"folder/file.mp4@12.000s"``."""
        return self._name(ref.item, ref.start)

    def views(self, ref: ClipRef) -> tuple[int, ...]:
        """How wide each of the cameras is that stand side by side in a clip, from left to right."""
        item = self._plan.items[ref.item]
        return fit_widths(item.views or (item.size[1],), item.size[0], ref.size)

    def caption(self, ref: ClipRef) -> str:
        """The caption of a clip, known without decoding it."""
        return self._plan.items[ref.item].caption

    def captions(self) -> list[str]:
        """All different captions, in alphabetical order: what to encode ahead."""
        return sorted({item.caption for item in self._plan.items if item.broken is None})

    def action(self, ref: ClipRef) -> Float32[ndarray, "t-1 a"] | None:
        """The actions of a clip, known without decoding it; ``None`` for a single frame or a set without actions.

        Raises:
            BrokenClip: they are not all there, or not finite. Those of clips that were drawn are.
        """
        return self._action(ref.item, ref.start, ref.frames)

    def action_statistics(self) -> Statistics:
        """The figures of all actions to train on, every frame of a video as often as every other.

        Raises:
            ValueError: the set was made without actions, or none of them is finite.
        """
        if self.action_dim is None:
            raise ValueError("this set was made without actions")
        return statistics(self._training_actions())

    def _training_actions(self) -> Iterator[Float32[ndarray, "t a"]]:
        for bucket in self._plan.pools[False, False]:
            for k in self._plan.buckets[bucket].items.tolist():
                item, (source, index) = self._plan.items[k], self._plan.origin[k]
                stride = source.stride(index, self._config.rate(item))
                action = source.action(index, 0, (item.length - 1) // stride, stride)
                yield action[np.isfinite(action).all(axis=1)]

    def _action(self, item: int, start: int, frames: int) -> Float32[ndarray, "t-1 a"] | None:
        if self.action_dim is None or frames == 1:
            return None
        source, index = self._plan.origin[item]
        stride = source.stride(index, self._config.rate(self._plan.items[item]))
        try:
            action = source.action(index, start, frames - 1, stride)
        except ValueError as error:
            raise BrokenClip(self._name(item, start), str(error)) from error
        finite = np.isfinite(action).all(axis=1)
        if not finite.all():
            k = int(np.flatnonzero(~finite)[0])
            raise BrokenClip(self._name(item, start), f"action {k} must be finite, it is {action[k].tolist()}")
        return action

    def _name(self, item: int, start: int) -> str:
        described = self._plan.items[item]
        return described.name if described.image else f"{described.name}@{start / described.fps:.3f}s"

    def _usable(self, bucket: int, window: int) -> ClipRef:
        """The first clip of :meth:`Bucket.order` of which nothing bad is known, and nothing bad seen from outside.

        Where all of a bucket are broken, so are all that a batch has drawn from it: the next bucket stands in for it.
        """
        pool = next(pool for pool in self._plan.pools.values() if bucket in pool)
        place = pool.index(bucket)
        for k in (*pool[place:], *pool[:place]):
            windows = self._plan.buckets[k]
            for candidate in windows.order(window % len(windows)):
                item, start = windows.window(candidate)
                if self._plan.items[item].name in self._skips or self._name(item, start) in self._skips:
                    continue
                try:
                    return self._ref(windows, item, start, drawn=(bucket, window))
                except BrokenClip as broken:
                    self._skips.add(broken)
        name, why = list(self.skipped.items())[-1]
        count = sum(len(self._plan.buckets[k]) for k in pool)
        raise ValueError(f"all {count} clips are broken, the last of them {name}: {why}")

    def _ref(self, bucket: Bucket, index: int, start: int, *, drawn: tuple[int, int]) -> ClipRef:
        item, size, frames = self._plan.items[index], bucket.size, bucket.frames
        try:
            digests = [self._files.digest(file) for file in item.files]
        except OSError as error:
            raise BrokenClip(item.name, f"a file cannot be read: {error}") from error
        self._action(index, start, frames)
        shown = [_FORMAT, digests, item.place, start, item.fps, self._config.rate(item), frames, size]
        key = blake2b(json.dumps(shown).encode(), digest_size=20).hexdigest()
        return ClipRef(key, index, start, size, frames, *drawn)


def _action_dim(plan: Plan, config: ClipConfig) -> int:
    """The width of all actions; :class:`ValueError` where they cannot be had, or are of several widths."""
    widths: dict[int, str] = {}
    for item, (source, index) in zip(plan.items, plan.origin, strict=True):
        if source.action_dim is None:
            raise ValueError(f"{source.name!r} has no actions")
        if item.broken is None and item.name not in plan.left_out and not item.image:
            source.stride(index, config.rate(item))
            widths.setdefault(source.action_dim, source.name)
    if len(widths) != 1:
        raise ValueError(f"actions must be of one dimension, these sources have {widths}")
    return next(iter(widths))
