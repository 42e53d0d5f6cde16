"""What a collection consists of: which skill acts in which episode, and from which seeds."""

import difflib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from hashlib import blake2b
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_sim.data.work_folder import differences
from cosmos_sim.envs.twin.instructions import draw_instruction
from cosmos_sim.envs.twin.random_scenes import random_scene
from cosmos_sim.envs.twin.scene import Scene
from cosmos_sim.envs.twin.scenes import find_scene
from cosmos_sim.envs.twin.tasks import find_split, find_task

SKILLS: dict[str, float] = {"expert": 0.35, "noisy": 0.2, "clumsy": 0.2, "wrong": 0.15, "random": 0.1}
"""The skills of the scripted policies and the share of episodes each records unless told otherwise."""

SEEDS_PER_COLLECTION = 1_000_000
"""Collection ``seed`` starts its episodes from the twin's seeds ``(seed + 1) * 1_000_000 + index``. Seeds below
1_000_000 are left to evaluation and to worlds' start frames, so that neither meets an episode that was trained on."""

MAX_SEED = 4000
"""The largest seed of a collection whose episodes' seeds still fit into 32 bits."""

RANDOM = "random"
"""The name that stands for a scene drawn anew for each episode."""

_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True)
class CollectionConfig:
    """What is collected. The same config gives the same dataset, however many processes record it.

    Raises:
        ValueError: naming the field that is out of range.
    """

    task: str
    episodes: int
    seed: int
    length: int
    """Steps recorded of every episode, also after the task is solved."""
    shares: Mapping[str, float]
    """Actor to the share of episodes that it records; they sum to 1. An actor is a skill of the scripted policies, or a
    trained policy: its folder, with ``lerobot:`` before it if it is LeRobot's."""
    scenes: str | None = None
    """What episodes look like: ``"random"``, each another scene; a scene's name; or ``None``, robosuite's own look."""
    annotate: bool = False
    """Whether true depth and segments of all images are kept."""
    split: str | None = None
    """Where instructions, objects and looks are drawn from, of a task that is told what to do; ``None`` for others."""
    verbs: tuple[str, ...] = ()
    """What is done in these episodes, of all that the split does; all of it by default."""

    def __post_init__(self) -> None:
        if find_split(find_task(self.task), self.split) != self.split:
            raise ValueError(f"{self.task!r} is told what to do: say from which split, such as 'seen'")
        if self.verbs and self.split is None:
            raise ValueError(f"{self.task!r} is always the same task and has no verbs {', '.join(self.verbs)}")
        if len(set(self.verbs)) < len(self.verbs):
            raise ValueError(f"verbs must differ, got {', '.join(self.verbs)}")
        plan_instruction(self, 0)  # raises for a verb that the split does not have
        if not 1 <= self.episodes < SEEDS_PER_COLLECTION:
            raise ValueError(f"episodes must be in 1..{SEEDS_PER_COLLECTION - 1}, got {self.episodes}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be in 0..{MAX_SEED}, got {self.seed}")
        if self.length < 2:
            raise ValueError(f"length must be at least 2 steps, got {self.length}")
        check_shares(self.shares)
        if self.scenes is not None:
            if self.task != "Lift":
                raise ValueError(f"scenes are of the task Lift, not of {self.task!r}")
            if self.scenes != RANDOM:
                find_scene(self.scenes)

    def as_json(self) -> dict[str, Any]:
        """The config as JSON holds it."""
        return {**vars(self), "shares": dict(self.shares), "verbs": list(self.verbs)}

    def defaults(self) -> dict[str, Any]:
        """What a config was in fields that collections did not tell before there were such."""
        return {field.name: field.default for field in fields(self) if field.default is not MISSING} | {"verbs": []}

    def differences(self, other: Mapping[str, object]) -> list[str]:
        """What of ``other``, a config as JSON holds it, is not as here: ``"seed 0 there, 1 here"``."""
        return differences(self.as_json(), {**self.defaults(), **other})


@dataclass(frozen=True)
class EpisodePlan:
    """One episode to record: who acts, and the seed of the twin's reset and of the policy."""

    index: int
    skill: str
    """The actor: a skill, or a trained policy's folder."""
    seed: int


def plan_episode(config: CollectionConfig, index: int) -> EpisodePlan:
    """The episode ``index`` of a collection, which depends on the seed, the shares and the index alone.

    Skills follow a golden-ratio sequence through the shares, so that the shares hold within a few episodes among the
    first ``n``, whatever ``n``, and not only on average.
    """
    offset = int.from_bytes(blake2b(str(config.seed).encode(), digest_size=8).digest()) / 2**64
    place = (offset + index * _GOLDEN) % 1.0
    skill, total = "", 0.0
    for name, share in config.shares.items():
        if share > 0:
            skill, total = name, total + share
            if place < total:
                break
    return EpisodePlan(index=index, skill=skill, seed=(config.seed + 1) * SEEDS_PER_COLLECTION + index)


def plan_scene(config: CollectionConfig, index: int) -> Scene | None:
    """What episode ``index`` of a collection looks like, which depends on ``scenes``, the seed and the index alone."""
    if config.scenes is None:
        return None
    if config.scenes != RANDOM:
        return find_scene(config.scenes)
    return random_scene(np.random.default_rng([config.seed, index]))


def plan_instruction(config: CollectionConfig, index: int) -> str | None:
    """What is done in episode ``index`` of a collection of some ``verbs``; ``None`` leaves it to the seed."""
    if not config.verbs or config.split is None:
        return None
    rng = np.random.default_rng([config.seed, index, 1])
    return draw_instruction(rng, config.split, config.verbs).text


def parse_shares(text: str) -> dict[str, float]:
    """Shares from ``"expert=.5,runs/policy/export=.5"``; ``""`` gives :data:`SKILLS`.

    Raises:
        ValueError: naming what is not a skill, not a number, or does not sum to 1.
    """
    if not text:
        return dict(SKILLS)
    shares: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().rpartition("=")
        if not equals or name in shares:
            raise ValueError(f"skills must read like expert=.5,random=.5 with each skill once, got {text!r}")
        try:
            shares[name] = float(value)
        except ValueError:
            raise ValueError(f"the share of skill {name!r} must be a number, got {value!r}") from None
    check_shares(shares)
    return shares


def check_shares(shares: Mapping[str, float]) -> None:
    """Raise :class:`ValueError` unless ``shares`` are of skills or policies' folders, not negative, and sum to 1."""
    for name, share in shares.items():
        if name not in SKILLS and not Path(name.removeprefix("lerobot:")).is_dir():
            close = difflib.get_close_matches(name, SKILLS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"choose from {', '.join(SKILLS)}, or give a folder"
            raise ValueError(f"unknown skill {name!r}; {hint}")
        if not isfinite(share) or share < 0:
            raise ValueError(f"the share of skill {name!r} must be >= 0, got {share}")
    if abs(sum(shares.values()) - 1) > 1e-6:
        raise ValueError(f"the shares of skills must sum to 1, got {sum(shares.values()):g} from {dict(shares)}")
