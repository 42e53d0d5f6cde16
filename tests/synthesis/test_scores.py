"""What is held against a dream: closed forms, and limits that real episodes set."""

import numpy as np
import pytest

from cosmos_sim.synthesis.scores import (
    Limits,
    action_scores,
    cycle_score,
    failure_score,
    likeness,
    set_limits,
)
from cosmos_sim.world_model.inverse_dynamics import ActionReading


def test_scores_of_actions() -> None:
    action = np.array([[0, 1, 0.5], [1, 1, 0.5], [0, -1, 0.5], [1, -1, 0.0]], np.float32)
    deviation = np.array([[0.1, 9, 0.2]] * 4, np.float32)
    scores = action_scores(
        ActionReading(action, deviation),
        binary=np.array([False, True, False]),
        low=np.array([-1, -1, 0.0]),
        high=np.array([1, 1, 2.0]),
        spread=np.array([0.5, 1, 0.25]),
    )
    assert scores["deviation"] == pytest.approx(np.sqrt((0.01 + 0.04) / 2))
    # second differences of the first are -2 and 2, of the third 0 and -.5
    assert scores["jerk"] == pytest.approx(np.sqrt((16 + 16 + 0 + 4) / 4))
    assert scores["saturation"] == pytest.approx(3 / 8)  # two ones of the first, the third's last
    assert (
        action_scores(
            ActionReading(action, deviation), binary=np.ones(3, bool), low=-action[0], high=action[0], spread=action[0]
        )
        == {}
    )


def test_the_cycle_is_0_for_the_same_and_1_for_a_world_that_stays() -> None:
    rng = np.random.default_rng(0)
    dream = {"a": rng.integers(0, 256, (5, 6, 7, 3), np.uint8), "b": rng.integers(0, 256, (5, 4, 3, 3), np.uint8)}
    stays = {camera: video[:1].repeat(5, axis=0) for camera, video in dream.items()}
    assert cycle_score(dream, dream) == 0
    assert cycle_score(dream, stays) == pytest.approx(1)
    still = {"a": np.full((3, 4, 5, 3), 100, np.uint8)}
    assert cycle_score(still, {"a": still["a"] + np.uint8(6)}) == pytest.approx(3)  # a dream counts as changing by 2
    with pytest.raises(ValueError, match="do not fit each other"):
        cycle_score(dream, {"a": dream["a"]})


def test_failure_and_likeness() -> None:
    assert failure_score(np.array([0.9, 0.9, 0.1, 0.8, 0.7], np.float32)) == pytest.approx(0.3)
    a = np.zeros((4, 2), np.float32)
    assert likeness(a, a, spread=np.ones(2)) == 1
    assert likeness(a, a + np.array([0.5, 2.0], np.float32), spread=np.array([0.5, 2.0])) == pytest.approx(np.exp(-1))


def test_limits_reject_few_real_episodes_and_name_what_is_wrong() -> None:
    rng = np.random.default_rng(1)
    real = [{"cycle": float(c), "jerk": float(j)} for c, j in rng.uniform(1, 2, (400, 2))]
    limits = set_limits(real, slack=1.0)
    rejected = np.mean([bool(limits.faults(one)) for one in real])
    assert 0.01 < rejected <= 0.05
    assert set_limits(real).worst["cycle"] == pytest.approx(2 * limits.worst["cycle"])
    assert set_limits(real, given={"cycle": 0.25}).worst["cycle"] == 0.25
    assert limits.faults({"cycle": 9.0, "jerk": 1.0, "replay": 1.0}) == [
        f"cycle 9, at most {limits.worst['cycle']:.3g}",
        "replay 1, at most 0.5",
    ]
    assert limits.faults({"cycle": float("nan")})
    assert set_limits([{"failure": 0.9}]).worst["failure"] == 0.5
    with pytest.raises(ValueError, match="unknown check 'cycles'; there are deviation"):
        Limits({"cycles": 1.0})
    with pytest.raises(ValueError, match="must be finite, got nan"):
        Limits({"cycle": float("nan")})
    with pytest.raises(ValueError, match="at least one real episode"):
        set_limits([])
