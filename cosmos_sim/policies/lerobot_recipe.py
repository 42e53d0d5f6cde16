"""LeRobot's own policies, trained by our loop: its models, losses and processors on the demonstrations of a dataset."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from jaxtyping import Int64, UInt8
from numpy import ndarray
from torch import Tensor, nn

from cosmos_sim.data.lerobot import dataset_info
from cosmos_sim.data.statistics import statistics
from cosmos_sim.policies.demonstrations import Demonstrations, Selection, load_demonstrations
from cosmos_sim.policies.language import warn_of_tasks
from cosmos_sim.training.layout import WHOLE, Part

KINDS: dict[str, dict[str, Any]] = {
    "act": {
        "chunk_size": 8,
        "n_action_steps": 8,
        "dim_model": 128,
        "n_heads": 4,
        "dim_feedforward": 256,
        "n_encoder_layers": 2,
        "n_vae_encoder_layers": 2,
        "latent_dim": 16,
    },
    "diffusion": {
        "n_obs_steps": 1,
        "horizon": 16,
        "n_action_steps": 8,
        "down_dims": (64, 128),
        "use_group_norm": True,
        "use_separate_rgb_encoder_per_camera": False,
        "crop_shape": (56, 56),
        "prediction_type": "sample",
        "noise_scheduler_type": "DDIM",
        "num_inference_steps": 10,
        "do_mask_loss_for_padding": True,
    },
}
"""LeRobot's names of the policies that can be trained, and sizes that suit images of 64 pixels and a CPU."""

EVALUATED_ROWS = 128


