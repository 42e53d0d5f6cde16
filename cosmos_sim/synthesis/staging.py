"""Dreams that are made but not yet a dataset: a file each, whole or not there."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.dreams import DreamStart
from cosmos_sim.data.files import new_file
from cosmos_sim.data.work_folder import WorkFolder
from cosmos_sim.synthesis.dreaming import Dream
from cosmos_sim.synthesis.plan import DreamConfig, Job

_CAMERA = "frames."


@dataclass(frozen=True)
class Told:
    """What is known of a staged dream without its videos."""

    name: str
    instruction: str
    seed: int
    scores: Mapping[str, float]
    start: DreamStart
    seconds: float


@dataclass(frozen=True, eq=False)
class Staged:
    """A dream that is in the staging folder."""

    told: Told
    frames: Mapping[str, UInt8[ndarray, "t1 h w 3"]]
    action: Float32[ndarray, "t a"]
    deviation: Float32[ndarray, "t a"]
    state: Float32[ndarray, "t1 n"]
    """As a world imagines it, else as the simulator's replay has it, else zeros (as in DreamGen)."""
    state_from: str
    """``world``, ``replay`` or ``zeros``."""
    replayed: Float32[ndarray, "t1 n"] | None
    """Proprioception in the simulator under the same actions."""


class Staging:
    """The folder ``<out>.dreaming`` beside a dataset that is being made."""

    def __init__(self, out: Path) -> None:
        self.work = WorkFolder(out, "dreaming")
        self._dreams = self.work.path / "dreams"

    @contextmanager
    def opened(self, config: DreamConfig) -> Iterator[None]:
        """Hold the folder for this process alone; see :meth:`WorkFolder.opened`."""
        with self.work.opened(config.as_json()):
            self._dreams.mkdir(exist_ok=True)
            yield

    def done(self) -> set[str]:
        """The names of the jobs whose dreams are here."""
        return {file.stem for file in self._dreams.glob("[0-9]*.npz")}

    def save(self, config: DreamConfig, job: Job, dream: Dream) -> None:
        """Keep a dream: written beside, forced to the disk and renamed."""
        state, source = dream.state, "world"
        if state is None and dream.replayed is not None:
            state, source = dream.replayed.state, "replay"
        if state is None:
            state, source = np.zeros((len(dream.reading.action) + 1, len(dream.start.state)), np.float32), "zeros"
        told = {
            "instruction": job.instruction,
            "seed": job.seed(config),
            "scores": {name: round(float(value), 6) for name, value in dream.scores.items()},
            "start": asdict(dream.start.record()),
            "seconds": round(dream.seconds, 3),
            "state_from": source,
        }
        arrays: dict[str, ndarray] = {_CAMERA + camera: video for camera, video in dream.frames.items()}
        arrays |= {"action": dream.reading.action, "deviation": dream.reading.deviation, "state": state}
        if dream.replayed is not None:
            arrays["replayed"] = dream.replayed.state
        with new_file(self._file(job.name)) as partial, partial.open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, told=np.asarray(json.dumps(told)), **arrays)

    def told(self, name: str) -> Told:
        """What is known of the dream ``name``; its videos are not read."""
        with np.load(self._file(name), allow_pickle=False) as arrays:
            return _told(name, json.loads(str(arrays["told"])))

    def action(self, name: str) -> Float32[ndarray, "t a"]:
        """The pseudo-actions of the dream ``name``."""
        with np.load(self._file(name), allow_pickle=False) as arrays:
            found: ndarray = arrays["action"]
            return found

    def load(self, name: str) -> Staged:
        """The dream ``name``."""
        with np.load(self._file(name), allow_pickle=False) as arrays:
            told = json.loads(str(arrays["told"]))
            return Staged(
                _told(name, told),
                {key.removeprefix(_CAMERA): arrays[key] for key in arrays if key.startswith(_CAMERA)},
                arrays["action"],
                arrays["deviation"],
                arrays["state"],
                told["state_from"],
                arrays.get("replayed"),
            )

    def _file(self, name: str) -> Path:
        return self._dreams / f"{name}.npz"


def _told(name: str, raw: Mapping[str, Any]) -> Told:
    return Told(name, raw["instruction"], raw["seed"], raw["scores"], DreamStart(**raw["start"]), raw["seconds"])
