"""From noise to a video's latents with a large network: known frames, what the network is told of the time, guidance.

Facts: Cosmos-Predict2.5 (arXiv 2511.00062) and its released code, which decides where they differ.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Float
from torch import Tensor

from cosmos_sim.world_model.anchor import Anchor
from cosmos_sim.world_model.attention import KeysValues
from cosmos_sim.world_model.first_block import FirstBlockCache
from cosmos_sim.world_model.sampler import SOLVERS, evaluations, karras_times, linear_times, named

FEW_TOKENS = 8192
"""Latent positions of one pass up to which guidance's two passes run as one batch: small passes leave a GPU idle."""


class Network(Protocol):
    """A :class:`~cosmos_sim.world_model.dit.DiT`, or whatever stands around one (compiled, parallel)."""

    def __call__(
        self,
        latent: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, "b t"],
        condition_mask: Float[Tensor, "b 1 t h w"],
        *,
        context: Sequence[KeysValues] | None = None,
        action: Float[Tensor, "b t a"] | None = None,
        first_block_cache: FirstBlockCache | None = None,
    ) -> Float[Tensor, "b c t h w"]: ...

    def encode_context(self, context: Float[Tensor, "b l d"]) -> Sequence[KeysValues]: ...


@dataclass(frozen=True)
class SamplingConfig:
    """How latents are drawn. The released checkpoints differ in it: see :data:`SAMPLING`."""

    steps: int = 35
    """Steps as the original counts them; the Karras schedule takes one evaluation more."""
    schedule: str = "linear"
    """``linear`` or ``karras``."""
    shift: float | None = None
    """Of the linear schedule; 5 when not given."""
    solver: str = "unipc"
    """``unipc``, ``heun`` or ``euler``."""
    guidance: float = 7.0
    """g in ``cond + g (cond - uncond)``: 0 is a single pass without guidance, 7 what others call a scale of 8."""
    guidance_interval: tuple[float, float] = (0.0, 1.0)
    """Noise levels between which guidance acts (Kynkäänniemi et al., arXiv 2404.07724); one pass outside of them."""
    batched_guidance: bool | None = None
    """Whether both passes run as one batch; ``None`` does so for small videos. The same but for rounding."""
    first_block_threshold: float = 0.0
    """Above 0, blocks are skipped where the first one changes less than this: see :class:`FirstBlockCache`."""
    known_time: float | None = None
    """Noise level that the network is told for known frames; ``None`` tells it the one of all others."""
    whole_timesteps: bool = True
    """Whether the network's timestep (1000 sigma) is cut to an integer, as in the original. Solvers keep the exact one,
    and so do known frames with a level of their own."""

    def __post_init__(self) -> None:
        named(SOLVERS, self.solver, "solver")
        if self.schedule not in ("linear", "karras"):
            raise ValueError(f"schedule must be linear or karras, not {self.schedule!r}")
        if self.schedule == "karras" and self.shift is not None:
            raise ValueError(f"shift={self.shift} would be ignored by the karras schedule")
        if self.shift is not None and not self.shift > 0:
            raise ValueError(f"shift must be positive, not {self.shift}")
        if not 0 <= self.guidance < float("inf"):
            raise ValueError(f"guidance must be finite and not negative, not {self.guidance}")
        low, high = self.guidance_interval
        if not 0 <= low < high <= 1:
            raise ValueError(f"guidance_interval must be two rising levels in [0, 1], not {self.guidance_interval}")
        FirstBlockCache(self.first_block_threshold)
        if self.known_time is not None and not 0 <= self.known_time <= 1:
            raise ValueError(f"known_time must lie in [0, 1], not {self.known_time}")
        self.times()

    def times(self) -> list[float]:
        """The noise levels to evaluate at, and the last, 0."""
        if self.schedule == "karras":
            return karras_times(self.steps)
        return linear_times(self.steps, shift=5.0 if self.shift is None else self.shift)

    def timestep(self, time: float) -> float:
        """What the network is told of a noise level: 1000 times it, cut to an integer or not."""
        return float(int(1000 * time)) if self.whole_timesteps else 1000 * time

    @property
    def evaluations(self) -> int:
        """How often the velocity is asked for; guidance doubles the passes of the network."""
        return evaluations(self.solver, self.times())


SAMPLING: dict[str, SamplingConfig] = {
    "predict2.5-2b": SamplingConfig(schedule="karras", known_time=1e-4),
    "predict2.5-2b-pretrained": SamplingConfig(),
    "predict2.5-14b": SamplingConfig(),
    "predict2.5-14b-pretrained": SamplingConfig(),
    "predict2.5-2b-action": SamplingConfig(guidance=0.0),
    "transfer2.5-2b": SamplingConfig(guidance=3.0),
}
"""Released checkpoint to how it is sampled. Only the post-trained 2B has Karras times and tells known frames' level.

The action-conditioned one is used without a prompt: guidance, which keeps the actions in both passes, would have
nothing to guide by."""


