"""How a policy is trained on demonstrations: the recipe that :func:`cosmos_sim.training.train` runs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from numpy import ndarray
from torch import Tensor, nn

from cosmos_sim.data.lerobot import dataset_info
from cosmos_sim.data.word_vectors import WordsConfig
from cosmos_sim.policies.card import policy_card
from cosmos_sim.policies.demonstrations import Demonstrations, Selection, joined, load_demonstrations
from cosmos_sim.policies.encoder import EncoderConfig
from cosmos_sim.policies.image_augmentation import ImageAugmentation
from cosmos_sim.policies.language import embed, warn_of_tasks
from cosmos_sim.policies.learned import (
    FAMILIES,
    ChunkModel,
    LearnedPolicy,
    ModelConfig,
    build,
    episode_generators,
    family_of,
)
from cosmos_sim.training.layout import WHOLE, Part

EVALUATED_ROWS = 256
WORDS = WordsConfig(length=24)
"""How instructions become tokens: they are shorter than what a world is told."""


@dataclass(frozen=True)
class PolicyConfig:
    """Everything that a policy run learns from, apart from the optimiser's options."""

    selection: Selection | tuple[Selection, ...]
    """Of one dataset, or of several that are learned from alike."""
    model: ModelConfig
    shares: tuple[float, ...] | None = None
    """How often each dataset's steps are learned from, relative to the others'; all steps alike without. DreamGen takes
    recorded and imagined ones equally often."""
    batch_size: int = 64
    jitter: float = 0.1
    """Largest change of an image's contrast (as a factor) and brightness (of 1) in training; 0 leaves images alone."""
    image_augmentation: ImageAugmentation | None = None
    """What images undergo in training before that."""
    state_noise: float = 0.02
    """Standard deviation of the noise on proprioception in training, in units of the data's own spread."""
    seed: int = 0
    """Draws the initial weights."""

    def __post_init__(self) -> None:
        datasets = len(self.selection) if isinstance(self.selection, tuple) else 1
        if self.shares is not None and len(self.shares) != datasets:
            raise ValueError(f"shares must be one of each dataset: got {len(self.shares)} for {datasets}")
        if not all(0 < share < math.inf for share in self.shares or ()):
            raise ValueError(f"shares must be finite and positive, got {self.shares}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {self.batch_size}")
        if not 0 <= self.jitter < 1:
            raise ValueError(f"jitter must lie in [0, 1), got {self.jitter}")
        if self.state_noise < 0:
            raise ValueError(f"state_noise must not be negative, got {self.state_noise}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")


@dataclass(frozen=True)
class PolicyBatch:
    """Observations, cropped at random, and the actions that followed them."""

    frames: Mapping[str, UInt8[Tensor, "b k k c"]]
    state: Float[Tensor, "b n"]
    actions: Float[Tensor, "b t a"]
    jitter: Float[Tensor, "b 2"] | None
    text: Float[Tensor, "b l w"] | None
    """What each was told to do, for a policy that reads."""


