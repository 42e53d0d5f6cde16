"""Start frames: the real observations that imagined episodes begin from, as one validated safetensors file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64, UInt8
from numpy import ndarray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from cosmos_sim.data.files import new_file
from cosmos_sim.data.images import from_png, to_png

_FORMAT = "cosmos-sim starts 2"
_CAMERA, _SIZES = "png.", "sizes."
"""Of a camera, all its PNG files one after the other, and how many bytes each has."""


@dataclass(frozen=True, eq=False)
class Starts:
    """``n`` observations to begin from, each with the seed it was made by.

    ``frames[camera]`` is ``uint8`` RGB, ``state`` the proprioception in the dataset's own units, ``seeds`` the seed of
    the simulator's reset (or the episode's index, for starts out of a dataset) and ``tasks`` what is to be done from
    each, in words.

    Raises :class:`ValueError` for wrong types or shapes, values that are not finite, or no starts at all.
    """

    frames: Mapping[str, UInt8[ndarray, "n h w c"]]
    state: Float32[ndarray, "n k"]
    seeds: Int64[ndarray, "n"]
    tasks: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.frames:
            raise ValueError("starts need at least one camera, got none")
        _check("state", self.state, np.float32, 2)
        _check("seeds", self.seeds, np.int64, 1)
        n = len(self.seeds)
        if n == 0:
            raise ValueError("starts need at least one start, got 0")
        if not isinstance(self.tasks, tuple) or not all(isinstance(task, str) for task in self.tasks):
            raise ValueError(f"tasks must be a tuple of texts, got {self.tasks!r}")
        for name, count in {"state": len(self.state), "tasks": len(self.tasks)}.items():
            if count != n:
                raise ValueError(f"{name} must be of {n} starts, as seeds are, got {count}")
        if not np.isfinite(self.state).all():
            raise ValueError(f"state must be finite, got {self.state[~np.isfinite(self.state).all(axis=1)][0]}")
        for camera, frames in self.frames.items():
            _check(f"frames of camera {camera!r}", frames, np.uint8, 4)
            if len(frames) != n or frames.shape[-1] != 3:
                raise ValueError(f"frames of camera {camera!r} must be {n} h w 3, got shape {frames.shape}")

    def __len__(self) -> int:
        return len(self.seeds)

    def select(self, indices: Sequence[int] | ndarray) -> "Starts":
        """The starts at ``indices``, in that order, repeats allowed."""
        chosen = np.asarray(indices, dtype=np.int64)
        if chosen.ndim != 1 or (chosen < 0).any() or (chosen >= len(self)).any():
            raise ValueError(f"indices must lie in 0..{len(self) - 1}, got {np.asarray(indices).tolist()}")
        frames = {camera: images[chosen] for camera, images in self.frames.items()}
        return Starts(frames, self.state[chosen], self.seeds[chosen], tuple(self.tasks[i] for i in chosen))

    def index(self, seed: int) -> int:
        """Where the start made from ``seed`` is; :class:`ValueError`, naming some that there are, if it is not here."""
        found = np.flatnonzero(self.seeds == seed)
        if not len(found):
            some = ", ".join(str(s) for s in self.seeds[:8]) + (", ..." if len(self) > 8 else "")
            raise ValueError(f"no start was made from seed {seed}; these {len(self)} are there: {some}")
        return int(found[0])

    @staticmethod
    def concatenate(parts: Sequence["Starts"]) -> "Starts":
        """All starts of ``parts``, which must agree in cameras, image sizes and state dimension."""
        if not parts:
            raise ValueError("nothing to concatenate: no starts given")
        first = parts[0]
        for part in parts[1:]:
            if part._shapes() != first._shapes():
                raise ValueError(f"starts of different shapes: {first._shapes()} and {part._shapes()}")
        return Starts(
            frames={camera: np.concatenate([part.frames[camera] for part in parts]) for camera in first.frames},
            state=np.concatenate([part.state for part in parts]),
            seeds=np.concatenate([part.seeds for part in parts]),
            tasks=tuple(task for part in parts for task in part.tasks),
        )

    def save(self, path: str | Path) -> None:
        """Write one safetensors file, beside ``path`` first and then renamed into place."""
        path = Path(path)
        tensors = {"state": np.ascontiguousarray(self.state), "seeds": np.ascontiguousarray(self.seeds)}
        for camera, images in self.frames.items():
            files = [np.frombuffer(to_png(image), np.uint8) for image in images]
            tensors[_CAMERA + camera] = np.concatenate(files)
            tensors[_SIZES + camera] = np.array([len(file) for file in files])
        # Safetensors orders tensors by itself; the cameras' order is kept in the metadata.
        metadata = {"format": _FORMAT, "tasks": json.dumps(self.tasks), "cameras": json.dumps(list(self.frames))}
        with new_file(path) as partial:
            save_file(tensors, partial, metadata=metadata)

    @staticmethod
    def load(path: str | Path) -> "Starts":
        """Read a file that :meth:`save` wrote.

        Raises :class:`FileNotFoundError` if there is none and :class:`ValueError`, naming the file, for anything else
        that is not a whole file of starts (a truncated one, a pickle, other tensors).
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"no file of starts at {str(path)!r}")
        try:
            with safe_open(path, framework="numpy") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != _FORMAT:
                    raise ValueError(f"its format is {metadata.get('format')!r}, expected {_FORMAT!r}")
                cameras = json.loads(metadata["cameras"])
                seeds = file.get_tensor("seeds")
                # Files from before starts had tasks of their own hold one for all.
                tasks = json.loads(metadata["tasks"]) if "tasks" in metadata else [metadata["task"]] * len(seeds)
                return Starts(
                    frames={
                        camera: _images(file.get_tensor(_CAMERA + camera), file.get_tensor(_SIZES + camera))
                        for camera in cameras
                    },
                    state=file.get_tensor("state"),
                    seeds=seeds,
                    tasks=tuple(tasks),
                )
        except (SafetensorError, KeyError, ValueError) as error:
            raise ValueError(f"{str(path)!r} is not a file of starts: {error}") from error

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {camera: images.shape[1:] for camera, images in self.frames.items()} | {"state": self.state.shape[1:]}


def _images(files: UInt8[ndarray, "bytes"], sizes: Int64[ndarray, "n"]) -> UInt8[ndarray, "n h w c"]:
    return np.stack([from_png(file.tobytes()) for file in np.split(files, np.cumsum(sizes)[:-1])])


def _check(name: str, array: ndarray, dtype: type, ndim: int) -> None:
    if array.dtype != dtype or array.ndim != ndim:
        raise ValueError(f"{name} must be {np.dtype(dtype)} with {ndim} axes, got {array.dtype} of shape {array.shape}")
