"""An action-conditioned Predict2.5 as a world: an observation and a chunk of actions in, the chunk's frames out."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from numpy import ndarray
from safetensors.torch import save_file
from torch import Tensor

from cosmos_sim.data.files import new_folder
from cosmos_sim.data.pretrained import find_folder, from_dict, read_config, read_tensors, to_json
from cosmos_sim.data.starts import Starts
from cosmos_sim.training.device import select_device, select_dtype
from cosmos_sim.types import Frames, Prediction, WorldSpec
from cosmos_sim.world_model.action_conditioning import actions_of_chunk, actions_per_latent, hold
from cosmos_sim.world_model.attention import KeysValues, attention_kernels
from cosmos_sim.world_model.checkpoints.load import load_dit
from cosmos_sim.world_model.checkpoints.network import Network, save_ours
from cosmos_sim.world_model.checkpoints.stored import StoredTensor
from cosmos_sim.world_model.denoise import SAMPLING, SamplingConfig, denoise
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.sampler import seeded_noise
from cosmos_sim.world_model.tokenizer import Tokenizer
from cosmos_sim.world_model.tokenizer_folder import open_tokenizer, save_tokenizer
from cosmos_sim.world_model.wan import WanTokenizer
from cosmos_sim.world_model.world import INVERSE_DYNAMICS

KIND, FORMAT = "predict-world", 1
TOKENS = 512
"""Text tokens that Predict2.5 is trained with."""


@dataclass(frozen=True)
class PredictWorldConfig:
    """Everything ``config.json`` says about such a world; ``dit/`` and ``tokenizer/`` beside it hold the networks."""

    spec: WorldSpec
    """Its ``chunk`` is what the network takes at once: 12 actions for 13 frames as released. It has neither a success
    head nor proprioception (``state_low`` and ``state_high`` are empty)."""
    sampling: SamplingConfig = SAMPLING["predict2.5-2b-action"]
    action_mean: tuple[float, ...] | None = None
    action_std: tuple[float, ...] | None = None
    """The network is given ``(action - mean) / std``; as it is when not given. NVIDIA's, trained on differences of
    pose times 20, has 1/20 six times and 1."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        spec = self.spec
        if spec.state_dim or spec.has_success:
            raise ValueError(
                f"a Predict2.5 world predicts frames alone: the spec has state_dim={spec.state_dim}, "
                f"has_success={spec.has_success}"
            )
        if len({height for height, _ in spec.cameras.values()}) != 1:
            raise ValueError(f"cameras lie side by side and need one height, not {dict(spec.cameras)}")
        for name in ("action_mean", "action_std"):
            value = getattr(self, name)
            if value is not None and len(value) != spec.action_dim:
                raise ValueError(f"{name} has {len(value)} entries for actions of {spec.action_dim}")
        if self.action_std is not None and not min(self.action_std) > 0:
            raise ValueError(f"action_std must be positive, not {self.action_std}")


@dataclass(frozen=True)
class PredictState:
    """Where ``b`` worlds stand, a value: the last frame of each, all cameras side by side."""

    frames: UInt8[Tensor, "b h w c"]
    seeds: tuple[int, ...]
    steps: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.seeds)


