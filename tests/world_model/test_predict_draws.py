"""What training samples draw, against the formulas; and the loss, exactly."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from scipy import stats

from cosmos_sim.world_model.flow import TimeDistribution
from cosmos_sim.world_model.recipes.predict_draws import draw, is_image_step, noise_like
from cosmos_sim.world_model.recipes.predict_loss import known_mask, rarity, velocity_errors

KNOWN = (0.5, 0.25, 0.25)
SHIFT = 5.0
SEEDS = range(6000)


@pytest.fixture(scope="module")
def drawn():
    return draw(SEEDS, times=TimeDistribution(SHIFT), known=KNOWN, text_dropout=0.2)


def cumulative(t: np.ndarray) -> np.ndarray:
    """0.95 of a shifted logit-normal, 0.05 uniform, before the shift, over what becomes the top 2%."""
    t = np.clip(t, 1e-12, 1 - 1e-12)
    before = t / (SHIFT - (SHIFT - 1) * t)
    lowest = 0.98 / (SHIFT - (SHIFT - 1) * 0.98)
    return 0.95 * stats.norm.cdf(np.log(before / (1 - before))) + 0.05 * stats.uniform.cdf(before, lowest, 1 - lowest)


def test_times_are_shifted_and_five_percent_are_from_the_top(drawn):
    time = drawn.time.double().numpy()
    assert stats.kstest(time, cumulative).pvalue > 0.01
    expected = 1 - cumulative(np.array([0.98]))[0]
    assert expected > 0.05
    assert stats.binomtest(int((time > 0.98).sum()), len(time), expected).pvalue > 0.01
    without = draw(range(2000), times=TimeDistribution(SHIFT, high_noise=0.0), known=KNOWN, text_dropout=0.2)
    assert stats.kstest(without.time.double().numpy(), cumulative).pvalue < 0.05, "the test would see it missing"


def test_given_latents_and_dropped_text(drawn):
    counts = np.bincount(drawn.known.numpy(), minlength=3)
    assert stats.chisquare(counts, np.array(KNOWN) * len(SEEDS)).pvalue > 0.01
    assert stats.binomtest(int(drawn.dropped.sum()), len(SEEDS), 0.2).pvalue > 0.01


def test_draws_are_independent_of_each_other(drawn):
    early = (drawn.time > drawn.time.median()).numpy().astype(int)
    for a, b in [(early, drawn.known.numpy()), (drawn.known.numpy(), drawn.dropped.numpy().astype(int))]:
        table = np.zeros((a.max() + 1, b.max() + 1))
        np.add.at(table, (a, b), 1)
        assert stats.chi2_contingency(table).pvalue > 0.01


def test_noise_says_nothing_of_its_time():
    """Both come from the sample's seed; on a CPU, the first numbers of one stream would be in both."""
    seeds = torch.randint(2**62, (4000,), generator=torch.Generator().manual_seed(0)).tolist()
    times = draw(seeds, times=TimeDistribution(1.0, high_noise=0.0), known=KNOWN, text_dropout=0.2).time
    noise = noise_like(torch.zeros(4000, 4, 2, 2, 4), seeds).flatten(1).abs().numpy()
    extreme = times.logit().abs().numpy()
    assert min(stats.pearsonr(extreme, column).pvalue for column in noise.T) > 0.01 / noise.shape[1]


def test_a_sample_draws_from_its_own_seed_alone(drawn):
    some = draw([17, 3], times=TimeDistribution(SHIFT), known=KNOWN, text_dropout=0.2)
    assert torch.equal(some.time, drawn.time[[17, 3]])
    assert torch.equal(some.known, drawn.known[[17, 3]])
    assert torch.equal(some.dropped, drawn.dropped[[17, 3]])


def test_shares_of_one_and_none():
    sure = draw(range(50), times=TimeDistribution(), known=(0.0, 1.0), text_dropout=1.0)
    assert sure.known.eq(1).all()
    assert sure.dropped.all()
    assert not draw(range(50), times=TimeDistribution(), known=(1.0,), text_dropout=0.0).dropped.any()


def test_image_steps_are_a_function_of_step_and_seed():
    steps = [is_image_step(step, seed=3, share=0.3) for step in range(3000)]
    assert stats.binomtest(sum(steps), 3000, 0.3).pvalue > 0.01
    assert steps == [is_image_step(step, seed=3, share=0.3) for step in range(3000)]
    assert steps != [is_image_step(step, seed=4, share=0.3) for step in range(3000)]
    assert all(is_image_step(step, seed=0, share=1.0) for step in range(20))
    assert not any(is_image_step(step, seed=0, share=0.0) for step in range(20))


def test_noise_is_of_each_sample():
    data = torch.zeros(3, 4, 2, 5, 6)
    noise = noise_like(data, [8, 2, 8])
    assert torch.equal(noise[0], noise[2])
    assert torch.equal(noise[1], noise_like(data[:1], [2])[0])
    assert stats.kstest(noise[:2].flatten().numpy(), "norm").pvalue > 0.01
    with pytest.raises(ValueError, match="2 seeds for 3 samples"):
        noise_like(data, [1, 2])


def tensors() -> Iterator[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    while True:
        yield torch.randn(3, 2, 4, 5, 6, generator=generator)


def test_the_loss_is_on_frames_to_be_generated_alone():
    """Sample by sample: the sum over generated positions of (predicted - (noise - data))^2, over all positions."""
    predicted, data, noise, other = (x for x, _ in zip(tensors(), range(4), strict=False))
    mask = known_mask(torch.tensor([0, 1, 3]), data)
    errors = velocity_errors(predicted, data, noise, mask)
    for k, known in enumerate((0, 1, 3)):
        squared = (predicted - noise + data)[k, :, known:].double().square().sum()
        assert errors[k].item() == pytest.approx(squared.item() / (2 * 4 * 5 * 6), rel=1e-6)
    changed = torch.where(mask, other, predicted).requires_grad_()
    again = velocity_errors(changed, data, noise, mask)
    assert torch.equal(again, errors)
    again.sum().backward()
    assert changed.grad is not None
    assert changed.grad[mask.expand_as(changed)].eq(0).all()
    assert changed.grad[~mask.expand_as(changed)].ne(0).all()


def test_what_is_rare_in_its_frame_counts_for_more():
    """A small patch unlike all else: weights go with the inverse power of how much of its frame looks alike."""
    data = torch.zeros(1, 3, 2, 4, 6)
    data[:, :, 1, 1, 2:5] = 9.0  # 3 of the second frame's 24
    weight = rarity(data, 0.5)
    assert weight.shape == (1, 1, 2, 4, 6)
    assert weight.mean().item() == pytest.approx(1)
    common, patch = weight[0, 0, 1, 0, 0], weight[0, 0, 1, 1, 3]
    assert (patch / common).item() == pytest.approx((21 / 3) ** 0.5, rel=1e-5)
    assert (weight[0, 0, 0] / common).max().item() == pytest.approx((21 / 24) ** 0.5, rel=1e-5)
    torch.testing.assert_close(rarity(data, 0.0), torch.ones(1, 1, 2, 4, 6))
    zero, noise = torch.zeros_like(data), torch.ones_like(data)
    none = known_mask(torch.tensor([0]), data)
    error = velocity_errors(zero, zero, noise, none, weight)
    assert error.item() == pytest.approx(1)
    error = velocity_errors(torch.where(data > 0, zero, noise), zero, noise, none, weight)
    assert error.item() == pytest.approx(3 * patch.item() / 48)
