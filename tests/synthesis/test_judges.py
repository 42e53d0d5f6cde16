"""The simulator as the judge of dreams, which here are its own episodes."""

import warnings

import numpy as np
import pytest

from cosmos_sim.data.dreams import DreamStart
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.policies.scripted import scripted_policy
from cosmos_sim.synthesis.judges import Judgement, PredicateJudge, told_to_twin

SEED = 1


@pytest.fixture(scope="module")
def episode():
    """Frames and actions of an expert until it has lifted the cube."""
    twin = CosmosTwin("Lift", terminate_on_success=False)
    policy = scripted_policy("Lift", "expert")
    policy.reset([SEED])
    observation, info = twin.reset(seed=SEED)
    pictures, actions = [observation["pixels"]], []
    while not info["is_success"] and len(actions) < 40:
        actions.append(policy.act({}, {"state": {k: v[None] for k, v in info["state"].items()}})[0, 0])
        observation, _, _, _, info = twin.step(actions[-1])
        pictures.append(observation["pixels"])
    assert info["is_success"]
    twin.close()
    return {camera: np.stack([p[camera] for p in pictures]) for camera in pictures[0]}, np.stack(actions)


def test_frames_that_show_what_the_actions_do(episode):
    frames, action = episode
    judge = PredicateJudge(action, DreamStart(seed=SEED), "Lift")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        judgement = judge.judge(frames, "Lift the cube.", seed=0)
        rows = judge.judge({"wrist": frames["wrist"][:-1]}, "lift the cube", seed=0)
    assert (judgement.following, judgement.physics) == (1.0, 1.0)
    assert judgement.reason == f"in the simulator its {len(action)} actions solve the task"
    assert (rows.following, rows.physics) == (1.0, 1.0)


def test_actions_that_do_something_else(episode):
    frames, action = episode
    mirrored = action * np.array([-1, -1, 1, 1, 1, 1, 1], np.float32)
    judgement = PredicateJudge(mirrored, DreamStart(seed=SEED), "Lift").judge(frames, "lift the cube")
    assert judgement.following == 0.0
    assert "do not solve" in judgement.reason
    assert judgement.physics < 0.5


def test_physics_is_the_share_of_the_change_that_the_replay_explains(episode):
    frames, action = episode
    judge = PredicateJudge(action, DreamStart(seed=SEED), "Lift")
    noise = np.random.default_rng(0).normal(0, 40, frames["agentview"].shape)
    noisy = np.clip(frames["agentview"] + noise, 0, 255).astype(np.uint8)
    noisy[0] = frames["agentview"][0]
    dream, true = noisy.astype(float), frames["agentview"].astype(float)
    explained = 1 - np.square(dream - true).sum() / np.square(dream - dream[0]).sum()
    assert 0.3 < explained < 0.95
    judgement = judge.judge({"agentview": noisy}, "lift the cube")
    assert judgement.physics == pytest.approx(explained, rel=1e-6)
    still = {camera: np.repeat(video[:1], len(video), axis=0) for camera, video in frames.items()}
    assert judge.judge(still, "lift the cube").physics == 0.0


def test_a_dream_from_another_start_is_told(episode):
    frames, action = episode
    with pytest.warns(UserWarning, match=r"begins unlike the simulator at seed 5 \(\d\.\d% of the pixels\)"):
        PredicateJudge(action[:3], DreamStart(seed=5), "Lift").judge(
            {camera: video[:3] for camera, video in frames.items()}, "lift the cube"
        )


def test_wrong_use_is_named(episode):
    frames, action = episode
    with pytest.raises(ValueError, match="this one has none"):
        PredicateJudge(action, DreamStart(source_episode=3), "Lift")
    with pytest.raises(ValueError, match="Did you mean 'Lift'"):
        PredicateJudge(action, DreamStart(seed=1), "Lifft")
    judge = PredicateJudge(action[:3], DreamStart(seed=1), "Lift")
    with pytest.raises(ValueError, match="always is 'lift the cube', not 'push the cube'"):
        judge.judge(frames, "push the cube")
    with pytest.raises(ValueError, match=r"3 actions go with as many frames.*got \{'wrist': 5\}"):
        judge.judge({"wrist": frames["wrist"][:5]}, "lift the cube")
    with pytest.raises(ValueError, match="no camera 'top', only agentview, wrist"):
        judge.judge({"top": frames["wrist"][:3]}, "lift the cube")
    with pytest.raises(ValueError, match=r"unknown colour 'rde'.*Did you mean 'red'"):
        told_to_twin("Tabletop", "lift the rde cube")
    for values, words in (((1.2, 0.5), "following must lie between 0 and 1, got 1.2"), ((0, np.nan), "physics .* nan")):
        with pytest.raises(ValueError, match=words):
            Judgement(*values, "")


def test_the_language_task_is_told_in_its_own_words():
    assert told_to_twin("Tabletop", " Lift  the red cube.") == "lift the red cube"
