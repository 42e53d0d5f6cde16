"""A trained small world: frames and actions in, frames, proprioception and success out."""

import os
import shutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray
from safetensors.torch import save_file
from torch import Tensor

from cosmos_sim.data.files import new_folder
from cosmos_sim.data.pretrained import find_folder, from_dict, load_weights, read_config, to_json
from cosmos_sim.data.starts import Starts
from cosmos_sim.data.word_vectors import WordsConfig
from cosmos_sim.training.device import select_device, select_dtype
from cosmos_sim.types import Frames, Prediction, WorldSpec
from cosmos_sim.world_model.action_conditioning import hold
from cosmos_sim.world_model.dynamics import Dynamics, DynamicsConfig, History
from cosmos_sim.world_model.execution import run_as
from cosmos_sim.world_model.noise import CountedNoise, as_int64
from cosmos_sim.world_model.sampler import euler_times
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.tokenizer_layout import lay_out

KIND, FORMAT = "world", 1
INVERSE_DYNAMICS = "inverse_dynamics"
"""In a world's folder: what reads the actions back off the frames that it imagines."""


@dataclass(frozen=True)
class WorldConfig:
    """Everything ``config.json`` says about a world."""

    spec: WorldSpec
    tokenizer: TokenizerConfig
    dynamics: DynamicsConfig
    sampling_steps: int = 1
    """Evaluations of the transformer per frame unless the user says otherwise."""
    context_noise: float = 0.03
    """Noise level given to the context frames at every step; training covers more (see the recipe)."""
    renew_every: int = 64
    """After so many actions, and as many more, a world goes on from its past frames as they were shown, encoded anew.
    What latents can hold and no frame does, and what grows from it until the scene is lost, is gone then."""
    words: WordsConfig | None = None
    """How an instruction becomes the vector that stands in every action's place; ``None`` in a world that takes
    actions."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    """Data, command, seed and figures of the training run."""

    def __post_init__(self) -> None:
        heights = {h for h, _ in self.spec.cameras.values()}
        if len(heights) != 1:
            raise ValueError(
                f"cameras lie side by side in the latent and need one height, not {dict(self.spec.cameras)}"
            )
        f = self.tokenizer.downscale
        size = (heights.pop() // f, sum(w // f for _, w in self.spec.cameras.values()))
        if size != self.dynamics.latent_size:
            raise ValueError(f"latent_size={self.dynamics.latent_size}, but the cameras make latents of {size}")
        for name in ("action_dim", "state_dim", "chunk"):
            if getattr(self.dynamics, name) != getattr(self.spec, name):
                raise ValueError(
                    f"{name} is {getattr(self.dynamics, name)} in the dynamics, {getattr(self.spec, name)} in the spec"
                )
        if self.words is not None and self.words.width != self.spec.action_dim:
            raise ValueError(f"instructions are {self.words.width} numbers, an action is {self.spec.action_dim}")
        if not 0 <= self.context_noise < 1:
            raise ValueError(f"context_noise must lie in [0, 1), not {self.context_noise}")
        if self.renew_every < 1:
            raise ValueError(f"renew_every must be at least 1 action, not {self.renew_every}")


@dataclass(frozen=True)
class WorldState:
    """The state of ``b`` worlds, a value: keep it to save, step it twice to branch."""

    history: History
    seeds: tuple[int, ...]
    steps: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.seeds)


@dataclass(frozen=True)
class Networks:
    """A world's networks as they were trained, and its config."""

    config: WorldConfig
    tokenizer: Tokenizer
    dynamics: Dynamics


def read_networks(folder: Path) -> Networks:
    """The networks in a world's folder, in fp32 on the CPU.

    Raises:
        ValueError: no world is there, or a damaged or foreign one (the message names the file).
    """
    config = config_from_json(read_config(folder, KIND), where=str(folder / "config.json"))
    tokenizer, dynamics = Tokenizer(config.tokenizer), Dynamics(config.dynamics)
    load_weights(tokenizer, folder / "tokenizer.safetensors")
    load_weights(dynamics, folder / "dynamics.safetensors")
    return Networks(config, tokenizer, dynamics)


