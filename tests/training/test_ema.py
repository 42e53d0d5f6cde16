"""Moving averages against their closed forms."""

import numpy as np
import pytest
import torch
from torch import nn

from cosmos_sim.training.ema import Ema, fixed_decay, power_decay, power_exponent


def scripted(values: np.ndarray, value: float, kind: str) -> float:
    """The average after a one-weight model has held each of ``values`` in turn, having begun at 7."""
    model = nn.Linear(1, 1, bias=False).double()
    model.weight.data.fill_(7.0)
    ema = Ema(model, value, kind)
    for step, weight in enumerate(values):
        model.weight.data.fill_(weight)
        ema.update(step)
    return ema.weights["weight"].item()


def test_a_fixed_average_is_the_geometric_sum_once_the_ramp_is_over():
    decay, ramp = 0.6, 14  # (1 + n) / (10 + n) passes 0.6 at n = 12.5
    values = np.random.default_rng(0).normal(size=40)
    start = scripted(values[:ramp], decay, "fixed")
    rest = len(values) - ramp
    expected = decay**rest * start + sum((1 - decay) * decay ** (rest - 1 - k) * values[ramp + k] for k in range(rest))
    assert scripted(values, decay, "fixed") == pytest.approx(expected, rel=1e-12)


def test_the_ramp_forgets_the_first_weights():
    assert [fixed_decay(n, 0.999) for n in (0, 8, 90)] == [0.1, 0.5, 0.91]
    assert fixed_decay(10**6, 0.999) == 0.999


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_a_power_average_weighs_its_past_by_a_power(width):
    count = 30
    values = np.random.default_rng(1).normal(size=count)
    gamma = power_exponent(width)
    edges = (np.arange(count + 1) / count) ** (gamma + 1)
    assert scripted(values, width, "power") == pytest.approx(np.diff(edges) @ values, rel=1e-12)


@pytest.mark.parametrize("width", [0.05, 0.1, 0.25])
def test_a_power_average_is_as_wide_as_asked(width):
    gamma, time = power_exponent(width), (np.arange(200_000) + 0.5) / 200_000
    profile = time**gamma / np.sum(time**gamma)
    mean = profile @ time
    assert np.sqrt(profile @ (time - mean) ** 2) == pytest.approx(width, rel=1e-4)


def test_published_exponents():
    """Karras et al. 2024, table 3's caption: sigma_rel 0.05 and 0.10 are gamma 16.97 and 6.94."""
    assert power_exponent(0.05) == pytest.approx(16.97, abs=0.01)
    assert power_exponent(0.10) == pytest.approx(6.94, abs=0.01)
    assert power_decay(0, power_exponent(0.1)) == 0


@pytest.mark.parametrize("width", [0.0, 0.3])
def test_an_impossible_width_is_refused(width):
    with pytest.raises(ValueError, match=f"but is {width}"):
        power_exponent(width)


def test_swapping_gives_the_model_the_average_and_takes_it_back():
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    model[0].bias.requires_grad_(False)
    ema = Ema(model, 0.5)
    assert "0.bias" not in ema.weights
    first = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight.add_(1.0)
        model[0].bias.fill_(3.0)
    model(torch.randn(5, 3, generator=torch.Generator().manual_seed(0)))
    ema.update(5)  # decay min(0.5, 6 / 15) = 0.4
    mean = model[1].running_mean.clone()
    with ema.swapped():
        torch.testing.assert_close(model[0].weight, first + 0.6)
        torch.testing.assert_close(ema.weights["0.weight"], first + 1.0)
        assert torch.equal(model[0].bias, torch.full((2,), 3.0))
        assert torch.equal(model[1].running_mean, mean)
    assert torch.equal(model[0].weight, first + 1.0)
    with pytest.raises(RuntimeError), ema.swapped():
        model(torch.zeros(5, 4))
    assert torch.equal(model[0].weight, first + 1.0)
