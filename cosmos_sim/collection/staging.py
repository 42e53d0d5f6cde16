"""Episodes that are recorded but not yet a dataset: one file each, whole or not there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from cosmos_sim.collection.plan import CollectionConfig
from cosmos_sim.data.annotations import write_annotations
from cosmos_sim.data.files import new_file
from cosmos_sim.data.work_folder import WorkFolder
from cosmos_sim.envs.twin.scene import Scene
from cosmos_sim.types import Episode


class Staging:
    """The folder ``<out>.collecting`` beside a dataset that is being collected."""

    def __init__(self, out: Path) -> None:
        self._work = WorkFolder(out, "collecting")
        self.folder = self._work.path
        self._episodes = self.folder / "episodes"
        self.annotations = self.folder / "annotated"
        """Annotations of the episodes, each file as the dataset will hold it, below this folder's ``meta``."""

    @contextmanager
    def opened(self, config: CollectionConfig) -> Iterator[None]:
        """Hold the folder for this process alone; see :meth:`WorkFolder.opened`."""
        with self._work.opened(config.as_json(), defaults=config.defaults()):
            self._episodes.mkdir(exist_ok=True)
            yield

    def recorded(self) -> set[int]:
        """The indices of the episodes that are here."""
        return {int(file.stem) for file in self._episodes.glob("[0-9]*.npz")}

    def save(self, index: int, episode: Episode) -> None:
        """Keep ``episode``: written beside, forced to the disk and renamed, its annotations before the rest of it."""
        if "annotations" in episode.info:
            write_annotations(self.annotations, index, episode.info["annotations"])
        arrays: dict[str, np.ndarray] = {f"frames.{camera}": frames for camera, frames in episode.frames.items()}
        arrays |= {f"truth.{name}": values for name, values in episode.info["truth"].items()}
        assert episode.success is not None
        assert episode.reward is not None
        arrays |= {
            "state": episode.state,
            "action": episode.action,
            "success": episode.success,
            "reward": episode.reward,
            "task": np.asarray(episode.task),
            "fps": np.asarray(episode.fps),
        }
        if "scene" in episode.info:
            arrays["scene"] = np.asarray(json.dumps(episode.info["scene"].to_dict()))
        with new_file(self._file(index)) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)

    def load(self, index: int) -> Episode:
        """The episode ``index`` as :meth:`save` was given it, but for its annotations."""
        with np.load(self._file(index), allow_pickle=False) as arrays:
            truth = {key.removeprefix("truth."): arrays[key] for key in arrays if key.startswith("truth.")}
            scene = {"scene": Scene.from_dict(json.loads(str(arrays["scene"])))} if "scene" in arrays else {}
            return Episode(
                frames={key.removeprefix("frames."): arrays[key] for key in arrays if key.startswith("frames.")},
                state=arrays["state"],
                action=arrays["action"],
                task=str(arrays["task"]),
                success=arrays["success"],
                reward=arrays["reward"],
                fps=float(arrays["fps"]),
                info={"truth": truth, **scene},
            )

    def succeeded(self, index: int) -> bool:
        """Whether the task was ever solved in episode ``index``."""
        with np.load(self._file(index), allow_pickle=False) as arrays:
            return bool(arrays["success"].any())

    def remove(self) -> None:
        """Delete the folder, if it is there."""
        self._work.remove()

    def _file(self, index: int) -> Path:
        return self._episodes / f"{index:06d}.npz"
