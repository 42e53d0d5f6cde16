"""The learning rate against torch's own schedulers."""

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, SequentialLR

from cosmos_sim.training import TrainConfig
from cosmos_sim.training.schedule import learning_rate


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_it_rises_and_falls_as_torch_has_it(decay):
    config = TrainConfig(steps=50, warmup=8, lr=0.02, final_lr=0.25, decay=decay)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.02)
    after = config.steps - 1 - config.warmup
    falling = (
        LinearLR(optimizer, 1.0, 0.25, after)
        if decay == "linear"
        else CosineAnnealingLR(optimizer, after, eta_min=0.25 * 0.02)
    )
    rising = LinearLR(optimizer, 1 / config.warmup, 1.0, config.warmup - 1)
    reference = SequentialLR(optimizer, [rising, falling], [config.warmup])
    for step in range(config.steps):
        assert learning_rate(step, config) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9), step
        optimizer.step()
        reference.step()
    assert learning_rate(config.steps - 1, config) == pytest.approx(0.005)


def test_a_run_shorter_than_its_warmup_only_rises():
    config = TrainConfig(steps=2, warmup=100, lr=1.0)
    assert [learning_rate(step, config) for step in range(2)] == [0.01, 0.02]


def test_without_warmup_it_starts_at_the_peak_even_for_one_step():
    assert learning_rate(0, TrainConfig(steps=1, warmup=0, lr=0.3)) == 0.3


def test_the_published_schedule():
    """Cosmos-Predict2.5: .99 to .4 of the rate over 400k steps, here in a stage of 100k that follows no other."""
    config = TrainConfig(
        steps=100_000, lr=3e-5, warmup=2000, decay="linear", start_lr=0.99, final_lr=0.4, decay_steps=400_000
    )
    warm = [learning_rate(step, config) for step in (0, 999, 1999)]
    assert warm == pytest.approx([0.99 * 3e-5 / 2000, 0.99 * 3e-5 / 2, 0.99 * 3e-5], rel=1e-12)
    slope = (0.99 - 0.4) * 3e-5 / 400_000
    for step in (2000, 2001, 50_000, 99_999):
        assert learning_rate(step, config) == pytest.approx(0.99 * 3e-5 - slope * (step - 2000), rel=1e-12)


@pytest.mark.parametrize("decay", ["linear", "cosine"])
def test_after_its_steps_the_decay_stays(decay):
    config = TrainConfig(steps=30, lr=1.0, warmup=4, decay=decay, final_lr=0.3, decay_steps=10)
    rates = [learning_rate(step, config) for step in range(4, 30)]
    assert rates[0] == 1.0
    assert rates[5] == pytest.approx(0.65)
    assert rates[10:] == pytest.approx([0.3] * 16)
    assert min(rates[:10]) > 0.3


@pytest.mark.parametrize("decay_steps", [None, 7])
def test_the_cooldown_goes_to_zero_after_the_last_step(decay_steps):
    config = TrainConfig(steps=40, lr=2.0, warmup=3, final_lr=0.25, decay_steps=decay_steps, cooldown=9)
    shorter = TrainConfig(steps=31, lr=2.0, warmup=3, final_lr=0.25, decay_steps=decay_steps)
    assert [learning_rate(k, config) for k in range(31)] == [learning_rate(k, shorter) for k in range(31)]
    assert learning_rate(30, config) == pytest.approx(0.5)
    rates = [learning_rate(step, config) for step in range(31, 40)]
    assert rates == pytest.approx([0.05 * left for left in range(9, 0, -1)])
    assert learning_rate(40, config) == 0
