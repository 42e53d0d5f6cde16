from dataclasses import replace

import numpy as np
import pytest
from blob_world import BlobWorld

from cosmos_sim.data.starts import Starts
from cosmos_sim.envs.world import CosmosWorld
from cosmos_sim.envs.world_vector import CosmosWorldVector
from cosmos_sim.types import Episode


def begin(env, seed=None, **options):
    observation, info = env.reset(seed=seed, options=options)
    return observation["agent_pos"].tolist(), info


def test_the_seed_chooses_the_start_and_the_noise(blob):
    env = CosmosWorld(blob)
    for seed in (0, 3, 7):
        position, info = begin(env, seed)
        assert position == blob.starts.state[seed % 5].tolist()
        assert info == {
            "is_success": False,
            "seed": seed,
            "start_seed": 100 + 10 * (seed % 5),
            "task": "push the blob",
        }


def test_unseeded_resets_follow_from_the_last_seed(blob):
    env, same = CosmosWorld(blob), CosmosWorld(BlobWorld())
    begin(env, 5)
    begin(same, 5)
    drawn = [begin(env)[1]["seed"] for _ in range(4)]
    assert drawn == [begin(same)[1]["seed"] for _ in range(4)]
    assert len(set(drawn)) == 4


def test_a_start_can_be_asked_for_by_number_or_by_the_seed_that_made_it(blob):
    env = CosmosWorld(blob)
    by_number = begin(env, 0, start=4)
    assert by_number == begin(env, 0, twin_seed=140)
    assert by_number[0] == blob.starts.state[4].tolist()
    assert by_number[1]["seed"] == 0
    assert by_number[1]["start_seed"] == 140


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"start": 5}, r"0\.\.4, got \[5\]"),
        ({"start": -1}, "-1"),
        ({"start": 1.5}, "1.5"),
        ({"twin_seed": 7}, "seed 7; these 5 are there: 100, 110"),
        ({"twin_seed": True}, "True"),
        ({"start": 1, "twin_seed": 100}, "exclude"),
        ({"strat": 1}, "'strat'; did you mean 'start'"),
        ({"colour": 1}, "'colour'; there are start, twin_seed"),
    ],
)
def test_bad_reset_options_are_refused(blob, options, message):
    with pytest.raises(ValueError, match=message):
        CosmosWorld(blob).reset(seed=0, options=options)


def test_starts_of_the_users_own(blob, tmp_path):
    few = blob.starts.select([2, 1])
    few.save(tmp_path / "starts.safetensors")
    env = CosmosWorld(BlobWorld(starts=None), starts=Starts.load(tmp_path / "starts.safetensors"))
    assert begin(env, 0)[1]["start_seed"] == 120
    assert begin(env, 1)[1]["start_seed"] == 110


def test_a_world_without_start_frames_says_what_to_do():
    with pytest.raises(ValueError, match="ships no start frames"):
        CosmosWorld(BlobWorld(starts=None))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: {"frames": {"top": s.frames["top"]}}, "sees 'side', but the starts have only top"),
        (lambda s: {"frames": {**s.frames, "side": s.frames["side"][:, :12].copy()}}, "'side' .* 16x20, .* 12x20"),
        (lambda s: {"state": s.state[:, :2].copy()}, "3 values, but the starts' has 2"),
    ],
)
def test_starts_that_do_not_fit_the_world_are_refused(blob, change, message):
    with pytest.raises(ValueError, match=message):
        CosmosWorld(blob, starts=replace(blob.starts, **change(blob.starts)))


def test_starts_out_of_a_lerobot_dataset_are_its_episodes_first_frames(tmp_path):
    from cosmos_sim.data.lerobot import write_dataset

    world = BlobWorld(starts=None, cameras={"top": (48, 64), "side": (32, 40)})
    rng = np.random.default_rng(0)
    tracks = [rng.uniform(-0.5, 0.5, (length, 3)).astype(np.float32) for length in (3, 2)]
    episodes = [
        Episode(frames=world.draw(track), state=track, action=np.zeros_like(track), task="push the blob", fps=8.0)
        for track in tracks
    ]
    write_dataset(episodes, tmp_path / "pushes")
    env = CosmosWorld(world, starts=tmp_path / "pushes")
    for episode in (0, 1):
        for observation, info in (env.reset(seed=episode), env.reset(seed=8, options={"start": episode})):
            assert info["start_seed"] == episode
            expected = np.clip(tracks[episode][0], world.spec.state_low, world.spec.state_high)
            assert observation["agent_pos"] == pytest.approx(expected)
            drawn = world.draw(tracks[episode][0])
            for camera, image in observation["pixels"].items():
                assert np.abs(image.astype(float) - drawn[camera]).mean() < 4
    with pytest.raises(ValueError, match="starts' frames are 48x64"):
        CosmosWorld(BlobWorld(), starts=str(tmp_path / "pushes"))


