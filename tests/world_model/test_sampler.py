import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from diffusers import UniPCMultistepScheduler

from cosmos_sim.world_model.sampler import (
    SOLVERS,
    evaluations,
    karras_times,
    linear_times,
    named,
    seeded_noise,
)

MEAN, STD = torch.tensor([0.3, -1.2, 2.0]), torch.tensor([0.5, 1.5, 0.2])


def variance(t: float) -> torch.Tensor:
    return (1 - t) ** 2 * STD**2 + t**2


def gaussian_velocity(x: torch.Tensor, t: float) -> torch.Tensor:
    """E[noise - data | x] for data of N(MEAN, STD^2): x is normal too, so both expectations are linear in it."""
    apart = x - (1 - t) * MEAN
    return t / variance(t) * apart - (MEAN + (1 - t) * STD**2 / variance(t) * apart)


def gaussian_path(x: torch.Tensor, start: float, end: float) -> torch.Tensor:
    """Where that velocity leads: the flow keeps the number of standard deviations from the mean."""
    return (1 - end) * MEAN + (variance(end) / variance(start)).sqrt() * (x - (1 - start) * MEAN)


def unipc_of_the_paper(x: np.ndarray, times: list[float]) -> np.ndarray:
    """UniPC-2, B2(h), data prediction, written from the paper's algorithms 5 to 8 in double precision."""

    def data(x: np.ndarray, t: float) -> np.ndarray:
        return x - t * gaussian_velocity(torch.from_numpy(x), t).numpy()

    def log_ratio(t: float) -> float:
        return math.inf if t == 0 else math.log((1 - t) / t)

    def phi(h: float, k: int) -> float:
        """int_0^1 e^((1 - r) (-h)) r^(k - 1) / (k - 1)! dr"""
        value = math.exp(-h)
        for j in range(k):
            value = (value - 1 / math.factorial(j)) / -h
        return value

    models, corrected, order_before = [], x, 1
    for i, (t, after) in enumerate(pairwise(times)):
        model = data(x, t)
        if i > 0:
            before = times[i - 1]
            h = log_ratio(t) - log_ratio(before)
            ratios, differences, weights = [1.0], [model - models[-1]], np.array([0.5])
            if order_before == 2:
                ratios.insert(0, (log_ratio(times[i - 2]) - log_ratio(before)) / h)
                differences.insert(0, models[-2] - models[-1])
                rows = np.array([[r**k for r in ratios] for k in range(order_before)])
                right = [math.factorial(k) * phi(h, k + 1) * -h / math.expm1(-h) for k in range(1, order_before + 1)]
                weights = np.linalg.solve(rows, right)
            slope = sum(a * d / r for a, d, r in zip(weights, differences, ratios, strict=True))
            x = t / before * corrected - (1 - t) * math.expm1(-h) * (models[-1] + slope)
        models.append(model)
        corrected = x
        order = min(2, len(times) - 1 - i, i + 1)
        h = log_ratio(after) - log_ratio(t)
        slope = 0.0
        if order == 2:
            slope = 0.5 * (models[-2] - model) / ((log_ratio(times[i - 1]) - log_ratio(t)) / h)
        x = after / t * x - (1 - after) * math.expm1(-h) * (model + slope)
        order_before = order
    return x


SCHEDULES = {"linear": linear_times(35), "karras": karras_times(35), "linear-6": linear_times(6, shift=3.0)}


@pytest.mark.parametrize("times", SCHEDULES.values(), ids=SCHEDULES.keys())
def test_unipc_equals_the_paper_on_a_gaussian(times):
    noise = seeded_noise((7, 3), 3)
    expected = unipc_of_the_paper(noise.double().numpy(), times)
    found = SOLVERS["unipc"](gaussian_velocity, noise, times)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("times", SCHEDULES.values(), ids=SCHEDULES.keys())
@pytest.mark.parametrize("name", SOLVERS)
def test_one_point_of_data_is_reached_exactly(name, times):
    point, noise = torch.tensor([0.7, -2.0, 1.3]), seeded_noise((5, 3), 1)
    found = SOLVERS[name](lambda x, t: (x - point) / t, noise, times)
    torch.testing.assert_close(found, point.expand(5, 3), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("name", "order"), [("euler", 1), ("heun", 2), ("unipc", 2)])
def test_order_of_convergence(name, order):
    noise, errors = seeded_noise((9, 3), 0).double(), []
    for steps in (128, 256):
        times = torch.linspace(0.95, 0.1, steps + 1, dtype=torch.float64).tolist()
        found = SOLVERS[name](gaussian_velocity, noise, times)
        errors.append((found - gaussian_path(noise, 0.95, 0.1)).abs().max().item())
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.1)


def test_the_karras_schedule_is_the_one_of_diffusers():
    reference = UniPCMultistepScheduler(
        use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=200.0, sigma_min=0.01
    )
    reference.set_timesteps(36)
    assert len(karras_times(35)) == 37
    torch.testing.assert_close(torch.tensor(karras_times(35)), reference.sigmas, atol=1e-7, rtol=0)


def test_the_linear_schedule():
    times = linear_times(35)
    assert len(times) == 36
    assert times[-1] == 0
    before_shift = np.array(times) / (5 - 4 * np.array(times))
    np.testing.assert_allclose(before_shift, 0.999 * (1 - np.arange(36) / 35), atol=1e-12)


@pytest.mark.parametrize("name", SOLVERS)
def test_evaluations_are_counted(name):
    asked = []

    def velocity(x: torch.Tensor, t: float) -> torch.Tensor:
        asked.append(t)
        return gaussian_velocity(x, t)

    for times in (linear_times(5), linear_times(5)[:-1]):
        asked.clear()
        SOLVERS[name](velocity, seeded_noise((2, 3), 0), times)
        assert len(asked) == evaluations(name, times)
        assert min(asked) > 0


def test_a_truncated_timestep_met_twice_moves_the_solver_on():
    """36 times and more repeat integer timesteps near the noise, by which diffusers would look its position up."""
    times = karras_times(200)
    found = SOLVERS["unipc"](gaussian_velocity, noise := seeded_noise((4, 3), 2), times)
    np.testing.assert_allclose(found.numpy(), unipc_of_the_paper(noise.double().numpy(), times), atol=1e-4)


def test_noise_is_the_originals():
    expected = np.random.RandomState(11).standard_normal((2, 3, 5)).astype(np.float32)
    np.testing.assert_array_equal(seeded_noise((2, 3, 5), 11).numpy(), expected)
    assert not torch.equal(seeded_noise((4,), [11, 1]), seeded_noise((4,), [11, 2]))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="did you mean 'unipc'"):
        named(SOLVERS, "unpic", "solver")
    with pytest.raises(ValueError, match="at least 1 step, not 0"):
        karras_times(0)
    with pytest.raises(ValueError, match="not -3"):
        linear_times(-3)
    with pytest.raises(ValueError, match="-1"):
        seeded_noise((2,), -1)
