"""What a training of a Cosmos-Predict2.5 network consists of."""

from dataclasses import dataclass

from cosmos_sim.world_model.denoise import SamplingConfig
from cosmos_sim.world_model.dit import DiTConfig
from cosmos_sim.world_model.flow import TimeDistribution
from cosmos_sim.world_model.recipes.predict_adapter import AdapterConfig
from cosmos_sim.world_model.recipes.stages import Stage

GUIDANCE = 7.0
"""Of sample videos, where there is text to guide by, unless told otherwise."""


@dataclass(frozen=True)
class PredictRecipeConfig:
    """Data, network and losses of a training."""

    data: tuple[str, ...]
    tokenizer: str
    dit: DiTConfig
    stage: Stage
    init: str | None = None
    """The checkpoint that it begins from."""
    adapter: AdapterConfig | None = None
    """What is trained in place of all weights."""
    text: str | None = None
    """The encoder of captions, ``words`` or Cosmos-Reason1's folder; without one the network sees the zero embedding of
    text that is left out, or none."""
    normalise_actions: bool = True
    """Whether actions reach the network with zero mean and unit variance; otherwise as they are."""
    high_noise: float = 0.05
    """Share of the samples that are drawn from the top 2% of noise."""
    rare: float = 0.0
    """How much more latents count in training that are unlike the rest of their frame: the power of
    :func:`~cosmos_sim.world_model.recipes.predict_loss.rarity`; 0 is the original's loss, 1 gives all that looks
    different the same weight, however small."""
    known_time: float | None = None
    """Noise level that the network is told for given frames: 1e-4 for the post-trained 2B, else that of the others."""
    levels: tuple[float, ...] = (0.1, 0.3, 0.5, 0.7, 0.9, 0.98)
    """Noise levels of the held-out loss."""
    eval_clips: int = 16
    """Held-out clips that it is measured on."""
    samples: int = 2
    """Held-out clips whose videos are sampled."""
    sample_steps: int = 20
    sample_guidance: float | None = None
    """Of these videos, by their text; :data:`GUIDANCE` where there is text."""

    def __post_init__(self) -> None:
        if not self.levels or not all(0 < level <= 1 for level in self.levels):
            raise ValueError(f"levels must lie in (0, 1], not {self.levels}")
        if self.eval_clips < 1 or self.samples < 0 or self.sample_steps < 1:
            raise ValueError(
                f"eval_clips={self.eval_clips} and sample_steps={self.sample_steps} must be at least 1, "
                f"samples={self.samples} at least 0"
            )
        if not 0 <= self.rare <= 1:
            raise ValueError(f"rare must lie in [0, 1], not {self.rare}")
        if self.known_time is not None and not 0 <= self.known_time <= 1:
            raise ValueError(f"known_time must lie in [0, 1], not {self.known_time}")
        if self.sample_guidance is not None and self.text is None:
            raise ValueError(f"sample_guidance={self.sample_guidance} would be ignored: there is no text to guide by")
        TimeDistribution(self.stage.shift, self.high_noise)

    @property
    def times(self) -> TimeDistribution:
        return TimeDistribution(self.stage.shift, self.high_noise)

    @property
    def sampling(self) -> SamplingConfig:
        """How sample videos are drawn."""
        asked = GUIDANCE if self.sample_guidance is None else self.sample_guidance
        guidance = 0.0 if self.text is None else asked
        return SamplingConfig(
            steps=self.sample_steps, shift=self.stage.shift, guidance=guidance, known_time=self.known_time
        )
