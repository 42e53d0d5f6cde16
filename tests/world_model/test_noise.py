import numpy as np
import pytest
import torch
from scipy import stats

from cosmos_sim.world_model.noise import CountedNoise, as_int64, normal_quantiles, splitmix64

MASK = 2**64 - 1


def reference(seed: int, index: int) -> int:
    """SplitMix64 in Python's own integers."""
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def test_the_hash_is_splitmix64():
    """The first words are those published for seed 1234567 (Rosetta Code, "Pseudo-random numbers/Splitmix64")."""
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    words = splitmix64(torch.tensor(1234567), torch.arange(4))
    assert [word % 2**64 for word in words.tolist()] == published
    for seed in (0, 5, 2**63 - 1, 2**63, 2**64 - 1):
        words = splitmix64(torch.tensor(as_int64(seed)), torch.tensor([0, 1, 7, 10**6]))
        assert [word % 2**64 for word in words.tolist()] == [reference(seed, i) for i in (0, 1, 7, 10**6)]


def test_numbers_are_the_quantiles_that_the_hash_chooses():
    noise = CountedNoise((3, 2))  # 6 numbers of the 8 in two words
    drawn = noise(torch.tensor([11, 4]), torch.tensor([0, 9]))
    assert drawn.shape == (2, 3, 2)
    quantiles = stats.norm.ppf((np.arange(2**16) + 0.5) / 2**16)
    for row, (seed, step) in zip(drawn, [(11, 0), (4, 9)], strict=True):
        words = [reference(reference(seed, step), i) for i in range(2)]
        chosen = [(word >> shift & 0xFFFF) ^ 0x8000 for word in words for shift in (0, 16, 32, 48)][:6]
        np.testing.assert_allclose(row.flatten().numpy(), quantiles[chosen], atol=2e-4)


def test_a_world_draws_the_same_in_any_batch():
    noise = CountedNoise((5, 3))
    seeds, steps = torch.tensor([3, 8, 3, -5]), torch.tensor([0, 2, 7, 2])
    batch = noise(seeds, steps)
    for i in range(4):
        assert torch.equal(noise(seeds[i : i + 1], steps[i : i + 1])[0], batch[i])
    order = torch.tensor([2, 0])
    assert torch.equal(noise(seeds[order], steps[order]), batch[order])
    rows = batch.flatten(1)
    assert all(not torch.equal(rows[i], rows[j]) for i in range(4) for j in range(i))


def test_numbers_are_normal_and_independent_across_seeds_and_steps():
    noise = CountedNoise((40_000,))
    drawn = noise(torch.tensor([0, 0, 1, 1, 2**62]), torch.tensor([0, 1, 0, 1, 0])).numpy()
    for row in drawn:
        assert stats.kstest(row, "norm").pvalue > 1e-3
        assert abs(np.corrcoef(row[:-1], row[1:])[0, 1]) < 0.02
    correlation = np.corrcoef(drawn) - np.eye(5)
    assert np.abs(correlation).max() < 0.02
    assert drawn.std() == pytest.approx(1, abs=0.005)


def test_quantiles_are_symmetric_of_unit_variance_and_on_the_grid():
    values = normal_quantiles(2**16)
    assert torch.equal(values, -values.flip(0))
    assert values.double().square().mean().item() == pytest.approx(1, abs=1e-6)
    assert torch.equal(values * 2**16, (values * 2**16).round())
