"""Random streams, devices, and batches made ahead of time."""

import threading
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pytest
import torch
from mlp_recipe import MlpRecipe

from cosmos_sim.training import TrainConfig
from cosmos_sim.training.batches import batches
from cosmos_sim.training.device import (
    Stream,
    autocast,
    has_fast_bf16,
    map_tensors,
    process_settings,
    select_device,
    stream_generator,
)

CPU = torch.device("cpu")


def drawn(prefetch: int, start: int = 0, steps: int = 9) -> list[torch.Tensor]:
    config = TrainConfig(steps=steps, prefetch=prefetch, accumulate=2, seed=4)
    return [batch["x"] for step in batches(MlpRecipe(), config, CPU, start) for batch in step]


@pytest.mark.parametrize("prefetch", [1, 3, 20])
def test_batches_are_the_same_in_the_same_order_however_far_ahead_they_are_made(prefetch):
    expected = drawn(0)
    assert len(expected) == 18
    assert not torch.equal(expected[0], expected[1])
    assert all(torch.equal(a, b) for a, b in zip(drawn(prefetch), expected, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(drawn(prefetch, start=7), expected[14:], strict=True))


def test_an_error_in_a_batch_surfaces_at_its_step_and_no_thread_stays_behind():
    class Broken(MlpRecipe):
        def batch(self, step, generator):
            if step == 3:
                raise ValueError("episode 3 is broken")
            return super().batch(step, generator)

    source = batches(Broken(), TrainConfig(steps=9, prefetch=2), CPU, 0)
    assert len([next(source) for _ in range(3)]) == 3
    with pytest.raises(ValueError, match="episode 3 is broken"):
        next(source)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batch")]


def test_every_seed_step_and_stream_draws_its_own_numbers():
    keys = [(seed, step, stream) for seed in (0, 1) for step in (0, 1, 2) for stream in Stream]
    numbers = {key: torch.randn(4, generator=stream_generator(*key)) for key in keys}
    assert len({tuple(value.tolist()) for value in numbers.values()}) == len(keys)
    assert torch.equal(numbers[1, 2, Stream.LOSS], torch.randn(4, generator=stream_generator(1, 2, Stream.LOSS)))


class Pair(NamedTuple):
    a: torch.Tensor
    b: str


@dataclass(frozen=True)
class Record:
    x: torch.Tensor
    pair: Pair


def test_tensors_are_found_in_any_nesting():
    nested = {"r": Record(torch.ones(2), Pair(torch.ones(3), "b")), "l": [torch.ones(1), (torch.ones(4), 5)]}
    doubled = map_tensors(nested, lambda tensor: 2 * tensor)
    assert isinstance(doubled["r"], Record)
    assert isinstance(doubled["r"].pair, Pair)
    assert doubled["r"].x.sum() == 4
    assert doubled["r"].pair.a.sum() == 6
    assert doubled["r"].pair.b == "b"
    assert doubled["l"][0] == 2
    assert doubled["l"][1][0].sum() == 8
    assert doubled["l"][1][1] == 5
    assert nested["r"].x.sum() == 2


def test_precision_follows_the_option():
    x = torch.ones(3, 3)
    with autocast(CPU, "bf16"):
        assert (x @ x).dtype == torch.bfloat16
    with autocast(CPU, "fp32"):
        assert (x @ x).dtype == torch.float32
    with autocast(CPU, "auto"):
        assert (x @ x).dtype == (torch.bfloat16 if has_fast_bf16(CPU) else torch.float32)


@pytest.mark.parametrize("name", ["cdua", "cuda:99"])
def test_a_device_that_is_not_there_is_named(name):
    with pytest.raises(ValueError, match=f"device '{name}' cannot be used"):
        select_device(name)


def test_the_process_gets_its_threads_and_random_state_back():
    threads, state = torch.get_num_threads(), torch.random.get_rng_state()
    with process_settings(CPU, 3):
        assert torch.get_num_threads() == 3
        torch.manual_seed(0)
    assert torch.get_num_threads() == threads
    np.testing.assert_array_equal(torch.random.get_rng_state(), state)
