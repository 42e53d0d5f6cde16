"""A LeRobotDataset v3 made of another's episodes, some of them with other pictures.

Nothing but the pictures changes: every other column, also those that this package does not know, is copied as it is
stored, and so are the source's own videos.
"""

import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from cosmos_sim.data.encoding import join_videos
from cosmos_sim.data.lerobot_layout import Layout, read_layout
from cosmos_sim.data.lerobot_rows import EpisodeTables
from cosmos_sim.data.lerobot_statistics import image_statistics, merge_statistics, number_statistics
from cosmos_sim.data.video import SequentialVideo

_STATS = "stats/"


@dataclass(frozen=True)
class EpisodeCopy:
    """An episode of the copy: one of the source, and the videos that some of its cameras show instead."""

    source: int
    videos: Mapping[str, Path] = field(default_factory=dict)
    """Camera to a file of :func:`~cosmos_sim.data.encoding.encode_video`, as long as the episode."""


def copy_dataset(source: str | Path, folder: Path, episodes: Sequence[EpisodeCopy]) -> None:
    """Write ``episodes``, in their order, as a dataset into the empty ``folder``.

    Rows keep all their values but ``episode_index`` and ``index``. Cameras without a new video share the source's
    files. Statistics are LeRobot's, of what the videos show.

    Raises:
        ValueError: no episodes, an unknown one or camera, a source that cannot be read, or a video that is not as long
            as its episode; the message names it.
        OSError: the disk is full or cannot be written.
    """
    layout = read_layout(source)
    if not episodes:
        raise ValueError(f"no episodes of {str(source)!r} to copy")
    if layout.info.fps != int(layout.info.fps):
        raise ValueError(f"LeRobot stores whole frames per second, {str(source)!r} has {layout.info.fps}")
    for episode in episodes:
        if not 0 <= episode.source < layout.info.episodes:
            raise ValueError(f"{str(source)!r} has episodes 0..{layout.info.episodes - 1}, not {episode.source}")
        for camera in episode.videos:
            if camera not in layout.features:
                raise ValueError(f"{str(source)!r} has cameras {', '.join(layout.features)}, not {camera!r}")
    raw = json.loads((layout.info.path / "meta" / "info.json").read_text())
    rows, schema = _stored_rows(layout.info.path)
    made = [dict(rows[episode.source]) for episode in episodes]
    _write_videos(layout, raw, folder, episodes, made)
    _write_data(layout, raw, folder, episodes, made)
    _write_meta(layout.info.path, raw, folder, made, schema)


def _write_videos(
    layout: Layout, raw: Mapping[str, Any], folder: Path, episodes: Sequence[EpisodeCopy], made: list[dict[str, Any]]
) -> None:
    """Copy the source's videos that are still shown, join the new ones after them, and note where each lies."""
    fps, per_chunk = int(layout.info.fps), int(raw.get("chunks_size", 1000))
    limit = 1e6 * float(raw.get("video_files_size_in_mb", 200))
    for key in (name for name, feature in raw["features"].items() if feature["dtype"] == "video"):
        place = f"videos/{key}"
        camera = next((name for name, feature in layout.features.items() if feature.key == key), None)
        new = [k for k, episode in enumerate(episodes) if camera in episode.videos]
        kept = {
            (row[f"{place}/chunk_index"], row[f"{place}/file_index"])
            for k, row in enumerate(made)
            if camera not in episodes[k].videos
        }
        for chunk, file in sorted(kept):
            name = layout.video_path.format(video_key=key, chunk_index=chunk, file_index=file)
            _copy(layout.info.path / name, folder / name)
        number = max((chunk * per_chunk + file for chunk, file in kept), default=-1)
        for group in _groups([(k, episodes[k].videos[str(camera)]) for k in new], limit):
            number += 1
            chunk, file = divmod(number, per_chunk)
            path = folder / layout.video_path.format(video_key=key, chunk_index=chunk, file_index=file)
            path.parent.mkdir(parents=True, exist_ok=True)
            lengths = [int(made[k]["length"]) for k, _ in group]
            begins = join_videos([video for _, video in group], path, frames=lengths, fps=fps)
            for (k, video), begin, length in zip(group, begins, lengths, strict=True):
                made[k] |= {f"{place}/chunk_index": chunk, f"{place}/file_index": file}
                made[k] |= {f"{place}/from_timestamp": begin, f"{place}/to_timestamp": begin + length / fps}
                _note_pictures(made[k], key, _frames(video, length, fps))


