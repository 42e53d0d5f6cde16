"""Who tells how far away each pixel of a video is, and what it belongs to: the simulator's record, or a network."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.augmentation.controls import meant
from cosmos_sim.data.annotations import Annotations, read_annotations
from cosmos_sim.data.segments import BACKGROUND, Segments


class Annotator(Protocol):
    """Reads one camera's video; what shows several views side by side is split before."""

    @property
    def names(self) -> tuple[str, ...]:
        """The segments that it can find, background included; empty if it looks for any phrase that it is given."""

    def depth(self, frames: UInt8[ndarray, "t h w 3"]) -> Float32[ndarray, "t h w"]:
        """Distances, above 0 and larger where farther: metres where known, else in a unit of the clip's own."""

    def segments(self, frames: UInt8[ndarray, "t h w 3"], phrases: Sequence[str]) -> Segments:
        """Where each of ``phrases`` is: id 0 is the background, all the rest; ``phrases[k]`` has id ``k + 1``.

        Raises:
            ValueError: a phrase that is none of ``names``, if there are any.
        """


class Recorded:
    """The truth that was recorded with an episode of a simulator, for one of its cameras."""

    def __init__(self, annotations: Annotations, camera: str) -> None:
        if camera not in annotations.cameras:
            raise ValueError(f"no annotations of camera {camera!r}: {meant(camera, annotations.cameras)}")
        self._annotations, self._camera = annotations, camera

    @classmethod
    def of(cls, dataset: Path, episode: int, camera: str) -> "Recorded":
        """What the folder ``dataset`` keeps of ``episode``.

        Raises:
            ValueError: it keeps nothing, nothing of that camera, or a file is damaged.
        """
        annotations = read_annotations(dataset, episode)
        if annotations is None:
            raise ValueError(
                f"{str(dataset)!r} has no annotations of episode {episode}: "
                "collect it with --annotate, or choose another annotator"
            )
        return cls(annotations, camera)

    @property
    def names(self) -> tuple[str, ...]:
        return self._annotations.names

    def depth(self, frames: UInt8[ndarray, "t h w 3"]) -> Float32[ndarray, "t h w"]:
        """Metres along the optical axis.

        Raises:
            ValueError: the frames are not as many or not as large as those that were recorded.
        """
        self._check(frames)
        return self._annotations.metres(self._camera)

    def segments(self, frames: UInt8[ndarray, "t h w 3"], phrases: Sequence[str]) -> Segments:
        """The true segments of the names ``phrases``.

        Raises:
            ValueError: a name that is not among the recorded ones, or frames of another number or size.
        """
        self._check(frames)
        return Segments(self._annotations.segments[self._camera], self.names).choose(phrases)

    def _check(self, frames: ndarray) -> None:
        expected = self._annotations.depth[self._camera].shape
        if frames.shape[:3] != expected:
            raise ValueError(
                f"annotations of camera {self._camera!r} are of t h w {expected}, the frames are {frames.shape}"
            )


def known_phrases(annotator: Annotator) -> tuple[str, ...]:
    """Every segment that the annotator knows by itself, the background apart."""
    return tuple(name for name in annotator.names if name != BACKGROUND)
