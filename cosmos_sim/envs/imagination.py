"""Imagined episodes side by side: what ``CosmosWorld`` (one of them) and ``CosmosWorldVector`` (many) are made of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypedDict, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray
from numpy.typing import ArrayLike

from cosmos_sim.data.starts import Starts
from cosmos_sim.envs.moment import Cohort, Moment, Trail
from cosmos_sim.envs.spaces import action_space, agent_pos_space, check_actions, observation_space
from cosmos_sim.envs.starts import StartSource, choose_start, start_source
from cosmos_sim.envs.success import Judge, SuccessRule
from cosmos_sim.envs.trust import Trust, TrustRule, find_trust
from cosmos_sim.envs.worlds import load_world
from cosmos_sim.types import Prediction, RewardModel, WorldModel


class WorldArguments(TypedDict, total=False):
    """The arguments that ``CosmosWorld`` and ``CosmosWorldVector`` share; :class:`CosmosWorld` says what they mean."""

    device: str | None
    dtype: str | None
    sampling_steps: int | None
    chunk: int | None
    horizon: int | None
    reward_model: RewardModel | None
    starts: str | Path | Starts
    success_threshold: float
    success_frames: int
    trust: bool | str | Path | Trust | None
    min_trust: float | None
    trust_frames: int | None


@runtime_checkable
class Joining(Protocol):
    """A world model that can also put the states of several batches into one batch, in that order.

    A world that cannot is as correct, but worlds that were reset at different times are then stepped in several calls.
    """

    def join(self, states: Sequence[Any]) -> Any: ...


class Imagination:
    """What happens in imagined episodes: starts, steps, success and the horizon, for any number of worlds at once.

    It has no state of its own: every call takes the :class:`~cosmos_sim.envs.moment.Moment` to go on from and returns
    the next one.
    """

    def __init__(
        self,
        world: WorldModel,
        source: StartSource,
        judge: Judge,
        rule: SuccessRule,
        *,
        horizon: int,
        chunk: int,
        trust: Trust | None = None,
        trust_rule: TrustRule | None = None,
    ) -> None:
        self.world = world
        self.source = source
        self.judge = judge
        self.rule = rule
        self.horizon = horizon
        """Actions until an episode is truncated."""
        self.chunk = chunk
        """Actions of a step."""
        self.trust = trust
        self.trust_rule = trust_rule
        """When an episode is truncated for want of trust; ``None``: never."""
        self.action_space = action_space(world.spec, chunk)
        self.observation_space = observation_space(world.spec)
        self._action = action_space(world.spec)
        self._agent_pos = agent_pos_space(world.spec)

    @property
    def steps(self) -> int:
        """Steps until an episode is truncated."""
        return -(-self.horizon // self.chunk)

    @classmethod
    def of(
        cls,
        world: str | Path | WorldModel,
        *,
        device: str | None = None,
        dtype: str | None = None,
        sampling_steps: int | None = None,
        chunk: int | None = None,
        horizon: int | None = None,
        reward_model: RewardModel | None = None,
        starts: str | Path | Starts = "world",
        success_threshold: float = 0.5,
        success_frames: int = 2,
        trust: bool | str | Path | Trust | None = None,
        min_trust: float | None = None,
        trust_frames: int | None = None,
    ) -> "Imagination":
        """From the arguments of the environments, which :class:`~cosmos_sim.envs.world.CosmosWorld` documents."""
        rule = SuccessRule(success_threshold, success_frames)
        if reward_model is not None and not callable(reward_model):
            raise ValueError(f"reward_model must be called with (frames, proprioception, task), got {reward_model!r}")
        for name, value in {"chunk": chunk, "horizon": horizon}.items():
            if value is not None and (value != int(value) or value < 1):
                raise ValueError(f"{name} must be a whole number of actions, at least 1, got {value}")
        trust_rule = _trust_rule(trust, min_trust, trust_frames)
        model = load_world(world, device=device, dtype=dtype, sampling_steps=sampling_steps)
        if reward_model is None and not model.spec.has_success:
            raise ValueError(f"world {world!r} has no success head: give reward_model=")
        spec = model.spec
        return cls(
            model,
            start_source(starts, model),
            Judge(reward_model),
            rule,
            horizon=int(horizon or spec.horizon),
            chunk=int(chunk or spec.chunk),
            trust=find_trust(trust, model),
            trust_rule=trust_rule,
        )

    def checked(self, actions: object, *shape: int) -> Float32[ndarray, "*shape a"]:
        """``actions`` as floats of ``shape`` and one action's numbers, within the bounds, or a :class:`ValueError`."""
        return check_actions(actions, self._action, (*shape, *self._action.shape))

    def chunked(self, actions: object, *worlds: int) -> Float32[ndarray, "*worlds t a"]:
        """The actions of one step in each of ``worlds``, checked; the axis of time is there for a single one too."""
        if self.chunk == 1:
            return self.checked(actions, *worlds)[..., None, :]
        return self.checked(actions, *worlds, self.chunk)

    def played(self, actions: ArrayLike, *worlds: int) -> Float32[ndarray, "*worlds t a"]:
        """As :meth:`chunked`, for any number ``t >= 1`` of actions."""
        shape, axis = np.shape(actions), len(worlds)
        if len(shape) != axis + 2 or shape[axis] < 1:
            wanted = ", ".join([*map(str, worlds), "t", str(self._action.shape[0])])
            raise ValueError(f"actions must have shape ({wanted}) with t >= 1, got {shape}")
        return self.checked(actions, *worlds, shape[axis])

    def begin(
        self, moment: Moment | None, worlds: Sequence[int], seeds: Sequence[int], options: Sequence[Mapping[str, Any]]
    ) -> Moment:
        """Begin new episodes in ``worlds``, seeded and started as told; the other worlds stay where they are.

        Without a ``moment`` to go on from, ``worlds`` must be all there are.
        """
        chosen = zip(seeds, options, strict=True)
        starts = Starts.concatenate([choose_start(self.source, seed, option) for seed, option in chosen])
        targets, n = np.asarray(worlds, dtype=np.int64), len(worlds)
        cohort = Cohort(self.world.reset(starts.frames, starts.state, list(seeds)), targets)
        begun = Moment(
            cohorts=(cohort,),
            frames={camera: images[:, None] for camera, images in starts.frames.items()},
            agent_pos=self._bounded(starts.state[:, None]),
            probability=np.full((n, 1), np.nan),
            executed=np.zeros(n, dtype=np.int64),
            seed=np.asarray(seeds, dtype=np.int64),
            start_seed=starts.seeds,
            task=np.array(starts.tasks, dtype=object),
            step=np.zeros(n, dtype=np.int64),
            streak=np.zeros(n, dtype=np.int64),
            terminated=np.zeros(n, dtype=bool),
            truncated=np.zeros(n, dtype=bool),
            trail=None if self.trust is None else self.trust.begin(n),
        )
        if moment is None:
            return begun
        others = [self._part(old, ~np.isin(old.worlds, targets)) for old in moment.cohorts]
        return replace(moment.put(targets, begun), cohorts=self._joined([*others, cohort]))

    def advance(self, moment: Moment, actions: Float32[ndarray, "m t a"], worlds: Sequence[int]) -> Moment:
        """Take ``t`` actions in each of ``worlds``, none of which has ended; those after its end are not its own.

        The other worlds keep what was last seen of them and are given up: they can only begin again.
        """
        targets = np.asarray(worlds, dtype=np.int64)
        row = {world: i for i, world in enumerate(targets.tolist())}
        after, cohorts = moment.waiting(actions.shape[1]), []
        for old in moment.cohorts:
            cohort = self._part(old, np.isin(old.worlds, targets))
            if not len(cohort.worlds):
                continue
            chunk = actions[[row[world] for world in cohort.worlds.tolist()]]
            state, prediction = self.world.step(cohort.state, chunk)
            cohorts.append(Cohort(state, cohort.worlds))
            after = after.put(cohort.worlds, self._seen(moment, cohort.worlds, chunk, prediction))
        return replace(after, cohorts=self._joined(cohorts))

    def branch(self, moment: Moment, plans: Float32[ndarray, "k t a"]) -> Prediction:
        """What ``k`` plans of ``t`` actions would lead to from the first world of ``moment``, as one batch of ``k``.

        The actions are taken in steps of :attr:`chunk`. ``success`` of the prediction is what the environment's judge
        says. Raises :class:`ValueError` for plans that are not ``k t a``, not finite or out of bounds.
        """
        shape = np.shape(plans)
        if len(shape) != 3 or 0 in shape:
            raise ValueError(f"plans must have shape (k, t, {self._action.shape[0]}), got {shape}")
        actions = self.checked(plans, *shape[:2])
        cohort = next(cohort for cohort in moment.cohorts if 0 in cohort.worlds)
        first = int(np.flatnonzero(cohort.worlds == 0)[0])
        state = self.world.select(cohort.state, [first] * len(actions))
        stride = shape[1] if self.chunk % self.world.spec.chunk == 0 else self.chunk
        parts = []
        for k in range(0, shape[1], stride):
            state, part = self.world.step(state, actions[:, k : k + stride])
            parts.append(part)
        prediction = _concatenate(parts)
        tasks = [moment.task[0]] * len(actions)
        return replace(prediction, success=self.judge(prediction, tasks).astype(np.float32))

    def observation(self, moment: Moment) -> dict[str, Any]:
        """What is seen in all worlds, as arrays that are the caller's own: ``n h w c`` and ``n k``."""
        return {
            "pixels": {camera: moment.last(images).copy() for camera, images in moment.frames.items()},
            "agent_pos": moment.last(moment.agent_pos).copy(),
        }

    def info(self, moment: Moment, world: int) -> dict[str, Any]:
        """The ``info`` of one world: see :class:`~cosmos_sim.envs.world.CosmosWorld`."""
        info: dict[str, Any] = {
            "is_success": bool(moment.terminated[world]),
            "seed": int(moment.seed[world]),
            "start_seed": int(moment.start_seed[world]),
            "task": moment.task[world],
        }
        if moment.step[world]:
            info["success_probability"] = float(moment.last(moment.probability)[world])
        if moment.trail is not None:
            info["trust"] = float(moment.last(moment.trail.trust)[world])
            info["trust_lost"] = bool(moment.trail.lost[world])
        if moment.executed[world] and (self.chunk > 1 or moment.probability.shape[1] > 1):
            info["chunk"] = {
                "pixels": {camera: images[world].copy() for camera, images in moment.frames.items()},
                "agent_pos": moment.agent_pos[world].copy(),
                "success_probability": moment.probability[world].copy(),
                "executed": int(moment.executed[world]),
            }
            if moment.trail is not None:
                info["chunk"]["trust"] = moment.trail.trust[world].copy()
        return info

    def _seen(
        self, moment: Moment, worlds: Int64[ndarray, "m"], actions: Float32[ndarray, "m t a"], prediction: Prediction
    ) -> Moment:
        """The episodes of ``worlds`` after ``actions``, which led to ``prediction``."""
        probability = self.judge(prediction, moment.task[worlds].tolist())
        before = moment.step[worlds]
        seen = self.rule.follow(moment.streak[worlds], probability, self.horizon - before)
        executed, solved, lost = seen.executed, seen.met, np.zeros(len(worlds), dtype=bool)
        trail = self._trail(moment, worlds, actions, prediction)
        if trail is not None and self.trust_rule is not None:
            doubted = self.trust_rule.follow(trail.streak, trail.trust, executed)
            executed, solved, lost = doubted.executed, solved & ~doubted.met, doubted.met
            trail = replace(trail, streak=doubted.streak, lost=lost)
        step = before + executed
        return Moment(
            cohorts=(),
            frames={camera: prediction.frames[camera] for camera in moment.frames},
            agent_pos=self._bounded(prediction.proprioception),
            probability=probability,
            executed=executed,
            seed=moment.seed[worlds],
            start_seed=moment.start_seed[worlds],
            task=moment.task[worlds],
            step=step,
            streak=seen.streak,
            terminated=solved,
            truncated=lost | (~solved & (step >= self.horizon)),
            trail=trail,
        )

    def _trail(
        self, moment: Moment, worlds: Int64[ndarray, "m"], actions: Float32[ndarray, "m t a"], prediction: Prediction
    ) -> Trail | None:
        """What trust is judged by in ``worlds``, after ``actions``; nothing of it is computed where it is not."""
        if self.trust is None or moment.trail is None:
            return None
        frames = {
            camera: np.concatenate([moment.last(moment.frames[camera])[worlds, None], prediction.frames[camera]], 1)
            for camera in self.trust.cameras
        }
        return self.trust.follow(moment.trail.select(worlds), frames, actions, taken=moment.step[worlds])

    def _part(self, cohort: Cohort, mask: Bool[ndarray, "m"]) -> Cohort:
        if mask.all():
            return cohort
        rows = np.flatnonzero(mask)
        return Cohort(self.world.select(cohort.state, rows.tolist()) if len(rows) else None, cohort.worlds[rows])

    def _joined(self, cohorts: Sequence[Cohort]) -> tuple[Cohort, ...]:
        present = tuple(cohort for cohort in cohorts if len(cohort.worlds))
        if len(present) < 2 or not isinstance(self.world, Joining):
            return present
        worlds = np.concatenate([cohort.worlds for cohort in present])
        return (Cohort(self.world.join([cohort.state for cohort in present]), worlds),)

    def _bounded(self, state: Float32[ndarray, "n t k"]) -> Float32[ndarray, "n t k"]:
        return np.clip(np.asarray(state, dtype=np.float32), self._agent_pos.low, self._agent_pos.high)


def _trust_rule(trust: object, minimum: float | None, frames: int | None) -> TrustRule | None:
    """The rule by which trust is lost, or a :class:`ValueError` for a part of it that would be ignored."""
    if minimum is None:
        if frames is not None:
            raise ValueError(f"trust_frames={frames} would be ignored without min_trust")
        return None
    if trust is None or trust is False:
        raise ValueError(f"min_trust={minimum} would be ignored without trust")
    return TrustRule(minimum) if frames is None else TrustRule(minimum, frames)


def _concatenate(parts: Sequence[Prediction]) -> Prediction:
    """Predictions that follow each other, as one."""
    success = [part.success for part in parts if part.success is not None]
    return Prediction(
        frames={camera: np.concatenate([part.frames[camera] for part in parts], axis=1) for camera in parts[0].frames},
        proprioception=np.concatenate([part.proprioception for part in parts], axis=1),
        success=np.concatenate(success, axis=1) if success else None,
    )
