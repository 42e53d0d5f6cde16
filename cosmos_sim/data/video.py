"""Frames out of a video file, decoded in order: several times as fast as asking for each frame by its time."""

from collections.abc import Generator, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8
from numpy import ndarray

_FAR = 64
"""Frames ahead beyond which seeking is cheaper than decoding what lies between."""


class SequentialVideo:
    """One video file that is read forward, segment after segment; going back or far ahead seeks.

    Raises:
        ValueError: naming the file, if it is missing, is no video, or is broken.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise ValueError(f"{str(path)!r}: the video is missing")
        try:
            self._container = av.open(str(path))
        except av.FFmpegError as error:
            raise ValueError(f"{str(path)!r} is not a readable video: {error.strerror}") from error
        if not self._container.streams.video:
            self._container.close()
            raise ValueError(f"{str(path)!r} holds no video stream")
        self._stream = self._container.streams.video[0]
        self._stream.thread_type = "AUTO"
        self._to_rgb = VideoReformatter()
        self._frames = self._decode()
        self._last = -1.0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._frames.close()
        self._container.close()

    def read(self, start: float, count: int, *, fps: float) -> UInt8[ndarray, "t h w c"]:
        """The ``count`` frames from ``start`` seconds on, which must follow each other by ``1 / fps`` seconds.

        Raises:
            ValueError: naming the file and the frame, if the video ends before, skips a frame or cannot be decoded.
        """
        if not self._last < start - 0.5 / fps or start - self._last > _FAR / fps:
            self._seek(start)
        images: list[ndarray] = []
        while len(images) < count:
            frame = next(self._frames, None)
            due = start + len(images) / fps
            if frame is None:
                raise ValueError(
                    f"{str(self.path)!r} ends after {len(images)} of the {count} frames from {start:.3f} s on"
                )
            if frame.time is None or frame.is_corrupt:
                raise ValueError(f"{str(self.path)!r}: the frame at {due:.3f} s is corrupt")
            self._last = frame.time
            if frame.time < due - 0.5 / fps and not images:
                continue
            if abs(frame.time - due) > 0.5 / fps:
                raise ValueError(
                    f"{str(self.path)!r}: frame {len(images)} of {count} from {start:.3f} s on should be at "
                    f"{due:.3f} s, the video has one at {frame.time:.3f} s"
                )
            images.append(self._to_rgb.reformat(frame, format="rgb24").to_ndarray())
        return np.stack(images)

    def __iter__(self) -> Iterator[UInt8[ndarray, "h w c"]]:
        """All frames from here to the end.

        Raises:
            ValueError: naming the file, if it breaks off or a frame cannot be decoded.
        """
        for frame in self._frames:
            if frame.is_corrupt:
                raise ValueError(f"{str(self.path)!r}: the frame after {max(self._last, 0):.3f} s is corrupt")
            self._last = self._last if frame.time is None else frame.time
            yield self._to_rgb.reformat(frame, format="rgb24").to_ndarray()

    def _seek(self, start: float) -> None:
        base = self._stream.time_base
        assert base is not None
        self._frames.close()
        try:
            self._container.seek(max(0, round(start / base)), stream=self._stream, backward=True)
        except av.FFmpegError as error:
            raise ValueError(f"{str(self.path)!r} has no frame at {start:.3f} s: {error.strerror}") from error
        self._frames = self._decode()

    def _decode(self) -> Generator[av.VideoFrame]:
        try:
            yield from self._container.decode(self._stream)
        except av.FFmpegError as error:
            raise ValueError(
                f"{str(self.path)!r} is broken after {max(self._last, 0):.3f} s: {error.strerror}"
            ) from error
