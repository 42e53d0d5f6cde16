"""The stages of Cosmos-Predict2.5's training as presets: what each sees, and how fast it learns.

Cosmos-Predict2.5 (arXiv 2511.00062), table 4 and sections 4.1, 4.2.1 and 6.6, and the released configurations. Where
both are silent the choice is ours, and said to be.
"""

from dataclasses import dataclass, replace
from math import log
from typing import Any

from cosmos_sim.training import TrainConfig
from cosmos_sim.world_model.sampler import named

Size = tuple[int, int]

SIZES: dict[str, tuple[Size, ...]] = {
    "256p": ((192, 320), (256, 320), (256, 256), (320, 256), (320, 192)),
    "480p": ((480, 832), (576, 768), (640, 640), (768, 576), (832, 480)),
    "720p": ((704, 1280), (704, 960), (960, 960), (960, 704), (1280, 704)),
}
"""Height and width of the videos of a resolution, from 16:9 over 4:3, 1:1 and 3:4 to 9:16; the paper's is the first."""

LEARNING_RATES = {"predict2.5-2b": 3e-5, "predict2.5-14b": 1.3e-5, "small": 3e-4}
"""Peak learning rates (section 4.1); that of small networks is ours."""

SMALLEST, LARGEST = 192 * 320, 704 * 1280


def shift_for(size: Size) -> float:
    """The shift of training times for videos of so many pixels: 1 at 192x320, 5 at 704x1280, never below 1.

    The paper gives these two and says that it grows with the resolution; between them, and above, it is the power of
    the number of pixels through both (exponent 0.6; Esser et al. 2024, section 5.3.2, derive 0.5). 480x832 gets 3.07.
    """
    pixels = size[0] * size[1]
    return max(1.0, 5.0 ** (log(pixels / SMALLEST) / log(LARGEST / SMALLEST)))


@dataclass(frozen=True)
class Stage:
    """One stage. The defaults are the last of pre-training, 720p with text-to-world."""

    sizes: tuple[Size, ...] = SIZES["720p"]
    """Height and width of what is trained on; a clip goes where its aspect fits best."""
    frames: int = 93
    """Frames of a video; 1 where all are images."""
    fps: float | None = None
    """Frame rate that videos are brought to; ``None`` takes them as they are."""
    images: float = 0.5
    """Share of the steps whose batch is images (ours: the paper says that both are trained jointly, not how much)."""
    shift: float = 5.0
    """Of the times of videos and images: see :func:`shift_for`."""
    known: tuple[float, ...] = (0.5, 0.25, 0.25)
    """Probabilities that a video begins from 0, 1, 2, ... given latents."""
    text_dropout: float = 0.2
    """Share of the samples whose text is replaced by zeros."""
    actions: bool = False
    """Whether each video comes with a robot's actions."""
    rope_ratio: tuple[float, float, float] | None = None
    """Extrapolation of the rotary embedding that the network is brought to; ``None`` keeps a checkpoint's."""
    batch_size: int = 256
    """Samples in a batch, over all processes (given for domain SFT alone; ours elsewhere)."""

    def __post_init__(self) -> None:
        if not self.sizes:
            raise ValueError("a stage needs at least one size")
        if self.frames < 1:
            raise ValueError(f"frames must be at least 1, not {self.frames}")
        if not 0 <= self.images <= 1:
            raise ValueError(f"images must be a share in [0, 1], not {self.images}")
        if self.frames == 1 and (self.images != 1 or self.actions):
            raise ValueError(
                f"a stage of single frames has images=1 and no actions, not images={self.images}, "
                f"actions={self.actions}: for videos give frames"
            )
        if self.images == 1 and self.frames > 1:
            raise ValueError(f"frames={self.frames} would be ignored: images=1 leaves no step for videos")
        if self.actions and self.images:
            raise ValueError(f"images have no actions: images must be 0 with them, not {self.images}")
        if not self.known or min(self.known) < 0 or abs(sum(self.known) - 1) > 1e-6:
            raise ValueError(f"known must be probabilities that sum to 1, not {self.known}")
        if not 0 <= self.text_dropout <= 1:
            raise ValueError(f"text_dropout must be a share in [0, 1], not {self.text_dropout}")
        if self.batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {self.batch_size}")


VIDEO2WORLD = (0.0, 0.5, 0.5)
"""Before text-to-world is added a video begins from one or two given latents (even shares: ours)."""

STAGES: dict[str, Stage] = {
    "image-256p": Stage(SIZES["256p"], frames=1, images=1.0, shift=1.0, rope_ratio=(1.0, 1.0, 1.0)),
    "256p": Stage(SIZES["256p"], shift=1.0, known=VIDEO2WORLD, rope_ratio=(1.0, 1.0, 1.0)),
    "480p": Stage(SIZES["480p"], shift=3.0, known=VIDEO2WORLD, rope_ratio=(1.0, 2.0, 2.0)),
    "720p": Stage(SIZES["720p"], known=VIDEO2WORLD, rope_ratio=(1.0, 3.0, 3.0)),
    "text2world": Stage(SIZES["720p"], rope_ratio=(1.0, 3.0, 3.0)),
    "cooldown": Stage(SIZES["720p"]),
    "sft": Stage(SIZES["720p"], images=0.0),
    "action": Stage(
        ((256, 320),),
        frames=13,
        images=0.0,
        known=(0.0, 1.0),
        actions=True,
        batch_size=16,
    ),
}
"""In the order of training. Table 4: images at 256p; with videos at 256p, 480p, 720p; with text-to-world at 720p. Then
the cooldown and domain SFT (section 4.2.1), and post-training with actions (section 6.6; its batch size is ours)."""

PRETRAINING = TrainConfig(
    steps=100_000,
    lr=LEARNING_RATES["predict2.5-2b"],
    weight_decay=1e-3,
    betas=(0.9, 0.999),
    warmup=2000,
    decay="linear",
    start_lr=0.99,
    final_lr=0.4,
    decay_steps=400_000,
    grad_clip=0.1,
    ema=0.1,
    ema_kind="power",
)
"""Section 4.1; the learning rate falls as in the released code, from .99 to .4 of itself over 400k steps. A stage's
steps are ours: the paper's last until quality plateaus."""

CHANGES: dict[str, dict[str, Any]] = {
    "cooldown": {"steps": 30_000, "warmup": 0, "start_lr": 1.0, "final_lr": 0.0, "decay_steps": None},
    "sft": {"steps": 30_000},
    "action": {"lr": 2**-14.5, "weight_decay": 0.1},
}
"""What stages change of it: the cooldown ends at a learning rate of zero (its steps are ours), domain SFT takes 30k
steps (section 4.2.1), and post-training with actions has the rates of the released configuration (small networks keep
their own learning rate)."""


def stage(name: str) -> Stage:
    """The stage of that name.

    Raises:
        ValueError: there is none; the message suggests the nearest.
    """
    return named(STAGES, name, "stage")


def training(name: str, network: str) -> TrainConfig:
    """How the stage of that name is trained: AdamW (.9, .999), linear warm-up and decay, power EMA of width 0.1.

    Args:
        network: of :data:`LEARNING_RATES`, or another of ``dit.PRESETS``, which has the rate of its size.

    Raises:
        ValueError: an unknown stage or network.
    """
    stage(name)
    rate = named(LEARNING_RATES, network.removesuffix("-action").removesuffix("-paper"), "network")
    changes = {"lr": rate, **CHANGES.get(name, {})}
    return replace(PRETRAINING, **(changes | {"lr": rate} if network == "small" else changes))