class World:
    """A small world, ready to run; satisfies :class:`cosmos_sim.types.WorldModel`."""

    def __init__(
        self,
        config: WorldConfig,
        tokenizer: Tokenizer,
        dynamics: Dynamics,
        *,
        starts: Starts | None = None,
        card: str = "",
        inverse_dynamics: Path | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        sampling_steps: int | None = None,
        compiled: bool = False,
        graphs: bool = False,
    ) -> None:
        self.config = config
        self.starts = starts
        self.card = card
        self.inverse_dynamics = inverse_dynamics
        """Folder of those that read the actions back off its frames; ``None`` where there are none."""
        self.device = select_device(str(device))
        self.dtype = select_dtype(dtype, self.device)
        self.times = euler_times(config.sampling_steps if sampling_steps is None else sampling_steps)
        self.tokenizer = lay_out(tokenizer.to(self.device).cast(self.dtype).eval().requires_grad_(False))
        self.dynamics = dynamics.to(self.device).cast(self.dtype).eval().requires_grad_(False)
        self.dynamics.dit.fuse()
        # The context's noise, then the new frames'.
        latent = (config.dynamics.dit.latent_channels, *config.dynamics.latent_size)
        self.noise = CountedNoise((config.dynamics.context + config.spec.chunk, *latent)).to(self.device)
        self._run = run_as(self._imagine, device=self.device, compiled=compiled, graphs=graphs)

    @property
    def spec(self) -> WorldSpec:
        return self.config.spec

    @classmethod
    def from_pretrained(
        cls,
        name: str | os.PathLike[str] = "lift",
        *,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        sampling_steps: int | None = None,
        compiled: bool = False,
        graphs: bool = False,
    ) -> "World":
        """Load a world by shipped name, folder or hub id.

        Args:
            device: a torch device; ``auto`` is CUDA where there is one.
            dtype: ``float32``, ``bfloat16``, or ``auto``: bf16 where the device computes in it.
            sampling_steps: evaluations of the transformer per frame; the world's own default when not given.
            compiled: whether steps are compiled: a minute or more at the first one of each batch size (rounded up to
                a power of two), which then takes a third less time (on a CPU).
            graphs: whether steps are recorded as CUDA graphs, at the first one of each such size.

        Raises:
            ValueError: no such world, or a damaged or foreign one (the message names the file); a device that cannot
                do what is asked for.
        """
        folder = find_folder(name, KIND)
        networks = read_networks(folder)
        starts = folder / "starts.safetensors"
        card = folder / "README.md"
        inverse_dynamics = folder / INVERSE_DYNAMICS
        return cls(
            networks.config,
            networks.tokenizer,
            networks.dynamics,
            starts=Starts.load(starts) if starts.is_file() else None,
            card=card.read_text() if card.is_file() else "",
            inverse_dynamics=inverse_dynamics if inverse_dynamics.is_dir() else None,
            device=device,
            dtype=dtype,
            sampling_steps=sampling_steps,
            compiled=compiled,
            graphs=graphs,
        )

    def save_pretrained(self, folder: str | os.PathLike[str]) -> None:
        """Write the world's folder, whole or not at all; the large matrices in bf16."""
        with new_folder(Path(folder)) as beside:
            (beside / "config.json").write_text(to_json({"kind": KIND, "format": FORMAT, **vars(self.config)}))
            save_file(_stored(self.tokenizer), beside / "tokenizer.safetensors")
            save_file(_stored(self.dynamics), beside / "dynamics.safetensors")
            if self.starts is not None:
                self.starts.save(beside / "starts.safetensors")
            if self.inverse_dynamics is not None:
                shutil.copytree(self.inverse_dynamics, beside / INVERSE_DYNAMICS)
            (beside / "README.md").write_text(self.card)

    def told(self, instruction: str) -> Float32[ndarray, "a"]:
        """What to give :meth:`step` in place of an action so that it does as ``instruction`` says.

        Warns of words that no instruction of its training had, and of those that are cut off.

        Raises:
            ValueError: this world takes actions, or there are no words.
        """
        words = self.config.words
        if words is None:
            raise ValueError(f"{instruction!r} would be ignored: this world takes actions, no instructions")
        for complaint in words.complaints(instruction):
            warnings.warn(complaint, stacklevel=2)
        return words.sentence(instruction)

    @torch.inference_mode()
    def reset(self, frames: Frames, state: Float32[ndarray, "b n"], seeds: Sequence[int]) -> WorldState:
        """Begin ``b`` episodes from real observations (``frames[camera]``: uint8 ``b h w c``).

        Raises:
            ValueError: a camera, shape, type or value that this world does not have.
        """
        b = len(seeds)
        if state.shape != (b, self.spec.state_dim) or not np.isfinite(state).all():
            raise ValueError(f"state must be finite, of shape {(b, self.spec.state_dim)}; got {state.shape}: {state}")
        latent = self.encode({camera: np.asarray(images)[:, None] for camera, images in frames.items()})
        if len(latent) != b:
            raise ValueError(f"frames hold {len(latent)} observations for {b} seeds")
        history = History.begin(
            latent[:, 0],
            self.dynamics.normalise_state(torch.as_tensor(state, dtype=torch.float32, device=self.device)),
            context=self.config.dynamics.context,
            action_dim=self.spec.action_dim,
        )
        return WorldState(history, tuple(int(s) for s in seeds), (0,) * b)

    @torch.inference_mode()
    def step(self, state: WorldState, actions: Float32[ndarray, "b t a"]) -> tuple[WorldState, Prediction]:
        """Imagine ``t`` actions, a chunk after the other. Noise is drawn from each world's own seed and step.

        Where the last chunk is not full, its last action is held until it is: what the held ones lead to is neither
        shown nor remembered, but the frames that are kept were imagined with them.

        Raises:
            ValueError: actions of the wrong shape, or not finite.
        """
        b, a, m = len(state), self.spec.action_dim, self.spec.chunk
        if actions.ndim != 3 or actions.shape[0] != b or actions.shape[2] != a or actions.shape[1] < 1:
            raise ValueError(f"actions must have shape ({b}, t, {a}) with t >= 1; got {actions.shape}")
        if not np.isfinite(actions).all():
            raise ValueError(f"actions must be finite; got {actions[~np.isfinite(actions).all(axis=(1, 2))][0]}")
        taken = self.dynamics.normalise_action(torch.as_tensor(actions, dtype=torch.float32, device=self.device))
        seeds = torch.tensor([as_int64(seed) for seed in state.seeds], device=self.device)
        steps = torch.tensor(state.steps, device=self.device)
        history = state.history
        seen: list[tuple[Tensor, ...]] = []
        for k in range(0, taken.shape[1], m):
            given = taken[:, k : k + m]
            rest = m - given.shape[1]
            past = tensors_of(history)
            outputs = self._run(seeds, steps + k, hold(given, m), *past)
            after, shown = History(*outputs[: len(past)]), outputs[len(past) :]
            new = slice(-m, -rest or None)
            history = history.append(given, after.latents[:, new], after.states[:, new]) if rest else after
            history = self._renewed(history, [n + k for n in state.steps], m - rest)
            seen.append(tuple(part[:, : m - rest] for part in shown))
        proprioception, success, *frames = (torch.cat(parts, dim=1).cpu().numpy() for parts in zip(*seen, strict=True))
        prediction = Prediction(
            frames=dict(zip(self.spec.cameras, frames, strict=True)),
            proprioception=proprioception,
            success=success if self.spec.has_success else None,
        )
        return WorldState(history, state.seeds, tuple(n + taken.shape[1] for n in state.steps)), prediction

    def select(self, state: WorldState, indices: Sequence[int]) -> WorldState:
        """The worlds ``indices`` of ``state``, in that order, repeats allowed."""
        chosen = torch.as_tensor(indices, dtype=torch.long, device=self.device)
        return WorldState(
            state.history.select(chosen),
            tuple(state.seeds[i] for i in indices),
            tuple(state.steps[i] for i in indices),
        )

    def join(self, states: Sequence[WorldState]) -> WorldState:
        """The worlds of several states, one after the other, as one."""
        return WorldState(
            History.join([s.history for s in states]),
            tuple(seed for s in states for seed in s.seeds),
            tuple(step for s in states for step in s.steps),
        )

    @torch.inference_mode()
    def reconstruct(self, frames: Frames) -> dict[str, ndarray]:
        """Real frames (uint8 ``b t h w c``) through the tokenizer and back: the best this world could ever show."""
        return self.decode(self.encode(frames))

    @torch.inference_mode()
    def encode(self, frames: Frames) -> Tensor:
        """Latents ``b t c h w`` of frames ``b t h w c``, the cameras side by side."""
        if set(frames) != set(self.spec.cameras):
            raise ValueError(f"cameras {sorted(frames)} given, this world has {sorted(self.spec.cameras)}")
        checked = []
        for camera, size in self.spec.cameras.items():
            images = np.asarray(frames[camera])
            if images.dtype != np.uint8 or images.ndim != 5 or images.shape[2:] != (*size, 3):
                raise ValueError(
                    f"frames of {camera!r} must be uint8 of {size[0]}x{size[1]}x3; got {images.dtype} {images.shape}"
                )
            checked.append(torch.from_numpy(images.copy()).to(self.device))
        return self._encoded(checked)

    @torch.inference_mode()
    def decode(self, latents: Tensor) -> dict[str, ndarray]:
        """Frames ``b t h w c`` of latents ``b t c h w``."""
        frames = (images.cpu().numpy() for images in self._frames(latents))
        return dict(zip(self.spec.cameras, frames, strict=True))

    def _imagine(self, seeds: Tensor, steps: Tensor, actions: Tensor, *history: Tensor) -> tuple[Tensor, ...]:
        """One chunk of ``b`` worlds, tensors to tensors: the new history, proprioception, success, and all frames."""
        after, logit = self.dynamics.step(
            History(*history),
            actions,
            noise=self.noise(seeds, steps),
            times=self.times,
            context_level=self.config.context_noise,
        )
        m = self.spec.chunk
        frames = self._frames(after.latents[:, -m:])
        proprioception = self.dynamics.restore_state(after.states[:, -m:])
        return *tensors_of(after), proprioception, logit.sigmoid(), *frames

    def _renewed(self, history: History, steps: Sequence[int], taken: int) -> History:
        """``history``, its past encoded anew in the worlds where ``taken`` actions after ``steps`` make it due."""
        every = self.config.renew_every
        due = [row for row, n in enumerate(steps) if n // every < (n + taken) // every]
        if not due:
            return history
        latents = history.latents.clone()
        latents[due] = self._encoded(self._frames(latents[due]))
        return replace(history, latents=latents)

    def _encoded(self, frames: Iterable[Tensor]) -> Tensor:
        """Latents ``b t c h w`` of each camera's frames (uint8 ``b t h w c``), side by side."""
        return torch.cat([self.tokenizer.encode(images) for images in frames], dim=-1).transpose(1, 2)

    def _frames(self, latents: Tensor) -> Sequence[Tensor]:
        """Each camera's frames (uint8 ``b t h w c``); cameras of one size are decoded as one batch."""
        widths = [w // self.config.tokenizer.downscale for _, w in self.spec.cameras.values()]
        parts = latents.transpose(1, 2).split(widths, dim=-1)
        if len(set(widths)) == 1:
            return self.tokenizer.decode(torch.cat(parts)).chunk(len(parts))
        return [self.tokenizer.decode(part) for part in parts]


def config_from_json(values: Mapping[str, Any], *, where: str) -> WorldConfig:
    """The config in a parsed ``config.json``.

    Raises:
        ValueError: an unknown format, an unknown or missing field.
    """
    if values.get("format") != FORMAT:
        raise ValueError(f"{where} has format {values.get('format')!r}; this version reads {FORMAT}")
    return from_dict(WorldConfig, {k: v for k, v in values.items() if k not in ("kind", "format")}, where=where)


def tensors_of(history: History) -> tuple[Tensor, ...]:
    return tuple(getattr(history, field.name) for field in fields(history))


def _stored(module: torch.nn.Module) -> dict[str, Tensor]:
    """Weights as they are stored: matrices in bf16; vectors, and the small heads that integrate over time, in fp32."""
    exact = ("kinematics.", "readout.")
    return {
        name: tensor.detach()
        .cpu()
        .to(torch.bfloat16 if tensor.ndim > 1 and not name.startswith(exact) else torch.float32)
        .contiguous()
        for name, tensor in module.state_dict().items()
    }
