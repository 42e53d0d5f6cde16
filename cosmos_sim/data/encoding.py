"""Frames into video files that a dataset can hold: each by itself, or many joined in one."""

import io
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.data.lerobot_writer import ENCODER


def encode_video(frames: UInt8[ndarray, "t h w 3"], *, fps: int) -> bytes:
    """``frames`` as MP4, encoded as :func:`~cosmos_sim.data.lerobot.write_dataset` encodes a dataset's.

    One thread encodes, so that the same frames give the same bytes.

    Raises:
        ValueError: other frames than ``uint8 t h w 3``, or none.
    """
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[-1] != 3 or frames.size == 0:
        raise ValueError(f"a video is uint8 of t h w 3, got {frames.dtype} of shape {frames.shape}")
    options = {"crf": str(ENCODER["crf"]), "preset": ENCODER["preset"], "g": str(ENCODER["g"]), "threads": "1"}
    file = io.BytesIO()
    with av.open(file, mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps), options=options | ENCODER["extra_options"])
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], ENCODER["pix_fmt"]
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def join_videos(videos: Sequence[Path], path: Path, *, frames: Sequence[int], fps: int) -> list[float]:
    """Put ``videos``, made alike by :func:`encode_video`, one after the other without encoding them again.

    Args:
        videos: at least one.
        path: the file to write.
        frames: how many each has.
        fps: their rate.

    Returns:
        The second at which each begins.

    Raises:
        ValueError: a file that holds another number of frames than it should.
        OSError: the disk is full or cannot be written.
    """
    begins, first = [], 0
    with av.open(str(path), mode="w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = None
        for video, count in zip(videos, frames, strict=True):
            with av.open(str(video)) as source:
                given = source.streams.video[0]
                stream = stream or container.add_stream_from_template(given)
                found = 0
                for packet in source.demux(given):
                    if packet.dts is None:
                        continue
                    assert packet.pts is not None
                    assert packet.time_base is not None
                    later = round(Fraction(first, fps) / packet.time_base)
                    packet.pts, packet.dts = packet.pts + later, packet.dts + later
                    packet.stream = stream
                    container.mux(packet)
                    found += 1
            if found != count:
                raise ValueError(f"{str(video)!r} holds {found} frames, not {count}")
            begins.append(first / fps)
            first += count
    return begins
