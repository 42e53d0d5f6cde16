"""The study of read actions: whose error is whose, and that what poses can tell is asked of the right poses."""

import numpy as np
import pytest

from cosmos_sim.types import Episode


def test_errors_are_shared_out_by_who_acted(load) -> None:
    module = load("inverse_dynamics")
    errors = [np.array([1.0, 3.0]), np.array([2.0]), np.array([0.0, 0.0])]
    steps = [np.array([4.0, 4.0]), np.array([4.0]), np.array([2.0, 6.0])]
    shares = module.by_actor(errors, steps, ["noisy", "expert", "noisy"])
    assert shares == {"all": pytest.approx(6 / 20), "expert": 0.5, "noisy": pytest.approx(4 / 16)}
    assert module.by_actor_told(shares) == "all 30.0%, expert 50.0%, noisy 25.0%"


def test_poses_stand_around_their_action(load) -> None:
    module = load("inverse_dynamics")
    rng = np.random.default_rng(0)
    action = rng.normal(size=(12, 3)).astype(np.float32)
    state = np.concatenate([np.zeros((1, 3)), np.cumsum(action, axis=0)])[:-1].astype(np.float32)
    frames = {"front": np.zeros((12, 8, 8, 3), np.uint8)}
    given, wanted = module.poses(Episode(frames, state, action, "push"), slice(0, 2))
    assert len(given) == len(wanted) == 12 - 2 * module.AROUND
    changes = given[:, :-3].unflatten(1, (3, 2 * module.AROUND))  # by axis, then by step
    np.testing.assert_allclose(changes[:, :2, module.AROUND - 1], wanted, atol=1e-5)
    np.testing.assert_allclose(given[:, -3:], state[module.AROUND - 1 :][: len(given)])
    np.testing.assert_allclose(wanted, action[module.AROUND - 1 :][: len(given), :2])
