"""Which clips there are: the videos and images of all sources, sorted into buckets before anything is decoded."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cosmos_sim.data.clip_buckets import Bucket, Row, choose_size, count_windows, make_buckets, too_slow
from cosmos_sim.data.clip_files import FileRecords
from cosmos_sim.data.clip_source import Item, Source
from cosmos_sim.data.split import held_out_names

_SHOWN = 3


@dataclass(frozen=True)
class ClipConfig:
    """What clips are asked for; see :class:`~cosmos_sim.data.clips.ClipSet`, whose arguments these are.

    Raises :class:`ValueError` for values out of range.
    """

    frames: tuple[int, ...]
    fps: float | None
    sizes: tuple[tuple[int, int], ...]
    captions: bool
    held_out: float
    every: int | None

    def __post_init__(self) -> None:
        if not self.frames or min(self.frames) < 1 or (1 in self.frames and len(set(self.frames)) > 1):
            raise ValueError(f"frames of a clip must be 1 alone, or numbers above 1, got {list(self.frames)}")
        if not self.sizes or any(len(size) != 2 or min(size) < 1 for size in self.sizes):
            raise ValueError(f"sizes must be pairs of a height and a width, at least one, got {list(self.sizes)}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise ValueError(f"fps must be above 0, got {self.fps}")
        if self.every is not None and self.every < 1:
            raise ValueError(f"every must be 1 frame or more, got {self.every}")

    @property
    def stills(self) -> bool:
        """Whether single frames are all that is asked for."""
        return self.frames == (1,)

    def rate(self, item: Item) -> float:
        """Frames a second of the clips of ``item``."""
        return item.fps if item.image or self.fps is None else self.fps


@dataclass(frozen=True, eq=False)
class Plan:
    """All videos and images, and all clips of them."""

    items: Sequence[Item]
    origin: Sequence[tuple[Source, int]]
    """The source of each item, and its index there."""
    buckets: Sequence[Bucket]
    pools: Mapping[tuple[bool, bool], Sequence[int]]
    """``(single frames, held out)`` to the indices of the buckets that hold such clips."""
    left_out: Mapping[str, str]
    """The names of videos without a clip, and why."""


def plan_clips(sources: Sequence[Source], files: FileRecords, config: ClipConfig) -> Plan:
    """Look through ``sources`` and sort what is there into buckets.

    Raises:
        ValueError: for an empty source, captions that are missing, no video where clips of several frames are asked
            for, none that is fast and long enough, or nothing left to train on.
    """
    items: list[Item] = []
    origin: list[tuple[Source, int]] = []
    held: list[bool] = []
    for source in sources:
        found = source.items(files)
        items += found
        origin += [(source, index) for index in range(len(found))]
        held += _held(found, config.held_out)
    if config.captions:
        _check_captions(items)
    rows: dict[tuple[str, bool], list[Row]] = {
        (kind, h): [] for kind in ("video", "still", "image") for h in (False, True)
    }
    left_out: dict[str, str] = {}
    for index, (item, kept) in enumerate(zip(items, held, strict=True)):
        if item.broken is None:
            for kind, row in _rows(index, item, config, left_out):
                rows[kind, kept].append(row)
    images = "image" if rows["image", False] or rows["image", True] else "still"
    buckets: list[Bucket] = []
    pools: dict[tuple[bool, bool], list[int]] = {}
    for single, kind in ((False, "video"), (True, images)):
        for kept in (False, True):
            new = [] if config.stills and not single else make_buckets(rows[kind, kept])
            pools[single, kept] = list(range(len(buckets), len(buckets) + len(new)))
            buckets += new
    if not pools[config.stills, False]:
        raise ValueError(_nothing(items, config, left_out, held_out=bool(pools[config.stills, True])))
    return Plan(items, origin, buckets, pools, left_out)


def _rows(index: int, item: Item, config: ClipConfig, left_out: dict[str, str]) -> list[tuple[str, Row]]:
    """What an item adds to the buckets; why it adds nothing goes to ``left_out``."""
    size = choose_size(item.size, config.sizes)
    if item.image:
        return [("image", Row(size, 1, index, 1, 1))]
    rate = config.rate(item)
    if too_slow(item.fps, rate):
        left_out[item.name] = f"it has {item.fps:g} frames a second, {rate:g} are asked for"
        return []
    for frames in sorted(config.frames, reverse=True):
        step = max(1, round((config.every or frames) * item.fps / rate))
        windows = count_windows(item.length, frames, step, own=item.fps, fps=rate)
        if windows:
            return [("video", Row(size, frames, index, step, windows)), ("still", Row(size, 1, index, step, windows))]
    left_out[item.name] = (
        f"it has {item.length} frames at {item.fps:g} a second, too few for {min(config.frames)} at {rate:g}"
    )
    return []


def _held(items: Sequence[Item], fraction: float) -> list[bool]:
    """Which items of a source are kept from training: by its own word, else by :mod:`cosmos_sim.data.split`."""
    names = list(dict.fromkeys(item.group for item in items if item.held_out is None))
    chosen = {names[k] for k in held_out_names(names, fraction=fraction)} if names else set()
    return [item.group in chosen if item.held_out is None else item.held_out for item in items]


def _check_captions(items: Sequence[Item]) -> None:
    bare = [item.name for item in items if item.broken is None and not item.caption]
    if bare:
        some = ", ".join(bare[:_SHOWN]) + (", ..." if len(bare) > _SHOWN else "")
        raise ValueError(f"{len(bare)} of {len(items)} videos and images have no caption: {some}")


def _nothing(items: Sequence[Item], config: ClipConfig, left_out: Mapping[str, str], *, held_out: bool) -> str:
    """Why there is nothing to train on."""
    broken = [item for item in items if item.broken is not None]
    if broken and len(broken) == len(items):
        return f"all {len(items)} videos and images are broken; {broken[0].name}: {broken[0].broken}"
    if held_out:
        return f"all that there is ({len(items)} videos and images) is held out; nothing is left to train on"
    if left_out:
        some = "; ".join(f"{name}: {why}" for name, why in list(left_out.items())[:_SHOWN])
        return f"none of {len(left_out)} videos is long and fast enough; {some}"
    return f"there are {len(items) - len(broken)} images and no video: clips of {config.frames[0]} frames need videos"
