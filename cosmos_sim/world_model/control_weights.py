"""How much each control counts: a number, or a map over the tokens of the video."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Control:
    """A control video as a branch reads it.

    Raises:
        ValueError: weights that are negative or not finite.
    """

    latent: Float[Tensor, "b c t h w"]
    """The control video, encoded by the tokenizer."""
    weight: float = 1.0
    weight_map: Float[Tensor, "b t h w"] | None = None
    """Where it counts, on the grid of tokens (see :func:`token_weights`); multiplied by ``weight``."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise ValueError(f"a control's weight must be finite and not negative, not {self.weight}")
        if self.weight_map is not None and not ((self.weight_map >= 0) & self.weight_map.isfinite()).all():
            raise ValueError("a control's weight map must be finite and not negative")

    def repeat(self, batch: int) -> "Control":
        """The same for a batch that is a multiple of its own, which it follows as a whole.

        Raises:
            ValueError: it is no multiple.
        """
        if batch == len(self.latent):
            return self
        times, rest = divmod(batch, len(self.latent))
        if rest:
            raise ValueError(f"a batch of {batch} is no multiple of the control's {len(self.latent)}")
        where = None if self.weight_map is None else self.weight_map.repeat(times, 1, 1, 1)
        return Control(self.latent.repeat(times, 1, 1, 1, 1), self.weight, where)


def shares(controls: Mapping[str, Control]) -> dict[str, float | Float[Tensor, "b t h w 1"]]:
    """What the hints of each control are multiplied by; controls without any weight are left out.

    Numbers are used as they are. If there is any map, numbers become maps too, and where the sum of all is above 1 they
    are divided by it (the released code of Cosmos-Transfer2.5).
    """
    found = next((control.weight_map for control in controls.values() if control.weight_map is not None), None)
    if found is None:
        return {kind: control.weight for kind, control in controls.items() if control.weight}
    ones = torch.ones_like(found)
    maps = {
        kind: control.weight * (ones if control.weight_map is None else control.weight_map)
        for kind, control in controls.items()
    }
    total = torch.stack(list(maps.values())).sum(dim=0).clamp_min(1)
    return {kind: (weight / total)[..., None] for kind, weight in maps.items() if weight.any()}


def weighed(controls: Mapping[str, Control]) -> dict[str, Control]:
    """The controls that have any weight, with their :func:`shares` for weights: shares of these are the same again.

    To leave a control out for its empty map is not the same: the others would no longer be maps.
    """
    return {
        kind: replace(controls[kind], weight=1.0, weight_map=share[..., 0])
        if isinstance(share, Tensor)
        else controls[kind]
        for kind, share in shares(controls).items()
    }


def token_weights(mask: Float[Tensor, "t h w"], *, tokens: tuple[int, int, int]) -> Float[Tensor, "t h w"]:
    """A mask over a video's pixels on the grid of its tokens, as the released code of Cosmos-Transfer2.5 resizes it.

    The first frame, which tokenizers encode alone, is resized alone; the others together, linearly in all three
    directions.

    Args:
        mask: over pixels; a mask that has the grid's size is returned as it is.
        tokens: the grid's ``t h w``.

    Raises:
        ValueError: the frames after the first do not divide among those of the grid.
    """
    t, h, w = tokens
    if tuple(mask.shape) == tokens:
        return mask
    frames = mask.shape[0] - 1
    if (t == 1) != (frames == 0) or (t > 1 and frames % (t - 1)):
        raise ValueError(f"a mask of {frames + 1} frames does not divide among {t} frames of tokens, the first alone")
    parts = [(mask[:1], (1, h, w)), (mask[1:], (t - 1, h, w))][: 1 if t == 1 else 2]
    return torch.cat(
        [
            F.interpolate(part[None, None].float(), size, mode="trilinear", align_corners=False)[0, 0]
            for part, size in parts
        ]
    )
