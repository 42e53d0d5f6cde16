"""What an augmentation consists of: which variants of which episodes, under which controls, from which seeds."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from cosmos_sim.augmentation.control_spec import DEFAULT, ControlSpec, parse_controls
from cosmos_sim.augmentation.template import Prompt
from cosmos_sim.data.captions import EpisodeCaption

GUIDANCE = 3.0
"""The paper's strength of guidance for robot data (section 6.2.2)."""

MOST_ATTEMPTS = 100


@dataclass(frozen=True)
class AugmentConfig:
    """What is made of a dataset. The same config, world and prompts give the same dataset, in however many processes.

    Raises:
        ValueError: naming the field that is out of range.
    """

    dataset: str
    """A folder, the name of a recorded dataset, or a hub id."""
    model: str
    """The Transfer world: shipped name, folder or hub id."""
    variants: int = 5
    """Of each episode."""
    controls: tuple[str, ...] = tuple(str(spec) for spec in DEFAULT)
    """As :func:`~cosmos_sim.augmentation.control_spec.parse_controls` reads them."""
    keep: tuple[str, ...] = ()
    """Regions that stay as the source shows them, such as ``robot``: guided generation with masks, after which the
    source's own pixels are put back."""
    recolour: tuple[str, ...] = ()
    """Regions that are drawn with the source's shape and shading in the colour that the world gave them: see
    :func:`~cosmos_sim.augmentation.recolour.recolour`."""
    cameras: tuple[str, ...] | None = None
    """The cameras to change, all of them by default; the others keep their videos."""
    episodes: tuple[int, ...] | None = None
    """The source's episodes to take, all of them by default."""
    seed: int = 0
    guidance: float = GUIDANCE
    steps: int | None = None
    """Of sampling; the world's own by default."""
    attempts: int = 3
    """How often a variant is made, each time from another seed, until one passes its checks."""
    annotator: str | None = None
    """Who finds the robot in what was made: ``hub``, or a trained annotator; the world's own by default."""
    checks: str | None = None
    """The file of limits of the checks; the annotator's own, or set on the dataset itself, by default."""
    labeller: str | None = None
    """Inverse dynamics that must still read the same actions off what was made; nobody asks by default."""
    weights: str | None = None
    """A digest of the world's files, where a run is to go on with no other world of the same name."""
    labeller_weights: str | None = None
    """Likewise, of the labeller's."""
    template: str | None = None
    """Name and digest of the template of the prompts, where a run is to go on with no other."""
    language_model: str | None = None
    """Who fills the template's slots, if not a sampler; likewise."""

    def __post_init__(self) -> None:
        if not 1 <= self.variants <= 1000:
            raise ValueError(f"variants must be from 1 to 1000 an episode, got {self.variants}")
        if not 1 <= self.attempts <= MOST_ATTEMPTS:
            raise ValueError(f"attempts must be from 1 to {MOST_ATTEMPTS}, got {self.attempts}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed must lie in 0 .. 2^32 - 1, got {self.seed}")
        if not (math.isfinite(self.guidance) and self.guidance >= 0):
            raise ValueError(f"guidance must be finite and not negative, got {self.guidance}")
        if self.steps is not None and self.steps < 1:
            raise ValueError(f"steps must be at least 1, got {self.steps}")
        if not self.controls:
            raise ValueError("controls are needed: without any, nothing holds a variant to its source")
        for name, values in (("episodes", self.episodes), ("cameras", self.cameras)):
            if values is not None and (not values or len(set(values)) < len(values)):
                raise ValueError(f"{name} must be at least one, each once, got {values}")
        regions = (*self.keep, *self.recolour)
        if len(set(regions)) < len(regions) or not all(regions):
            raise ValueError(f"keep and recolour take the names of regions, each once, got {regions}")
        parse_controls(self.controls)

    @property
    def specs(self) -> tuple[ControlSpec, ...]:
        return parse_controls(self.controls)

    def as_json(self) -> dict[str, Any]:
        """The config as JSON holds it."""
        return asdict(self) | {"controls": [str(spec) for spec in self.specs]}


@dataclass(frozen=True)
class Job:
    """One variant of one episode, to be made."""

    episode: int
    variant: int
    prompt: Prompt

    @property
    def name(self) -> str:
        return f"{self.episode:06d}-{self.variant:03d}"

    @property
    def title(self) -> str:
        return f"episode {self.episode}, variant {self.variant}"

    def seed(self, config: AugmentConfig, attempt: int) -> int:
        """The seed of one attempt, which depends on these numbers and the config's seed alone."""
        words = np.random.SeedSequence([config.seed, self.episode, self.variant, attempt]).generate_state(1)
        return int(words[0])


def jobs_of(prompts: Mapping[int, Sequence[Prompt]], done: set[str]) -> list[Job]:
    """The variants that are not ``done``, an episode's one after another, so that its controls are found once."""
    jobs = [Job(episode, k, prompt) for episode in sorted(prompts) for k, prompt in enumerate(prompts[episode])]
    return [job for job in jobs if job.name not in done]


def prompt_json(prompt: Prompt) -> dict[str, Any]:
    """A prompt as JSON holds it."""
    return {
        "caption": prompt.caption.caption,
        "cameras": dict(prompt.caption.cameras),
        "slots": dict(prompt.slots),
    }


def read_prompt(raw: Mapping[str, Any]) -> Prompt:
    """What :func:`prompt_json` wrote."""
    return Prompt(EpisodeCaption(raw["caption"], dict(raw["cameras"])), dict(raw["slots"]))
