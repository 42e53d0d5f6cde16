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