def test_every_episode_is_told_the_task_of_its_start():
    told = ("push", "pull", "push", "lift", "pull")
    world = BlobWorld(has_success=False)
    starts, asked = replace(world.starts, tasks=told), []

    def reward_model(frames, proprioception, task):
        asked.append((task, len(proprioception)))
        assert frames["top"].shape[:2] == proprioception.shape[:2]
        return np.full(proprioception.shape[:2], {"push": 0.1, "pull": 0.9, "lift": 0.4}[task])

    env = CosmosWorld(world, starts=starts, reward_model=reward_model)
    assert env.task_description == env.task == "push the blob"
    assert [begin(env, seed)[1]["task"] for seed in range(5)] == list(told)
    assert env.task_description == "pull"
    saved = env.save_state()
    assert env.step(env.action_space.sample())[4]["task"] == "pull"
    begin(env, 3)
    assert env.restore_state(saved)[1]["task"] == env.task_description == "pull"
    assert env.branch(saved, np.zeros((3, 2, 3), np.float32)).success == pytest.approx(np.full((3, 2), 0.9))
    assert asked == [("pull", 1), ("pull", 3)]

    asked.clear()
    envs = CosmosWorldVector(5, world, starts=starts, reward_model=reward_model, success_frames=1)
    assert envs.call("task_description") == ("push the blob",) * 5
    assert envs.reset(seed=0)[1]["task"].tolist() == list(told) == list(envs.get_attr("task_description"))
    _, _, terminated, _, infos = envs.step(envs.action_space.sample())
    assert infos["success_probability"] == pytest.approx([0.1, 0.9, 0.1, 0.4, 0.9])
    assert terminated.tolist() == [False, True, False, False, True]
    assert sorted(asked) == [("lift", 1), ("pull", 2), ("push", 2)]
    envs.reset(seed=[0, 3, 0, 0, 0], options={"reset_mask": terminated})
    assert envs.call("task_description") == ("push", "lift", "push", "lift", "push")


def test_a_dataset_of_several_tasks_gives_each_start_its_own(tmp_path):
    from cosmos_sim.data.lerobot import write_dataset

    world = BlobWorld(cameras={"top": (32, 32)})
    track = np.zeros((3, 3), np.float32)
    episodes = [Episode(world.draw(track), track, track, task=task, fps=8.0) for task in ("push", "pull")]
    write_dataset(episodes, tmp_path / "both")
    env = CosmosWorld(world, starts=tmp_path / "both")
    assert [begin(env, seed)[1]["task"] for seed in (0, 1, 2)] == ["push", "pull", "push"]


def test_the_tabletops_starts_come_with_their_instructions():
    from cosmos_sim.envs.starts import starts_from_twin
    from cosmos_sim.envs.twin.env import CosmosTwin

    twin = CosmosTwin("Tabletop")
    told = tuple(twin.reset(seed=seed)[1]["task"] for seed in (1, 2))
    twin.close()
    assert told[0] != told[1]
    assert starts_from_twin("Tabletop", [1, 2]).tasks == told


def test_a_task_that_the_twin_does_not_have_is_named(blob):
    with pytest.raises(ValueError, match="push the blob"):
        CosmosWorld(blob, starts="twin")


def test_a_twin_that_sees_something_else_is_refused():
    with pytest.raises(ValueError, match="'top'"):
        CosmosWorld(BlobWorld(task="lift the cube"), starts="twin")


def test_starts_out_of_the_twin_are_its_resets():
    from cosmos_sim.envs.starts import starts_from_twin
    from cosmos_sim.envs.twin.env import CosmosTwin

    cameras = {"wrist": (128, 128), "agentview": (128, 128)}
    bounds = {"state_low": (-10.0,) * 7, "state_high": (10.0,) * 7}
    world = CosmosWorld(BlobWorld(starts=None, task="lift the cube", cameras=cameras, **bounds), starts="twin")
    twin = CosmosTwin("Lift")
    listed = starts_from_twin("Lift", [4, 9])
    assert listed.tasks == ("lift the cube", "lift the cube")
    for i, seed in enumerate((4, 9)):
        expected, _ = twin.reset(seed=seed)
        for observation, info in (world.reset(seed=seed), world.reset(seed=1, options={"twin_seed": seed})):
            assert info["start_seed"] == seed
            assert list(observation["pixels"]) == ["wrist", "agentview"]
            for camera in cameras:
                assert np.array_equal(observation["pixels"][camera], expected["pixels"][camera])
            assert np.array_equal(observation["agent_pos"], expected["agent_pos"])
        assert np.array_equal(listed.state[i], expected["agent_pos"])
        assert np.array_equal(listed.frames["wrist"][i], expected["pixels"]["wrist"])
    with pytest.raises(ValueError, match="no start 3; choose one by 'twin_seed'"):
        world.reset(options={"start": 3})
    world.close()
    twin.close()
