"""One step of a small world, in latents: what the next frame, the next proprioception and success will be.

The window of the transformer is the episode's first frame (an anchor against drift), the last few frames, sketches of
the arm as it is now and as it will be, and the frame to predict. Known frames replace the noise and are marked in the
mask channel, as in Cosmos-Predict2.5; the temporal patch is as long as the window, so a step costs no more tokens than
a single image has. A world of chunks predicts several frames in such a step, which costs as much as one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.flow import interpolate, velocity_to
from cosmos_sim.world_model.heads import Kinematics, Readout, Sketch
from cosmos_sim.world_model.sampler import euler

SMALL_DIT = DiTConfig(
    model_channels=256,
    num_blocks=6,
    num_heads=4,
    adaln_lora_dim=64,
    padding_mask=False,
    context_dim=None,
    context_in_dim=None,
    rope_ratio=(1.0, 1.0, 1.0),
)


@dataclass(frozen=True)
class DynamicsConfig:
    """Sizes of :class:`Dynamics`."""

    state_dim: int
    action_dim: int
    latent_size: tuple[int, int]
    """Rows and columns of the latent frame, all cameras side by side."""
    context: int = 4
    """Past frames, proprioceptions and actions that the world remembers."""
    latent_limit: float = 5.0
    """Imagined latents are kept within this many standard deviations, so that long rollouts stay sane."""
    chunk: int = 1
    """Frames imagined at once, each from all actions of the chunk."""
    sketch: bool = False
    """Whether the transformer is shown a :class:`Sketch` of the arm; without, it knows the pose as numbers only."""
    dit: DiTConfig = field(default=SMALL_DIT)

    def __post_init__(self) -> None:
        if self.context < 2:
            raise ValueError(f"context must be at least 2 frames, not {self.context}")
        if not 1 <= self.chunk <= self.context:
            raise ValueError(
                f"chunk must be 1 frame to as many as the world remembers ({self.context}), not {self.chunk}"
            )
        if any(s % p for s, p in zip(self.latent_size, self.dit.patch[1:], strict=True)):
            raise ValueError(f"latent_size={self.latent_size} does not divide into patches of {self.dit.patch[1:]}")

    @property
    def window(self) -> int:
        """Frames the transformer sees: anchor, context, those to predict, and sketches of now and of them, if any."""
        return 1 + self.context + self.chunk + (1 + self.chunk) * self.sketch


@dataclass(frozen=True)
class History:
    """What ``b`` worlds remember. A value: :meth:`append` returns a new one. All entries are normalised."""

    anchor: Float[Tensor, "b c h w"]
    latents: Float[Tensor, "b k c h w"]
    states: Float[Tensor, "b k n"]
    actions: Float[Tensor, "b k-1 a"]

    @classmethod
    def begin(
        cls, latent: Float[Tensor, "b c h w"], state: Float[Tensor, "b n"], *, context: int, action_dim: int
    ) -> "History":
        """An episode's start: the past is the first frame, standing still; past actions are the mean action."""
        return cls(
            anchor=latent,
            latents=latent[:, None].repeat(1, context, 1, 1, 1),
            states=state[:, None].repeat(1, context, 1),
            actions=state.new_zeros(len(state), context - 1, action_dim),
        )

    def append(
        self, actions: Float[Tensor, "b m a"], latents: Float[Tensor, "b m c h w"], states: Float[Tensor, "b m n"]
    ) -> "History":
        """What is remembered after ``m`` actions and what they led to."""
        m = actions.shape[1]
        return History(
            anchor=self.anchor,
            latents=torch.cat([self.latents, latents], dim=1)[:, m:],
            states=torch.cat([self.states, states], dim=1)[:, m:],
            actions=torch.cat([self.actions, actions], dim=1)[:, m:],
        )

    def where(self, mine: Bool[Tensor, "b"], other: "History") -> "History":
        """This where ``mine``, else ``other``."""

        def chosen(a: Tensor, b: Tensor) -> Tensor:
            return torch.where(mine.view(-1, *[1] * (a.ndim - 1)), a, b)

        return History(*(chosen(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)))

    def to(self, device: torch.device) -> "History":
        return History(*(getattr(self, f.name).to(device) for f in fields(self)))

    @staticmethod
    def join(parts: Sequence["History"]) -> "History":
        return History(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(History)))

    def select(self, indices: Tensor) -> "History":
        return History(*(getattr(self, f.name)[indices] for f in fields(self)))


