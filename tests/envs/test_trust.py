from pathlib import Path

import gymnasium
import numpy as np
import pytest
from blob_trust import CHUNK, HIGH, LOW, DreamingBlobWorld, blob_trust, played
from blob_world import BlobWorld, ChunkBlobWorld, JoiningBlobWorld, towards_goal
from gymnasium.utils.env_checker import data_equivalence
from gymnasium.vector import AutoresetMode
from tiny_world import tiny_world

from cosmos_sim.envs.held import HeldWorlds
from cosmos_sim.envs.rollout import rollouts
from cosmos_sim.envs.trust import Trust, TrustRule, cycle_error
from cosmos_sim.envs.trust_calibration import TrustCalibration
from cosmos_sim.envs.world import CosmosWorld
from cosmos_sim.envs.world_vector import CosmosWorldVector
from cosmos_sim.metrics.calibration import roc_auc
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, InverseDynamicsConfig, InverseDynamicsNet
from cosmos_sim.world_model.latent_actions import LatentActions, LatentActionsConfig, LatentActionsNet
from cosmos_sim.world_model.world import World


class Pushing:
    """Pushes at random, in chunks of ``length``; each episode from its own seed."""

    def __init__(self, length: int = 1) -> None:
        self.length = length

    def reset(self, seeds):
        self.rngs = [np.random.default_rng(seed) for seed in seeds]

    def act(self, observation, info):
        return np.stack([rng.uniform(LOW, HIGH, (self.length, 3)) for rng in self.rngs]).astype(np.float32)


