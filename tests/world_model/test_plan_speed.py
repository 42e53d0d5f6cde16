"""Planned operations against torch's count of a real step; planned bytes and seconds against closed forms."""

from dataclasses import replace

import pytest
import torch
from measured_memory import blocks_checkpointed
from tiny_dit import TINY, inputs, randomised
from torch.utils.flop_counter import FlopCounterMode

from cosmos_sim.training.layout import Checkpointing, ParallelConfig
from cosmos_sim.world_model.dit import DiT, preset
from cosmos_sim.world_model.plan_devices import DEVICES, FAR_HOP, HOP, LEVEL, LINK, NETWORK, START
from cosmos_sim.world_model.plan_speed import cost, elementwise_widths, speed
from cosmos_sim.world_model.plan_traffic import Group, traffic
from cosmos_sim.world_model.plan_workload import Workload, weights

TEXT = 7
H100 = DEVICES["h100"]


@pytest.mark.parametrize("level", ["none", "selective", "attention", "full"])
def test_products_of_a_step_are_those_that_torch_counts(level: Checkpointing, monkeypatch: pytest.MonkeyPatch):
    """Within 3%: the first layers need no gradient of their inputs, which the convention of three forwards counts."""
    monkeypatch.setattr("cosmos_sim.world_model.plan_workload.TEXT_TOKENS", TEXT)
    config = replace(TINY, context_in_dim=None)
    model = blocks_checkpointed(randomised(DiT(config)), level)
    with FlopCounterMode(display=False) as counter:
        model(**inputs(config, b=2, size=(3, 12, 20), text=TEXT)).square().mean().backward()
    counted = counter.get_flop_counts()["Global"]
    products = sum(counted.get(op, 0) for op in (torch.ops.aten.mm, torch.ops.aten.addmm))
    work = Workload(config, (96, 160), 9, batch=2)
    planned = cost(work, ParallelConfig(checkpointing=level))
    again = planned.again - (planned.attention / 3 if level == "full" else 0)
    assert planned.products + again == pytest.approx(products, rel=0.03)
    shared = cost(work, ParallelConfig(context=3, checkpointing=level))
    assert shared.model == pytest.approx(planned.model / 3)


def test_seconds_add_up_to_what_efficiencies_say():
    work, parallel = Workload(preset("predict2.5-2b")), ParallelConfig(checkpointing="attention", compile=True)
    operations, found = cost(work, parallel), speed(work, parallel, 1, H100, [])
    assert found.products == (operations.products + operations.again) / (0.7 * 989e12)
    kernels = operations.attention / 3 / 989e12 * (1 / 0.60 + 2.5 / 0.52)
    assert found.attention == pytest.approx(kernels)
    parts = (found.products, found.attention, found.elementwise, found.exchange, found.waiting, found.update)
    assert found.step == pytest.approx(sum(parts))
    assert found.exchange == found.waiting == 0
    full = speed(work, replace(parallel, checkpointing="full"), 1, H100, [])
    assert full.attention - found.attention == pytest.approx(operations.attention / 3 / 989e12 / 0.60)
    assert full.products == pytest.approx(found.products)
    eager = speed(work, replace(parallel, compile=False), 1, H100, [])
    ratio = elementwise_widths(work.network, compiled=False, split=False) / elementwise_widths(
        work.network, compiled=True, split=False
    )
    assert eager.elementwise == pytest.approx(ratio * found.elementwise)
    with pytest.raises(ValueError, match="bf16=False"):
        speed(replace(work, bf16=False), parallel, 1, H100, [])


def test_bytes_of_every_kind_of_communication():
    work = Workload(preset("predict2.5-14b"), accumulate=2)
    parallel = ParallelConfig(replicate=2, shard=4, context=8, checkpointing="selective")
    sent = {kind.name: kind for kind in traffic(work, parallel, 64, H100)}
    count = weights(work.network)
    assert sent["gradients scattered, fp32"].bytes == round(2 * 4 * count.all * 31 / 32)
    assert sent["gradients added over copies, fp32"].bytes == round(2 * 2 * 4 * count.all / 32 / 2)
    gathered = 36 * (2 * count.block + 4 * count.block_exact) + 2 * count.ends + 4 * count.ends_exact
    assert sent["weights gathered, forward"].bytes == round(2 * gathered * 31 / 32)
    assert sent["weights gathered, backward"].bytes == sent["weights gathered, forward"].bytes
    exchanged = 4 * 24 * 440 * 5120 * 2 * 7 / 8  # queries, keys, values and what was attended, in bf16
    assert sent["tokens exchanged for heads"].bytes == 2 * 36 * 3 * exchanged
    plain = {kind.name: kind for kind in traffic(work, replace(parallel, checkpointing="none"), 64, H100)}
    assert plain["tokens exchanged for heads"].bytes == 2 * 36 * 2 * exchanged
    assert [name for name, kind in sent.items() if not kind.hidden] == [
        "tokens exchanged for heads",
        "output gathered, fp32",
    ]
    assert traffic(work, ParallelConfig(), 1, H100) == []
    assert "tokens exchanged for heads" not in {
        kind.name for kind in traffic(replace(work, frames=1), parallel, 64, H100)
    }


def test_links_of_groups():
    inside, outside = 450e9 * LINK.value, 50e9 * NETWORK.value
    assert Group(8).speed(H100) == inside
    assert Group(32).speed(H100) == min(inside, 8 * outside), "a ring of neighbours uses every adapter"
    assert Group(4, apart=8).speed(H100) == outside, "one GPU in each server"
    assert Group(4, apart=4).speed(H100) == 2 * outside
    assert Group(16, adapters=1).speed(H100) == outside, "every GPU sends to every other"
    assert Group(2, apart=4).speed(H100) == inside, "in one server"
    servers = Group(512, apart=8)
    assert servers.tree_latency == pytest.approx(START.value + 2 * 9 * LEVEL.value)
    assert servers.tree_latency < 2 * servers.latency, "trees serve many servers, rings few"
    assert Group(2, apart=8).tree_latency > 2 * Group(2, apart=8).latency
    assert Group(32).latency == pytest.approx(START.value + 3 * FAR_HOP.value + 28 * HOP.value)


def test_what_nothing_hides_is_waited_for():
    work, parallel = Workload(preset("predict2.5-2b"), (32, 32), 1), ParallelConfig(shard=16)
    sent = traffic(work, parallel, 16, H100)
    found = speed(work, parallel, 16, H100, sent)
    computing = found.products + found.attention + found.elementwise
    assert found.waiting == pytest.approx(sum(kind.seconds for kind in sent) - computing)
    assert found.waiting > computing, "a tiny image is no work for 16 GPUs"
