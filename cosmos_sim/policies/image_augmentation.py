"""Standard augmentation of images while a policy is trained: what changes pixels and knows nothing of the scene.

The list is the one that the baseline policy of Cosmos-Transfer2.5 was trained with (section 6.2.3 of the paper):
brightness, contrast, saturation and hue, gamma correction, salt-and-pepper noise, histogram equalisation, blurring or
sharpening. The paper gives no strengths; those of :class:`ImageAugmentation` are this package's.
"""

from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches

import torch
from einops import rearrange
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional as F

LUMA = (0.2989, 0.587, 0.114)
"""Of red, green and blue in grey (ITU-R BT.601)."""
KERNEL = 7
"""Side in pixels of the Gaussian."""


@dataclass(frozen=True)
class ImageAugmentation:
    """How strong each change is at most; 0 leaves it out."""

    chance: float = 0.5
    """With which an image undergoes any one of the changes, but for ``equalise``."""
    brightness: float = 0.4
    """Colours are multiplied by up to so much more or less than 1."""
    contrast: float = 0.4
    """So are distances from the image's mean grey."""
    saturation: float = 0.5
    """So are distances from the pixel's own grey."""
    hue: float = 0.1
    """Share of the whole circle by which hues are turned, either way."""
    gamma: float = 0.5
    """Colours are raised to between ``1 / (1 + gamma)`` and ``1 + gamma``."""
    specks: float = 0.03
    """Share of the pixels that become black or white."""
    equalise: float = 0.2
    """Chance of an equalised histogram."""
    sharpness: float = 1.0
    """How much of what a Gaussian takes away is taken away (1: all of it) or added once more."""
    sigma: float = 1.5
    """The Gaussian's standard deviation in pixels at most; at least a third of it."""

    def __post_init__(self) -> None:
        limits = {"hue": 0.5, "gamma": 4.0, "sigma": 3.0}
        for name in self.__dataclass_fields__:
            value, limit = getattr(self, name), limits.get(name, 1.0)
            if not 0 <= value <= limit or (name == "sigma" and value == 0):
                raise ValueError(f"{name} must lie in {'(' if name == 'sigma' else '['}0, {limit:g}], got {value}")

    def __call__(self, frames: UInt8[Tensor, "b h w c"], generator: torch.Generator) -> UInt8[Tensor, "b h w c"]:
        """Each image changed by draws of its own, all of them ``generator``'s."""
        images = rearrange(frames, "b h w c -> b c h w").float() / 255
        count, device = len(frames), frames.device

        def drawn(*shape: int) -> Tensor:
            return torch.rand((count, *shape), generator=generator, device=generator.device).to(device)

        def either_way(most: float) -> Tensor:
            return most * (2 * drawn() - 1)

        def change(how: Callable[..., Tensor], *strengths: Tensor, chance: float = self.chance) -> None:
            chosen = (drawn() < chance).nonzero()[:, 0]
            if len(chosen):
                images[chosen] = how(images[chosen], *(strength[chosen] for strength in strengths)).clamp(0, 1)

        if self.brightness:
            change(brighten, 1 + either_way(self.brightness))
        if self.contrast:
            change(contrast, 1 + either_way(self.contrast))
        if self.saturation:
            change(saturate, 1 + either_way(self.saturation))
        if self.hue:
            change(turn_hue, either_way(self.hue))
        if self.gamma:
            change(gamma, (1 + self.gamma) ** either_way(1.0))
        if self.equalise:
            change(equalise, chance=self.equalise)
        if self.sharpness:
            change(sharpen, either_way(self.sharpness), self.sigma * (1 + 2 * drawn()) / 3)
        if self.specks:
            change(speckle, self.specks * drawn(), drawn(*images.shape[2:]))
        return rearrange((255 * images).round().to(torch.uint8), "b c h w -> b h w c")


AUGMENTATIONS = {"standard": ImageAugmentation()}
"""By name, for :func:`find_augmentation`."""