class PolicyRecipe:
    """Behaviour cloning of ``demonstrations`` by ``config.model``."""

    name = "policy"

    def __init__(
        self, config: PolicyConfig, demonstrations: Demonstrations, *, provenance: Mapping[str, Any] | None = None
    ) -> None:
        self.config = config
        self.demonstrations = demonstrations
        self.provenance = dict(provenance or {})
        """What else the policy's card should tell of its making, e.g. the command."""
        self.batch_size = config.batch_size
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.policy: ChunkModel = build(config.model)
        self.model: nn.Module = self.policy
        if demonstrations.state.shape[1]:
            spread = demonstrations.state_statistics()
            self.policy.encoder.state_mean.copy_(torch.tensor(spread.mean))
            self.policy.encoder.state_std.copy_(torch.tensor(spread.scale))
        self.noise_scale = config.state_noise * self.policy.encoder.state_std.clone()
        centre, scale = demonstrations.action_range()
        self.policy.action_centre.copy_(centre)
        self.policy.action_scale.copy_(scale)
        self._odds: Tensor | None = None
        if config.shares is not None:
            source = demonstrations.dataset[demonstrations.train_rows]
            self._odds = (torch.tensor(config.shares) / source.bincount(minlength=len(config.shares)))[source]
        words = config.model.encoder.language
        self._texts = None if words is None else embed(demonstrations.tasks, words)

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> PolicyBatch:
        config, data, encoder = self.config, self.demonstrations, self.config.model.encoder
        size, slack = (config.batch_size,), encoder.resolution - encoder.crop + 1
        rows = self._drawn(generator)
        top, left = (torch.randint(slack, size, generator=generator) for _ in range(2))
        state = data.state[rows]
        state = state + self.noise_scale * torch.randn(state.shape, generator=generator)
        jitter = None
        if config.jitter:
            jitter = config.jitter * (2 * torch.rand((config.batch_size, 2), generator=generator) - 1)
            jitter[:, 0] += 1
        if jitter is not None:
            jitter = part.of(jitter)
        rows, state = part.of(rows), part.of(state)
        frames = data.crops(rows, crop=encoder.crop, top=part.of(top), left=part.of(left))
        return PolicyBatch(frames, state, data.chunks(rows, config.model.horizon), jitter, self._told(rows))

    def loss(self, batch: PolicyBatch, step: int, generator: torch.Generator) -> dict[str, Tensor]:
        frames, augmentation = batch.frames, self.config.image_augmentation
        if augmentation is not None:
            frames = {camera: augmentation(images, generator) for camera, images in frames.items()}
        return {"loss": self.policy.loss(frames, batch.state, batch.actions, batch.jitter, generator, batch.text)}

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """Mean absolute error of the executed actions, in units of half their range: where trained, and held out."""
        figures = {"action_error_train": self._action_error(self.demonstrations.train_rows)}
        if len(self.demonstrations.held_out_rows):
            figures["action_error"] = self._action_error(self.demonstrations.held_out_rows)
        return figures

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """No videos: what a policy does shows in an environment only."""
        return {}

    def export(self, folder: Path) -> None:
        data, augmentation = self.demonstrations, self.config.image_augmentation
        several = self.config.selection if isinstance(self.config.selection, tuple) else (self.config.selection,)
        training = {
            "data": ", ".join(Path(selection.data).name for selection in several),
            "task": data.tasks[0] if len(data.tasks) == 1 else list(data.tasks),
            "fps": data.fps,
            "episodes": len(data.episodes),
            "successful_only": all(selection.successful for selection in several),
            "skills": sorted({skill for selection in several for skill in selection.skills}) or "any",
            "samples": len(data.train_rows),
            "shares": self.config.shares or "by size",
            "batch_size": self.config.batch_size,
            "seed": self.config.seed,
            "image_augmentation": asdict(augmentation) if augmentation else "none",
            **self.provenance,
            "metrics": self.evaluate(torch.Generator()),
        }
        policy = LearnedPolicy(self.policy, metadata={"training": training}, device=self.policy.action_scale.device)
        parameters = sum(p.numel() for p in self.policy.parameters())
        card = policy_card(family_of(self.config.model), self.config.model.encoder, parameters, training)
        policy.write(folder, card=card)

    @torch.no_grad()
    def _action_error(self, rows: Tensor) -> float:
        config, model = self.config.model, self.policy
        rows = rows[torch.linspace(0, len(rows) - 1, min(len(rows), EVALUATED_ROWS)).long()]
        device = model.action_scale.device
        frames = self.demonstrations.crops(rows, crop=config.encoder.crop)
        frames = {camera: images.to(device) for camera, images in frames.items()}
        state = self.demonstrations.state[rows].to(device)
        text = self._told(rows)
        text = None if text is None else text.to(device)
        predicted = model.predict(frames, state, episode_generators(range(len(rows))), text)
        error = (predicted.cpu() - self.demonstrations.chunks(rows, config.horizon)).abs() / model.action_scale.cpu()
        return float(error[:, : config.execute].mean())

    def _drawn(self, generator: torch.Generator) -> Int64[Tensor, " b"]:
        """Steps to learn from: any alike, or by the shares of their datasets."""
        rows, size = self.demonstrations.train_rows, self.config.batch_size
        if self._odds is None:
            return rows[torch.randint(len(rows), (size,), generator=generator)]
        return rows[torch.multinomial(self._odds, size, replacement=True, generator=generator)]

    def _told(self, rows: Int64[Tensor, " b"]) -> Float[Tensor, "b l w"] | None:
        return None if self._texts is None else self._texts[self.demonstrations.task[rows]]


def policy_recipe(
    selection: Selection | Sequence[Selection],
    *,
    family: str = "diffusion",
    language: bool = False,
    cameras: tuple[str, ...] | None = None,
    encoder: Mapping[str, Any] | None = None,
    model: Mapping[str, Any] | None = None,
    provenance: Mapping[str, Any] | None = None,
    **options: Any,
) -> PolicyRecipe:
    """Read the demonstrations and set up a recipe whose model has their cameras (or ``cameras``) and dimensions.

    ``selection`` may be of several datasets: recorded episodes and dreams, say. The first decides on the cameras. With
    ``language`` the policy learns to do what an episode's task says. ``encoder`` and ``model`` set other fields of the
    model's config, ``options`` those of :class:`PolicyConfig`.

    Raises :class:`ValueError` for an unknown ``family`` and for values out of range, and what reading raises; for an
    instruction without words, with ``language``. Warns of several tasks without it.
    """
    if family not in FAMILIES:
        near = get_close_matches(family, FAMILIES, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {sorted(FAMILIES)}"
        raise ValueError(f"unknown family of policies {family!r}; {hint}")
    several = (selection,) if isinstance(selection, Selection) else tuple(selection)
    if not several:
        raise ValueError("a policy needs a selection to learn from, got none")
    info = dataset_info(several[0].data)
    sees = EncoderConfig(tuple(info.cameras) if cameras is None else cameras, info.state_dim, **(encoder or {}))
    parts = [load_demonstrations(part, cameras=sees.cameras, resolution=sees.resolution) for part in several]
    demonstrations = parts[0] if len(parts) == 1 else joined(parts)
    if language:
        sees = replace(sees, language=WORDS.knowing(demonstrations.tasks))
    else:
        warn_of_tasks(demonstrations.tasks, "train it with language")
    chosen = several[0] if len(several) == 1 else several
    config = PolicyConfig(chosen, FAMILIES[family](sees, info.action_dim, **(model or {})), **options)
    return PolicyRecipe(config, demonstrations, provenance=provenance)
