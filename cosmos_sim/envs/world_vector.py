"""``CosmosWorld-v0`` as a vector environment: any number of imagined episodes as one batch of the world model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from gymnasium import spaces
from gymnasium.error import ResetNeeded
from gymnasium.utils import seeding
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.envs.imagination import Imagination, WorldArguments
from cosmos_sim.envs.moment import Moment
from cosmos_sim.envs.spaces import side_by_side
from cosmos_sim.envs.world import RENDER_MODES, check_render_mode, episode_seed, whole
from cosmos_sim.types import WorldModel

Step = tuple[dict[str, Any], ndarray, ndarray, ndarray, dict[str, Any]]


@dataclass(frozen=True, eq=False)
class SavedWorlds:
    """Where a :class:`CosmosWorldVector` stood: the imagined episodes and the generators that seed the next ones."""

    moment: Moment
    generators: tuple[Mapping[str, Any], ...]


class CosmosWorldVector(VectorEnv[dict[str, Any], ndarray, ndarray]):
    """``num_envs`` learned worlds that are stepped as one batch: ``gymnasium.make_vec("CosmosWorld-v0", num_envs=n)``.

    World ``i`` behaves as a :class:`~cosmos_sim.envs.world.CosmosWorld` of its own, whose class documents spaces,
    reward, end, info and the arguments. Beyond those:

    ``reset(seed=s)`` seeds world ``i`` with ``s + i``, a list seeds them one by one (``None``: as its generator goes
    on). ``options`` are those of ``CosmosWorld``, each one value for all or a sequence of one a world, and
    ``reset_mask`` (``bool``, ``n``), which leaves the worlds where it is false as they are.

    ``autoreset_mode`` (:class:`gymnasium.vector.AutoresetMode` or its value): ``NEXT_STEP`` (an ended world ignores the
    next action and begins anew), ``SAME_STEP`` (it begins anew at once; ``info["final_obs"]`` and
    ``info["final_info"]`` hold its end) or ``DISABLED`` (stepping an ended world is
    :class:`gymnasium.error.ResetNeeded`; reset it with ``reset_mask``).
    """

    metadata: dict[str, Any] = {  # noqa: RUF012
        "render_modes": list(RENDER_MODES),
        "render_fps": 10,
        "autoreset_mode": AutoresetMode.NEXT_STEP,
    }
    single_action_space: spaces.Box

    def __init__(
        self,
        num_envs: int = 1,
        world: str | Path | WorldModel = "lift",
        *,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        render_mode: str | None = None,
        **arguments: Unpack[WorldArguments],
    ) -> None:
        if num_envs != int(num_envs) or num_envs < 1:
            raise ValueError(f"num_envs must be a whole number, at least 1, got {num_envs}")
        self.num_envs = int(num_envs)
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.render_mode = check_render_mode(render_mode)
        self._imagination = Imagination.of(world, **arguments)
        self._moment: Moment | None = None
        self._generators = [seeding.np_random()[0] for _ in range(self.num_envs)]
        spec = self._imagination.world.spec
        self.metadata = {
            **self.metadata,
            "render_fps": whole(spec.fps / self._imagination.chunk),
            "autoreset_mode": self.autoreset_mode,
        }
        self.single_action_space = self._imagination.action_space
        self.single_observation_space = self._imagination.observation_space
        self.action_space = batch_space(self.single_action_space, self.num_envs)
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.task = spec.task
        self._max_episode_steps = self._imagination.steps

    @property
    def world(self) -> WorldModel:
        """The world model behind the environments."""
        return self._imagination.world

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin new episodes in all worlds, or in those of ``options["reset_mask"]``."""
        seeds = self._seeds(seed)
        rest = dict(options or {})
        worlds = self._masked(rest.pop("reset_mask", None))
        chosen = [self._of_world(rest, world) for world in worlds]
        for world in worlds:
            if seeds[world] is not None:
                self._generators[world] = seeding.np_random(seeds[world])[0]
        self._moment = self._begin(self._moment, worlds, [seeds[world] for world in worlds], chosen)
        return self._imagination.observation(self._moment), self._infos(self._moment, worlds)

    def step(self, actions: ndarray) -> Step:
        """Imagine what ``actions`` (``n a``, or ``n c a`` in chunks) lead to in all worlds at once."""
        return self._advance(self._imagination.chunked(actions, self.num_envs))

    def play(self, actions: ndarray) -> Step:
        """As :meth:`step`, for any number ``t >= 1`` of actions (``n t a``): see ``CosmosWorld.play``."""
        return self._advance(self._imagination.played(actions, self.num_envs))

    def _advance(self, actions: Float32[ndarray, "n t a"]) -> Step:
        before = self._begun()
        ended = np.flatnonzero(before.ended).tolist()
        if ended and self.autoreset_mode == AutoresetMode.DISABLED:
            raise ResetNeeded(f"worlds {ended} have ended: reset them with options={{'reset_mask': ...}} first")
        running = np.flatnonzero(~before.ended).tolist()
        after = self._imagination.advance(before, actions[running], running)
        if ended:
            after = self._begin(after, ended, [None] * len(ended), [{}] * len(ended))
        self._moment = after
        infos = self._infos(after, range(self.num_envs))
        if self.autoreset_mode == AutoresetMode.SAME_STEP and after.ended.any():
            infos = self._begin_at_once(after)
        return (
            self._imagination.observation(self._moment),
            after.terminated.astype(np.float64),
            after.terminated.copy(),
            after.truncated.copy(),
            infos,
        )

    def save_state(self) -> SavedWorlds:
        """Where all worlds stand, as a value that stays what it is whatever happens next."""
        return SavedWorlds(self._begun(), tuple(generator.bit_generator.state for generator in self._generators))

    def restore_state(self, state: SavedWorlds) -> tuple[dict[str, Any], dict[str, Any]]:
        """Go back to ``state``, which these environments saved; returns observations and infos, as ``reset`` does."""
        if not isinstance(state, SavedWorlds) or len(state.generators) != self.num_envs:
            raise ValueError(f"restore_state takes what save_state of {self.num_envs} worlds returned, got {state!r}")
        for generator, saved in zip(self._generators, state.generators, strict=True):
            generator.bit_generator.state = saved
        self._moment = state.moment
        return self._imagination.observation(self._moment), self._infos(self._moment, range(self.num_envs))

    def render(self) -> tuple[ndarray, ...]:
        """One picture a world, all cameras side by side: ``uint8``, ``h w 3``."""
        if self.render_mode is None:
            raise ValueError("render() needs environments made with render_mode='rgb_array'")
        moment = self._begun()
        frames = {camera: moment.last(images) for camera, images in moment.frames.items()}
        return tuple(side_by_side({camera: frames[camera][i] for camera in frames}) for i in range(self.num_envs))

    def call(self, name: str) -> tuple[Any, ...]:
        """``render()``, ``task_description`` (what is to be done in each episode, in words) or the attribute ``name``,
        once for each world, as Gymnasium's other vector environments do."""
        if name == "task_description":
            return (self.task,) * self.num_envs if self._moment is None else tuple(self._moment.task)
        return self.render() if name == "render" else (getattr(self, name),) * self.num_envs

    def get_attr(self, name: str) -> tuple[Any, ...]:
        """The attribute ``name``, once for each world."""
        return self.call(name)

    def close_extras(self, **kwargs: Any) -> None:
        self._imagination.source.close()

    def _begin(
        self, moment: Moment | None, worlds: list[int], seeds: list[int | None], options: list[dict[str, Any]]
    ) -> Moment:
        drawn = [episode_seed(seed, self._generators[world]) for world, seed in zip(worlds, seeds, strict=True)]
        return self._imagination.begin(moment if len(worlds) < self.num_envs else None, worlds, drawn, options)

    def _begin_at_once(self, after: Moment) -> dict[str, Any]:
        """Begin the ended worlds of ``after`` anew; the infos then hold both how they ended and how they began."""
        ended = np.flatnonzero(after.ended).tolist()
        last = self._imagination.observation(after)
        infos: dict[str, Any] = {}
        for world in ended:
            final = {
                "pixels": {camera: images[world] for camera, images in last["pixels"].items()},
                "agent_pos": last["agent_pos"][world],
            }
            end = {"final_obs": final, "final_info": self._imagination.info(after, world)}
            infos = self._add_info(infos, end, world)
        self._moment = self._begin(after, ended, [None] * len(ended), [{}] * len(ended))
        return infos | self._infos(self._moment, range(self.num_envs))

    def _infos(self, moment: Moment, worlds: Sequence[int]) -> dict[str, Any]:
        infos: dict[str, Any] = {}
        for world in worlds:
            infos = self._add_info(infos, self._imagination.info(moment, world), world)
        return infos

    def _begun(self) -> Moment:
        if self._moment is None:
            raise ResetNeeded("the environments have no episodes yet: call reset() first")
        return self._moment

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None]:
        if seed is None:
            return [None] * self.num_envs
        if isinstance(seed, int | np.integer):
            return [int(seed) + i for i in range(self.num_envs)]
        if len(seed) != self.num_envs:
            raise ValueError(f"{self.num_envs} worlds need as many seeds, got {len(seed)}: {list(seed)}")
        return [None if one is None else int(one) for one in seed]

    def _masked(self, mask: ndarray | None) -> list[int]:
        if mask is None:
            return list(range(self.num_envs))
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.shape != (self.num_envs,):
            raise ValueError(f"reset_mask must be a bool array of shape ({self.num_envs},), got {mask!r}")
        if not mask.any():
            raise ValueError(f"reset_mask must have a world to reset, got {mask}")
        if self._moment is None and not mask.all():
            raise ResetNeeded(f"the first reset must be of all worlds, got reset_mask={mask}")
        return np.flatnonzero(mask).tolist()

    def _of_world(self, options: Mapping[str, Any], world: int) -> dict[str, Any]:
        """The options of one world, out of values for all and sequences of one a world."""
        chosen = {}
        for name, value in options.items():
            several = isinstance(value, Sequence | np.ndarray) and not isinstance(value, str)
            if several and len(value) != self.num_envs:
                raise ValueError(f"option {name!r} needs one value or {self.num_envs}, got {len(value)}: {value!r}")
            chosen[name] = value[world] if several else value
        return chosen
