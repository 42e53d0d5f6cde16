"""Training of a small world's dynamics on the latents of a dataset.

First single steps from real frames, at every noise level; then rollouts on the world's own imagined frames, which is
what it meets when it is used (Self-Forcing, DIAMOND, DreamDojo: without it, errors feed on themselves). Each sample of
a batch is a rollout of its own that goes on from training step to training step, so that a batch holds many episodes at
many depths, and a long rollout costs no more than a short one.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from numpy import ndarray
from torch import Tensor

from cosmos_sim.data.starts import Starts
from cosmos_sim.data.statistics import statistics
from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.data.windows import all_windows, clamp, draw, motion_weights
from cosmos_sim.data.word_vectors import WordsConfig
from cosmos_sim.training.layout import WHOLE, Part
from cosmos_sim.types import WorldSpec
from cosmos_sim.world_model.dynamics import Dynamics, DynamicsConfig, History
from cosmos_sim.world_model.flow import TimeDistribution, interpolate
from cosmos_sim.world_model.recipes.card import world_card
from cosmos_sim.world_model.recipes.latents import encode_store
from cosmos_sim.world_model.recipes.open_loop import open_loop_figures
from cosmos_sim.world_model.tokenizer import Tokenizer
from cosmos_sim.world_model.world import World, WorldConfig


@dataclass(frozen=True)
class WorldRecipeConfig:
    """Data, losses and curriculum of a world's training."""

    data: str
    tokenizer: str
    dynamics: DynamicsConfig
    batch_size: int = 32
    times: TimeDistribution = field(default_factory=lambda: TimeDistribution(pure_noise=0.4))
    context_level: float = 0.2
    """Context frames carry noise of a level drawn uniformly up to this."""
    rollouts: tuple[int, ...] = (1, 8, 24)
    """Chunks imagined in a row, each from the last ones imagined, in each part of the training."""
    stages: tuple[int, ...] = (3000, 6000)
    """Training steps at which the second and later parts begin."""
    poses: int = 96
    """Frames of each batch that the sketch alone learns from."""
    paths: int = 128
    """Windows of each batch that the kinematics alone learn from."""
    path_length: int = 12
    """Steps that the kinematics roll over their own predictions."""
    foreground: float = 5.0
    """Weight of latent pixels that change from one frame to the next."""
    busy: float = 3.0
    """How much more often windows with motion or a change of success are drawn."""
    horizon: int = 60
    """Steps per episode that the world declares."""
    twin: str | None = None
    """The twin's task whose spaces and start frames the world declares; the data's when ``None``."""
    twin_starts: int | None = None
    """How many start frames the twin made."""
    init: str | None = None
    """The world whose weights the training goes on from; new ones when ``None``."""
    words: WordsConfig | None = None
    """How instructions become numbers in a world that is told; ``None`` for one that takes actions."""

    def __post_init__(self) -> None:
        if self.horizon < 1:
            raise ValueError(f"horizon must be at least 1 step, not {self.horizon}")
        if min(self.rollouts, default=0) < 1:
            raise ValueError(f"rollouts must be of at least 1 chunk each, not {self.rollouts}")
        if len(self.stages) != len(self.rollouts) - 1 or list(self.stages) != sorted(set(self.stages)):
            raise ValueError(f"rollouts={self.rollouts} need one rising step each after the first, not {self.stages}")
        for name in ("poses", "paths", "path_length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    def stage(self, step: int) -> tuple[int, int]:
        """Chunks imagined in a row at training step ``step``, and the first training step with as many."""
        place = sum(step >= begin for begin in self.stages)
        return self.rollouts[place], (0, *self.stages)[place]


class WorldRecipe:
    """Train :class:`Dynamics`; satisfies :class:`cosmos_sim.training.Recipe`."""

    name = "world"

    def __init__(
        self,
        config: WorldRecipeConfig,
        store: EpisodeStore,
        tokenizer: Tokenizer,
        *,
        cache: Path,
        spec: WorldSpec | None = None,
        starts: Starts | None = None,
        init: Dynamics | None = None,
        seed: int = 0,
        device: str = "auto",
        provenance: dict[str, Any] | None = None,
    ) -> None:
        """Args:
        store: the data; see :func:`instructed_by` for a world that is told.
        tokenizer: that of ``init``, if that is given.
        cache: where the dataset's latents are kept.
        spec: the spaces that the world will declare; by default those that the data span.
        starts: the start frames it will carry; by default the first frames of held-out episodes.
        init: what to go on from, whose normalisation stays; the range of proprioception becomes that of both data.
        seed: of the initial weights, where there is no ``init``.
        device: where the dataset is encoded.
        provenance: whatever else its config and card should say about its making.

        Raises:
            ValueError: ``spec`` has other cameras or dimensions than the data, ``init`` other sizes than the config.
        """
        if init is not None and init.config != config.dynamics:
            raise ValueError(f"init is a world of {init.config}, asked for is {config.dynamics}")
        self.config = config
        self.batch_size = config.batch_size
        self.store = store
        self.tokenizer = tokenizer
        self.provenance = provenance or {}
        self.figures: dict[str, float] = {}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = Dynamics(config.dynamics)
        self.seed = seed
        self.rolling = History.begin(
            torch.zeros(config.batch_size, config.dynamics.dit.latent_channels, *config.dynamics.latent_size),
            torch.zeros(config.batch_size, config.dynamics.state_dim),
            context=config.dynamics.context,
            action_dim=config.dynamics.action_dim,
        )
        """Where the rollouts of the last training step have come to."""
        self.held_out = store.held_out or store.train
        self.spec = replace(spec or spec_of(store, horizon=config.horizon), chunk=config.dynamics.chunk)
        dims = (dict(self.spec.cameras), self.spec.action_dim, self.spec.state_dim)
        if dims != (dict(store.cameras), store.info.action_dim, store.info.state_dim):
            raise ValueError(f"spec has cameras, action and state dimensions {dims}, unlike the data")
        self.starts = starts or first_frames(store, self.held_out[:32])
        self.latents = encode_store(store, tokenizer, cache=cache, device=device)
        self.states = torch.from_numpy(store.state)
        self.train_rows = store.rows(store.train)
        if init is None:
            self._measure()
        else:
            self.model.load_state_dict(init.state_dict())
        self._widen()
        successes = store.successes()
        self.windows, self.weights = {}, {}
        for length in {*(config.dynamics.chunk * count for count in config.rollouts), config.path_length}:
            windows = all_windows(store.lengths.tolist(), length + 1, episodes=store.train)
            self.windows[length] = windows
            self.weights[length] = motion_weights(windows, store.states(), successes, factor=config.busy)

    def batch(self, step: int, generator: torch.Generator, part: Part = WHOLE) -> dict[str, Tensor]:
        """One chunk of each of ``batch_size`` rollouts, with the real past in case a rollout begins here; poses with
        their frames, and paths of proprioception and actions, for the heads that learn from many at no cost."""
        config, store, m = self.config, self.store, self.config.dynamics.chunk
        length, begin = config.stage(step)
        rollouts = np.asarray(part.of(range(config.batch_size)))
        run, depth = np.divmod(step - begin + rollouts * length // config.batch_size, length)
        windows = [self._window(m * length, *which) for which in zip(rollouts.tolist(), run.tolist(), strict=True)]
        episode, start = np.asarray(windows).T
        first, rows, past = self._rows(episode, start + m * depth, m)
        batch = {
            "begins": torch.from_numpy((depth == 0) | (step == begin)),
            "anchor": torch.from_numpy(self.latents[first]),
            "latents": torch.from_numpy(self.latents[rows]),
            "states": self.states[rows],
            "actions": torch.from_numpy(store.action[rows[:, :-1]]),
            "past": past,
        }
        if store.success is not None:
            batch["success"] = torch.from_numpy(store.success[rows[:, -1 - m : -1]]).float()
        paths = draw(
            self.windows[config.path_length], config.paths, generator, weights=self.weights[config.path_length]
        )
        _, rows, past = self._rows(part.of(paths.episode), part.of(paths.start), config.path_length)
        batch |= {
            "path_states": self.states[rows],
            "path_actions": torch.from_numpy(store.action[rows[:, :-1]]),
            "path_past": past,
        }
        if config.dynamics.sketch:
            chosen = torch.randint(len(self.train_rows), (config.poses,), generator=generator)
            rows = self.train_rows[part.of(chosen).numpy()]
            batch |= {"poses": self.states[rows], "pose_latents": torch.from_numpy(self.latents[rows])}
        return batch

    def _window(self, length: int, rollout: int, run: int) -> tuple[int, int]:
        """Episode and first step of what the rollout of that number plays in its run of that number."""
        seed = np.random.SeedSequence((self.seed, length, rollout, run)).generate_state(1)[0]
        chosen = draw(self.windows[length], 1, torch.Generator().manual_seed(int(seed)), weights=self.weights[length])
        return int(chosen.episode[0]), int(chosen.start[0])

    def _rows(self, episode: ndarray, now: ndarray, steps: int) -> tuple[ndarray, ndarray, Tensor]:
        """Rows of the episodes' first frames, of a context that ends at step ``now`` and ``steps`` more, and which
        actions of these were taken (none was before an episode began)."""
        around = now[:, None] + np.arange(1 - self.config.dynamics.context, steps + 1)
        first = self.store.offsets[episode]
        rows = first[:, None] + clamp(around, self.store.lengths[episode])[0]
        return first, rows, torch.from_numpy(around[:, :-1] >= 0)

    def loss(self, batch: dict[str, Tensor], step: int, generator: torch.Generator) -> dict[str, Tensor]:
        model, k = self.model, self.config.dynamics.context
        latents = batch["latents"].float()
        states = model.normalise_state(batch["states"])
        actions = model.normalise_action(batch["actions"]) * batch["past"][..., None]
        history = History(
            anchor=batch["anchor"].float(), latents=latents[:, :k], states=states[:, :k], actions=actions[:, : k - 1]
        )
        history = history.where(batch["begins"], self.rolling.to(latents.device))
        self.rolling, terms = self._step_loss(
            history,
            actions[:, k - 1 :],
            now=latents[:, k - 1 : -1],
            data=latents[:, k:],
            states=states[:, k:],
            success=batch.get("success"),
            rolling=self.config.stage(step)[0] > 1,
            generator=generator,
        )
        terms["kinematics"] = self._path_loss(batch["path_states"], batch["path_actions"], batch["path_past"])
        if model.sketch is not None:
            drawn = model.sketch(model.normalise_state(batch["poses"]))
            terms["sketch"] = F.mse_loss(drawn.float(), batch["pose_latents"].float())
        return {"loss": sum(terms.values(), torch.zeros(())), **terms}

    def state(self) -> dict[str, Tensor]:
        """Where the rollouts have come to, for checkpoints."""
        return {f.name: getattr(self.rolling, f.name) for f in fields(History)}

    def _path_loss(
        self, states: Float[Tensor, "b m n"], actions: Float[Tensor, "b m-1 a"], past: Tensor
    ) -> Float[Tensor, ""]:
        """How far the kinematics stray when they go on from their own predictions, as a share of how far one goes in as
        many steps."""
        model, k = self.model, self.config.dynamics.context
        states = model.normalise_state(states)
        actions = model.normalise_action(actions) * past[..., None]
        with torch.autocast(states.device.type, enabled=False):
            predicted = model.predict_states(states[:, :k], actions)
        reach = model.kinematics.scale * torch.arange(1, predicted.shape[1] + 1, device=states.device)[:, None]
        error = (predicted - states[:, k:]) / reach
        return F.smooth_l1_loss(error, torch.zeros_like(error))

    def _step_loss(
        self,
        history: History,
        actions: Float[Tensor, "b m a"],
        *,
        now: Float[Tensor, "b m c h w"],
        data: Float[Tensor, "b m c h w"],
        states: Float[Tensor, "b m n"],
        success: Float[Tensor, "b m"] | None,
        rolling: bool,
        generator: torch.Generator,
    ) -> tuple[History, dict[str, Tensor]]:
        """The losses of one imagined chunk, and the history with it; ``now`` is the frame before each."""
        model, b = self.model, len(data)
        kinematic = model.predict_states(history.states, torch.cat([history.actions, actions], dim=1)).detach()
        noise = torch.randn(data.shape, generator=generator, device=data.device)
        drawn = self.config.times.sample(b, generator=generator)
        time = torch.ones_like(drawn) if rolling else drawn
        context_noise = torch.randn(history.latents.shape, generator=generator, device=data.device)
        level = self.config.context_level * torch.rand(b, generator=generator, device=data.device)
        spread = time.view(-1, 1, 1, 1, 1)
        noisy = interpolate(data, noise, spread)
        predicted = model.predict(
            noisy, time, history, actions, kinematic, context_noise=context_noise, context_level=level
        )
        changed = ((data - now).abs().mean(2, keepdim=True) > 0.25).float()
        weight = 1 + (self.config.foreground - 1) * changed
        imagined = predicted.detach().clamp(-model.config.latent_limit, model.config.latent_limit)

        zero = torch.zeros_like(states)
        terms = {
            "frame": (weight * (predicted - data).square()).mean() / weight.mean(),
        }
        on_real = model.read(history, data, kinematic)
        on_imagined = model.read(history, imagined, kinematic)
        for logit, read in (on_real, on_imagined):
            terms["state"] = terms.get("state", 0) + F.smooth_l1_loss((read - states) / model.kinematics.scale, zero)
            if success is not None:
                terms["success"] = terms.get("success", 0) + F.binary_cross_entropy_with_logits(logit, success)
        return history.append(actions, imagined, on_imagined[1].detach().float()), terms

    def evaluate(self, generator: torch.Generator, part: Part = WHOLE) -> dict[str, float]:
        """Open-loop rollouts of held-out episodes, beside copying the last frame and the tokenizer's own ceiling."""
        self.figures = open_loop_figures(self._world(), [self.store.episode(e) for e in self.held_out[:16]])
        return self.figures

    def sample(self, generator: torch.Generator) -> dict[str, UInt8[ndarray, "t h w c"]]:
        """A held-out episode, real above imagined, all cameras side by side."""
        episode = self.store.episode(self.held_out[0])
        world = self._world()
        first = {camera: frames[None, 0] for camera, frames in episode.frames.items()}
        state = world.reset(first, episode.state[None, 0], [0])
        _, imagined = world.step(state, episode.action[None, :-1])
        real = np.concatenate([frames[1:] for frames in episode.frames.values()], axis=2)
        shown = np.concatenate([frames[0] for frames in imagined.frames.values()], axis=2)
        return {"real_above_imagined": np.concatenate([real, shown], axis=1)}

    def export(self, folder: Path) -> None:
        if not self.figures:  # a run that was stopped between its last evaluation and here
            self.evaluate(torch.Generator())
        self._world().save_pretrained(folder)

    def _world(self) -> World:
        """A runnable copy of what is being trained."""
        config = WorldConfig(
            spec=self.spec,
            tokenizer=self.tokenizer.config,
            dynamics=self.config.dynamics,
            words=self.config.words,
            provenance={**self.provenance, "figures": {k: round(v, 4) for k, v in self.figures.items()}},
        )
        device = self.model.state_mean.device
        return World(
            config,
            copy.deepcopy(self.tokenizer),
            copy.deepcopy(self.model),
            starts=self.starts,
            card=world_card(config),
            device=device,
        )

    def _measure(self) -> None:
        """Normalisation statistics, from the training episodes alone."""
        for name, values in (("state", self.store.state), ("action", self.store.action)):
            figures = statistics(values[self.train_rows])
            self.model.get_buffer(f"{name}_mean").copy_(torch.tensor(figures.mean))
            self.model.get_buffer(f"{name}_std").copy_(torch.tensor(figures.scale))
        states = self.store.states()
        changes = statistics([np.diff(states[e], axis=0) for e in self.store.train])
        self.model.kinematics.scale.copy_(torch.tensor(changes.scale) / self.model.state_std)
        if self.model.sketch is not None:
            some = self.latents[self.train_rows[:: max(1, len(self.train_rows) // 1000)]]
            with torch.no_grad():
                self.model.sketch.background.copy_(torch.from_numpy(some.astype(np.float32).mean(0)))

    def _widen(self) -> None:
        """Let imagined proprioception go wherever the training episodes have been."""
        low, high = self.model.state_low, self.model.state_high
        seen = torch.from_numpy(self.store.state[self.train_rows])
        new = bool(low.isinf().any())
        low.copy_(seen.amin(0) if new else torch.minimum(low, seen.amin(0)))
        high.copy_(seen.amax(0) if new else torch.maximum(high, seen.amax(0)))


def instructed_by(store: EpisodeStore, words: WordsConfig) -> EpisodeStore:
    """The same episodes with their instruction, as ``words`` has it, in the place of every action.

    Raises:
        ValueError: an episode without a task text; the message names it.
    """
    if empty := [index for index, text in enumerate(store.tasks) if not text.strip()]:
        raise ValueError(f"episode {empty[0]} of {str(store.info.path)!r} has no task text to learn from")
    told = copy.copy(store)
    told.info = replace(store.info, action_dim=words.width, action_names=None)
    told.action = np.repeat([words.sentence(text) for text in store.tasks], store.lengths, axis=0)
    return told


def spec_of(store: EpisodeStore, *, horizon: int) -> WorldSpec:
    """The spaces a dataset spans: an action is in [-1, 1] where it fills no more than that, states get a margin."""
    tasks = sorted(set(store.tasks))
    low, high = store.action.min(0), store.action.max(0)
    unit = (low >= -1) & (high <= 1)
    margin = 0.5 * (store.state.max(0) - store.state.min(0)) + 0.1
    return WorldSpec(
        task=tasks[0] if len(tasks) == 1 else f"one of {len(tasks)} instructions",
        cameras=dict(store.cameras),
        action_low=tuple(np.where(unit, -1, low).tolist()),
        action_high=tuple(np.where(unit, 1, high).tolist()),
        state_low=tuple((store.state.min(0) - margin).tolist()),
        state_high=tuple((store.state.max(0) + margin).tolist()),
        fps=float(store.info.fps),
        horizon=horizon,
        has_success=store.success is not None,
    )


def first_frames(store: EpisodeStore, indices: Sequence[int]) -> Starts:
    """The first observations of some episodes, as start frames."""
    episodes = [store.episode(index) for index in indices]
    return Starts(
        frames={camera: np.stack([e.frames[camera][0] for e in episodes]) for camera in store.frames},
        state=np.stack([e.state[0] for e in episodes]),
        seeds=np.asarray(indices, dtype=np.int64),
        tasks=tuple(store.tasks[index] for index in indices),
    )
