"""The dataset of dreams: which are in it, what each is known to be, and a page to judge them by."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.data.dreams import DreamRecord, write_dreams
from cosmos_sim.data.files import new_folder
from cosmos_sim.data.lerobot import read_episodes, write_dataset
from cosmos_sim.data.lerobot_layout import DatasetInfo
from cosmos_sim.synthesis.card import card
from cosmos_sim.synthesis.page import write_page
from cosmos_sim.synthesis.plan import DreamConfig
from cosmos_sim.synthesis.scores import Limits, likeness
from cosmos_sim.synthesis.staging import Staged, Staging, Told
from cosmos_sim.types import Episode

PAGE, RECORD = "dreams.html", "dreams.json"


@dataclass(frozen=True)
class Judged:
    """A dream and what its scores are held to mean."""

    told: Told
    scores: Mapping[str, float]
    """Those of the dream and ``duplicate``, which depends on those before it."""
    faults: tuple[str, ...]
    """Why it is rejected; nothing if it is not."""

    @property
    def accepted(self) -> bool:
        return not self.faults


def judge(staging: Staging, names: Sequence[str], limits: Limits, *, spread: Float32[ndarray, "a"]) -> list[Judged]:
    """All dreams in their order, each against the limits and against the accepted ones before it."""
    kept: dict[str, list[ndarray]] = {}
    judged = []
    for name in names:
        told, action = staging.told(name), staging.action(name)
        before = kept.setdefault(told.instruction, [])
        alike = max((likeness(action, other, spread=spread) for other in before), default=0.0)
        scores = {**told.scores, "duplicate": alike}
        judged.append(Judged(told, scores, tuple(limits.faults(scores))))
        if judged[-1].accepted:
            before.append(action)
    return judged


def export(
    staging: Staging,
    judged: Sequence[Judged],
    config: DreamConfig,
    info: DatasetInfo,
    out: Path,
    *,
    limits: Limits,
    failed: Mapping[str, str],
    settings: Mapping[str, Any],
) -> None:
    """Write the dataset ``out`` with its sidecars, and rename it into place.

    ``meta/dreams.jsonl`` tells of each episode that is a dream, ``meta/dreams.json`` of the whole and of what was
    rejected, and ``dreams.html`` shows dreams, pseudo-actions, replays and reasons.

    Args:
        settings: those of the config and ``unfiltered``, whether rejected dreams are in it too (``dreams.jsonl`` says
            which they are), and ``with_seed``, whether the seed dataset's episodes come first.

    Raises:
        ValueError: no dream is to be in it.
        OSError: the disk is full or cannot be written.
    """
    with_seed = settings["with_seed"]
    shown = [one for one in judged if one.accepted or settings["unfiltered"]]
    if not shown:
        reasons = [*failed.values(), *("; ".join(one.faults) for one in judged)]
        raise ValueError(f"none of {len(reasons)} dreams was accepted; the first: {reasons[0]}")
    first = info.episodes if with_seed else 0
    flags = info.has_success if with_seed else config.twin is not None
    sources: dict[str, int] = {}

    def episodes() -> Iterator[Episode]:
        if with_seed:
            yield from read_episodes(config.dataset, cameras=config.cameras)
        for one in shown:
            staged = staging.load(one.told.name)
            sources[staged.state_from] = sources.get(staged.state_from, 0) + 1
            solved = flags and config.twin is not None and one.scores["replay"] == 0
            yield _episode(staged, info, flags=flags, reward=info.has_reward if with_seed else flags, solved=solved)

    with new_folder(out) as beside:
        beside.rmdir()
        write_dataset(
            episodes(), beside, robot_type=info.robot_type, state_names=info.state_names, action_names=info.action_names
        )
        record = {
            "settings": dict(settings),
            "limits": limits.as_json(),
            "seed_episodes": first,
            "dreams": len(judged),
            "accepted": sum(one.accepted for one in judged),
            "states_from": sources,
            "rejected": [_rejected(one) for one in judged if not one.accepted],
            "failed": dict(failed),
        }
        meta = beside / "meta"
        write_dreams(beside, [_record(first + k, one, config) for k, one in enumerate(shown)])
        (meta / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")
        (beside / "README.md").write_text(card(record, fps=info.fps))
        write_page(beside / PAGE, staging, judged, record, fps=info.fps)


def _episode(staged: Staged, info: DatasetInfo, *, flags: bool, reward: bool, solved: bool) -> Episode:
    steps = len(staged.action)
    success = np.zeros(steps, bool)
    success[-1] = solved
    return Episode(
        frames={camera: video[:-1] for camera, video in staged.frames.items()},
        state=staged.state[:-1],
        action=staged.action,
        task=staged.told.instruction,
        success=success if flags else None,
        reward=success.astype(np.float32) if reward else None,
        fps=info.fps,
    )


def _record(episode: int, one: Judged, config: DreamConfig) -> DreamRecord:
    verified = config.twin is not None and one.scores["replay"] == 0
    return DreamRecord(
        episode,
        one.told.instruction,
        one.told.seed,
        one.told.start,
        one.accepted,
        one.scores,
        {"faults": list(one.faults), "actions": "pseudo", "verified": verified},
    )


def _rejected(one: Judged) -> dict[str, Any]:
    return asdict(one.told) | {"scores": dict(one.scores), "faults": list(one.faults)}
