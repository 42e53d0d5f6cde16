"""Random streams, devices, and batches made ahead of time."""

import threading
from dataclasses import dataclass
from itertools import product
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
from cosmos_sim.training.layout import Layout, ParallelConfig

CPU = torch.device("cpu")
ALONE = Layout(ParallelConfig(), CPU)


def drawn(prefetch: int, start: int = 0, steps: int = 9) -> list[torch.Tensor]:
    config = TrainConfig(steps=steps, prefetch=prefetch, accumulate=2, seed=4)
    return [batch["x"] for step in batches(MlpRecipe(), config, ALONE, start) for batch in step]


@pytest.mark.parametrize("prefetch", [1, 3, 20])
def test_batches_are_the_same_in_the_same_order_however_far_ahead_they_are_made(prefetch):
    expected = drawn(0)
    assert len(expected) == 18
    assert not torch.equal(expected[0], expected[1])
    assert all(torch.equal(a, b) for a, b in zip(drawn(prefetch), expected, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(drawn(prefetch, start=7), expected[14:], strict=True))


def test_an_error_in_a_batch_surfaces_at_its_step_and_no_thread_stays_behind():
    class Broken(MlpRecipe):
        def batch(self, step, generator, part):
            if step == 3:
                raise ValueError("episode 3 is broken")
            return super().batch(step, generator, part)

    source = batches(Broken(), TrainConfig(steps=9, prefetch=2), ALONE, 0)
    assert len([next(source) for _ in range(3)]) == 3
    with pytest.raises(ValueError, match="episode 3 is broken"):
        next(source)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("batch")]


def test_every_seed_step_stream_and_part_draws_its_own_numbers():
    keys = list(product((0, 1), (0, 1, 2), Stream, (0, 1, 2)))
    numbers = {(*key, part): torch.randn(4, generator=stream_generator(*key, part=part)) for *key, part in keys}
    assert len({tuple(value.tolist()) for value in numbers.values()}) == len(keys)
    assert torch.equal(numbers[1, 2, Stream.LOSS, 0], torch.randn(4, generator=stream_generator(1, 2, Stream.LOSS)))


def test_the_parts_of_a_batch_make_it_up_whatever_is_split():
    class Images(MlpRecipe):
        def splits(self, step):
            return step % 2 == 0

    config = TrainConfig(steps=2, prefetch=0)
    whole = [batch["x"] for (batch,) in batches(Images(), config, ALONE, 0)]
    for context, counts in ((1, (4, 4)), (2, (2, 4))):
        layouts = [Layout(ParallelConfig(context=context), CPU, rank, 4) for rank in range(4)]
        each = [[batch["x"] for (batch,) in batches(Images(), config, layout, 0)] for layout in layouts]
        for step, count in enumerate(counts):
            own = [parts[step] for parts in each]
            assert len(own[0]) == 8 // count
            shares = own[:: 4 // count]
            assert torch.equal(torch.stack(shares, 1).flatten(0, 1), whole[step])
            assert all(torch.equal(own[rank], shares[rank // (4 // count)]) for rank in range(4))


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
