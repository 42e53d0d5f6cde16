"""Episodes of a LeRobot dataset as the samples that a policy is trained on: an observation and the actions after it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor
from tqdm import tqdm

from cosmos_sim.data.dreams import dreams_among
from cosmos_sim.data.lerobot import DatasetInfo, dataset_info, read_episodes
from cosmos_sim.data.origins import read_origins
from cosmos_sim.data.split import held_out
from cosmos_sim.data.statistics import Statistics, statistics
from cosmos_sim.policies.encoder import resize
from cosmos_sim.types import Episode


@dataclass(frozen=True)
class Selection:
    """Which part of a dataset is learned from."""

    data: str
    """A folder, the name of a dataset that LeRobot recorded on this machine, or a hub id."""
    demonstrations: int | None = None
    """How many of the episodes that qualify; all of them by default."""
    draw: int | None = None
    """Seed by which ``demonstrations`` episodes are drawn from those that qualify; the first ones by default."""
    successful: bool = True
    """Only episodes in which ``next.success`` holds at some step, and those dreams (``meta/dreams.jsonl``) that were
    accepted. Without this, failures and rejected dreams are imitated as well."""
    skills: tuple[str, ...] = ()
    """Only episodes recorded by these scripted skills, which ``cosmos-sim collect`` notes; any by default."""
    tail: int = 2
    """Steps after the first success that are still imitated: an episode is taken to end with them."""
    held_out: float = 0.05
    """Share of the chosen episodes (see :mod:`cosmos_sim.data.split`) that is only evaluated on; the variants of an
    augmented dataset go with the episodes that they were made from."""

    def __post_init__(self) -> None:
        if self.demonstrations is not None and self.demonstrations < 1:
            raise ValueError(f"demonstrations must be at least 1, got {self.demonstrations}")
        if self.draw is not None and self.demonstrations is None:
            raise ValueError(
                f"draw={self.draw} would be ignored: all episodes are taken unless demonstrations says less"
            )
        if self.draw is not None and self.draw < 0:
            raise ValueError(f"draw must not be negative, got {self.draw}")
        if self.tail < 0:
            raise ValueError(f"tail must not be negative, got {self.tail}")
        if not 0 <= self.held_out < 1:
            raise ValueError(f"held_out must lie in [0, 1), got {self.held_out}")


@dataclass(frozen=True, eq=False)
class Demonstrations:
    """The ``n`` imitated steps of the chosen episodes, one after the other; images resized to ``r`` pixels squared."""

    frames: Mapping[str, UInt8[Tensor, "n r r c"]]
    state: Float[Tensor, "n k"]
    action: Float[Tensor, "n a"]
    last: Int64[Tensor, " n"]
    """Index of the last step of the episode that each step belongs to."""
    task: Int64[Tensor, " n"]
    """Which of ``tasks`` each step does."""
    dataset: Int64[Tensor, " n"]
    """Which of the joined datasets each step is of; 0 where there is one."""
    tasks: tuple[str, ...]
    """What the chosen episodes were told to do, each text once."""
    train_rows: Int64[Tensor, " m"]
    """Steps whose observation is trained on."""
    held_out_rows: Int64[Tensor, " h"]
    episodes: tuple[int, ...]
    """Indices of the episodes chosen, each in its own dataset."""
    fps: float

    def chunks(self, rows: Int64[Tensor, " b"], horizon: int) -> Float[Tensor, "b t a"]:
        """The ``horizon`` actions from each row on; an episode's last action is repeated past its end."""
        indices = rows[:, None] + torch.arange(horizon)
        return self.action[torch.minimum(indices, self.last[rows][:, None])]

    def crops(
        self,
        rows: Int64[Tensor, " b"],
        *,
        crop: int,
        top: Int64[Tensor, " b"] | None = None,
        left: Int64[Tensor, " b"] | None = None,
    ) -> dict[str, UInt8[Tensor, "b k k c"]]:
        """A square of ``crop`` pixels of each row's images, the middle one unless told where; alike in all cameras."""
        resolution = next(iter(self.frames.values())).shape[1] if self.frames else crop
        middle = torch.full_like(rows, (resolution - crop) // 2)
        across = (middle if left is None else left)[:, None] + torch.arange(crop)
        down = (middle if top is None else top)[:, None] + torch.arange(crop)
        at = rows[:, None, None], down[:, :, None], across[:, None, :]
        return {camera: images[at] for camera, images in self.frames.items()}

    def state_statistics(self) -> Statistics:
        """Of the proprioception that is trained on."""
        return statistics(self.state[self.train_rows].numpy())

    def action_range(self) -> tuple[Float[Tensor, " a"], Float[Tensor, " a"]]:
        """Centre and half width of the range of each action component; a half width of 1 for one that never changes."""
        low, high = self.action.amin(0), self.action.amax(0)
        half = (high - low) / 2
        return (low + high) / 2, torch.where(half > 0, half, 1.0)


def load_demonstrations(selection: Selection, *, cameras: tuple[str, ...], resolution: int) -> Demonstrations:
    """Read what ``selection`` names, as ``cameras`` saw it.

    Raises :class:`ValueError` for an unknown camera, for ``successful`` on a dataset without ``next.success``, and if
    fewer episodes qualify than were asked for.
    """
    info = dataset_info(selection.data)
    chosen = choose_episodes(selection, info)
    steps = sum(chosen.values())
    frames = {c: torch.empty((steps, resolution, resolution, 3), dtype=torch.uint8) for c in cameras}
    state, action = torch.empty(steps, info.state_dim), torch.empty(steps, info.action_dim)
    last, task = torch.empty(steps, dtype=torch.int64), torch.empty(steps, dtype=torch.int64)
    tasks: dict[str, int] = {}
    rows, start = [], 0
    source = tqdm(read_episodes(selection.data, episodes=list(chosen), cameras=cameras), "demonstrations", len(chosen))
    for episode, length in zip(source, chosen.values(), strict=True):
        end = start + length
        for camera in cameras:
            frames[camera][start:end] = resize(torch.from_numpy(episode.frames[camera][:length]), resolution)
        state[start:end] = torch.from_numpy(episode.state[:length])
        action[start:end] = torch.from_numpy(episode.action[:length])
        last[start:end] = end - 1
        task[start:end] = tasks.setdefault(episode.task, len(tasks))
        rows.append(torch.arange(start, end))
        start = end
    origins = read_origins(info.path, info.episodes)
    groups = list(dict.fromkeys(origins[index] for index in chosen))
    apart = {groups[k] for k in held_out(len(groups), fraction=selection.held_out)}
    kept = [place for place, index in enumerate(chosen) if origins[index] in apart]
    return Demonstrations(
        frames=frames,
        state=state,
        action=action,
        last=last,
        task=task,
        dataset=torch.zeros(steps, dtype=torch.int64),
        tasks=tuple(tasks),
        train_rows=torch.cat([part for place, part in enumerate(rows) if place not in kept]),
        held_out_rows=torch.cat([torch.zeros(0, dtype=torch.int64), *(rows[place] for place in kept)]),
        episodes=tuple(chosen),
        fps=info.fps,
    )


def joined(parts: Sequence[Demonstrations]) -> Demonstrations:
    """Demonstrations of several datasets as one, in that order; all as the same cameras saw them, in the same size.

    Raises:
        ValueError: they are of other proprioception, actions or time steps than the first.
    """
    first = parts[0]
    for part in parts:
        for what, ours, theirs in (
            ("values of proprioception", first.state.shape[1], part.state.shape[1]),
            ("values of an action", first.action.shape[1], part.action.shape[1]),
            ("frames a second", first.fps, part.fps),
        ):
            if ours != theirs:
                raise ValueError(f"demonstrations of one policy must be alike: {ours} and {theirs} {what}")
    tasks = {text: place for place, text in enumerate(dict.fromkeys(text for part in parts for text in part.tasks))}
    starts = [sum(len(part.state) for part in parts[:place]) for place in range(len(parts))]
    renamed = [torch.tensor([tasks[text] for text in part.tasks])[part.task] for part in parts]
    return Demonstrations(
        frames={camera: torch.cat([part.frames[camera] for part in parts]) for camera in first.frames},
        state=torch.cat([part.state for part in parts]),
        action=torch.cat([part.action for part in parts]),
        last=torch.cat([part.last + start for part, start in zip(parts, starts, strict=True)]),
        task=torch.cat(renamed),
        dataset=torch.cat([torch.full_like(part.task, place) for place, part in enumerate(parts)]),
        tasks=tuple(tasks),
        train_rows=torch.cat([part.train_rows + start for part, start in zip(parts, starts, strict=True)]),
        held_out_rows=torch.cat([part.held_out_rows + start for part, start in zip(parts, starts, strict=True)]),
        episodes=tuple(episode for part in parts for episode in part.episodes),
        fps=first.fps,
    )


def choose_episodes(selection: Selection, info: DatasetInfo) -> dict[int, int]:
    """The episodes that ``selection`` takes, in the dataset's order, and the steps of each; no video is decoded."""
    dreams = dreams_among(info.path, episodes=info.episodes)
    if selection.successful and not info.has_success and len(dreams) < info.episodes:
        raise ValueError(
            f"{selection.data!r} has no next.success to tell successful episodes by: take all of them "
            "(successful=False, --all-episodes)"
        )
    skills = recorded_skills(info) if selection.skills else []
    for skill in selection.skills:
        if skill not in skills:
            raise ValueError(f"{selection.data!r} has no episodes of skill {skill!r}; it has {sorted(set(skills))}")
    qualifying: dict[int, int] = {}
    for index, episode in enumerate(read_episodes(selection.data, cameras=())):
        wanted = not selection.skills or skills[index] in selection.skills
        good = dreams[index].accepted if index in dreams else _succeeded(episode)
        if wanted and (good or not selection.successful):
            qualifying[index] = imitated_steps(episode, selection)
    count = len(qualifying) if selection.demonstrations is None else selection.demonstrations
    if not 1 <= count <= len(qualifying):
        raise ValueError(
            f"{selection.data!r} has {len(qualifying)} episodes that qualify (successful={selection.successful}, "
            f"skills={selection.skills}) out of {info.episodes}; {selection.demonstrations or 1} are needed"
        )
    order = list(qualifying)
    if selection.draw is not None:
        order = np.random.default_rng(selection.draw).permutation(order).tolist()
    return {index: qualifying[index] for index in sorted(order[:count])}


def recorded_skills(info: DatasetInfo) -> list[str]:
    """The skill that recorded each episode; :class:`ValueError` unless ``cosmos-sim collect`` made the dataset."""
    path = info.path / "meta" / "collection.json"
    try:
        skills = [episode["skill"] for episode in json.loads(path.read_text())["episodes"]]
    except FileNotFoundError:
        raise ValueError(f"{path} does not exist, so no skills are known: choose episodes without skills") from None
    if len(skills) != info.episodes:  # as where variants were added to what was collected
        raise ValueError(
            f"{path} tells the skills of {len(skills)} of {info.episodes} episodes: choose episodes without skills"
        )
    return skills


def imitated_steps(episode: Episode, selection: Selection) -> int:
    """How many of the episode's steps are imitated: all, or those up to ``tail`` steps after it first succeeds."""
    if not _succeeded(episode):
        return len(episode)
    assert episode.success is not None
    return min(len(episode), int(episode.success.argmax()) + 1 + selection.tail)


def _succeeded(episode: Episode) -> bool:
    return episode.success is not None and bool(episode.success.any())
