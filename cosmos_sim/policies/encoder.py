"""From what a robot observes, and is told, to one vector: each camera through a small network, state, instruction."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_sim.data.word_vectors import WordsConfig
from cosmos_sim.policies.language import InstructionEncoder

GROUPS = 8


@dataclass(frozen=True)
class EncoderConfig:
    """What is observed and how it is encoded.

    Images of any size are resized to ``resolution`` squared (once, when a dataset is loaded); the network sees a square
    of ``crop`` pixels of it, at a random place in training and in the middle otherwise.
    """

    cameras: tuple[str, ...]
    state_dim: int
    image: str = "cnn"
    """``cnn`` (residual convolutions and a spatial softmax) or ``vit`` (a small vision transformer)."""
    resolution: int = 96
    crop: int = 88
    width: int = 32
    """``cnn``: channels of the first stage, then twice and four times that. ``vit``: a quarter of the token width."""
    depth: int = 4
    """``vit``: transformer blocks."""
    patch: int = 8
    """``vit``: side of a patch in pixels."""
    keypoints: int = 32
    """``cnn``: expected positions read from each image."""
    features: int = 64
    """Size of the vector that each camera, proprioception and the instruction become."""
    language: WordsConfig | None = None
    """How instructions become tokens, for a policy that is told what to do; ``None`` for one that is not."""

    def __post_init__(self) -> None:
        if not self.cameras and not self.state_dim:
            raise ValueError("a policy needs at least one camera or a state: cameras=() and state_dim=0")
        if len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"cameras must differ, got {self.cameras}")
        if self.state_dim < 0:
            raise ValueError(f"state_dim must not be negative, got {self.state_dim}")
        if self.image not in IMAGE_ENCODERS:
            raise ValueError(f"image must be one of {sorted(IMAGE_ENCODERS)}, got {self.image!r}")
        if not 16 <= self.crop <= self.resolution:
            raise ValueError(f"crop must lie in [16, resolution={self.resolution}], got {self.crop}")
        if self.width < GROUPS or self.width % GROUPS:
            raise ValueError(f"width must be a positive multiple of {GROUPS}, got {self.width}")
        if self.image == "vit" and self.crop % self.patch:
            raise ValueError(f"patch must divide crop={self.crop}, got {self.patch}")

    @property
    def dim(self) -> int:
        """Length of the encoded observation."""
        return self.features * (len(self.cameras) + (self.state_dim > 0) + (self.language is not None))


def resize(frames: UInt8[Tensor, "b h w c"], resolution: int) -> UInt8[Tensor, "b r r c"]:
    """Bilinear with antialiasing, to a square of ``resolution`` pixels."""
    if frames.shape[1:3] == (resolution, resolution):
        return frames
    images = rearrange(frames, "b h w c -> b c h w")
    images = F.interpolate(images, size=(resolution, resolution), mode="bilinear", antialias=True)
    return rearrange(images, "b c h w -> b h w c").contiguous()


def centre_crop(frames: UInt8[Tensor, "b h w c"], crop: int) -> UInt8[Tensor, "b k k c"]:
    top, left = (frames.shape[1] - crop) // 2, (frames.shape[2] - crop) // 2
    return frames[:, top : top + crop, left : left + crop]


class ResidualBlock(nn.Module):
    """One normalisation for two convolutions: on a CPU a group norm costs as much as a convolution.

    An instruction scales and shifts what was normalised (FiLM: Perez et al., arXiv:1709.07871), at first by nothing.
    """

    def __init__(self, channels: int, instruction: int = 0) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(GROUPS, channels)
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)
        if instruction:
            self.film = nn.Linear(instruction, 2 * channels)
            nn.init.zeros_(self.film.weight)
            nn.init.zeros_(self.film.bias)

    def forward(
        self, x: Float[Tensor, "b c h w"], instruction: Float[Tensor, "b d"] | None = None
    ) -> Float[Tensor, "b c h w"]:
        h = self.norm(x)
        if instruction is not None:
            scale, shift = self.film(instruction)[:, :, None, None].chunk(2, dim=1)
            h = (1 + scale) * h + shift
        return x + self.conv2(F.silu(self.conv1(F.silu(h))))


class SpatialSoftmax(nn.Module):
    """Expected image position of each feature map (Finn et al., 2016, arXiv:1509.06113, section V.A)."""

    def __init__(self, channels: int, keypoints: int) -> None:
        super().__init__()
        self.maps = nn.Conv2d(channels, keypoints, 1)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b k*2"]:
        maps = self.maps(x).float()
        height, width = maps.shape[-2:]
        attention = maps.flatten(2).softmax(-1).unflatten(2, (height, width))
        rows = torch.linspace(-1, 1, height, device=x.device)
        columns = torch.linspace(-1, 1, width, device=x.device)
        return torch.cat([(attention.sum(2) * columns).sum(-1), (attention.sum(3) * rows).sum(-1)], dim=-1)


class ConvolutionalEncoder(nn.Module):
    """Three stages at a half, a quarter and an eighth of the resolution, then a spatial softmax.

    Where to look depends on what the robot is told: the instruction acts on the maps before the softmax.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        w, told = config.width, config.features if config.language else 0
        self.stem = nn.Conv2d(3, w, 5, stride=2, padding=2)
        self.down1 = nn.Conv2d(w, 2 * w, 3, stride=2, padding=1)
        self.block1 = ResidualBlock(2 * w, told)
        self.down2 = nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1)
        self.block2 = ResidualBlock(4 * w, told)
        self.norm = nn.GroupNorm(GROUPS, 4 * w)
        self.keypoints = SpatialSoftmax(4 * w, config.keypoints)
        self.out = nn.Linear(2 * config.keypoints, config.features)

    def forward(
        self, images: Float[Tensor, "b 3 h w"], instruction: Float[Tensor, "b d"] | None = None
    ) -> Float[Tensor, "b d"]:
        x = F.silu(self.stem(images))
        x = F.silu(self.block1(self.down1(x), instruction))
        x = self.block2(self.down2(x), instruction)
        return self.out(self.keypoints(F.silu(self.norm(x))))