class PredictWorld:
    """A large world, ready to run; satisfies :class:`cosmos_sim.types.WorldModel`.

    The last frame of a chunk, decoded, is what the next begins from; it is not shown twice, and every action has its
    frame. (The original's first stitching showed the frame between two chunks twice and left out the last of each.)

    Args:
        context: what the network reads for text; the zero embedding of training's text dropout when not given.
        negative: embedding of a negative prompt, for a config with guidance, which needs ``context``, too. (NVIDIA's
            script guides by 7 from the embedding of its negative prompt to that of the empty one.)
        inverse_dynamics: folder of those that read the actions back off its frames.
        sampling_steps: in place of the config's.
    """

    def __init__(
        self,
        config: PredictWorldConfig,
        tokenizer: WanTokenizer | Tokenizer,
        dit: DiT,
        *,
        context: Float[Tensor, "1 l d"] | None = None,
        negative: Float[Tensor, "1 l d"] | None = None,
        starts: Starts | None = None,
        card: str = "",
        inverse_dynamics: Path | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        sampling_steps: int | None = None,
    ) -> None:
        _check(config.spec, tokenizer, dit.config)
        self.config, self.starts, self.card = config, starts, card
        self.inverse_dynamics = inverse_dynamics
        self.sampling = config.sampling if sampling_steps is None else replace(config.sampling, steps=sampling_steps)
        self.device = select_device(str(device))
        self.dtype = select_dtype(dtype, self.device)
        self.tokenizer = tokenizer.eval().requires_grad_(False).to(self.device).cast(self.dtype)
        self.dit = dit.to(self.device).cast(self.dtype).eval().requires_grad_(False).fuse()
        a = config.spec.action_dim
        mean, std = config.action_mean or (0.0,) * a, config.action_std or (1.0,) * a
        self._mean, self._std = (torch.tensor(x, dtype=torch.float32, device=self.device) for x in (mean, std))
        if self.sampling.guidance and context is None:
            raise ValueError(f"guidance={self.sampling.guidance} needs a context to guide by")
        if negative is not None and not self.sampling.guidance:
            raise ValueError("a negative embedding would be ignored with guidance=0")
        self.context, self.negative = (None if x is None else x.to(self.device) for x in (context, negative))
        self._read = self._encode_context()

    @property
    def spec(self) -> WorldSpec:
        return self.config.spec

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str],
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        sampling_steps: int | None = None,
    ) -> "PredictWorld":
        """Load a world by folder or hub id; ``dit/`` may be in any format that ``cosmos-sim convert`` reads.

        Raises:
            ValueError: no such world, or a damaged or foreign one; the message names the file.
        """
        folder = find_folder(name, KIND)
        config = config_from_json(read_config(folder, KIND), where=str(folder / "config.json"))
        place = select_device(str(device))
        names = "starts.safetensors", "README.md", "context.safetensors", INVERSE_DYNAMICS
        starts, card, context, inverse_dynamics = (folder / name for name in names)
        return cls(
            config,
            open_tokenizer(folder / "tokenizer"),
            load_dit(folder / "dit", device=place, dtype=select_dtype(dtype, place)),
            **(read_tensors(context) if context.is_file() else {}),
            starts=Starts.load(starts) if starts.is_file() else None,
            card=card.read_text() if card.is_file() else "",
            inverse_dynamics=inverse_dynamics if inverse_dynamics.is_dir() else None,
            device=place,
            dtype=dtype,
            sampling_steps=sampling_steps,
        )

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the world's folder, whole or not at all; the networks in the type that they are held in."""
        weights = {n: StoredTensor(tuple(t.shape), t.dtype, t.cpu) for n, t in self.dit.state_dict().items()}
        save_world(
            self.config,
            Network(self.dit.config, weights),
            self.tokenizer,
            Path(folder),
            context=self.context,
            negative=self.negative,
            starts=self.starts,
            card=self.card,
            inverse_dynamics=self.inverse_dynamics,
        )

    def reset(self, frames: Frames, state: Float32[ndarray, "b 0"], seeds: Sequence[int]) -> PredictState:
        """Begin ``b`` episodes from real observations (``frames[camera]``: uint8 ``b h w c``).

        Raises:
            ValueError: a camera, shape, type or value that this world does not have.
        """
        b = len(seeds)
        if np.shape(state) != (b, 0):
            raise ValueError(f"this world has no proprioception: state must be {(b, 0)}, not {np.shape(state)}")
        if set(frames) != set(self.spec.cameras):
            raise ValueError(f"cameras {sorted(frames)} given, this world has {sorted(self.spec.cameras)}")
        for camera, size in self.spec.cameras.items():
            images = np.asarray(frames[camera])
            if images.dtype != np.uint8 or images.shape != (b, *size, 3):
                raise ValueError(
                    f"frames of {camera!r} must be uint8 of shape {(b, *size, 3)}, not {images.dtype} {images.shape}"
                )
        images = np.concatenate([np.asarray(frames[camera]) for camera in self.spec.cameras], axis=2)
        chosen = tuple(int(seed) for seed in seeds)
        return PredictState(torch.from_numpy(images).to(self.device), chosen, (0,) * b)

    @torch.no_grad()
    def step(self, state: PredictState, actions: Float32[ndarray, "b t a"]) -> tuple[PredictState, Prediction]:
        """Imagine ``t`` actions, chunk after chunk. Noise is drawn from each world's own seed and step.

        Where the last chunk is not full, its last action is held until it is. What the held ones lead to is neither
        shown nor gone on from, but this network's frames know all actions of their chunk.

        Raises:
            ValueError: actions of the wrong shape, or not finite.
        """
        b, spec = len(state), self.spec
        if np.ndim(actions) != 3 or actions.shape[0] != b or actions.shape[2] != spec.action_dim:
            raise ValueError(f"actions must have shape ({b}, t, {spec.action_dim}); got {np.shape(actions)}")
        t = actions.shape[1]
        if t == 0:
            raise ValueError(f"actions must be at least one; got shape {np.shape(actions)}")
        if not np.isfinite(actions).all():
            raise ValueError(f"actions must be finite; got {actions[~np.isfinite(actions).all(axis=(1, 2))][0]}")
        given = (torch.as_tensor(actions, dtype=torch.float32, device=self.device) - self._mean) / self._std
        parts = []
        for chunk in given.split(spec.chunk, dim=1):
            taken = chunk.shape[1]
            parts.append(self._imagine(state, hold(chunk, spec.chunk))[:, :taken])
            state = PredictState(parts[-1][:, -1], state.seeds, tuple(n + taken for n in state.steps))
        frames = torch.cat(parts, dim=1).cpu().numpy()
        edges = np.cumsum([width for _, width in spec.cameras.values()])[:-1]
        shown = dict(zip(spec.cameras, np.split(frames, edges, axis=3), strict=True))
        return state, Prediction(frames=shown, proprioception=np.zeros((b, t, 0), np.float32), success=None)

    def select(self, state: PredictState, indices: Sequence[int]) -> PredictState:
        """The worlds ``indices`` of ``state``, in that order, repeats allowed."""
        chosen = torch.as_tensor(indices, dtype=torch.long, device=self.device)
        seeds, steps = (tuple(values[i] for i in indices) for values in (state.seeds, state.steps))
        return PredictState(state.frames[chosen], seeds, steps)

    def join(self, states: Sequence[PredictState]) -> PredictState:
        """The worlds of several states, one after the other, as one."""
        return PredictState(
            torch.cat([s.frames for s in states]),
            tuple(seed for s in states for seed in s.seeds),
            tuple(step for s in states for step in s.steps),
        )

    def _imagine(self, state: PredictState, actions: Float[Tensor, "b t a"]) -> UInt8[Tensor, "b t h w c"]:
        """The frames after each of one chunk of normalised actions."""
        known = self.tokenizer.encode(state.frames[:, None])
        shape = (known.shape[1], self.tokenizer.latent_length(1 + actions.shape[1]), *known.shape[3:])
        noise = [
            seeded_noise(shape, seed % 2**32 if step == 0 else [seed % 2**32, step])
            for seed, step in zip(state.seeds, state.steps, strict=True)
        ]
        per_latent = self.dit.config.action_layout == "latent"
        rows = actions_per_latent(actions, compression=self.tokenizer.temporal) if per_latent else None
        with attention_kernels():
            latent = denoise(
                self.dit,
                torch.stack(noise).to(self.device),
                self.sampling,
                known=known,
                context=self._text(len(state)),
                negative=None if self.negative is None else self.negative.expand(len(state), -1, -1),
                action=actions_of_chunk(actions) if rows is None else rows,
            )
        return self.tokenizer.decode(latent)[:, 1:]

    def _text(self, worlds: int) -> Tensor | Sequence[KeysValues] | None:
        """The text for so many worlds: for each block what it reads or, with guidance, the embedding."""
        if self.sampling.guidance and self.context is not None:
            return self.context.expand(worlds, -1, -1)
        if self._read is None:
            return None
        return [layer.expand(worlds) for layer in self._read]

    @torch.no_grad()
    def _encode_context(self) -> Sequence[KeysValues] | None:
        config, context = self.dit.config, self.context
        if config.context_dim is None:
            if context is not None:
                raise ValueError("context would be ignored: the network reads no text")
            return None
        if context is None:  # attention to many equal tokens is attention to one, unless actions stand beside them
            tokens = TOKENS if config.action_injection == "cross_attention" else 1
            context = torch.zeros(1, tokens, config.context_in_dim or config.context_dim, device=self.device)
        return self.dit.encode_context(context)


