import numpy as np
import pytest
import torch

from cosmos_sim.envs.success import SuccessRule
from cosmos_sim.evaluation import success_head
from cosmos_sim.evaluation.success_head import on_real_frames, real_probability, verdicts
from cosmos_sim.types import Episode
from cosmos_sim.world_model.dynamics import History
from cosmos_sim.world_model.world import World

T, F = True, False


def test_verdicts_by_frame_and_by_episode():
    pairs = [
        (np.array([F, T, T, F]), np.array([0.1, 0.9, 0.8, 0.2])),
        (np.array([F, F]), np.array([0.9, 0.1])),
        (np.array([F, F, T]), np.array([0.2, 0.6, 0.7])),
    ]
    found = verdicts(pairs, rule=SuccessRule(frames=2))
    frames = found.frames
    assert (frames.true_positive, frames.false_positive, frames.false_negative, frames.true_negative) == (3, 2, 0, 4)
    assert (found.ever.true_positive, found.ever.true_negative) == (2, 1)
    assert (found.last.true_positive, found.last.true_negative) == (1, 2)
    strict = verdicts(pairs, rule=SuccessRule(threshold=0.65, frames=1))
    assert (strict.ever.true_positive, strict.ever.false_positive) == (2, 1)


@pytest.fixture(scope="module")
def world() -> World:
    return World.from_pretrained("lift", device="cpu", dtype="float32")


@pytest.fixture(scope="module")
def episode(world: World) -> Episode:
    rng = np.random.default_rng(0)
    assert world.starts is not None
    picked = world.starts.select(np.arange(5) % len(world.starts))
    action = rng.uniform(-1, 1, (5, world.spec.action_dim)).astype(np.float32)
    return Episode(picked.frames, picked.state, action, world.spec.task, np.array([F, F, T, T, T]))


@torch.inference_mode()
def test_the_head_sees_the_real_past(world: World, episode: Episode, monkeypatch: pytest.MonkeyPatch):
    """Moment by moment, beside all at once; encoded in two parts."""
    monkeypatch.setattr(success_head, "_ENCODED", 3)
    dynamics, expected = world.dynamics, []
    latents = world.encode({camera: images[None] for camera, images in episode.frames.items()})[0]
    state = dynamics.normalise_state(torch.from_numpy(episode.state))
    action = dynamics.normalise_action(torch.from_numpy(episode.action))
    history = History.begin(latents[:1], state[:1], context=dynamics.config.context, action_dim=action.shape[1])
    for k in range(4):
        taken, latent, after = action[None, k : k + 1], latents[None, k + 1 : k + 2], state[None, k + 1 : k + 2]
        kinematic = dynamics.predict_states(history.states, torch.cat([history.actions, taken], dim=1))
        expected.append(float(dynamics.read(history, latent, kinematic)[0].sigmoid()))
        history = history.append(taken, latent, after)
    found = real_probability(world, episode)
    assert found == pytest.approx(expected, abs=1e-4)


def test_real_frames_are_judged_by_what_was_recorded(world: World, episode: Episode):
    unknown = Episode(episode.frames, episode.state, episode.action, episode.task)
    assert on_real_frames(world, [unknown]) is None
    found = on_real_frames(world, [unknown, episode])
    assert found is not None
    assert found.frames.total == 4
    assert found.frames.true_positive + found.frames.false_negative == 2
    assert found.ever.total == 1