class VisionTransformer(nn.Module):
    """Pre-norm transformer over patches, whose mean is the image's vector (Dosovitskiy et al., arXiv:2010.11929).

    An instruction is one more token.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        dim = 4 * config.width
        self.patchify = nn.Conv2d(3, dim, config.patch, stride=config.patch)
        self.position = nn.Parameter(0.02 * torch.randn(1, (config.crop // config.patch) ** 2, dim))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                dim, max(1, dim // 32), 4 * dim, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, config.features)
        if config.language:
            self.instruction = nn.Linear(config.features, dim)

    def forward(
        self, images: Float[Tensor, "b 3 h w"], instruction: Float[Tensor, "b d"] | None = None
    ) -> Float[Tensor, "b d"]:
        x = rearrange(self.patchify(images), "b d h w -> b (h w) d") + self.position
        if instruction is not None:
            x = torch.cat([self.instruction(instruction)[:, None], x], dim=1)
        for block in self.blocks:
            x = block(x)
        return self.out(self.norm(x).mean(1))


IMAGE_ENCODERS: dict[str, type[ConvolutionalEncoder] | type[VisionTransformer]] = {
    "cnn": ConvolutionalEncoder,
    "vit": VisionTransformer,
}


class ObservationEncoder(nn.Module):
    """One image network per camera and small ones for proprioception and the instruction, side by side.

    The instruction's vector also conditions the image networks.
    """

    state_mean: Tensor
    state_std: Tensor

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.images = nn.ModuleList(IMAGE_ENCODERS[config.image](config) for _ in config.cameras)
        if config.state_dim:
            self.state = nn.Sequential(
                nn.Linear(config.state_dim, 2 * config.features),
                nn.SiLU(),
                nn.Linear(2 * config.features, config.features),
            )
        if config.language:
            self.instruction = InstructionEncoder(config.language, config.features)
        self.register_buffer("state_mean", torch.zeros(config.state_dim))
        self.register_buffer("state_std", torch.ones(config.state_dim))

    def forward(
        self,
        frames: Mapping[str, UInt8[Tensor, "b h w c"]],
        state: Float[Tensor, "b n"],
        jitter: Float[Tensor, "b 2"] | None = None,
        text: Float[Tensor, "b l w"] | None = None,
    ) -> Float[Tensor, "b d"]:
        """Of frames cropped to ``config.crop``; ``jitter`` is a contrast and a brightness for each.

        ``text`` (the tokens of :func:`~cosmos_sim.policies.language.embed`) is there if ``config.language`` is.
        """
        assert (text is None) == (self.config.language is None)
        instruction = None if text is None else self.instruction(text)
        vectors = []
        for camera, network in zip(self.config.cameras, self.images, strict=True):
            images = rearrange(frames[camera], "b h w c -> b c h w").float() / 127.5 - 1.0
            if jitter is not None:
                images = images * jitter[:, 0, None, None, None] + jitter[:, 1, None, None, None]
            vectors.append(network(images, instruction))
        if self.config.state_dim:
            vectors.append(self.state(self.normalise_state(state)))
        if instruction is not None:
            vectors.append(instruction)
        return F.silu(torch.cat(vectors, dim=-1))

    def normalise_state(self, state: Float[Tensor, "b n"]) -> Float[Tensor, "b n"]:
        return ((state - self.state_mean) / self.state_std).clamp(-5, 5)