@torch.no_grad()
def denoise(
    network: Network,
    noise: Float[Tensor, "b c t h w"],
    config: SamplingConfig,
    *,
    known: Float[Tensor, "b c k h w"] | None = None,
    context: Float[Tensor, "b l d"] | Sequence[KeysValues] | None = None,
    negative: Float[Tensor, "b l d"] | None = None,
    action: Float[Tensor, "b t a"] | None = None,
    anchor: Anchor | None = None,
    opposite: Network | None = None,
    watch: Callable[[int, Tensor], None] | None = None,
) -> Float[Tensor, "b c t h w"]:
    """The latents that ``noise`` leads to, in fp32.

    Known frames replace the noisy ones in the network's input and are marked in its mask; the velocity there is the one
    that leads to them. Schedules that begin at a time below 1 with pure noise, as the original's do, leave them
    ``1 - times[0]`` of the way to the noise: 0.0002 with the linear schedule, 0.005 with the Karras one.

    Args:
        known: clean latents of the first ``k < t`` frames.
        context: text embedding, for a network that attends to text; without guidance also what ``encode_context`` made
            of it.
        negative: embedding of the negative prompt, for the second pass of guidance; zeros, the embedding of training's
            text dropout, when not given.
        action: conditioning of each latent frame; the same in both passes.
        anchor: a video to begin from, or to keep parts of.
        opposite: what the second pass of guidance calls, where that is not ``network`` too.
        watch: called after every evaluation with its number, from 0, and the data that it points to.

    Raises:
        FloatingPointError: an evaluation gave NaN or infinity; the message says which.
        ValueError: shapes that do not fit, NaN in what is known, or guidance without text.
    """
    b, _, t, h, w = noise.shape
    k = 0 if known is None else known.shape[2]
    if known is not None and (k >= t or known.shape != noise[:, :, :k].shape):
        raise ValueError(f"known latents {tuple(known.shape)} do not leave frames to predict in {tuple(noise.shape)}")
    for name, tensor in (
        ("noise", noise),
        ("known latents", known),
        ("context", context),
        ("negative context", negative),
        ("action", action),
    ):
        if isinstance(tensor, Tensor) and not tensor.isfinite().all():
            raise ValueError(f"{name} of shape {tuple(tensor.shape)} must be finite")
    if config.guidance and not isinstance(context, Tensor):
        raise ValueError(f"guidance={config.guidance} needs a text embedding to guide by: use guidance=0 without one")
    if negative is not None and not config.guidance:
        raise ValueError("a negative prompt would be ignored with guidance=0")
    if opposite is not None and (config.batched_guidance or not config.guidance):
        raise ValueError(
            f"an opposite network would be ignored with guidance={config.guidance:g}, "
            f"batched_guidance={config.batched_guidance}"
        )
    if anchor is not None and anchor.latent.shape != noise.shape:
        raise ValueError(f"the anchor's latents {tuple(anchor.latent.shape)} do not fit the noise {tuple(noise.shape)}")
    noise = noise.float()
    data = torch.zeros_like(noise)
    if known is not None:
        data[:, :, :k] = known
    mask = torch.zeros_like(noise[:, :1])
    mask[:, :, :k] = 1
    given = mask.bool()
    times, start = config.times(), noise
    if anchor is not None and anchor.sigma_max is not None:
        times = anchor.times(times)
        start = torch.lerp(torch.where(given, data, anchor.latent.to(noise)), noise, times[0])
    cond = Pass(network, config, context, action)
    both: tuple[Pass, ...] = (cond,)
    if isinstance(context, Tensor) and config.guidance:
        negative = torch.zeros_like(context) if negative is None else negative
        few = b * t * h * w <= FEW_TOKENS and opposite is None
        if few if config.batched_guidance is None else config.batched_guidance:
            twice = None if action is None else torch.cat([action, action])
            both = (Pass(network, config, torch.cat([context, negative]), twice),)
        else:
            both = (cond, Pass(network if opposite is None else opposite, config, negative, action))
    count, done = evaluations(config.solver, times), 0

    def guided(latent: Tensor, timestep: Tensor, time: float) -> Tensor:
        low, high = config.guidance_interval
        if not config.guidance or not low <= time <= high:
            return cond(latent, timestep, mask)
        if len(both) == 1:
            positive, opposite = both[0](*(torch.cat([x, x]) for x in (latent, timestep, mask))).chunk(2)
        else:
            positive, opposite = (part(latent, timestep, mask) for part in both)
        return positive + config.guidance * (positive - opposite)

    def velocity(x: Tensor, time: float) -> Tensor:
        nonlocal done
        timestep = noise.new_full((b, t), config.timestep(time))
        if config.known_time is not None:
            timestep[:, :k] = 1000 * config.known_time
        seen = x
        if anchor is not None:
            seen = anchor.seen(x, noise, time=time, step=sum(before > time for before in times))
        found = guided(torch.where(given, data, seen), timestep, time)
        found = torch.where(given, noise - data, found)
        if not found.isfinite().all():
            raise FloatingPointError(
                f"evaluation {done + 1} of {count}, at noise level {time:.4f}: the velocity holds NaN or infinity"
            )
        if watch is not None:
            watch(done, x - time * found)
        done += 1
        return found

    return SOLVERS[config.solver](velocity, start, times)


class Pass:
    """One sequence of evaluations of a network: its text is encoded once, its skipped blocks are remembered."""

    def __init__(
        self,
        network: Network,
        config: SamplingConfig,
        context: Tensor | Sequence[KeysValues] | None,
        action: Tensor | None,
    ) -> None:
        self.network, self.context, self.action = network, context, action
        self.cache = FirstBlockCache(config.first_block_threshold) if config.first_block_threshold else None

    @cached_property
    def text(self) -> Sequence[KeysValues] | None:
        return self.network.encode_context(self.context) if isinstance(self.context, Tensor) else self.context

    def __call__(self, latent: Tensor, timestep: Tensor, mask: Tensor) -> Tensor:
        return self.network(
            latent, timestep, mask, context=self.text, action=self.action, first_block_cache=self.cache
        ).float()
