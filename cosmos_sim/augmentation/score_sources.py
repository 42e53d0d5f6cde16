"""The clips that are to be scored beside what they were made from: video files, or an augmented dataset."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.augmentation.annotators import Annotator, Recorded
from cosmos_sim.augmentation.control_spec import ControlSpec, parse_controls
from cosmos_sim.data.annotations import read_annotations
from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.data.lerobot_layout import choose_cameras
from cosmos_sim.data.origins import read_provenance
from cosmos_sim.data.video import read_video
from cosmos_sim.types import Episode


@dataclass(frozen=True, eq=False)
class Pair:
    """A generated clip and its source."""

    name: str
    source: UInt8[ndarray, "t h w 3"]
    generated: UInt8[ndarray, "t h w 3"]
    specs: tuple[ControlSpec, ...]
    """The controls that it was made under."""
    truth: Annotator | None = None
    """What was recorded with the source, if anything was."""


def file_pairs(sources: Sequence[Path], generated: Sequence[Path], specs: Sequence[ControlSpec]) -> Iterator[Pair]:
    """Pairs of video files.

    Raises:
        ValueError: unequally many or none of them; while reading, a file that cannot be decoded.
    """
    if len(sources) != len(generated) or not sources:
        raise ValueError(f"each generated video needs its source, got {len(generated)} and {len(sources)}")

    def read() -> Iterator[Pair]:
        for source, made in zip(sources, generated, strict=True):
            yield Pair(made.name, read_video(source)[0], read_video(made)[0], tuple(specs))

    return read()


class DatasetPairs:
    """Every variant of an augmented dataset and every camera that was changed, with the source's episode.

    Args:
        dataset: what ``cosmos-sim augment`` wrote.
        source: the dataset that it was made from; needed where the augmented one leaves the source's episodes out.
        specs: the controls to score; those that each variant was made under by default.
        cameras: all that were changed by default.

    Raises:
        ValueError: no augmented dataset, one without variants, a camera or source that is not there.
    """

    def __init__(
        self,
        dataset: Path,
        *,
        source: Path | None = None,
        specs: Sequence[ControlSpec] = (),
        cameras: Sequence[str] = (),
    ) -> None:
        info = dataset_info(dataset)
        lines = read_provenance(info.path)
        if lines is None:
            raise ValueError(f"{str(dataset)!r} is no augmented dataset: it has no meta/augmentation.jsonl")
        self._dataset, self._specs = info.path, tuple(specs)
        self._cameras = choose_cameras(info, cameras or _changed(info.path))
        self._variants = [line for line in lines if line["variant"] is not None]
        if not self._variants:
            raise ValueError(f"{str(dataset)!r} holds no variants")
        if source is None:
            self._source = info.path
            self._places = {line["source_episode"]: line["episode"] for line in lines if line["variant"] is None}
        else:
            origin = dataset_info(source)
            choose_cameras(origin, self._cameras)
            self._source, self._places = origin.path, {k: k for k in range(origin.episodes)}
        for line in self._variants:
            if line["source_episode"] not in self._places:
                where = "left out" if source is None else f"not in {str(source)!r}"
                raise ValueError(
                    f"episode {line['source_episode']}, which episode {line['episode']} of {str(dataset)!r} is made "
                    f"from, is {where}: give the dataset that it was made from as the source"
                )

    def __len__(self) -> int:
        return len(self._variants) * len(self._cameras)

    def __iter__(self) -> Iterator[Pair]:
        last, before = -1, None
        for line in self._variants:
            place = self._places[line["source_episode"]]
            if before is None or last != place:
                last, before = place, self._episode(self._source, place)
            after = self._episode(self._dataset, line["episode"])
            recorded = read_annotations(self._source, place)
            for camera in self._cameras:
                known = recorded is not None and camera in recorded.cameras
                yield Pair(
                    name=f"episode {line['episode']}, {camera}",
                    source=before.frames[camera],
                    generated=after.frames[camera],
                    specs=self._specs or parse_controls(line["controls"]),
                    truth=Recorded(recorded, camera) if recorded is not None and known else None,
                )

    def _episode(self, dataset: Path, episode: int) -> Episode:
        (read,) = read_episodes(dataset, [episode], self._cameras)
        return read


def _changed(dataset: Path) -> Sequence[str] | None:
    """The cameras that were chosen to be changed; ``None`` where all were."""
    file = dataset / "meta" / "augmentation.json"
    try:
        cameras = json.loads(file.read_text())["settings"]["cameras"]
    except (OSError, ValueError, KeyError) as error:
        raise ValueError(f"{str(file)!r} does not tell how the dataset was made: {error!r}") from error
    return None if cameras is None else tuple(cameras)