@dataclass(frozen=True)
class LeRobotPolicyConfig:
    """What a run learns from, apart from the optimiser's options."""

    selection: Selection
    kind: str
    """One of :data:`KINDS`."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Fields of LeRobot's own config, in place of those in :data:`KINDS`; the vision backbone starts untrained."""
    resolution: int = 64
    """Side in pixels that images are resized to."""
    batch_size: int = 32
    seed: int = 0
    """Draws the initial weights."""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            near = get_close_matches(self.kind, KINDS, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {sorted(KINDS)}"
            raise ValueError(f"unknown kind of LeRobot policy {self.kind!r}; {hint}")
        for name in ("batch_size", "resolution"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}")
        if self.model.get("n_obs_steps", 1) != 1:
            raise ValueError(f"n_obs_steps must be 1: one observation is shown, got {self.model['n_obs_steps']}")


class LeRobotRecipe:
    """Training of ``config.kind`` on ``demonstrations``; its export loads as ``lerobot:FOLDER``, and in LeRobot.

    Batches hold what LeRobot's dataset gives (images in [0, 1], channels first; ``action_is_pad`` past an episode's
    end), out of memory in place of its video files. Normalisation, model and loss are LeRobot's; the optimiser, its
    schedule and the average over weights are those of :func:`cosmos_sim.training.train`.
    """

    name = "lerobot policy"

    def __init__(self, config: LeRobotPolicyConfig, demonstrations: Demonstrations) -> None:
        from lerobot.configs import FeatureType, PolicyFeature
        from lerobot.policies.factory import get_policy_class, make_policy_config, make_pre_post_processors

        self.config = config
        self.demonstrations = demonstrations
        self.batch_size = config.batch_size
        size = (3, config.resolution, config.resolution)
        images = {f"observation.images.{c}": PolicyFeature(FeatureType.VISUAL, size) for c in demonstrations.frames}
        state = PolicyFeature(FeatureType.STATE, (demonstrations.state.shape[1],))
        theirs = make_policy_config(
            config.kind,
            input_features={**images, "observation.state": state},
            output_features={"action": PolicyFeature(FeatureType.ACTION, (demonstrations.action.shape[1],))},
            pretrained_backbone_weights=None,
            device="cpu",
            push_to_hub=False,
            **{**KINDS[config.kind], **config.model},
        )
        self.horizon = len(theirs.action_delta_indices)
        self.observes_sequence = theirs.observation_delta_indices is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self.policy = get_policy_class(config.kind)(theirs)
        self.model: nn.Module = self.policy
        self.processors = make_pre_post_processors(theirs, dataset_stats=_statistics(demonstrations))

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> dict[str, Tensor]:
        rows = self.demonstrations.train_rows
        return self.observed(rows[part.of(torch.randint(len(rows), (self.batch_size,), generator=generator))])

    def loss(self, batch: Mapping[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        return {"loss": self._loss(batch)}

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """LeRobot's loss, as the trained policy acts (ACT without its variational term), where trained and held out."""
        data = self.demonstrations
        device = next(self.model.parameters()).device
        parts = {"loss_train": data.train_rows, "loss_held_out": data.held_out_rows}
        figures = {}
        for name, rows in parts.items():
            if len(rows):
                some = rows[torch.linspace(0, len(rows) - 1, min(len(rows), EVALUATED_ROWS)).long()]
                batch = {key: value.to(device) for key, value in self.observed(some).items()}
                figures[name] = self._loss(batch).item()
        return figures

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """No videos: what a policy does shows in an environment only."""
        return {}

    def export(self, folder: Path) -> None:
        """LeRobot's own files: config, weights and both processors."""
        self.policy.save_pretrained(folder)
        for processor in self.processors:
            processor.save_pretrained(folder)

    def observed(self, rows: Int64[Tensor, " b"]) -> dict[str, Tensor]:
        """The steps ``rows`` of the demonstrations and the actions after each, in LeRobot's form, not normalised."""
        data = self.demonstrations
        batch = {
            f"observation.images.{camera}": rearrange(images[rows], "b h w c -> b c h w").float() / 255
            for camera, images in data.frames.items()
        }
        batch["observation.state"] = data.state[rows]
        if self.observes_sequence:
            batch = {name: value[:, None] for name, value in batch.items()}
        past_end = rows[:, None] + torch.arange(self.horizon) > data.last[rows][:, None]
        return {**batch, "action": data.chunks(rows, self.horizon), "action_is_pad": past_end}

    def _loss(self, batch: Mapping[str, Tensor]) -> Tensor:
        normalised = self.processors[0](dict(batch))
        return self.policy.forward(normalised)[0]


def lerobot_recipe(selection: Selection, kind: str, **options: Any) -> LeRobotRecipe:
    """Read the demonstrations, as all of the dataset's cameras saw them, and set up the recipe.

    ``options`` are the other fields of :class:`LeRobotPolicyConfig`. Raises :class:`ValueError` for an unknown ``kind``
    and values out of range, and what reading raises. Warns of several tasks: none of :data:`KINDS` reads.
    """
    config = LeRobotPolicyConfig(selection, kind, **options)
    cameras = tuple(dataset_info(selection.data).cameras)
    demonstrations = load_demonstrations(selection, cameras=cameras, resolution=config.resolution)
    warn_of_tasks(demonstrations.tasks, f"{kind} does not read")
    return LeRobotRecipe(config, demonstrations)


def _statistics(data: Demonstrations) -> dict[str, dict[str, Tensor]]:
    """What LeRobot normalises by, in its form; images by channel, over the frames of all cameras' own."""
    found = {}
    for name, values in (("observation.state", data.state), ("action", data.action)):
        figures = statistics(values[data.train_rows].numpy())
        found[name] = {"mean": figures.mean, "std": figures.scale, "min": figures.minimum, "max": figures.maximum}
    stats = {name: {key: torch.tensor(value) for key, value in figures.items()} for name, figures in found.items()}
    for camera, images in data.frames.items():
        pixels = images[data.train_rows].reshape(-1, 3).double() / 255
        stats[f"observation.images.{camera}"] = {
            key: value.float().reshape(3, 1, 1)
            for key, value in {
                "mean": pixels.mean(0),
                "std": pixels.std(0),
                "min": pixels.amin(0),
                "max": pixels.amax(0),
            }.items()
        }
    return stats
