"""What a source of clips is: a list of videos and images that are described before any is decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.annotations import Annotations
from cosmos_sim.data.clip_files import FileRecords


@dataclass(frozen=True)
class Item:
    """One video or image of a source, as far as it is known without decoding it."""

    name: str
    """What a message calls it: ``"folder/file.mp4"``, ``"dataset: episode 3, camera top"``."""
    group: str
    """What is trained on or held out together, such as the cameras of an episode."""
    size: tuple[int, int] = (0, 0)
    """Height and width in pixels."""
    fps: float = 0.0
    """Frames a second; 0 for an image."""
    length: int = 1
    """Frames."""
    caption: str = ""
    files: tuple[Path, ...] = ()
    """The files that its frames come from."""
    place: str = ""
    """Where in the files they are: with the files' bytes this says what the frames show."""
    views: tuple[int, ...] = ()
    """The widths of the cameras that stand side by side in it, from left to right; none where it is of one."""
    held_out: bool | None = None
    """Whether the source itself keeps it from training; ``None`` where it does not say."""
    broken: str | None = None
    """Why it cannot be used, if that is known already."""

    @property
    def image(self) -> bool:
        return self.fps == 0


class Source(Protocol):
    """Where clips come from. All but :meth:`items`, which is called once and first, is called from several threads."""

    name: str

    @property
    def action_dim(self) -> int | None:
        """The numbers of an action; ``None`` for a source without actions."""

    def items(self, files: FileRecords) -> Sequence[Item]:
        """Everything there is, in an order that only a change of the data changes; broken things say so.

        Raises:
            ValueError: naming it, for a source that is empty or not understood.
        """

    def stride(self, item: int, fps: float) -> int:
        """Steps of the source from frame to frame at ``fps`` where actions are wanted.

        Raises:
            ValueError: naming source and rate, if actions at that rate cannot be had honestly.
        """

    def action(self, item: int, start: int, count: int, stride: int) -> Float32[ndarray, "count a"]:
        """The actions between the ``count + 1`` frames ``start, start + stride, ...`` of an item.

        Raises:
            ValueError: saying why, if they are not all there, or not finite.
        """

    def read(self, item: int, times: Sequence[float], *, within: float) -> UInt8[ndarray, "t h w c"]:
        """The frames nearest to ``times``, in seconds from the item's first frame; an image, whatever the time.

        Raises:
            ValueError: naming the file, if it is missing or broken, or has no frame ``within`` so many seconds.
        """

    def annotations(self, item: int, times: Sequence[float]) -> Annotations:
        """What is known of the pixels of the frames nearest to ``times``: of each camera, from left to right.

        Raises:
            ValueError: saying why there is nothing, or naming the file that is broken.
        """


def whole_stride(name: str, own: float, fps: float) -> int:
    """Steps of a source of ``own`` a second between frames at ``fps``.

    Raises:
        ValueError: naming the source, if they are no whole number: actions do not fall between such frames.
    """
    stride = round(own / fps)
    if stride < 1 or abs(own / fps - stride) > 1e-3 * stride:
        raise ValueError(f"{name!r} has {own:g} actions a second, which {fps:g} frames a second do not divide")
    return stride
