from dataclasses import replace

import numpy as np
import pytest
from hand_world import HandWorld

from cosmos_sim.evaluation.counterfactual import DIRECTIONS, counterfactual
from cosmos_sim.evaluation.inspection import counterfactual_text


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
    assert result.twin_obeyed is result.identified is None


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

    begun = [twin.reset(seed=seed)[0] for seed in seeds]
    starts = Starts(
        {"agentview": np.stack([o["pixels"]["agentview"] for o in begun])},
        np.stack([o["agent_pos"] for o in begun]),
        np.array(seeds),
        "lift the cube",
    )
    result = counterfactual(Real(), starts, steps=3, twin="Lift")
    twin.close()
    assert result.obeyed == result.twin_obeyed == 1
    assert result.identified == 1
    for one in result.directions:
        assert one.displacement == pytest.approx(one.twin_displacement, abs=1e-6)
    assert "17% by chance" in counterfactual_text(result)


def test_bad_arguments_are_named():
    world = HandWorld()
    with pytest.raises(ValueError, match=r"1\.5"):
        counterfactual(world, world.starts, strength=1.5)
    world.spec = replace(world.spec, action_low=(-1.0,) * 3, action_high=(1.0,) * 3)
    with pytest.raises(ValueError, match="got 3 and 3"):
        counterfactual(world, world.starts)
