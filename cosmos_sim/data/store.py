"""A dataset's episodes, decoded once and mapped into memory, so that training reads any step at once."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float32, Int64, UInt8
from numpy import ndarray
from tqdm import tqdm

from cosmos_sim.data.lerobot import DatasetInfo, read_episodes
from cosmos_sim.data.lerobot_layout import choose_cameras, read_layout
from cosmos_sim.data.origins import held_out_of
from cosmos_sim.data.windows import Windows, clamp
from cosmos_sim.types import Episode

_FORMAT = "1"


@dataclass(frozen=True, eq=False)
class Clips:
    """``b`` windows of ``t`` steps. Where ``inside`` is ``False`` the window stands beyond its episode's end and
    repeats the first or last step."""

    frames: Mapping[str, UInt8[ndarray, "b t h w c"]]
    state: Float32[ndarray, "b t n"]
    action: Float32[ndarray, "b t a"]
    success: Bool[ndarray, "b t"] | None
    reward: Float32[ndarray, "b t"] | None
    inside: Bool[ndarray, "b t"]


class EpisodeStore:
    """All steps of a dataset as arrays over the ``steps`` of its episodes, one episode after the other.

    Frames are decoded into ``cache`` the first time (3 GB for 500 episodes of 60 steps of two 128x128 cameras) and
    mapped from there: memory holds what is used. A dataset that has changed on disk is decoded anew.
    """

    info: DatasetInfo
    frames: Mapping[str, UInt8[ndarray, "steps h w c"]]
    state: Float32[ndarray, "steps n"]
    action: Float32[ndarray, "steps a"]
    success: Bool[ndarray, "steps"] | None
    reward: Float32[ndarray, "steps"] | None
    tasks: Sequence[str]
    """The task of each episode, in words."""
    lengths: Int64[ndarray, "episodes"]
    train: tuple[int, ...]
    """The episodes to train on."""
    held_out: tuple[int, ...]
    """The episodes to judge by."""

    def __init__(
        self,
        path: str | Path,
        *,
        cache: str | Path,
        cameras: Sequence[str] | None = None,
        fraction: float = 0.1,
        videos_alone: bool = False,
        progress: bool = False,
    ) -> None:
        """Open the dataset at ``path`` (see :func:`~cosmos_sim.data.lerobot.dataset_info`).

        Args:
            path: the dataset.
            cache: the folder for decoded frames; several datasets and processes may share one.
            cameras: the cameras to keep; all of them by default.
            fraction: how many of the episodes are held out from training (see :mod:`cosmos_sim.data.split`).
            videos_alone: keep frames and tasks; actions and states, which need not be there, are of size 0.
            progress: show a bar while decoding.

        Raises:
            ValueError: for whatever :func:`~cosmos_sim.data.lerobot.read_episodes` refuses.
            OSError: if ``cache`` cannot be written.
        """
        self.info = read_layout(path, videos_alone=videos_alone).info
        names = choose_cameras(self.info, cameras)
        kept = [*names, *(["videos alone"] if videos_alone else [])]
        folder = Path(cache) / _fingerprint(self.info.path, kept)
        if not folder.is_dir():
            _decode(self.info, names, folder, videos_alone=videos_alone, progress=progress)
        self.frames = {name: np.load(folder / f"frames.{k}.npy", mmap_mode="r") for k, name in enumerate(names)}
        self.state = np.load(folder / "state.npy")
        self.action = np.load(folder / "action.npy")
        self.success = np.load(folder / "success.npy") if self.info.has_success else None
        self.reward = np.load(folder / "reward.npy") if self.info.has_reward else None
        self.tasks = json.loads((folder / "tasks.json").read_text())
        self.lengths = np.asarray(self.info.lengths, dtype=np.int64)
        self.held_out = held_out_of(self.info.path, len(self), fraction=fraction)
        self.train = tuple(sorted(set(range(len(self))) - set(self.held_out)))
        self.offsets = np.concatenate([[0], np.cumsum(self.lengths)[:-1]])
        """Where each episode's first step is in the arrays."""

    def __len__(self) -> int:
        """The number of episodes."""
        return len(self.lengths)

    @property
    def cameras(self) -> Mapping[str, tuple[int, int]]:
        """The cameras that were kept, with their ``(height, width)``."""
        return {name: self.info.cameras[name] for name in self.frames}

    def rows(self, episodes: Sequence[int]) -> Int64[ndarray, "n"]:
        """Where the steps of ``episodes`` are in the arrays, one episode after the other."""
        parts = [np.arange(rows.start, rows.stop) for rows in map(self._slice, episodes)]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def episode(self, episode: int) -> Episode:
        """One whole episode, as views of the arrays."""
        rows = self._slice(episode)
        return Episode(
            frames={name: images[rows] for name, images in self.frames.items()},
            state=self.state[rows],
            action=self.action[rows],
            task=self.tasks[episode],
            success=None if self.success is None else self.success[rows],
            reward=None if self.reward is None else self.reward[rows],
            fps=self.info.fps,
            info={"episode_index": episode},
        )

    def states(self) -> list[Float32[ndarray, "t n"]]:
        """The states of each episode."""
        return [self.state[self._slice(episode)] for episode in range(len(self))]

    def successes(self) -> list[Bool[ndarray, "t"]] | None:
        """The successes of each episode, if the dataset has them."""
        return None if self.success is None else [self.success[self._slice(episode)] for episode in range(len(self))]

    def clips(self, windows: Windows) -> Clips:
        """The steps of ``windows``, copied out; those beyond an episode's end repeat its first or last step."""
        steps, inside = clamp(windows.steps(), self.lengths[windows.episode])
        rows = self.offsets[windows.episode][:, None] + steps
        return Clips(
            frames={name: images[rows] for name, images in self.frames.items()},
            state=self.state[rows],
            action=self.action[rows],
            success=None if self.success is None else self.success[rows],
            reward=None if self.reward is None else self.reward[rows],
            inside=inside,
        )

    def _slice(self, episode: int) -> slice:
        if not 0 <= episode < len(self):
            raise ValueError(f"there are episodes 0..{len(self) - 1}, not {episode}")
        return slice(int(self.offsets[episode]), int(self.offsets[episode] + self.lengths[episode]))


