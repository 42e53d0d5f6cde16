"""What a night's dreams consist of: which instructions, from which starts, how often, and from which seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

StartsFrom = Literal["same", "any", "twin"]

SAMPLES = 8
"""Draws of the inverse dynamics, whose spread is its uncertainty."""


@dataclass(frozen=True)
class DreamConfig:
    """What is imagined and how it is labelled. The same config and networks give the same dreams, in however many
    processes.

    Raises:
        ValueError: naming the field that is out of range.
    """

    dataset: str
    """The seed dataset: a folder, the name of a recorded one, or a hub id. Dreams begin from its first frames, and
    limits are set on its episodes."""
    model: str
    """Imagines videos from a frame and text."""
    labeller: str
    """Reads actions off videos: inverse dynamics or latent actions."""
    instructions: tuple[str, ...] = ()
    """Those of the dataset by default."""
    per_instruction: int = 5
    frames: int = 49
    """Of a dream, its start included: one more than there are pseudo-actions."""
    starts: StartsFrom = "same"
    """Where a dream begins: at the first frame of an episode with the same instruction, of any episode, or of a fresh
    episode of the simulator with that instruction."""
    world: str | None = None
    """An action-conditioned world, in which the pseudo-actions are carried out for the cycle's consistency."""
    twin: str | None = None
    """The task of the simulator in which they are replayed, of which only what succeeds is kept."""
    cameras: tuple[str, ...] | None = None
    """Those that are imagined; all of the dataset's by default. The dreams have no others."""
    seed: int = 0
    guidance: float | None = None
    """The model's own by default; so with ``steps``."""
    steps: int | None = None
    samples: int = SAMPLES
    weights: Mapping[str, str] = field(default_factory=dict)
    """Digests of the networks' files, where a run is to go on with no others of the same names."""

    def __post_init__(self) -> None:
        if not 1 <= self.per_instruction <= 100_000:
            raise ValueError(f"per_instruction must be from 1 to 100000, got {self.per_instruction}")
        if not 3 <= self.frames <= 10_000:
            raise ValueError(f"frames must be from 3 to 10000, got {self.frames}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie in 0 .. 2^32 - 1, got {self.seed}")
        if self.guidance is not None and not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise ValueError(f"guidance must be finite and not negative, got {self.guidance}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if self.samples < 2:
            raise ValueError(f"samples must be at least 2, or they say nothing of uncertainty; got {self.samples}")
        if self.cameras is not None and (not self.cameras or len(set(self.cameras)) < len(self.cameras)):
            raise ValueError(f"cameras must be at least one, each once, got {self.cameras}")
        if self.starts == "twin" and self.twin is None:
            raise ValueError("starts='twin' needs the twin's task")
        if self.starts == "any" and self.twin is not None:
            raise ValueError(
                f"dreams from any start cannot be replayed in {self.twin!r}: what their instruction speaks of need not "
                "be there. Take starts='same' or 'twin'"
            )

    def as_json(self) -> dict[str, Any]:
        """The config as JSON holds it."""
        cameras = None if self.cameras is None else list(self.cameras)
        return asdict(self) | {"instructions": list(self.instructions), "cameras": cameras}


@dataclass(frozen=True)
class Job:
    """One dream to be made."""

    line: int
    """The instruction's place among the config's."""
    number: int
    """Among the dreams of that instruction."""
    instruction: str
    episode: int | None
    """The seed dataset's episode that it begins like; ``None`` where the simulator makes its start."""

    @property
    def name(self) -> str:
        return f"{self.line:05d}-{self.number:05d}"

    @property
    def title(self) -> str:
        return f"dream {self.number} of {self.instruction!r}"

    def seed(self, config: DreamConfig) -> int:
        """Of the noise, and of the simulator's reset: it depends on these numbers and the config's seed alone."""
        return int(np.random.SeedSequence([config.seed, self.line, self.number]).generate_state(1)[0])


def plan_jobs(config: DreamConfig, tasks: Sequence[str]) -> list[Job]:
    """Every dream of ``config``; starts are drawn anew when each episode that may be one has been used.

    Args:
        tasks: the instruction of each of the seed dataset's episodes.

    Raises:
        ValueError: no instructions, or an instruction that no episode has, where starts are to be the same.
    """
    if not config.instructions:
        raise ValueError("there are no instructions: the dataset's task texts are empty, so give some")
    jobs = []
    for line, instruction in enumerate(config.instructions):
        episodes: list[int | None] = [None]
        if config.starts != "twin":
            episodes = [k for k, task in enumerate(tasks) if config.starts == "any" or task.strip() == instruction]
        if not episodes:
            raise ValueError(
                f"no episode of {config.dataset!r} has the instruction {instruction!r} to begin from: let dreams begin "
                "from any start, or take instructions that it has"
            )
        rng = np.random.default_rng([config.seed, line])
        rounds = -(-config.per_instruction // len(episodes))
        drawn = [episodes[k] for _ in range(rounds) for k in rng.permutation(len(episodes))]
        jobs += [
            Job(line, number, instruction, episode) for number, episode in enumerate(drawn[: config.per_instruction])
        ]
    return jobs
