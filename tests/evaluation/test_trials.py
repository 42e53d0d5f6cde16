from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from cosmos_sim.envs.held import HoldAtEnd
from cosmos_sim.envs.rollout import rollouts
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.evaluation.run import BoundedPolicy
from cosmos_sim.evaluation.trials import TwinTrials, load_trials, save_trials
from cosmos_sim.policies.scripted import scripted_policy
from cosmos_sim.types import Observation

HORIZON = 26


class Restored(gymnasium.Wrapper):
    """Begins where a saved start is restored, as trials do."""

    def reset(self, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        self.env.reset(**arguments)
        return self.env.unwrapped.restore_state(self.env.unwrapped.save_state())


class Looker:
    """Moves as the hand, the picture and its episode's own randomness say, three actions at a time, some too large."""

    def reset(self, seeds: Sequence[int]) -> None:
        self.random = [np.random.default_rng(seed) for seed in seeds]

    def act(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
        picture = observation["pixels"]["agentview"].reshape(len(self.random), -1)
        hand = observation["agent_pos"][:, :3]
        noise = np.stack([random.normal(size=(3, 7)) for random in self.random])
        noise[:, :, :3] += hand[:, None] + (picture[:, -9000::3000].astype(float) / 255)[:, None]
        return noise.astype(np.float32)


@pytest.fixture(scope="module")
def trials() -> Iterator[TwinTrials]:
    with TwinTrials(horizon=HORIZON, scene="base") as made:
        yield made


def test_trials_are_rollouts_that_draw_less(trials: TwinTrials):
    env = SyncVectorEnv(
        [lambda: HoldAtEnd(Restored(CosmosTwin(horizon=HORIZON, scene="black_cloth")))],
        autoreset_mode=AutoresetMode.DISABLED,
    )
    space = trials.twin.action_space
    for policy, seeds in ((scripted_policy("Lift"), [11, 3]), (Looker(), [5, 8])):
        found = trials.run(policy, seeds, scene="black_cloth")
        for trial, rollout in zip(found, rollouts(BoundedPolicy(policy, space), env, seeds), strict=True):
            assert (trial.seed, trial.success) == (rollout.seed, rollout.success)
            np.testing.assert_array_equal(trial.action, rollout.action)
            film = trials.film(trial, scene="black_cloth")
            for camera, images in rollout.frames.items():
                np.testing.assert_array_equal(film[camera], images)
    env.close()
    assert found[0].action.shape == (HORIZON, 7)
    assert not found[0].success


def test_scenes_change_what_is_seen_and_nothing_else(trials: TwinTrials):
    """The expert reads the true state; the other looks at the picture, and so goes elsewhere."""
    scripted, looker = scripted_policy("Lift"), Looker()
    plain, cloth = (trials.run(scripted, [4], scene=scene)[0] for scene in (None, "black_cloth"))
    assert plain.success
    np.testing.assert_array_equal(plain.action, cloth.action)
    plain, cloth = (trials.run(looker, [4], scene=scene)[0] for scene in (None, "black_cloth"))
    assert not np.array_equal(plain.action, cloth.action)


def test_trials_are_kept(trials: TwinTrials, tmp_path: Path):
    found = [*trials.run(scripted_policy("Lift"), [7, 9]), *trials.run(Looker(), [7])]
    save_trials(tmp_path / "deep" / "trials.npz", found)
    for kept, trial in zip(load_trials(tmp_path / "deep" / "trials.npz"), found, strict=True):
        assert (kept.seed, kept.success) == (trial.seed, trial.success)
        np.testing.assert_array_equal(kept.action, trial.action)


def test_a_twin_without_scenes_shows_none():
    with TwinTrials(horizon=HORIZON) as plain, pytest.raises(ValueError, match="scene"):
        plain.run(Looker(), [1], scene="black_cloth")


def test_what_a_policy_is_told_is_what_counts():
    """Policies hear what an episode's seed draws, or what it is told in place of that, and success is of that."""
    told: list[list[str]] = []

    class Listener(Looker):
        def act(self, observation: Observation, info: Mapping[str, Any]) -> np.ndarray:
            told.append(list(info["task"]))
            return super().act(observation, info)

    with TwinTrials("Tabletop", split="unseen_objects", horizon=4) as trials:
        drawn = trials.run(Listener(), [3, 4])
        assert told == [[trial.task for trial in drawn]] * 2
        assert drawn[0].task != drawn[1].task
        texts = ["lift the red cube", "push the blue can left"]
        chosen = trials.run(Listener(), [3, 4], instructions=texts)
        assert [trial.task for trial in chosen] == told[-1] == texts
        film = trials.film(chosen[1])
        assert film["agentview"].shape[0] == 5
        with pytest.raises(ValueError, match="2 seeds need as many instructions, got 1"):
            trials.run(Listener(), [3, 4], instructions=texts[:1])
    with TwinTrials("Tabletop", horizon=90) as trials:
        expert = trials.run(scripted_policy("Tabletop"), [5, 6], instructions=["lift the red cube"] * 2)
    assert all(trial.success for trial in expert)
