"""Short videos that any browser plays."""

import io
from collections.abc import Mapping
from fractions import Fraction

import av
import cv2
import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

_GAP = 4


def beside(
    frames: Mapping[str, UInt8[ndarray, "t h w c"]], *, height: int = 256, background: int = 24
) -> UInt8[ndarray, "t h w c"]:
    """All cameras side by side, each enlarged to about ``height`` by whole pixels so that it stays crisp.

    Width and height come out even, as yuv420p wants them.

    Raises:
        ValueError: for no cameras, or cameras with unequal numbers of frames.
    """
    lengths = {camera: len(images) for camera, images in frames.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"cameras must show one number of frames, got {lengths}")
    tiles = []
    for images in frames.values():
        factor = max(1, round(height / images.shape[1]))
        tiles.append(images.repeat(factor, axis=1).repeat(factor, axis=2))
    tallest = max(tile.shape[1] for tile in tiles)
    rows = tallest + tallest % 2
    columns = sum(tile.shape[2] for tile in tiles) + _GAP * (len(tiles) - 1)
    canvas = np.full((len(tiles[0]), rows, columns + columns % 2, 3), background, dtype=np.uint8)
    left = 0
    for tile in tiles:
        canvas[:, : tile.shape[1], left : left + tile.shape[2]] = tile
        left += tile.shape[2] + _GAP
    return canvas


def mp4(video: UInt8[ndarray, "t h w c"], *, fps: float, quality: int = 24) -> bytes:
    """The video as H.264 in an MP4 container.

    ``quality`` is x264's constant rate factor: lower is better and larger. One thread encodes, and without x264's
    macroblock tree, so that the same video gives the same bytes.

    Raises:
        ValueError: for no frames, or an odd width or height.
    """
    if video.ndim != 4 or len(video) == 0 or video.shape[1] % 2 or video.shape[2] % 2:
        raise ValueError(f"a video must be (t >= 1, even h, even w, 3), got shape {video.shape}")
    file = io.BytesIO()
    with av.open(file, mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1000))
        stream.width, stream.height, stream.pix_fmt = video.shape[2], video.shape[1], "yuv420p"
        stream.options = {"crf": str(quality), "preset": "veryfast", "threads": "1", "x264-params": "mbtree=0"}
        for image in video:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")))
        container.mux(stream.encode())
    return file.getvalue()


def jpeg(image: UInt8[ndarray, "h w c"], *, quality: int = 80) -> bytes:
    """The image as JPEG."""
    done, data = cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done, "OpenCV encodes every uint8 image"
    return data.tobytes()