def find_augmentation(name: str) -> ImageAugmentation:
    """The one of :data:`AUGMENTATIONS` called ``name``; :class:`ValueError` if there is none."""
    if name not in AUGMENTATIONS:
        near = get_close_matches(name, AUGMENTATIONS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {sorted(AUGMENTATIONS)}"
        raise ValueError(f"unknown image augmentation {name!r}; {hint}")
    return AUGMENTATIONS[name]


def brighten(images: Float[Tensor, "b 3 h w"], factor: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    return images * factor[:, None, None, None]


def contrast(images: Float[Tensor, "b 3 h w"], factor: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    return torch.lerp(grey(images).mean((1, 2, 3), keepdim=True), images, factor[:, None, None, None])


def saturate(images: Float[Tensor, "b 3 h w"], factor: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    return torch.lerp(grey(images), images, factor[:, None, None, None])


def gamma(images: Float[Tensor, "b 3 h w"], exponent: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    return images ** exponent[:, None, None, None]


def turn_hue(images: Float[Tensor, "b 3 h w"], turn: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Hue moved by ``turn`` of a circle in HSV, whose value and saturation stay.

    Back by ``v - v s max(0, min(k, 4 - k, 1))`` with ``k = (n + 6 h) mod 6``, ``n`` = 5, 3, 1 for red, green, blue.
    """
    value, most = images.max(1)
    chroma = value - images.amin(1)
    red, green, blue = images.unbind(1)
    safe = torch.where(chroma > 0, chroma, 1.0)
    from_red, from_green, from_blue = (green - blue) / safe, 2 + (blue - red) / safe, 4 + (red - green) / safe
    sixths = torch.where(most == 0, from_red, torch.where(most == 1, from_green, from_blue)) + 6 * turn[:, None, None]
    k = (torch.tensor([5.0, 3.0, 1.0], device=images.device)[:, None, None] + sixths[:, None]) % 6
    return value[:, None] - chroma[:, None] * torch.minimum(k, 4 - k).clamp(0, 1)


def equalise(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 3 h w"]:
    """Each channel's levels spread so that all are about as frequent, as Pillow's ``ImageOps.equalize`` does it."""
    levels = rearrange((255 * images).round().long(), "b c h w -> (b c) (h w)")
    count = torch.zeros((len(levels), 256), dtype=torch.long, device=images.device)
    count.scatter_add_(1, levels, torch.ones_like(levels))
    last = 255 - (count > 0).flip(1).to(torch.uint8).argmax(1)
    step = (levels.shape[1] - count.gather(1, last[:, None])) // 255
    table = (count.cumsum(1) - count + step // 2) // step.clamp_min(1)
    table = torch.where(step > 0, table.clamp(0, 255), torch.arange(256, device=images.device))
    return (table.gather(1, levels).float() / 255).reshape(images.shape)


def sharpen(
    images: Float[Tensor, "b 3 h w"], amount: Float[Tensor, " b"], sigma: Float[Tensor, " b"]
) -> Float[Tensor, "b 3 h w"]:
    """``x + amount (x - G x)`` with a Gaussian ``G`` of ``sigma`` pixels: blurred where ``amount`` is negative."""
    return images + amount[:, None, None, None] * (images - _blurred(images, sigma))


def speckle(
    images: Float[Tensor, "b 3 h w"], share: Float[Tensor, " b"], place: Float[Tensor, "b h w"]
) -> Float[Tensor, "b 3 h w"]:
    """Black where ``place``, uniform in [0, 1), is among the lowest half of ``share``, white among the highest."""
    half = share[:, None, None] / 2
    return torch.where((place < half)[:, None], 0.0, torch.where((place >= 1 - half)[:, None], 1.0, images))


def grey(images: Float[Tensor, "b 3 h w"]) -> Float[Tensor, "b 1 h w"]:
    return (images * torch.tensor(LUMA, device=images.device)[:, None, None]).sum(1, keepdim=True)


def _blurred(images: Float[Tensor, "b 3 h w"], sigma: Float[Tensor, " b"]) -> Float[Tensor, "b 3 h w"]:
    """Each image by its own Gaussian, cut at :data:`KERNEL` pixels, beyond the border mirrored."""
    half = KERNEL // 2
    offsets = torch.arange(-half, half + 1, device=images.device)
    weights = torch.exp(-0.5 * (offsets / sigma[:, None]) ** 2)
    weights = weights / weights.sum(1, keepdim=True)
    lines = rearrange(F.pad(images, (half, half, half, half), mode="reflect"), "b c h w -> c b h w")
    lines = F.conv2d(lines, weights[:, None, None], groups=len(images))
    lines = F.conv2d(lines, weights[:, None, :, None], groups=len(images))
    return rearrange(lines, "c b h w -> b c h w")
