"""Episodes that are recorded but not yet a dataset: one file each, whole or not there."""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import numpy as np

from cosmos_sim.collection.plan import CollectionConfig
from cosmos_sim.data.annotations import write_annotations
from cosmos_sim.data.files import new_file
from cosmos_sim.envs.twin.scene import Scene
from cosmos_sim.types import Episode


class Staging:
    """The folder ``<out>.collecting`` beside a dataset that is being collected."""

    def __init__(self, out: Path) -> None:
        self.folder = out.with_name(f"{out.name}.collecting")
        self._config = self.folder / "config.json"
        self._episodes = self.folder / "episodes"
        self.annotations = self.folder / "annotated"
        """Annotations of the episodes, each file as the dataset will hold it, below this folder's ``meta``."""

    @contextmanager
    def opened(self, config: CollectionConfig) -> Iterator[None]:
        """Hold the folder for this process alone, after making it or checking that it was begun with ``config``.

        Raises:
            ValueError: if it was begun with another config, naming the difference, or another process collects into it.
        """
        self._episodes.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another process is collecting into {str(self.folder)!r}") from None
            self._check(config)
            for stale in self.folder.rglob(".*.partial"):
                stale.unlink(missing_ok=True)
            yield

    def _check(self, config: CollectionConfig) -> None:
        if self._config.is_file():
            differences = config.differences(json.loads(self._config.read_text()))
            if differences:
                raise ValueError(
                    f"{str(self.folder)!r} was begun with other options: {'; '.join(differences)}. "
                    "Repeat those to continue, or delete the folder to begin anew"
                )
            return
        with new_file(self._config) as partial:
            partial.write_text(json.dumps({**asdict(config), "shares": dict(config.shares)}, indent=2))

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
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, index: int) -> Path:
        return self._episodes / f"{index:06d}.npz"
