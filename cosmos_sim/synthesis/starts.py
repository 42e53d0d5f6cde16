"""Where dreams begin: at first frames of real episodes, or of fresh ones in the simulator."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.dreams import DreamStart
from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.envs.twin.tasks import find_task
from cosmos_sim.synthesis.plan import DreamConfig, Job

if TYPE_CHECKING:
    from cosmos_sim.envs.twin.env import CosmosTwin

LANGUAGE_TASK = "Tabletop"
"""The simulator's task that takes instructions."""


@dataclass(frozen=True, eq=False)
class Start:
    """The moment that a dream begins from."""

    frames: Mapping[str, UInt8[ndarray, "h w 3"]]
    state: Float32[ndarray, "n"]
    seed: int | None = None
    """Of the simulator's reset that made it, where one did."""
    episode: int | None = None
    """The seed dataset's episode whose first moment it is."""
    task: str | None = None
    """The simulator's task."""
    split: str | None = None
    """Of the simulator's instructions that the episode was drawn from."""

    def record(self) -> DreamStart:
        """The start as a dataset of dreams tells of it."""
        return DreamStart(self.seed, self.episode, self.task, self.split)

    def told(self, instruction: str) -> str | None:
        """What the simulator is told of the instruction: nothing where its task takes none."""
        return instruction if self.task == LANGUAGE_TASK else None


class Starts:
    """The starts of a config's dreams.

    Raises:
        ValueError: a dataset that does not tell from which of the simulator's seeds its episodes began, where they are
            to be replayed; one of another task; or a camera that it does not have.
    """

    def __init__(self, config: DreamConfig) -> None:
        self.config = config
        info = dataset_info(config.dataset)
        self.path, self.cameras = info.path, config.cameras or tuple(info.cameras)
        if unknown := sorted(set(self.cameras) - set(info.cameras)):
            raise ValueError(f"{config.dataset!r} has no camera {', '.join(unknown)}, only {', '.join(info.cameras)}")
        self.task = None if config.twin is None else find_task(config.twin).name
        self._told = self._collection() if self.task is not None and config.starts != "twin" else None
        self._twin: CosmosTwin | None = None

    def of(self, job: Job, seed: int) -> Start:
        """The start of ``job``, which has ``seed``."""
        if job.episode is None:
            return self._fresh(job, seed)
        (episode,) = read_episodes(self.path, [job.episode], self.cameras)
        frames = {camera: video[0] for camera, video in episode.frames.items()}
        if self._told is None:
            return Start(frames, episode.state[0], episode=job.episode)
        return Start(
            frames,
            episode.state[0],
            int(self._told["episodes"][job.episode]["seed"]),
            job.episode,
            self.task,
            self._told["config"].get("split"),
        )

    def _fresh(self, job: Job, seed: int) -> Start:
        from cosmos_sim.envs.twin.env import CosmosTwin

        assert self.task is not None
        if self._twin is None:
            self._twin = CosmosTwin(self.task)
        start = Start({}, np.zeros(0, np.float32), seed % 2**31, task=self.task)
        told = start.told(job.instruction)
        observation, _ = self._twin.reset(seed=start.seed, options=None if told is None else {"instruction": told})
        frames = {camera: observation["pixels"][camera] for camera in self.cameras}
        return Start(frames, observation["agent_pos"], start.seed, task=self.task)

    def _collection(self) -> dict[str, Any]:
        file = Path(self.path) / "meta" / "collection.json"
        if not file.is_file():
            raise ValueError(
                f"{self.config.dataset!r} does not tell where in the simulator its episodes began (no "
                f"meta/collection.json): replay fresh ones, with starts='twin'"
            )
        told: dict[str, Any] = json.loads(file.read_text())
        if told["config"]["task"] != self.task:
            raise ValueError(f"{self.config.dataset!r} is of the task {told['config']['task']!r}, not {self.task!r}")
        return told
