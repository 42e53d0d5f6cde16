from dataclasses import replace

import numpy as np
import pytest
from hand_world import HandWorld

from cosmos_sim.evaluation.counterfactual import DIRECTIONS, counterfactual
from cosmos_sim.evaluation.inspection import counterfactual_text
from cosmos_sim.evaluation.pose_reader import PoseNet, PoseReader, PoseReaderConfig


def untrained(camera: str) -> PoseReader:
    """A reader that reads nonsense, but the same of the same frames."""
    net = PoseNet(PoseReaderConfig((camera,), resolution=32, width=4, features=8))
    return PoseReader(net, figures={"median_mm": 4.0, "p90_mm": 9.0, "frames": 7.0})


def test_an_obedient_hand_goes_where_it_is_told():
    world = HandWorld()
    result = counterfactual(world, world.starts, steps=5, strength=0.6)
    assert result.starts == 6
    assert result.obeyed == 1
    for one, axes in zip(result.directions, DIRECTIONS.values(), strict=True):
        assert one.displacement == pytest.approx(0.3 * np.array(axes), abs=1e-6)
        assert one.obeyed == 6
    assert result.smallest_difference > 1
    assert result.difference > result.smallest_difference
    assert result.twin_obeyed is result.identified is result.ends is result.reader is None


def test_a_world_that_ignores_its_actions_is_found_out():
    deaf = HandWorld(gain=0.0, noise=0.05)
    result = counterfactual(deaf, deaf.starts, steps=5)
    assert result.obeyed < 0.5
    assert result.difference == result.smallest_difference == 0


def test_a_mirrored_axis_is_found_out():
    class Mirrored(HandWorld):
        def step(self, state, actions):
            return super().step(state, actions * np.array([1, -1, 1, 1], dtype=np.float32))

    world = Mirrored()
    result = counterfactual(world, world.starts)
    assert [one.obeyed for one in result.directions] == [6, 6, 0, 0, 6, 6]


def test_the_simulator_obeys_its_own_commands_and_frames_show_them():
    """The simulator in the place of the world: its futures are then identified every time."""
    from cosmos_sim.data.starts import Starts
    from cosmos_sim.envs.twin.env import CosmosTwin
    from cosmos_sim.types import Prediction, WorldSpec

    seeds = [3]
    twin = CosmosTwin("Lift")

    class Real:
        spec = WorldSpec("Lift", {"agentview": (128, 128)}, (-1.0,) * 7, (1.0,) * 7, (-2.0,) * 7, (7.0,) * 7, 10.0, 60)

        def reset(self, frames, state, seeds):
            return tuple(seeds)

        def select(self, state, indices):
            return tuple(state[i] for i in indices)

        def step(self, state, actions):
            frames, positions = [], []
            for seed, row in zip(state, actions, strict=True):
                twin.reset(seed=seed)
                for action in row:
                    seen = twin.step(action)[0]
                frames.append(seen["pixels"]["agentview"])
                positions.append(seen["agent_pos"])
            last = np.stack(frames)[:, None]
            return state, Prediction({"agentview": last}, np.stack(positions)[:, None], None)

        def reconstruct(self, frames):
            return {camera: 255 - images for camera, images in frames.items()}

    begun = [twin.reset(seed=seed)[0] for seed in seeds]
    starts = Starts(
        {"agentview": np.stack([o["pixels"]["agentview"] for o in begun])},
        np.stack([o["agent_pos"] for o in begun]),
        np.array(seeds),
        ("lift the cube",) * len(seeds),
    )
    reader = untrained("agentview")
    result = counterfactual(Real(), starts, steps=3, twin="Lift", reader=reader)
    ends, frames = [], []
    for direction in DIRECTIONS.values():
        twin.reset(seed=3)
        for _ in range(3):
            seen = twin.step(np.array([*(0.6 * np.array(direction)), 0, 0, 0, -1], dtype=np.float32))[0]
        ends.append(seen["agent_pos"][:3])
        frames.append(seen["pixels"]["agentview"])
    twin.close()
    read, inverted = (reader.read({"agentview": x}) for x in (np.stack(frames), 255 - np.stack(frames)))
    distance = np.linalg.norm(read - np.stack(ends), axis=-1)
    assert result.ends.read == pytest.approx(np.median(distance), rel=1e-4)
    assert result.ends.read == pytest.approx(result.ends.read_real)
    assert result.ends.read_ceiling == pytest.approx(
        np.median(np.linalg.norm(inverted - np.stack(ends), axis=-1)), rel=1e-4
    )
    assert result.ends.predicted < 1e-6
    assert result.obeyed == result.twin_obeyed == 1
    assert result.identified == 1
    for one, far, place in zip(result.directions, distance, read, strict=True):
        assert one.displacement == pytest.approx(one.twin_displacement, abs=1e-6)
        assert one.ends.read == pytest.approx(far, rel=1e-4)
        assert one.read_displacement == pytest.approx(place - starts.state[0, :3], abs=1e-5)
    text = counterfactual_text(result)
    assert "17% by chance" in text
    assert f"{100 * result.ends.read:.2f} cm (median)" in text
    assert max(map(len, text.splitlines())) <= 110


def test_bad_arguments_are_named():
    world = HandWorld()
    with pytest.raises(ValueError, match=r"1\.5"):
        counterfactual(world, world.starts, strength=1.5)
    with pytest.raises(ValueError, match="reader would be ignored"):
        counterfactual(world, world.starts, reader=untrained("front"))
    world.spec = replace(world.spec, action_low=(-1.0,) * 3, action_high=(1.0,) * 3)
    with pytest.raises(ValueError, match="got 3 and 3"):
        counterfactual(world, world.starts)