def actions_of(seed: int, steps: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(LOW, HIGH, (steps, 3)).astype(np.float32)


def test_the_error_by_hand():
    low, high, binary = np.array([-1.0, 0.0, -1.0]), np.array([1.0, 4.0, 1.0]), np.array([False, False, True])
    taken = np.array([[[0.5, 9.0, -0.2], [0.0, 2.0, 0.1]]])
    read = np.array([[[0.1, 3.0, -1.0], [0.0, 2.0, -1.0]]])
    # Shares of the range: 0.4 / 2; from 3 to the end of the range, 4; a drive of -0.2 is one of -1, 0.1 is one of 1.
    by_hand = np.sqrt((0.2**2 + 0.25**2 + 0 + 0 + 0 + 1) / 6)
    np.testing.assert_allclose(cycle_error(read, taken, low=low, high=high, binary=binary), [by_hand])


@pytest.mark.parametrize(
    ("trust", "lost"),
    [
        ([0.1, 0.1, 0.9, 0.1, 0.1, 0.1], 6),
        ([np.nan, np.nan, 0.1, 0.1, 0.1, 0.9], 5),
        ([0.1, 0.1, np.nan, 0.1, 0.1], None),
        ([0.4] * 9, None),
        ([0.3999, 0.0, 0.2, 0.0], 3),
        ([], None),
    ],
)
def test_trust_is_lost_after_some_frames_in_a_row(trust, lost):
    assert TrustRule(0.4, 3).lost_at(np.array(trust, np.float64)) == lost


def test_frames_with_their_own_actions_are_told_from_others():
    trust = blob_trust()
    frames, actions = played(60, CHUNK, 9)
    seen = trust.see(frames)
    others = [actions, np.roll(actions, 1, axis=0), LOW + HIGH - actions]
    probability = np.concatenate([trust(seen, taken) for taken in others])
    truth = np.arange(180) < 60
    assert roc_auc(truth=truth, score=probability).value > 0.95
    assert probability[truth].mean() > 0.7
    assert probability[~truth].mean() < 0.3


def test_info_tells_how_the_last_chunk_is_read():
    trust = blob_trust()
    env = CosmosWorld(BlobWorld(), horizon=8, trust=trust)
    observation, info = env.reset(seed=3)
    frames, told = [observation["pixels"]], [info["trust"]]
    actions = actions_of(5, 8)
    for action in actions:
        observation, _, _, _, info = env.step(action)
        frames.append(observation["pixels"])
        told.append(info["trust"])
        assert info["trust_lost"] is False
    assert np.isnan(told[:CHUNK]).all()
    for k in range(CHUNK, 9):
        video = {c: np.stack([seen[c] for seen in frames[k - CHUNK : k + 1]])[None] for c in ("top", "side")}
        (expected,) = trust(trust.see(video), actions[None, k - CHUNK : k])
        assert told[k] == pytest.approx(expected, abs=1e-4)


def test_without_trust_nothing_changes():
    def episode(**arguments):
        env = CosmosWorld(BlobWorld(), horizon=6, **arguments)
        seen = [env.reset(seed=1)]
        return seen + [env.step(action) for action in actions_of(0, 6)]

    plain, judged = episode(), episode(trust=blob_trust())
    for one, other in zip(plain, judged, strict=True):
        assert not {"trust", "trust_lost"} & set(one[-1])
        kept = {name: value for name, value in other[-1].items() if name not in ("trust", "trust_lost")}
        assert data_equivalence((*one[:-1], one[-1]), (*other[:-1], kept), exact=True)


def test_an_episode_that_dreams_is_truncated():
    def lost(world: BlobWorld) -> list[int]:
        """After how many actions, of those of six episodes that lost their trust."""
        env = CosmosWorld(world, horizon=11, trust=blob_trust(), min_trust=0.4, trust_frames=2)
        steps = []
        for seed in range(6):
            env.reset(seed=seed)
            step = 0
            for action in actions_of(seed, 11):
                _, reward, terminated, truncated, info = env.step(action)
                step += 1
                assert not info["trust_lost"] or (truncated and not terminated and not reward)
                if terminated or truncated:
                    break
            assert truncated == (info["trust_lost"] or step == 11) or terminated
            steps += [step] if info["trust_lost"] else []
        return steps

    assert len(lost(BlobWorld())) <= 1
    dreams = lost(DreamingBlobWorld(awake=4))
    assert len(dreams) >= 5
    assert min(dreams) > 5  # one frame in which it no longer does what it is told is not enough


def test_a_task_is_not_solved_by_the_frame_that_loses_trust():
    sceptic = Trust(blob_trust().reader, TrustCalibration(-5.0, -1.0, samples=2))
    solved = lambda frames, proprioception, task: np.full(proprioception.shape[:2], 0.9, np.float32)  # noqa: E731
    arguments = {"reward_model": solved, "success_frames": CHUNK + 1, "trust": sceptic, "min_trust": 0.3}
    for frames, expected in ((2, (False, True, True)), (3, (True, False, False))):
        env = CosmosWorld(BlobWorld(), **arguments, trust_frames=frames)
        env.reset(seed=0)
        for action in actions_of(0, CHUNK + 1):
            _, reward, terminated, truncated, info = env.step(action)
        assert (terminated, truncated, info["trust_lost"]) == expected
        assert reward == info["is_success"] == terminated


def test_chunks_are_judged_as_single_actions_are():
    arguments = {"trust": blob_trust(), "min_trust": 0.4, "trust_frames": 2, "horizon": 30}
    world = {"noise": 0.0, "awake": 7}
    alone = CosmosWorld(DreamingBlobWorld(**world), **arguments)
    alone.reset(seed=2)
    told = []
    for action in actions_of(2, 30):
        _, _, terminated, truncated, info = alone.step(action)
        told.append(info["trust"])
        if terminated or truncated:
            break
    env = CosmosWorld(DreamingBlobWorld(**world), chunk=5, **arguments)
    env.reset(seed=2)
    found, executed = [], 0
    for chunk in actions_of(2, 30).reshape(6, 5, 3):
        *_, truncated, info = env.step(chunk)
        executed += info["chunk"]["executed"]
        found.extend(info["chunk"]["trust"][: info["chunk"]["executed"]])
        if truncated:
            break
    assert executed == len(told) < 30
    assert info["trust_lost"]
    np.testing.assert_allclose(found, told, atol=1e-4)
    assert info["trust"] == found[-1]


@pytest.mark.parametrize("kind", [BlobWorld, JoiningBlobWorld])
@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_worlds_side_by_side_are_judged_as_each_alone(kind, mode):
    arguments = {"trust": blob_trust(), "min_trust": 0.35, "trust_frames": 2, "horizon": 7}
    batch = CosmosWorldVector(3, kind(), autoreset_mode=mode, **arguments)
    singles = gymnasium.vector.SyncVectorEnv([lambda: CosmosWorld(BlobWorld(), **arguments)] * 3, autoreset_mode=mode)
    seen = batch.reset(seed=4), singles.reset(seed=4)
    rng = np.random.default_rng(0)
    ends = 0
    for _ in range(25):
        infos = [each[-1] for each in seen]
        for name in ("trust", "trust_lost"):
            np.testing.assert_allclose(infos[0][name], infos[1][name], atol=1e-4, equal_nan=True)
            np.testing.assert_array_equal(infos[0][f"_{name}"], infos[1][f"_{name}"])
        actions = np.stack([towards_goal(position, batch.world) for position in seen[0][0]["agent_pos"]])
        actions[1:] = rng.uniform(LOW, HIGH, (2, 3))
        seen = batch.step(actions), singles.step(actions)
        np.testing.assert_array_equal(seen[0][3], seen[1][3])
        ends += int((seen[0][2] | seen[0][3]).sum())
    assert ends > 4


def test_a_saved_world_keeps_its_trail():
    env = CosmosWorld(BlobWorld(), trust=blob_trust())
    env.reset(seed=0)
    actions = actions_of(1, 6)
    for action in actions[:4]:
        env.step(action)
    saved = env.save_state()
    after = [env.step(action)[-1]["trust"] for action in actions[4:]]
    env.reset(seed=8)
    assert env.restore_state(saved)[1]["trust"] > 0
    assert [env.step(action)[-1]["trust"] for action in actions[4:]] == after


def test_rollouts_record_it():
    world = ChunkBlobWorld(4, noise=0.0)
    (one,) = rollouts(Pushing(4), HeldWorlds(1, world, horizon=10, trust=blob_trust()), [5])
    assert one.trust.shape == (10,)
    assert np.isnan(one.trust[: CHUNK - 1]).all()
    assert one.trust[CHUNK:].mean() > 0.5
    (single,) = rollouts(Pushing(4), HeldWorlds(1, BlobWorld(noise=0.0), horizon=10, trust=blob_trust()), [5])
    np.testing.assert_allclose(single.trust, one.trust, atol=1e-4)
    (plain,) = rollouts(Pushing(), HeldWorlds(1, BlobWorld(), horizon=4), [5])
    assert plain.trust is None


def test_trust_is_found_in_the_worlds_folder(tmp_path: Path):
    world = tiny_world()
    cameras = tuple(world.spec.cameras)
    config = InverseDynamicsConfig(cameras, world.spec.action_dim, 2, resolution=16, width=4, dim=16, blocks=1)
    own = tmp_path / "idm"
    own.mkdir()
    InverseDynamics(InverseDynamicsNet(config), figures={}).write(own)
    world.inverse_dynamics = own
    world.save_pretrained(tmp_path / "world")
    with pytest.raises(ValueError, match=r"inverse_dynamics holds no trust.json"):
        CosmosWorld(tmp_path / "world", trust=True)
    TrustCalibration(2.0, -3.0, samples=1).save(tmp_path / "world" / "inverse_dynamics")
    again = World.from_pretrained(tmp_path / "world")
    assert again.inverse_dynamics == tmp_path / "world" / "inverse_dynamics"
    again.save_pretrained(tmp_path / "copy")
    env = CosmosWorld(tmp_path / "copy", trust=True)
    env.reset(seed=0)
    action = np.zeros(env.action_space.shape, np.float32)
    first, second = env.step(action)[-1]["trust"], env.step(action)[-1]["trust"]
    assert np.isnan(first)
    assert 0 < second < 1
    given = CosmosWorld(tmp_path / "world", trust=tmp_path / "copy" / "inverse_dynamics")
    given.reset(seed=0)
    given.step(action)
    assert given.step(action)[-1]["trust"] == second


def test_latent_actions_can_be_the_reader(tmp_path: Path):
    config = LatentActionsConfig(("front",), 2, chunk=2, resolution=16, width=4, dim=16, blocks=1, painted=16)
    LatentActions(LatentActionsNet(config), figures={}).write(tmp_path)
    TrustCalibration(2.0, -3.0, samples=1).save(tmp_path)
    trust = Trust.from_pretrained(tmp_path)
    frames = np.random.default_rng(0).integers(0, 256, (3, 3, 16, 16, 3), np.uint8)
    told = trust(trust.see({"front": frames}), np.zeros((3, 2, 2), np.float32))
    assert told.shape == (3,)
    assert ((told > 0) & (told < 1)).all()


def test_mistakes_are_named(tmp_path: Path):
    trust = blob_trust()
    with pytest.raises(ValueError, match="no inverse dynamics in its folder: give trust=FOLDER"):
        CosmosWorld(BlobWorld(), trust=True)
    with pytest.raises(ValueError, match=r"min_trust=0.3 would be ignored without trust"):
        CosmosWorld(BlobWorld(), min_trust=0.3)
    with pytest.raises(ValueError, match=r"trust_frames=3 would be ignored without min_trust"):
        CosmosWorld(BlobWorld(), trust=trust, trust_frames=3)
    with pytest.raises(ValueError, match=r"min_trust must lie between 0 and 1, got 1.5"):
        CosmosWorld(BlobWorld(), trust=trust, min_trust=1.5)
    with pytest.raises(ValueError, match="trust_frames must be a whole number of frames, at least 1, got 0"):
        CosmosWorld(BlobWorld(), trust=trust, min_trust=0.5, trust_frames=0)
    with pytest.raises(ValueError, match=r"trust must be True, a folder or a Trust, got 0\.3"):
        CosmosWorld(BlobWorld(), trust=0.3)
    with pytest.raises(ValueError, match="trust reads actions of 3 values; the world takes 2"):
        trust.check(BlobWorld(action_low=(0.0, 0.0), action_high=(1.0, 1.0)).spec)
    with pytest.raises(ValueError, match="trust reads actions off 'top'; the world has \\['front'\\]"):
        trust.check(BlobWorld(starts=None, cameras={"front": (8, 8)}).spec)


def test_the_shipped_world_knows_whether_its_frames_follow():
    """A hand that is sent one way is believed to have gone there, and not to have gone the other way."""
    env = gymnasium.make("CosmosWorld-v0", trust=True)
    assert isinstance(env.unwrapped, CosmosWorld)
    reader = Trust.from_pretrained("inverse_dynamics")
    assert reader.cameras == ("agentview", "wrist")
    action = np.array([0.4, 0.6, -0.2, 0, 0, 0, -1], np.float32)
    observation, _ = env.reset(seed=3)
    frames = {camera: [observation["pixels"][camera]] for camera in reader.cameras}
    for _ in range(reader.chunk):
        observation, *_, info = env.step(action)
        for camera, images in frames.items():
            images.append(observation["pixels"][camera])
    assert info["trust"] > 0.7
    seen = reader.see({camera: np.stack(images)[None] for camera, images in frames.items()})
    own, opposite = (np.tile(sign * action, (1, reader.chunk, 1)).astype(np.float32) for sign in (1, -1))
    assert reader(seen, own)[0] == pytest.approx(info["trust"], abs=1e-3)
    assert reader(seen, opposite)[0] < 0.01
