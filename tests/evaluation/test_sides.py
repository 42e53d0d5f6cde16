"""Names become contenders, worlds and seeds, or clear errors."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hand_world import HandWorld, Riser

from cosmos_sim.envs.held import HeldWorlds
from cosmos_sim.envs.twin.tasks import find_task
from cosmos_sim.evaluation.outcome import OutcomeStore, fingerprint
from cosmos_sim.evaluation.run import Arena, Contender, Side
from cosmos_sim.evaluation.sides import contenders, load_world, start_seeds, task_text, world_side


@pytest.fixture
def folders(tmp_path):
    for name, text in (("a", "one"), ("b", "two"), ("run/export", "three"), ("same", "one")):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text(text)
    return tmp_path


def test_contenders_are_named_by_their_folder_and_known_by_content(folders):
    found = contenders([str(folders / "a"), str(folders / "run" / "export"), f"lerobot:{folders / 'b'}?top=front"])
    assert [one.name for one in found] == ["a", "run", "b"]
    assert found[0].identity["content"] == [fingerprint(folders / "same")]
    assert found[2].identity["content"] == [fingerprint(folders / "b"), "top=front"]
    (folders / "a" / "config.json").write_text("changed")
    assert contenders([str(folders / "a")])[0].identity != found[0].identity


def test_the_same_policy_twice_is_an_error(folders):
    with pytest.raises(ValueError, match=r"a' and .*same' are the same"):
        contenders([str(folders / "a"), str(folders / "same")])


def test_an_unknown_policy_is_named():
    with pytest.raises(ValueError, match="'lift-goood'"):
        contenders(["lift-goood"])


def test_seeds_come_from_the_starts_or_are_looked_up_in_them():
    worlds = {"hand": HandWorld()}
    assert start_seeds(worlds, episodes=3, seeds=None) == [40, 41, 42]
    assert start_seeds(worlds, episodes=None, seeds=(44, 40)) == [44, 40]
    for arguments, named in (
        ({"episodes": 7, "seeds": None}, r"between 1 and the 6.*got 7"),
        ({"episodes": 3, "seeds": (40,)}, "episodes=3"),
        ({"episodes": None, "seeds": (40, 40)}, r"\[40, 40\]"),
        ({"episodes": None, "seeds": (40, 99)}, "seed 99"),
    ):
        with pytest.raises(ValueError, match=named):
            start_seeds(worlds, **arguments)


def test_a_world_without_starts_is_named():
    world = HandWorld()
    world.starts = None
    with pytest.raises(ValueError, match="'hand' ships no start frames"):
        start_seeds({"hand": world}, episodes=1, seeds=None)


def test_the_twin_knows_tasks_by_name_and_in_words():
    assert find_task("Lift") is find_task("lift the cube")
    assert task_text("Lift") == task_text("lift the cube") == "lift the cube"
    with pytest.raises(ValueError, match="Did you mean 'lift the cube'"):
        find_task("lift the cubes")


def test_a_world_begins_from_the_starts_it_is_given():
    world, content = load_world("lift", device="cpu")
    shipped = world.starts.select([3, 5])
    starts = replace(shipped, seeds=np.array([1007, 1002]))
    side = world_side("runs/one/export", world, content, horizon=4, width=2, twin_starts=starts)
    assert side.name == "one"
    env = side.make(2)
    observation, info = env.reset(seed=[1002, 1007], options=side.options([1002, 1007]))
    for camera, frames in observation["pixels"].items():
        np.testing.assert_array_equal(frames, shipped.frames[camera][::-1])
    assert info["start_seed"].tolist() == [1002, 1007]
    env.close()
    assert side.identity != world_side("lift", world, content, horizon=4, width=2).identity


def test_policies_leave_the_cores_to_environments_in_processes(tmp_path):
    seen = []

    class Watching(Riser):
        def act(self, observation, info):
            seen.append(torch.get_num_threads())
            return super().act(observation, info)

    def run(processes):
        side = Side(
            "hand", {}, 10, 2, lambda n: HeldWorlds(n, HandWorld(), horizon=3), lambda s: {"twin_seed": s}, processes
        )
        with Arena(side, OutcomeStore(tmp_path / str(processes))) as arena:
            arena.run(Contender("riser", lambda: Watching(0.5), {}), [40, 41])

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        run(processes=False)
        run(processes=True)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == [2, 1]


def test_the_fingerprint_sees_names_and_content_and_no_hidden_files(tmp_path):
    first = tmp_path / "first"
    (first / "sub").mkdir(parents=True)
    (first / "sub" / "x.bin").write_bytes(np.arange(9, dtype=np.uint8).tobytes())
    one = fingerprint(first)
    (first / ".hidden").write_text("?")
    assert fingerprint(first) == one
    (first / "sub" / "x.bin").rename(first / "sub" / "y.bin")
    assert fingerprint(first) != one