class Dynamics(nn.Module):
    """The trained part of a small world beside its tokenizer."""

    state_mean: Float[Tensor, "n"]
    state_std: Float[Tensor, "n"]
    state_low: Float[Tensor, "n"]
    state_high: Float[Tensor, "n"]
    """The range of proprioception that was seen in training, in the data's units. What is imagined stays within it:
    where the kinematics have seen nothing they are wrong, and their errors would feed on each other."""
    action_mean: Float[Tensor, "a"]
    action_std: Float[Tensor, "a"]

    def __init__(self, config: DynamicsConfig) -> None:
        super().__init__()
        self.config = config
        k, m, n, a = config.context, config.chunk, config.state_dim, config.action_dim
        self.dit = DiT(
            replace(config.dit, patch=(config.window, *config.dit.patch[1:]), action_dim=(k + m) * n + (k - 1 + m) * a)
        )
        self.kinematics = Kinematics(state_dim=n, action_dim=a, context=k)
        z, size = config.dit.latent_channels, config.latent_size
        self.sketch = Sketch(state_dim=n, latent_channels=z, latent_size=size) if config.sketch else None
        self.readout = Readout(state_dim=n, latent_channels=z, latent_size=size)
        for name, width in (("state", n), ("action", a)):
            self.register_buffer(f"{name}_mean", torch.zeros(width))
            self.register_buffer(f"{name}_std", torch.ones(width))
        self.register_buffer("state_low", torch.full((n,), -torch.inf))
        self.register_buffer("state_high", torch.full((n,), torch.inf))

    def predict(
        self,
        noisy: Float[Tensor, "b m c h w"],
        time: Float[Tensor, "b"],
        history: History,
        actions: Float[Tensor, "b m a"],
        states: Float[Tensor, "b m n"],
        *,
        context_noise: Float[Tensor, "b k c h w"] | None = None,
        context_level: Float[Tensor, "b"] | None = None,
    ) -> Float[Tensor, "b m c h w"]:
        """The data at the end of the flow: the chunk of frames that follows ``history`` under ``actions``.

        The transformer says what changes against the last frame, and the flow's velocity is ``(noisy - data) / time``.
        Asked for the velocity itself, as the large models are, a narrow network also has the noise to pass through (Li,
        He: "Back to Basics: Let Denoising Generative Models Denoise", arXiv 2511.13720), and learned more slowly here
        (docs/measured.md; one run each).

        Args:
            noisy: those frames at ``time``.
            states: their proprioception by :class:`Kinematics`.
            context_noise: noise mixed into the context frames, as much as ``context_level`` says; the mask channel
                tells the network how much (1 - level), so that it learns what to trust.
        """
        context, sketches = history.latents, []
        m = noisy.shape[1]
        known = noisy.new_ones(len(noisy))
        if context_noise is not None:
            assert context_level is not None
            context = interpolate(context, context_noise, context_level.view(-1, 1, 1, 1, 1))
            known = 1 - context_level
        if self.sketch is not None:
            poses = torch.cat([history.states[:, -1:], states], dim=1)
            drawn = self.sketch(poses.transpose(0, 1).flatten(0, 1)).detach().to(noisy.dtype)
            sketches = [image[:, None] for image in drawn.chunk(1 + m)]
        window = torch.cat([history.anchor[:, None], context, *sketches, noisy], dim=1).transpose(1, 2)
        mask = window.new_zeros(len(noisy), 1, *window.shape[2:])
        mask[:, :, :-m] = 1
        mask[:, :, 1 : 1 + context.shape[1]] = known.view(-1, 1, 1, 1, 1)
        taken = torch.cat([history.actions, actions], dim=1)
        conditioning = torch.cat([history.states.flatten(1), states.flatten(1), taken.flatten(1)], dim=-1)
        change = self.dit(window, 1000 * time[:, None], mask, action=conditioning[:, None])[:, :, -m:]
        return history.latents[:, -1:] + change.transpose(1, 2)

    def predict_states(
        self, states: Float[Tensor, "b k n"], actions: Float[Tensor, "b k-1+m a"]
    ) -> Float[Tensor, "b m n"]:
        """The ``m`` proprioceptions that follow ``states``, each from those before as far as the commands tell it.

        Args:
            states: of the context, normalised.
            actions: those taken between them, then ``m`` more.
        """
        k = self.config.context
        after = list(states.unbind(1))
        for j in range(actions.shape[1] - k + 1):
            after.append(self.kinematics(torch.stack(after[-k:], dim=1), actions[:, j : j + k]))
        return torch.stack(after[k:], dim=1)

    def read(
        self, history: History, latents: Float[Tensor, "b m c h w"], states: Float[Tensor, "b m n"]
    ) -> tuple[Float[Tensor, "b m"], Float[Tensor, "b m n"]]:
        """Success logits and proprioception at the imagined ``latents`` that follow ``history``."""
        b, m = latents.shape[:2]
        before = torch.cat([history.latents[:, -1:], latents[:, :-1]], dim=1)
        pairs = torch.stack([before, latents], dim=2).flatten(0, 1)
        logit, correction = self.readout(pairs, states.flatten(0, 1))
        return logit.view(b, m), states + self.kinematics.scale * correction.view(b, m, -1)

    def step(
        self,
        history: History,
        actions: Float[Tensor, "b m a"],
        *,
        noise: Float[Tensor, "b k+m c h w"],
        times: list[float],
        context_level: float,
    ) -> tuple[History, Float[Tensor, "b m"]]:
        """Imagine one chunk by Euler's rule over ``times``; ``noise`` holds the context's, then the new frames'."""
        k = self.config.context
        low, high = self.normalise_state(self.state_low), self.normalise_state(self.state_high)
        states = self.predict_states(history.states, torch.cat([history.actions, actions], dim=1)).clamp(low, high)
        level = noise.new_full((len(noise),), context_level)

        def towards(x: Tensor, time: float) -> Tensor:
            t = noise.new_full((len(noise),), time)
            data = self.predict(x, t, history, actions, states, context_noise=noise[:, :k], context_level=level)
            return velocity_to(data, x, time)

        latents = euler(towards, noise[:, k:], times)
        latents = latents.clamp(-self.config.latent_limit, self.config.latent_limit)
        logit, states = self.read(history, latents, states)
        return history.append(actions, latents, states.clamp(low, high)), logit

    @torch.no_grad()
    def under(self, action_dim: int) -> "Dynamics":
        """A copy that takes other vectors in the place of actions, and as yet does under all of them what this one does
        under its mean action."""
        made = Dynamics(replace(self.config, action_dim=action_dim))
        mine, k = self.state_dict(), self.config.context
        for name, parameter in made.state_dict().items():
            if name == "kinematics.net.0.weight" or ("action_embedder" in name and name.endswith("fc1.weight")):
                told = (k if name.startswith("kinematics") else k - 1 + self.config.chunk) * self.config.action_dim
                others = mine[name][:, : mine[name].shape[1] - told]  # of all inputs, actions come last
                parameter.zero_()[:, : others.shape[1]] = others
            elif name not in ("action_mean", "action_std"):
                parameter.copy_(mine[name])
        return made

    def normalise_state(self, state: Tensor) -> Tensor:
        return (state - self.state_mean) / self.state_std

    def restore_state(self, state: Tensor) -> Tensor:
        return state * self.state_std + self.state_mean

    def normalise_action(self, action: Tensor) -> Tensor:
        return (action - self.action_mean) / self.action_std

    def cast(self, dtype: torch.dtype) -> "Dynamics":
        """Hold the weights of what draws in ``dtype``; the small heads and the statistics stay in fp32."""
        self.dit.cast(dtype)
        if self.sketch is not None:
            self.sketch.to(dtype)
        return self