def _write_data(
    layout: Layout, raw: Mapping[str, Any], folder: Path, episodes: Sequence[EpisodeCopy], made: list[dict[str, Any]]
) -> None:
    """Write the rows of all episodes, a row group each, in files of the size that the source has."""
    limit = 1e6 * float(raw.get("data_files_size_in_mb", 100))
    tables = EpisodeTables(layout, list(pq.read_schema(layout.data_file(episodes[0].source)).names))
    writer: pq.ParquetWriter | None = None
    number, first, path = -1, 0, folder
    try:
        for k, episode in enumerate(episodes):
            table, row = tables.rows(episode.source), made[k]
            index = np.arange(first, first + len(table))
            table = _replace(table, "episode_index", np.full(len(table), k))
            table = _replace(table, "index", index)
            for camera, video in episode.videos.items():
                if not layout.features[camera].is_video:
                    frames = _frames(video, len(table), int(layout.info.fps))
                    table = _replace_images(table, layout.features[camera].key, frames)
                    _note_pictures(row, layout.features[camera].key, frames)
            if writer is None or path.stat().st_size >= limit:
                if writer is not None:
                    writer.close()
                number += 1
                chunk, file = divmod(number, int(raw.get("chunks_size", 1000)))
                path = folder / layout.data_path.format(chunk_index=chunk, file_index=file)
                path.parent.mkdir(parents=True, exist_ok=True)
                writer = pq.ParquetWriter(path, table.schema, compression="snappy")
            writer.write_table(table, row_group_size=max(1, len(table)))
            row |= {"episode_index": k, "data/chunk_index": chunk, "data/file_index": file}
            row |= {"dataset_from_index": first, "dataset_to_index": first + len(table)}
            for name, values in (("episode_index", np.full(len(table), k)), ("index", index)):
                _note(row, name, number_statistics(values, _statistics_of(row, name)))
            first += len(table)
    finally:
        if writer is not None:
            writer.close()


def _write_meta(root: Path, raw: dict[str, Any], folder: Path, made: list[dict[str, Any]], schema: pa.Schema) -> None:
    for row in made:
        for column in ("meta/episodes/chunk_index", "meta/episodes/file_index"):
            if column in schema.names:
                row[column] = 0
    file = folder / "meta" / "episodes" / "chunk-000" / "file-000.parquet"
    file.parent.mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(made, schema=schema), file)
    shutil.copyfile(root / "meta" / "tasks.parquet", folder / "meta" / "tasks.parquet")
    raw |= {"total_episodes": len(made), "total_frames": sum(int(row["length"]) for row in made)}
    raw["splits"] = {"train": f"0:{len(made)}"}
    (folder / "meta" / "info.json").write_text(json.dumps(raw, indent=4))
    merged = merge_statistics([_statistics(row) for row in made])
    (folder / "meta" / "stats.json").write_text(json.dumps(merged, indent=4, sort_keys=True))


def _stored_rows(root: Path) -> tuple[list[dict[str, Any]], pa.Schema]:
    """LeRobot's metadata of each episode with its statistics, in order, and its types."""
    files = sorted((root / "meta" / "episodes").glob("*/*.parquet"))
    table = pa.concat_tables([pq.read_table(file) for file in files], promote_options="default")
    return sorted(table.to_pylist(), key=lambda row: int(row["episode_index"])), table.schema


def _groups(videos: Sequence[tuple[int, Path]], limit: float) -> list[list[tuple[int, Path]]]:
    """``videos`` in groups of at most ``limit`` bytes, or of one."""
    groups: list[list[tuple[int, Path]]] = []
    size = limit
    for entry in videos:
        more = entry[1].stat().st_size
        if size + more > limit or not groups:
            groups.append([])
            size = 0
        groups[-1].append(entry)
        size += more
    return groups


def _frames(video: Path, length: int, fps: int) -> np.ndarray:
    with SequentialVideo(video) as opened:
        return opened.read(0.0, length, fps=fps)


def _replace(table: pa.Table, column: str, values: np.ndarray) -> pa.Table:
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(values, type=field.type))


def _replace_images(table: pa.Table, column: str, frames: np.ndarray) -> pa.Table:
    entries = []
    for k, frame in enumerate(frames):
        file = io.BytesIO()
        Image.fromarray(frame).save(file, format="PNG")
        entries.append({"bytes": file.getvalue(), "path": f"frame-{k:06d}.png"})
    field = table.schema.field(column)
    return table.set_column(table.schema.get_field_index(column), field, pa.array(entries, type=field.type))


def _note_pictures(row: dict[str, Any], key: str, frames: np.ndarray) -> None:
    """Put the statistics of ``frames`` into an episode's metadata; ``count`` stays as LeRobot counted."""
    _note(row, key, image_statistics(frames, [name for name in _statistics_of(row, key) if name != "count"]))


def _note(row: dict[str, Any], feature: str, statistics: Mapping[str, Any]) -> None:
    row.update({f"{_STATS}{feature}/{name}": value for name, value in statistics.items()})


def _statistics_of(row: Mapping[str, Any], feature: str) -> list[str]:
    prefix = f"{_STATS}{feature}/"
    return [name.removeprefix(prefix) for name in row if name.startswith(prefix)]


def _statistics(row: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for column, value in row.items():
        if column.startswith(_STATS) and value is not None:
            feature, _, name = column.removeprefix(_STATS).rpartition("/")
            found.setdefault(feature, {})[name] = value
    return found


def _copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