def _fingerprint(root: Path, kept: Sequence[str]) -> str:
    """A name for the state of a dataset's files, and what is kept of them: it changes when one of them does."""
    digest = blake2b(digest_size=12)
    digest.update(json.dumps([_FORMAT, *kept]).encode())
    for folder in ("meta", "data", "videos"):
        for file in sorted(p for p in (root / folder).rglob("*") if p.is_file()):
            stat = file.stat()
            digest.update(f"{file.relative_to(root)} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def _decode(info: DatasetInfo, cameras: Sequence[str], folder: Path, *, videos_alone: bool, progress: bool) -> None:
    """Decode the dataset into ``folder``, written beside and renamed. Frames are appended to plain files rather than
    written through a memory map, because a full disk raises :class:`OSError` in the one and kills the process in the
    other."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        files = [(beside / f"frames.{k}.npy").open("wb") for k in range(len(cameras))]
        try:
            for file, camera in zip(files, cameras, strict=True):
                header = {"descr": "|u1", "fortran_order": False, "shape": (info.steps, *info.cameras[camera], 3)}
                np.lib.format.write_array_header_1_0(file, header)
            parts = []
            episodes = read_episodes(info.path, cameras=cameras, videos_alone=videos_alone)
            for episode in tqdm(episodes, "decoding", info.episodes, unit="episode", disable=not progress):
                for file, camera in zip(files, cameras, strict=True):
                    file.write(np.ascontiguousarray(episode.frames[camera]).data)
                parts.append((episode.state, episode.action, episode.success, episode.reward, episode.task))
        finally:
            for file in files:
                file.close()
        states, actions, successes, rewards, tasks = zip(*parts, strict=True)
        np.save(beside / "state.npy", np.concatenate(states))
        np.save(beside / "action.npy", np.concatenate(actions))
        if info.has_success:
            np.save(beside / "success.npy", np.concatenate(successes))
        if info.has_reward:
            np.save(beside / "reward.npy", np.concatenate(rewards))
        (beside / "tasks.json").write_text(json.dumps(tasks))
        try:
            beside.rename(folder)
        except OSError:
            if not folder.is_dir():  # otherwise another process was faster
                raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
