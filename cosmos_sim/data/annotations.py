"""What is known of each pixel of a dataset's images: how far away it is and what it belongs to.

Kept beside the videos of a LeRobot dataset, one compressed file an episode: ``meta/annotations/episode_000003.npz``
holds ``depth.<camera>`` and ``segments.<camera>``, and ``meta/segments.json`` names the segments of all episodes.
"""

import json
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, UInt8, UInt16
from numpy import ndarray

from cosmos_sim.data.files import new_file

FARTHEST = np.iinfo(np.uint16).max
"""The largest depth that is kept, in millimetres; what is farther is written as this."""

_DEPTH, _SEGMENTS = "depth.", "segments."


@dataclass(frozen=True, eq=False)
class Annotations:
    """Depth and segments of the ``t`` frames of an episode, for each camera at its image's size.

    ``depth[camera]`` is the distance along the optical axis in millimetres, ``segments[camera]`` the index in names.

    Raises :class:`ValueError` for wrong types or shapes, cameras of unequal length, or a segment without a name.
    """

    depth: Mapping[str, UInt16[ndarray, "t h w"]]
    segments: Mapping[str, UInt8[ndarray, "t h w"]]
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.depth or set(self.depth) != set(self.segments):
            raise ValueError(
                f"depth and segments must be of the same cameras, got {sorted(self.depth)} and {sorted(self.segments)}"
            )
        if not self.names or len(set(self.names)) < len(self.names) or len(self.names) > 256:
            raise ValueError(f"segments need 1 to 256 different names, got {self.names}")
        for camera, depth in self.depth.items():
            segments = self.segments[camera]
            if depth.dtype != np.uint16 or segments.dtype != np.uint8:
                raise ValueError(
                    f"depth must be uint16 and segments uint8, got {depth.dtype} and {segments.dtype} of {camera!r}"
                )
            if depth.ndim != 3 or depth.shape != segments.shape or len(depth) != len(self):
                raise ValueError(
                    f"depth and segments of camera {camera!r} must both be t h w with t = {len(self)}, "
                    f"got {depth.shape} and {segments.shape}"
                )
            if segments.size and (largest := int(segments.max())) >= len(self.names):
                raise ValueError(f"camera {camera!r} shows segment {largest}, but only {len(self.names)} have names")

    def __len__(self) -> int:
        return len(next(iter(self.depth.values())))

    @property
    def cameras(self) -> tuple[str, ...]:
        """The cameras, in the order in which they were written."""
        return tuple(self.depth)

    def metres(self, camera: str) -> Float32[ndarray, "t h w"]:
        """Depth of ``camera`` in metres."""
        return self.depth[camera].astype(np.float32) / 1000

    def mask(self, camera: str, name: str) -> Bool[ndarray, "t h w"]:
        """Which pixels of ``camera`` belong to the segment ``name``; :class:`ValueError` if there is no such name."""
        if name not in self.names:
            raise ValueError(f"there is no segment {name!r}; there are {', '.join(self.names)}")
        return self.segments[camera] == self.names.index(name)

    def select(self, frames: Sequence[int] | ndarray | slice) -> "Annotations":
        """The annotations of ``frames``: their indices, or a slice."""
        index = frames if isinstance(frames, slice) else np.asarray(frames, dtype=np.int64)
        return Annotations(
            depth={camera: depth[index] for camera, depth in self.depth.items()},
            segments={camera: segments[index] for camera, segments in self.segments.items()},
            names=self.names,
        )


def millimetres(metres: ndarray) -> UInt16[ndarray, "..."]:
    """``metres`` as :class:`Annotations` keep depth: rounded, and cut at :data:`FARTHEST`."""
    return np.clip(np.rint(np.asarray(metres) * 1000), 0, FARTHEST).astype(np.uint16)


def read_annotations(dataset: Path, episode: int) -> Annotations | None:
    """The annotations of ``episode`` in the folder ``dataset``, or ``None`` if it has none.

    Raises:
        ValueError: naming the file that cannot be read or does not hold annotations.
    """
    file = _file(dataset, episode)
    if not file.is_file():
        return None
    names = _names(dataset)
    if names is None:
        raise ValueError(f"{str(file)!r} is there, but {str(_names_file(dataset))!r}, which names its segments, is not")
    try:
        with np.load(file, allow_pickle=False) as arrays:
            depth = {key.removeprefix(_DEPTH): arrays[key] for key in arrays if key.startswith(_DEPTH)}
            segments = {key.removeprefix(_SEGMENTS): arrays[key] for key in arrays if key.startswith(_SEGMENTS)}
        return Annotations(depth, segments, names)
    except (ValueError, OSError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(f"{str(file)!r} does not hold annotations: {error}") from error


def write_annotations(dataset: Path, episode: int, annotations: Annotations) -> None:
    """Keep ``annotations`` of ``episode`` in the folder ``dataset``; the same values give the same bytes.

    Raises:
        ValueError: if the dataset's episodes name their segments otherwise.
    """
    names = _names(dataset)
    if names is None:
        with new_file(_names_file(dataset)) as partial:
            partial.write_text(json.dumps({"names": list(annotations.names)}, indent=1) + "\n")
    elif names != annotations.names:
        raise ValueError(f"segments are named {annotations.names}, but {str(dataset)!r} names them {names}")
    arrays: dict[str, ndarray] = {f"{_DEPTH}{camera}": depth for camera, depth in annotations.depth.items()}
    arrays |= {f"{_SEGMENTS}{camera}": segments for camera, segments in annotations.segments.items()}
    with new_file(_file(dataset, episode)) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _file(dataset: Path, episode: int) -> Path:
    return dataset / "meta" / "annotations" / f"episode_{episode:06d}.npz"


def _names_file(dataset: Path) -> Path:
    return dataset / "meta" / "segments.json"


def _names(dataset: Path) -> tuple[str, ...] | None:
    file = _names_file(dataset)
    if not file.is_file():
        return None
    try:
        return tuple(str(name) for name in json.loads(file.read_text())["names"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{str(file)!r} must hold {{"names": [...]}}: {error}') from error
