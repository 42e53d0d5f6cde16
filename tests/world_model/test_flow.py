import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from scipy import stats

from cosmos_sim.world_model.flow import (
    TimeDistribution,
    interpolate,
    shift_time,
    unshift_time,
    velocity,
    velocity_to,
)
from cosmos_sim.world_model.sampler import euler, euler_times


def test_the_velocity_is_the_one_that_leads_to_the_data():
    data, noise, t = torch.randn(3, 2), torch.randn(3, 2), torch.tensor([[0.1], [0.6], [1.0]])
    sample = interpolate(data, noise, t)
    torch.testing.assert_close(velocity_to(data, sample, t), velocity(data, noise))


def test_shift_inverts_and_matches_the_published_boundary():
    u = torch.linspace(0, 1, 11)
    torch.testing.assert_close(unshift_time(shift_time(u, 5.0), 5.0), u)
    assert unshift_time(torch.tensor(0.98), 5.0).item() == pytest.approx(0.907, abs=5e-4)


def test_times_follow_the_shifted_logit_normal():
    generator = torch.Generator().manual_seed(0)
    times = TimeDistribution(shift=5.0, high_noise=0.0).sample(20_000, generator=generator)
    normal = torch.logit(unshift_time(times.double(), 5.0)).numpy()
    assert stats.kstest(normal, "norm").pvalue > 1e-3


def test_shares_of_high_and_pure_noise():
    generator = torch.Generator().manual_seed(0)
    plain = TimeDistribution(shift=1.0, high_noise=0.0).sample(40_000, generator=generator)
    mixed = TimeDistribution(shift=1.0, high_noise=0.05, pure_noise=0.4).sample(40_000, generator=generator)
    assert (mixed == 1).float().mean().item() == pytest.approx(0.4, abs=0.01)
    high = ((mixed >= 0.98) & (mixed < 1)).float().mean().item()
    assert high - (plain >= 0.98).float().mean().item() * 0.55 == pytest.approx(0.05, abs=0.005)
    uniform = TimeDistribution(shift=5.0, high_noise=1.0).sample(20_000, generator=generator)
    u = unshift_time(uniform.double(), 5.0).numpy()
    low = float(unshift_time(torch.tensor(0.98, dtype=torch.float64), 5.0))
    assert stats.kstest(u, stats.uniform(low, 1 - low).cdf).pvalue > 1e-3


@pytest.mark.parametrize("shift", [1.0, 5.0])
def test_euler_equals_diffusers(shift: float):
    steps = 7
    scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=shift)
    times = euler_times(steps, shift=shift)
    scheduler.set_timesteps(sigmas=np.linspace(1, 0, steps + 1)[:-1].tolist())
    np.testing.assert_allclose(scheduler.sigmas.numpy(), times, atol=1e-6)
    noise = torch.randn(2, 3)
    x = noise
    for t in scheduler.timesteps:
        x = scheduler.step(torch.sin(x) * (t / 1000), t, x).prev_sample
    torch.testing.assert_close(euler(lambda y, t: torch.sin(y) * t, noise, times), x)


def test_euler_is_exact_on_straight_paths():
    data, noise = torch.randn(4), torch.randn(4)
    torch.testing.assert_close(euler(lambda x, t: noise - data, noise, euler_times(3, shift=2.0)), data)


def test_wrong_values_are_named():
    with pytest.raises(ValueError, match="not 0"):
        euler_times(0)
    with pytest.raises(ValueError, match=r"pure_noise=0\.99"):
        TimeDistribution(pure_noise=0.99)