def save_world(
    config: PredictWorldConfig,
    network: Network,
    tokenizer: WanTokenizer | Tokenizer,
    folder: Path,
    *,
    context: Float[Tensor, "1 l d"] | None = None,
    negative: Float[Tensor, "1 l d"] | None = None,
    starts: Starts | None = None,
    card: str = "",
    inverse_dynamics: Path | None = None,
) -> None:
    """Write a world's folder, whole or not at all, one tensor of the network in memory at a time.

    Raises:
        ValueError: config, tokenizer and network do not go together.
    """
    _check(config.spec, tokenizer, network.config)
    with new_folder(folder) as beside:
        (beside / "config.json").write_text(to_json({"kind": KIND, "format": FORMAT, **vars(config)}))
        save_ours(network, beside / "dit")
        save_tokenizer(tokenizer, beside / "tokenizer")
        if context is not None:
            texts = {"context": context, "negative": negative}
            held = {name: x.cpu().contiguous() for name, x in texts.items() if x is not None}
            save_file(held, beside / "context.safetensors")
        if starts is not None:
            starts.save(beside / "starts.safetensors")
        if inverse_dynamics is not None:
            shutil.copytree(inverse_dynamics, beside / INVERSE_DYNAMICS)
        (beside / "README.md").write_text(card)


