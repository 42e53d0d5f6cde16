"""The rows of a LeRobotDataset v3's data files: numbers, and images where they are kept among them."""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, UInt8
from numpy import ndarray
from PIL import Image

from cosmos_sim.data.lerobot_layout import DatasetInfo, Layout


class EpisodeTables:
    """The rows of episodes, with the last data file kept open: a file holds many episodes."""

    def __init__(self, layout: Layout, columns: Sequence[str]) -> None:
        self._layout = layout
        self._columns = list(dict.fromkeys([*columns, "episode_index"]))
        self._file: Path | None = None

    def rows(self, episode: int) -> pa.Table:
        """The rows of one episode.

        Raises:
            ValueError: naming file and episode, if the file is missing or broken, or has other rows than it should.
        """
        return self._table_of(episode).slice(self.first(episode), self._layout.info.lengths[episode])

    def first(self, episode: int) -> int:
        """The row of its file at which an episode begins; raises as :meth:`rows`."""
        self._table_of(episode)
        found = np.flatnonzero(self._index == episode)
        length = self._layout.info.lengths[episode]
        if len(found) != length or found[-1] - found[0] + 1 != length:
            raise ValueError(
                f"{str(self._file)!r}: episode {episode} should have {length} rows there, it has {len(found)}"
            )
        return int(found[0])

    def _table_of(self, episode: int) -> pa.Table:
        file = self._layout.data_file(episode)
        if file != self._file:
            if not file.is_file():
                raise ValueError(f"{str(file)!r}, which holds episode {episode}, is missing")
            try:
                self._table = pq.read_table(file, columns=self._columns)
            except (pa.ArrowException, OSError) as error:
                raise ValueError(f"{str(file)!r}, which holds episode {episode}, is broken: {error}") from error
            self._index, self._file = self._table["episode_index"].to_numpy(), file
        return self._table


def read_rows(file: Path, rows: Sequence[int], column: str) -> pa.Table:
    """Some rows of one column of a data file, in ascending order, without reading the row groups between them.

    Raises:
        ValueError: naming the file, if it is missing, broken or too short.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            lengths = [parquet.metadata.row_group(k).num_rows for k in range(parquet.num_row_groups)]
            ends = np.cumsum(lengths)
            groups = sorted(set(np.searchsorted(ends, rows, side="right").tolist()))
            places = np.concatenate([np.arange(ends[k] - lengths[k], ends[k]) for k in groups])
            return parquet.read_row_groups(groups, columns=[column]).take(np.searchsorted(places, rows))
    except (pa.ArrowException, OSError, IndexError) as error:
        raise ValueError(f"{str(file)!r} is missing, broken or too short: {error}") from error


def images(layout: Layout, episode: int, camera: str, rows: pa.Table) -> UInt8[ndarray, "t h w c"]:
    """The frames of a camera whose images lie in the data file itself.

    Raises:
        ValueError: naming file, episode, camera and image, if one is broken or not of the size it should have.
    """
    file, found = layout.data_file(episode), []
    for index, entry in enumerate(rows[layout.features[camera].key].to_pylist()):
        try:
            data = entry["bytes"] if entry["bytes"] is not None else (layout.info.path / entry["path"]).read_bytes()
            found.append(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))
        except (OSError, TypeError) as error:
            raise ValueError(
                f"{str(file)!r}: episode {episode}, camera {camera!r}, image {index} is broken: {error}"
            ) from error
    if len({image.shape for image in found}) != 1:
        raise ValueError(f"{str(file)!r}: episode {episode}, camera {camera!r} has images of different sizes")
    return sized(np.stack(found), layout.info, episode, camera, file)


def sized(frames: ndarray, info: DatasetInfo, episode: int, camera: str, file: Path) -> UInt8[ndarray, "t h w c"]:
    """``frames``, if they are of the size that the dataset's description gives; :class:`ValueError` otherwise."""
    if frames.shape[1:3] != info.cameras[camera]:
        raise ValueError(
            f"{str(file)!r}: episode {episode}, camera {camera!r} is {frames.shape[1:3]} pixels, "
            f"info.json says {info.cameras[camera]}"
        )
    return frames


def numbers(
    layout: Layout, episode: int, rows: pa.Table, column: str, *, finite: bool = True
) -> Float32[ndarray, "t n"]:
    """A numeric column as ``float32`` of shape ``t n`` (``n = 1`` for a column of scalars).

    Raises:
        ValueError: naming file and episode, for a column of another width, or values that are not ``finite`` where
            that is asked for.
    """
    array = rows[column].combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks)
    width = {"action": layout.info.action_dim, "observation.state": layout.info.state_dim}.get(column, 1)
    nested = (
        pa.types.is_list(array.type) or pa.types.is_fixed_size_list(array.type) or pa.types.is_large_list(array.type)
    )
    flat = (array.flatten() if nested else array).to_numpy(zero_copy_only=False)
    where = f"{str(layout.data_file(episode))!r}: episode {episode}"
    if len(flat) != len(rows) * width:
        raise ValueError(f"{where}: {column!r} holds {len(flat)} numbers in {len(rows)} rows, expected {width} in each")
    with np.errstate(over="ignore"):
        values = flat.astype(np.float32).reshape(len(rows), width)
    good = np.isfinite(values).all(axis=1)
    if finite and not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise ValueError(f"{where}, step {row}: {column!r} must be finite, it is {values[row].tolist()}")
    return values
