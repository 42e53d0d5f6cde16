"""Many episodes of a policy in the simulator for little: nothing is drawn but what the policy looks at.

A policy that carries out chunks of eight actions sees one frame in eight; drawing is most of what the simulator costs.
All episodes go through one simulation and one twin, as values, and the policy acts for all of them at once.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.spaces import Box
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.files import new_file
from cosmos_sim.evaluation.run import BoundedPolicy
from cosmos_sim.types import Observation, Policy

if TYPE_CHECKING:
    from cosmos_sim.envs.twin.env import TwinState
    from cosmos_sim.envs.twin.scene import Scene


@dataclass(frozen=True, eq=False)
class Trial:
    """One episode: where it began, what was done, and whether that solved the task."""

    seed: int
    success: bool
    action: Float32[ndarray, "t a"]
    """Up to the one that solved the task, or to the horizon."""
    task: str = ""
    """What was to be done, in words."""


class TwinTrials:
    """The simulator of ``task``, in one process; ``scene`` is needed to show any scenes, ``split`` is Tabletop's.

    Episodes are those of :func:`cosmos_sim.envs.rollout.rollouts` in :func:`cosmos_sim.envs.held.held_twins`, up to the
    rounding of batched arithmetic in the policy, and of a start that is restored (some 1e-8 in the first step).
    """

    def __init__(
        self,
        task: str = "Lift",
        *,
        horizon: int | None = None,
        scene: "Scene | str | None" = None,
        split: str | None = None,
    ) -> None:
        from cosmos_sim.envs.twin.env import CosmosTwin
        from cosmos_sim.envs.twin.simulation import Simulation
        from cosmos_sim.envs.twin.tasks import find_task

        self.twin = CosmosTwin(task, horizon=horizon, scene=scene, split=split)
        self._simulation = Simulation(find_task(task))

    def __enter__(self) -> "TwinTrials":
        return self

    def __exit__(self, *_: object) -> None:
        self.twin.close()

    def run(
        self,
        policy: Policy,
        seeds: Sequence[int],
        *,
        scene: "Scene | str | None" = None,
        instructions: Sequence[str] | None = None,
    ) -> list[Trial]:
        """One episode from each of ``seeds``, all at once.

        ``scene`` is in place of the twin's own, and ``instructions``, one a seed, in place of what the seeds draw.

        Raises:
            ValueError: for a scene in a twin that was made without one, for instructions that are not as many as the
                seeds or of a task that takes none, and what the policy refuses.
        """
        if instructions is not None and len(instructions) != len(seeds):
            raise ValueError(f"{len(seeds)} seeds need as many instructions, got {len(instructions)}")
        assert isinstance(self.twin.action_space, Box)
        bounded = BoundedPolicy(policy, self.twin.action_space)
        bounded.reset(seeds)
        views, states, done = [], [], []
        for i, seed in enumerate(seeds):
            options = _options(scene, None if instructions is None else instructions[i])
            views.append(self.twin.reset(seed=int(seed), options=options))
            states.append(self.twin.save_state())
            done.append(list[ndarray]())
        tasks = [view[1]["task"] for view in views]
        solved = np.zeros(len(seeds), dtype=bool)
        live = np.ones(len(seeds), dtype=bool)
        while live.any():
            chunks = bounded.act(*_batched(views))
            for i in np.flatnonzero(live):
                states[i], taken, solved[i] = self._advance(states[i], chunks[i])
                done[i].extend(taken)
                live[i] = not solved[i] and states[i].elapsed < self.twin.horizon
                if live[i]:
                    views[i] = self.twin.restore_state(states[i])
        return [
            Trial(int(seed), bool(success), np.stack(actions), task)
            for seed, success, actions, task in zip(seeds, solved, done, tasks, strict=True)
        ]

    def film(self, trial: Trial, *, scene: "Scene | str | None" = None) -> dict[str, UInt8[ndarray, "t1 h w 3"]]:
        """What each camera saw in ``trial``, from its start to its end."""
        self.twin.reset(seed=trial.seed, options=_options(scene, trial.task if self.twin.split else None))
        observation, _ = self.twin.restore_state(self.twin.save_state())
        seen = [observation["pixels"]]
        for action in trial.action:
            seen.append(self.twin.step(action)[0]["pixels"])
        return {camera: np.stack([images[camera] for images in seen]) for camera in seen[0]}

    def _advance(
        self, state: "TwinState", chunk: Float32[ndarray, "t a"]
    ) -> tuple["TwinState", Float32[ndarray, "k a"], bool]:
        """What ``chunk`` leads to, how much of it was carried out, and whether it solved the task."""
        chunk = chunk[: self.twin.horizon - state.elapsed].astype(np.float32)
        self._simulation.restore(state.simulation)
        solved, taken = False, 0
        while taken < len(chunk) and not solved:
            self._simulation.step(chunk[taken].astype(np.float64))
            solved, taken = self._simulation.success, taken + 1
        after = replace(state, simulation=self._simulation.save(), elapsed=state.elapsed + taken)
        return after, chunk[:taken], solved


def save_trials(path: Path, trials: Sequence[Trial]) -> None:
    """Keep ``trials`` in one file, whole or not at all."""
    with new_file(path) as partial, partial.open("wb") as file:
        np.savez_compressed(
            file,
            allow_pickle=False,
            seed=np.array([trial.seed for trial in trials], dtype=np.int64),
            success=np.array([trial.success for trial in trials], dtype=bool),
            length=np.array([len(trial.action) for trial in trials], dtype=np.int64),
            action=np.concatenate([trial.action for trial in trials]),
            task=np.array([trial.task for trial in trials], dtype=str),
        )


def load_trials(path: Path) -> list[Trial]:
    """What :func:`save_trials` kept."""
    with np.load(path, allow_pickle=False) as file:
        actions = np.split(file["action"], np.cumsum(file["length"])[:-1])
        tasks = file["task"] if "task" in file else [""] * len(actions)  # which files did not tell at first
        rows = zip(file["seed"], file["success"], actions, tasks, strict=True)
        return [Trial(int(seed), bool(success), action, str(task)) for seed, success, action, task in rows]


def _options(scene: "Scene | str | None", instruction: str | None) -> dict[str, Any]:
    given = {"scene": scene, "instruction": instruction}
    return {name: value for name, value in given.items() if value is not None}


def _batched(views: Sequence[tuple[Observation, Mapping[str, Any]]]) -> tuple[Observation, dict[str, Any]]:
    """Observations, true states and tasks of several episodes as a vector environment gives them."""
    observations, infos = [view[0] for view in views], [view[1] for view in views]
    cameras, names = list(observations[0]["pixels"]), list(infos[0]["state"])
    observation = {
        "pixels": {camera: np.stack([seen["pixels"][camera] for seen in observations]) for camera in cameras},
        "agent_pos": np.stack([seen["agent_pos"] for seen in observations]),
    }
    state = {name: np.stack([info["state"][name] for info in infos]) for name in names}
    return observation, {"state": state, "task": np.array([info["task"] for info in infos], dtype=object)}