def config_from_json(values: Mapping[str, Any], *, where: str) -> PredictWorldConfig:
    """The config in a parsed ``config.json``.

    Raises:
        ValueError: an unknown format, an unknown or missing field.
    """
    if values.get("format") != FORMAT:
        raise ValueError(f"{where} has format {values.get('format')!r}; this version reads {FORMAT}")
    return from_dict(PredictWorldConfig, {k: v for k, v in values.items() if k not in ("kind", "format")}, where=where)


def _check(spec: WorldSpec, tokenizer: WanTokenizer | Tokenizer, config: DiTConfig) -> None:
    """Raises a ValueError where spec, tokenizer and network do not go together."""
    latents = tokenizer.latent_length(1 + spec.chunk)
    for size in spec.cameras.values():
        tokenizer.latent_size(*size)
    per_row = spec.chunk // (latents - 1) if config.action_layout == "latent" else spec.chunk
    if config.action_dim != per_row * spec.action_dim:
        raise ValueError(
            f"the network takes rows of action_dim={config.action_dim}, but {per_row} actions of {spec.action_dim} "
            f"make {per_row * spec.action_dim}"
        )
    if config.latent_channels != tokenizer.config.latent_channels:
        raise ValueError(
            f"the network takes latents of {config.latent_channels} channels, the tokenizer makes "
            f"{tokenizer.config.latent_channels}"
        )
