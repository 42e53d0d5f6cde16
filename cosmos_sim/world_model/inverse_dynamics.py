"""Inverse dynamics: the actions between frames, read off the frames of all cameras, off proprioception, or off both.

As in DreamGen (Jang et al., arXiv:2505.12705, section 2.3) a small flow-matching transformer draws a chunk of actions;
here it sees every frame between, not the two at the ends. Several draws say how sure it is: their mean is the reading,
their spread its deviation. It is what gives imagined videos their pseudo-actions.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from einops import rearrange, repeat
from jaxtyping import Bool, Float, Float32, Int64, UInt8
from numpy import ndarray
from torch import Tensor, nn
from torch.nn import functional as F

from cosmos_sim.data.images import stretch
from cosmos_sim.data.pretrained import find_small, from_dict, load_weights, write_small
from cosmos_sim.types import Frames
from cosmos_sim.world_model.flow import interpolate, velocity

FORMAT = 1
WEIGHTS = "model.safetensors"
GROUPS = 4
_BATCH = 32
_FREQUENCIES = 32


@dataclass(frozen=True)
class InverseDynamicsConfig:
    """Sizes of :class:`InverseDynamicsNet`."""

    cameras: tuple[str, ...]
    action_dim: int
    chunk: int = 8
    """Actions that are read together, off one frame more."""
    resolution: int = 128
    """Images of any size are resized to so many pixels squared."""
    width: int = 16
    """Channels of the first convolution, then twice and four times that."""
    dim: int = 128
    """Size of a token: one for each action."""
    blocks: int = 3
    heads: int = 4
    steps: int = 5
    """Of Euler's method, from noise to actions."""
    draws: int = 4
    """Times trained per encoded chunk: the frames are what costs."""
    state_dim: int = 0
    """Values of the proprioception that is seen beside the frames, or without cameras alone; 0 to see frames alone."""

    def __post_init__(self) -> None:
        if len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"cameras must be all different, got {self.cameras}")
        if self.state_dim < 0 or not (self.cameras or self.state_dim):
            raise ValueError(f"there must be cameras or a state_dim to read off, got none and {self.state_dim}")
        if self.resolution < 16 or self.resolution % 16:
            raise ValueError(f"resolution must be a positive multiple of 16, got {self.resolution}")
        if self.width < GROUPS or self.width % GROUPS:
            raise ValueError(f"width must be a positive multiple of {GROUPS}, got {self.width}")
        for name in ("action_dim", "chunk", "blocks", "heads", "steps", "draws"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.dim < 1 or self.dim % self.heads:
            raise ValueError(f"dim must be a positive multiple of {self.heads} heads, got {self.dim}")


class MotionEye(nn.Module):
    """What changes between two frames of one camera: convolutions over both at once, then a map that knows places."""

    def __init__(self, config: InverseDynamicsConfig) -> None:
        super().__init__()
        w, side = config.width, config.resolution // 16
        self.conv1 = nn.Conv2d(6, w, 5, stride=2, padding=2)
        self.conv2 = nn.Conv2d(w, 2 * w, 3, stride=2, padding=1)
        self.norm2 = nn.GroupNorm(GROUPS, 2 * w)
        self.conv3 = nn.Conv2d(2 * w, 4 * w, 3, stride=2, padding=1)
        self.norm3 = nn.GroupNorm(GROUPS, 4 * w)
        self.conv4 = nn.Conv2d(4 * w, 4 * w, 3, stride=2, padding=1)
        self.norm4 = nn.GroupNorm(GROUPS, 4 * w)
        self.out = nn.Linear(4 * w * side**2, config.dim)

    def forward(self, before: Float[Tensor, "n 3 r r"], after: Float[Tensor, "n 3 r r"]) -> Float[Tensor, "n d"]:
        x = F.silu(self.conv1(torch.cat([after, after - before], dim=1)))
        x = F.silu(self.norm2(self.conv2(x)))
        x = F.silu(self.norm3(self.conv3(x)))
        x = F.silu(self.norm4(self.conv4(x)))
        return self.out(x.flatten(1))


class MotionSense(nn.Module):
    """What changes between two moments of proprioception, and where."""

    mean: Tensor
    spread: Tensor
    change: Tensor

    def __init__(self, config: InverseDynamicsConfig) -> None:
        super().__init__()
        self.embed = nn.Linear(2 * config.state_dim, 2 * config.dim)
        self.out = nn.Linear(2 * config.dim, config.dim)
        for name, value in (("mean", 0.0), ("spread", 1.0), ("change", 1.0)):
            self.register_buffer(name, torch.full((config.state_dim,), value))

    def forward(self, states: Float[Tensor, "b k1 n"]) -> Float[Tensor, "b k d"]:
        before = (states[:, :-1] - self.mean) / self.spread
        return self.out(F.silu(self.embed(torch.cat([before, states.diff(dim=1) / self.change], dim=-1))))


class ActionBlock(nn.Module):
    """A transformer block over the actions of a chunk, modulated by what they are denoised along (AdaLN-Zero).

    Peebles and Xie, arXiv:2212.09748, section 3.2.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(dim, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(dim, elementwise_affine=False)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.up = nn.Linear(dim, 4 * dim)
        self.down = nn.Linear(4 * dim, dim)
        self.modulation = nn.Linear(dim, 6 * dim)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(self, x: Float[Tensor, "b k d"], time: Float[Tensor, "b 1 d"]) -> Float[Tensor, "b k d"]:
        shift1, scale1, gate1, shift2, scale2, gate2 = self.modulation(F.silu(time)).chunk(6, dim=-1)
        h = self.norm1(x) * (1 + scale1) + shift1
        q, k, v = rearrange(self.qkv(h), "b k (three h d) -> three b h k d", three=3, h=self.heads)
        h = rearrange(F.scaled_dot_product_attention(q, k, v), "b h k d -> b k (h d)")
        x = x + gate1 * self.proj(h)
        h = self.norm2(x) * (1 + scale2) + shift2
        return x + gate2 * self.down(F.gelu(self.up(h)))


class InverseDynamicsNet(nn.Module):
    """A :class:`MotionEye` for each camera, a :class:`MotionSense` where proprioception is seen, and a transformer that
    draws the actions between the moments they see."""

    low: Tensor
    high: Tensor
    binary: Tensor

    def __init__(self, config: InverseDynamicsConfig) -> None:
        super().__init__()
        self.config = config
        self.eyes = nn.ModuleList(MotionEye(config) for _ in config.cameras)
        self.sense = MotionSense(config) if config.state_dim else None
        self.join = nn.Linear(config.dim * (len(config.cameras) + (config.state_dim > 0)), config.dim)
        self.action = nn.Linear(config.action_dim, config.dim)
        self.place = nn.Parameter(0.02 * torch.randn(config.chunk, config.dim))
        self.time = nn.Sequential(nn.Linear(2 * _FREQUENCIES, config.dim), nn.SiLU(), nn.Linear(config.dim, config.dim))
        self.blocks = nn.ModuleList(ActionBlock(config.dim, config.heads) for _ in range(config.blocks))
        self.norm = nn.LayerNorm(config.dim)
        self.out = nn.Linear(config.dim, config.action_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)
        self.register_buffer("low", -torch.ones(config.action_dim))
        self.register_buffer("high", torch.ones(config.action_dim))
        self.register_buffer("binary", torch.zeros(config.action_dim, dtype=torch.bool))

    def see(
        self,
        frames: Mapping[str, UInt8[Tensor, "b k1 r r c"]],
        jitter: Float[Tensor, "b 2"] | None = None,
        states: Float[Tensor, "b k1 n"] | None = None,
    ) -> Float[Tensor, "b k d"]:
        """What changes in each of the ``k1 - 1`` steps; ``jitter`` is a contrast and a brightness for each chunk."""
        cameras, seen = self.config.cameras, []
        if cameras:
            seen.append(self.look([prepared(frames[camera], jitter) for camera in cameras]))
        if self.sense is not None:
            assert states is not None
            seen.append(self.sense(states))
        return self.join(F.silu(torch.cat(seen, dim=-1)))

    def look(self, videos: Sequence[Float[Tensor, "b k1 3 r r"]]) -> Float[Tensor, "b k e"]:
        """What the eye of each camera tells of each step of its video, side by side."""
        seen = []
        for images, eye in zip(videos, self.eyes, strict=True):
            before, after = (rearrange(part, "b t c h w -> (b t) c h w") for part in (images[:, :-1], images[:, 1:]))
            seen.append(rearrange(eye(before, after), "(b t) d -> b t d", b=len(images)))
        return torch.cat(seen, dim=-1)

    def forward(
        self, noisy: Float[Tensor, "b k a"], t: Float[Tensor, "b"], motion: Float[Tensor, "b k d"]
    ) -> Float[Tensor, "b k a"]:
        """The velocity, noise minus data, of normalised actions at times ``t`` in (0, 1]."""
        frequencies = torch.exp(-math.log(1000.0) * torch.arange(_FREQUENCIES, device=t.device) / _FREQUENCIES)
        angles = 1000 * t[:, None] * frequencies
        time = self.time(torch.cat([angles.cos(), angles.sin()], dim=-1))[:, None]
        x = self.action(noisy) + motion + self.place
        for block in self.blocks:
            x = block(x, time)
        return self.out(self.norm(x)).float()

    def loss(
        self,
        frames: Mapping[str, UInt8[Tensor, "b k1 r r c"]],
        actions: Float[Tensor, "b k a"],
        jitter: Float[Tensor, "b 2"] | None,
        generator: torch.Generator,
        states: Float[Tensor, "b k1 n"] | None = None,
    ) -> Float[Tensor, ""]:
        """Flow matching: the mean squared error of the velocity, at ``draws`` logit-normal times a chunk."""
        draws = self.config.draws
        motion = repeat(self.see(frames, jitter, states), "b k d -> (n b) k d", n=draws)
        data = repeat(self.normalise(actions), "b k a -> (n b) k a", n=draws)
        noise = torch.randn(data.shape, generator=generator, device=generator.device).to(data.device)
        t = torch.sigmoid(torch.randn(len(data), generator=generator, device=generator.device)).to(data.device)
        noisy = interpolate(data, noise, t[:, None, None])
        return F.mse_loss(self(noisy, t, motion), velocity(data, noise))

    @torch.no_grad()
    def draw(self, motion: Float[Tensor, "b k d"], noise: Float[Tensor, "n b k a"]) -> Float[Tensor, "n b k a"]:
        """The actions of each chunk drawn from ``noise``, in the data's units and within the range of the data."""
        n, b = noise.shape[:2]
        motion = repeat(motion, "b k d -> (n b) k d", n=n)
        x = rearrange(noise, "n b k a -> (n b) k a").to(motion.device)
        times = torch.linspace(1, 0, self.config.steps + 1).tolist()
        for now, then in pairwise(times):
            x = x + (then - now) * self(x, torch.full((len(x),), now, device=x.device), motion)
        return rearrange(self.restore(x), "(n b) k a -> n b k a", b=b)

    def normalise(self, actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        """From the range of the data to [-1, 1]."""
        return 2 * (actions - self.low) / (self.high - self.low).clamp_min(1e-6) - 1

    def restore(self, actions: Float[Tensor, "*b a"]) -> Float[Tensor, "*b a"]:
        """The inverse of :meth:`normalise`; what is outside of the data's range is brought to its ends."""
        return self.low + (self.high - self.low) * (actions.clamp(-1, 1) + 1) / 2


def prepared(
    frames: UInt8[Tensor, "b t h w c"], jitter: Float[Tensor, "b 2"] | None = None
) -> Float[Tensor, "b t c h w"]:
    """Frames in [-1, 1], of another contrast and brightness for each video where ``jitter`` gives them."""
    images = rearrange(frames, "b t h w c -> b t c h w").float() / 127.5 - 1
    if jitter is None:
        return images
    return images * jitter[:, 0, None, None, None, None] + jitter[:, 1, None, None, None, None]


@dataclass(frozen=True, eq=False)
class ActionReading:
    """The actions that lead from each of ``t + 1`` frames to the next, in one video or in many (``*b``)."""

    action: Float32[ndarray, "*b t a"]
    """In the data's units; of two values, such as a gripper's commands, that which more draws are nearer to."""
    deviation: Float32[ndarray, "*b t a"]
    """Standard deviation of the draws, as a share of the range of the data: about 0 where the frames leave no doubt."""


class InverseDynamics:
    """A trained :class:`InverseDynamicsNet`, ready to read."""

    KIND: ClassVar[str] = "inverse dynamics"
    CONFIG: ClassVar[type[InverseDynamicsConfig]] = InverseDynamicsConfig
    NET: ClassVar[type[InverseDynamicsNet]] = InverseDynamicsNet

    def __init__(
        self,
        net: InverseDynamicsNet,
        *,
        figures: Mapping[str, float],
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        self.net = net.eval()
        self.figures = dict(figures)
        """Its own errors on real frames of held-out episodes: see the recipe's ``evaluate``."""
        self.metadata = dict(metadata or {})

    @property
    def cameras(self) -> tuple[str, ...]:
        return self.net.config.cameras

    @property
    def binary(self) -> Bool[ndarray, "a"]:
        """Which of an action's values only ever took two values."""
        flags: ndarray = self.net.binary.cpu().numpy()
        return flags

    @torch.inference_mode()
    def read(
        self, frames: Frames, state: Float32[ndarray, "t n"] | None = None, *, samples: int = 8, seed: int = 0
    ) -> ActionReading:
        """The actions between the frames of a video (``frames[camera]``: uint8 ``t h w c``, any size).

        Chunks overlap by half, and an action is the mean over all draws of all chunks that hold it. Always computed in
        fp32; the same video, samples and seed give the same actions.

        Args:
            state: proprioception at each frame, if it is known; only those that were trained to see it do.

        Raises:
            ValueError: a missing camera, frames of another type or shape, or fewer than ``chunk + 1`` of them; no
                proprioception, or of another shape, where it is seen.
        """
        self._check_samples(samples)
        config, device = self.net.config, self.net.low.device
        self._check(frames, state)
        images = self._images(frames)
        states = None
        if config.state_dim:
            assert state is not None
            states = torch.from_numpy(np.array(state, np.float32))
        count = len(next(iter(images.values()))) if states is None else len(states)
        starts = chunk_starts(count - 1, config.chunk)
        rows = torch.from_numpy(starts[:, None] + np.arange(config.chunk + 1))
        generator = torch.Generator().manual_seed(seed)
        draws: list[list[Tensor]] = [[] for _ in range(count - 1)]
        for part in rows.split(_BATCH):
            noise = torch.randn((samples, len(part), config.chunk, config.action_dim), generator=generator)
            with torch.autocast(device.type, enabled=False):
                motion = self.net.see(
                    {camera: video[part].to(device) for camera, video in images.items()},
                    states=None if states is None else states[part].to(device),
                )
                drawn = self.net.draw(motion, noise).cpu()
            for first, actions in zip(part[:, 0].tolist(), drawn.unbind(1), strict=True):
                for k, action in enumerate(actions.unbind(1)):
                    draws[first + k].append(action)
        means, deviations = zip(*(self._told(torch.cat(found)) for found in draws), strict=True)
        return ActionReading(torch.stack(means).numpy(), torch.stack(deviations).numpy())

    @torch.inference_mode()
    def see(self, frames: Mapping[str, UInt8[ndarray, "b t1 h w c"]]) -> Float32[ndarray, "b t d"]:
        """What changes in each of the ``t1 - 1`` steps of ``b`` videos, one token a step, for :meth:`read_seen`.

        A step is seen by itself, so that what was seen of a video so far need not be seen again when it goes on.
        """
        side, device = self.net.config.resolution, self.net.low.device
        b, t1 = frames[self.cameras[0]].shape[:2]
        images = {
            camera: torch.from_numpy(
                np.array(stretch(frames[camera].reshape(-1, *frames[camera].shape[2:]), (side, side)))
            ).unflatten(0, (b, t1))
            for camera in self.cameras
        }
        with torch.autocast(device.type, enabled=False):
            tokens = [
                self.net.see({camera: videos[rows].to(device) for camera, videos in images.items()})
                for rows in torch.arange(b).split(_BATCH)
            ]
        return torch.cat(tokens).cpu().numpy()

    @torch.inference_mode()
    def read_seen(self, motion: Float32[ndarray, "b k d"], *, samples: int = 8, seed: int = 0) -> ActionReading:
        """The actions of ``b`` chunks, ``b k a``, off what :meth:`see` saw of them: ``k`` is the chunk's length.

        All chunks draw from the same noise, so that none depends on which others are read with it.

        Raises:
            ValueError: tokens of another shape, or fewer than one sample.
        """
        self._check_samples(samples)
        config, device = self.net.config, self.net.low.device
        if motion.ndim != 3 or motion.shape[1:] != (config.chunk, config.dim):
            raise ValueError(f"tokens must be of shape (b, {config.chunk}, {config.dim}), got {motion.shape}")
        noise = torch.randn(
            (samples, 1, config.chunk, config.action_dim), generator=torch.Generator().manual_seed(seed)
        ).expand(-1, len(motion), -1, -1)
        with torch.autocast(device.type, enabled=False):
            drawn = self.net.draw(torch.from_numpy(np.array(motion)).to(device), noise).cpu()
        mean, deviation = self._told(drawn)
        return ActionReading(mean.numpy(), deviation.numpy())

    def write(self, folder: Path) -> None:
        """config.json, model.safetensors (half-precision parameters) and README.md, into an existing folder."""
        config = {
            "kind": self.KIND,
            "format": FORMAT,
            self.KIND.replace(" ", "_"): self.net.config,
            "figures": self.figures,
            "metadata": self.metadata,
        }
        write_small(folder, self.net, config, weights=WEIGHTS, card=_card(self))

    @classmethod
    def from_pretrained(cls, name: str | os.PathLike[str], *, device: str | torch.device = "cpu") -> Self:
        """Load what ``cosmos-sim train`` exported, by folder, shipped name or hub id.

        Raises:
            ValueError: none there, or a damaged or foreign one; the message names the file.
        """
        folder, values = find_small(name, cls.KIND, FORMAT)
        where = str(folder / "config.json")
        net = cls.NET(from_dict(cls.CONFIG, values.get(cls.KIND.replace(" ", "_"), {}), where=where))
        load_weights(net, folder / WEIGHTS)
        return cls(net.to(device), figures=values.get("figures", {}), metadata=values.get("metadata"))

    def _told(self, draws: Float[Tensor, "n *b a"]) -> tuple[Float[Tensor, "*b a"], Float[Tensor, "*b a"]]:
        """Of draws of an action, what they say together and how far apart they are: see :class:`ActionReading`."""
        low, high, binary = self.net.low.cpu(), self.net.high.cpu(), self.net.binary.cpu()
        deviation = draws.std(0, correction=0) / (high - low).clamp_min(1e-6)
        votes = (draws > (low + high) / 2).float().mean(0)
        return torch.where(binary, torch.where(votes > 0.5, high, low), draws.mean(0)), deviation

    def _check_samples(self, samples: int) -> None:
        if samples < 1:
            raise ValueError(f"samples must be at least 1, got {samples}")

    def _images(self, frames: Frames) -> dict[str, UInt8[Tensor, "t r r c"]]:
        """The frames of a video at the network's resolution."""
        size = (self.net.config.resolution,) * 2
        return {camera: torch.from_numpy(np.array(stretch(frames[camera], size))) for camera in self.cameras}

    def _check(self, frames: Frames, state: Float32[ndarray, "t n"] | None = None) -> None:
        for camera in self.cameras:
            if camera not in frames:
                raise ValueError(f"the {self.KIND} were trained on {camera!r}; there are {sorted(frames)}")
            if frames[camera].dtype != np.uint8 or frames[camera].ndim != 4:
                raise ValueError(f"{camera!r} must be uint8 t h w c, got {frames[camera].dtype} {frames[camera].shape}")
        lengths = {camera: len(frames[camera]) for camera in self.cameras}
        if n := self.net.config.state_dim:
            if state is None:
                raise ValueError(f"the {self.KIND} were trained to see proprioception too, and there is none")
            if state.ndim != 2 or state.shape[1] != n or not np.isfinite(state).all():
                raise ValueError(f"proprioception must be finite, of shape (t, {n}); got {state.shape}: {state}")
            lengths["proprioception"] = len(state)
        count, least = next(iter(lengths.values())), self.net.config.chunk + 1
        if len(set(lengths.values())) != 1:
            raise ValueError(f"there are unequal numbers of frames: {lengths}")
        if count < least:
            raise ValueError(f"a video of {count} frames is too short: {least} are read at once")


def chunk_starts(actions: int, chunk: int) -> Int64[ndarray, "n"]:
    """Where chunks begin that cover so many actions, each but the last half a chunk after the one before."""
    return np.unique(np.append(np.arange(0, actions - chunk + 1, max(1, chunk // 2)), actions - chunk))


def _card(model: InverseDynamics) -> str:
    parameters = sum(p.numel() for p in model.net.parameters())
    config = model.net.config
    lines = [
        "---",
        "library_name: cosmos-sim",
        f"tags: [robotics, {model.KIND.replace(' ', '-')}]",
        "---",
        "",
        f"# {model.KIND.capitalize()}",
        "",
        f"Reads {config.chunk} actions of {config.action_dim} values off the {config.chunk + 1} moments around them "
        f"({' and '.join([*config.cameras, *(['proprioception'] if config.state_dim else [])])}); "
        f"{parameters:,} parameters.",
        "",
        "## Measured on real frames of held-out episodes",
        "",
        "| figure | value |",
        "|---|---|",
        *(f"| {name} | {value:.4g} |" for name, value in model.figures.items()),
        "",
        *(f"- {name}: {value}" for name, value in model.metadata.items()),
        "",
    ]
    return "\n".join(lines)
