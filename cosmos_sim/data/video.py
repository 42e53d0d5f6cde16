"""Frames out of a video file, decoded in order: several times as fast as asking for each frame by its time."""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from jaxtyping import UInt8
from numpy import ndarray

VIDEOS = (".mp4", ".mov", ".m4v", ".mkv", ".webm", ".avi")
"""The endings of video files."""

_FAR = 64
"""Frames ahead beyond which seeking is cheaper than decoding what lies between."""

_SAME = 1e-3
"""Seconds by which time stamps are rounded in the coarsest containers (Matroska's milliseconds)."""


@dataclass(frozen=True)
class VideoHeader:
    """How large, fast and long a video is, known without decoding any of it."""

    size: tuple[int, int]
    """Height and width in pixels."""
    fps: float
    """Frames a second on average."""
    frames: int
    start: float
    """The time stamp of its first frame, in seconds."""


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
        # One thread: with several, FFmpeg lets a damaged H.264 frame pass as sound 2 times in 100, in no fixed order.
        self._stream.thread_type = "NONE"
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

    def header(self) -> VideoHeader:
        """What the file says of itself; one that does not give the number of frames (Matroska) is read to the end.

        Raises:
            ValueError: naming the file, if it does not say how fast its frames follow.
        """
        stream = self._stream
        rate, base = stream.average_rate, stream.time_base
        assert base is not None
        if rate and stream.frames:
            start = 0.0 if stream.start_time is None else float(stream.start_time * base)
            return VideoHeader((stream.height, stream.width), float(rate), stream.frames, start)
        try:
            stamps = [packet.pts for packet in self._container.demux(stream) if packet.pts is not None]
        except av.FFmpegError as error:
            raise ValueError(f"{str(self.path)!r} breaks off: {error.strerror}") from error
        seconds = float((max(stamps, default=0) - min(stamps, default=0)) * base)
        if not seconds > 0:
            raise ValueError(f"{str(self.path)!r} does not say how fast its frames follow, and has {len(stamps)}")
        fps = (len(stamps) - 1) / seconds
        return VideoHeader((stream.height, stream.width), fps, len(stamps), float(min(stamps) * base))

    def nearest(self, times: Sequence[float], *, within: float) -> UInt8[ndarray, "t h w c"]:
        """The frames nearest to ``times``: ascending seconds of the file's own clock.

        Only the frames from the key frame before the first time to the last time are decoded.

        Raises:
            ValueError: naming the file and the time, if no frame is ``within`` so many seconds, the video ends before,
                or it cannot be decoded.
        """
        self._seek(max(0.0, times[0] - within))
        images: list[ndarray] = []
        before: av.VideoFrame | None = None
        for frame in self._frames:
            if frame.time is None or frame.is_corrupt:
                raise ValueError(f"{str(self.path)!r}: the frame after {max(self._last, 0):.3f} s is corrupt")
            self._last = frame.time
            while len(images) < len(times) and frame.time > times[len(images)] - _SAME:
                due = times[len(images)]
                assert before is None or before.time is not None
                near = frame if before is None or frame.time - due <= due - before.time else before
                images.append(self._near(near, due, within))
            if len(images) == len(times):
                return np.stack(images)
            before = frame
        for due in times[len(images) :]:
            if before is None or before.time is None or due - before.time > within:
                break
            images.append(self._near(before, due, within))
        if len(images) < len(times):
            raise ValueError(
                f"{str(self.path)!r} ends after {len(images)} of the {len(times)} frames from {times[0]:.3f} s on"
            )
        return np.stack(images)

    def _near(self, frame: av.VideoFrame, due: float, within: float) -> UInt8[ndarray, "h w c"]:
        assert frame.time is not None
        if abs(frame.time - due) > within:
            raise ValueError(
                f"{str(self.path)!r}: a frame should be at {due:.3f} s, the nearest is at {frame.time:.3f} s"
            )
        return self._to_rgb.reformat(frame, format="rgb24").to_ndarray()

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


def read_video(path: Path) -> tuple[UInt8[ndarray, "t h w 3"], float]:
    """All frames of a video file, and how many a second.

    Raises:
        ValueError: naming the file, if it is missing, no video, or broken.
    """
    with SequentialVideo(path) as video:
        frames = list(video)
    if not frames:
        raise ValueError(f"{str(path)!r} holds no frames")
    with SequentialVideo(path) as again:  # some files are read to their end for their header
        return np.stack(frames), again.header().fps
