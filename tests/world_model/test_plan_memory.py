"""Planned bytes against those of real networks, by torch's memory tracker; all within 10%, most within 4%."""

from dataclasses import replace

import pytest
import torch
from measured_memory import Tracked, blocks_checkpointed, use_fused_norms
from tiny_dit import TINY, inputs, output, randomised
from torch import nn

from cosmos_sim.training.layout import Checkpointing, ParallelConfig
from cosmos_sim.world_model.dit import DiT, preset
from cosmos_sim.world_model.plan_activations import block_tensors, kept
from cosmos_sim.world_model.plan_memory import memory
from cosmos_sim.world_model.plan_workload import Workload, resolution, weights

LEVELS: list[Checkpointing] = ["none", "selective", "attention", "full"]
SIZE, FRAMES, BATCH, TEXT = (192, 320), 9, 2, 7
PLAIN = replace(TINY, context_in_dim=None)


@pytest.fixture(autouse=True)
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    use_fused_norms(monkeypatch)
    monkeypatch.setattr("cosmos_sim.world_model.attention.pays_in_products", lambda q, v: False)
    monkeypatch.setattr("cosmos_sim.world_model.plan_workload.TEXT_TOKENS", TEXT)


def workload(**changes: object) -> Workload:
    return replace(Workload(PLAIN, SIZE, FRAMES, BATCH, ema=False, bf16=False), **changes)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_blocks_keep_what_the_plan_says(level: Checkpointing, dtype: torch.dtype):
    """The difference of two depths is what a block keeps, and what stands around the blocks does not matter."""
    found = []
    for blocks in (2, 4):
        model = blocks_checkpointed(randomised(DiT(replace(PLAIN, num_blocks=blocks))).cast(dtype), level)
        given = inputs(PLAIN, b=BATCH, size=(3, 24, 40), text=TEXT)
        output(model, **given)
        with Tracked(model) as tracked:
            out = model(**given)
            found.append(tracked.now - tracked.before)
            del out
    load = workload(bf16=dtype == torch.bfloat16).load(ParallelConfig())
    own = 15_000  # checkpointing's own records (the generators' states), the same at any size
    assert (found[1] - found[0]) / 2 == pytest.approx(kept(load, level), rel=0.02, abs=own if level != "none" else 0)


@pytest.mark.parametrize("level", LEVELS)
def test_a_step_takes_at_most_what_the_plan_says(level: Checkpointing):
    """Weights, gradients, AdamW's moments and activations at the fullest moment of a real step."""
    model = blocks_checkpointed(randomised(DiT(PLAIN)), level)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    given = inputs(PLAIN, b=BATCH, size=(3, 24, 40), text=TEXT)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    with Tracked(model, optimizer) as tracked:
        model(**given).square().mean().backward()
        optimizer.step()
    planned = memory(workload(), ParallelConfig(checkpointing=level), 1)
    assert tracked.peak == pytest.approx(planned.tensors, rel=0.10)


def test_weights_and_moments_are_those_of_a_real_optimiser():
    model = DiT(TINY)
    optimizer = torch.optim.AdamW(model.parameters())
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    moments = [m for state in optimizer.state.values() for name, m in state.items() if name.startswith("exp_avg")]
    planned = {part.name: part.update for part in memory(workload(network=TINY), ParallelConfig(), 1).parts}
    assert planned["weights, fp32"] == sum(p.nbytes for p in model.parameters())
    assert planned["AdamW's moments, fp32"] == sum(m.nbytes for m in moments)
    assert planned["gradients, fp32"] == sum(p.grad.nbytes for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize(("name", "billions"), [("predict2.5-2b", 2.059), ("predict2.5-14b", 14.37)])
def test_weights_of_the_published_networks(name: str, billions: float):
    with torch.device("meta"):
        model = DiT(preset(name))
    count = weights(model.config)
    assert count.all == sum(p.numel() for p in model.parameters())
    assert count.all / 1e9 == pytest.approx(billions, rel=1e-3)
    exact = [m for name, m in model.named_modules() if "adaln_modulation" in name.rpartition(".")[2]]
    modulations = sum(p.numel() for m in exact for p in m.parameters())
    assert count.blocks * count.block_exact + count.ends_exact >= modulations
    assert isinstance(model.blocks[0], nn.Module)
    assert count.block + count.block_exact == sum(p.numel() for p in model.blocks[0].parameters())


def test_shards_divide_what_lasts_and_a_context_group_the_activations():
    one = memory(workload(bf16=True), ParallelConfig(), 1)
    many = memory(workload(bf16=True), ParallelConfig(replicate=2, shard=3, context=3), 18)
    parts = {part.name: part for part in one.parts}
    for part in many.parts:
        if part.name in ("weights, fp32", "AdamW's moments, fp32"):
            assert part.update == pytest.approx(parts[part.name].update / 9, rel=1e-3)
        if part.name == "activations kept by the blocks":
            load = workload(bf16=True).load(ParallelConfig(context=3))
            exchanged = sum(row.bytes for row in block_tensors(load) if "exchanged" in row.name)
            unneeded = next(row.bytes for row in block_tensors(load) if row.name == "self-attention: v")
            blocks = PLAIN.num_blocks * (exchanged - unneeded)
            assert part.turn - blocks == pytest.approx(parts[part.name].turn / 3, rel=0.02)


def test_images_are_not_shared_and_videos_are_padded():
    parallel = ParallelConfig(context=7)
    assert workload(frames=1).load(parallel).tokens == BATCH * 12 * 20
    assert workload().load(parallel).tokens == BATCH * 3 * 35, "240 places a frame in 7 shares of 35"


def test_the_fullest_moment_decides():
    small = memory(workload(size=(16, 16), frames=1), ParallelConfig(), 1)
    assert small.fullest == "update", "hardly any activations"
    assert memory(workload(), ParallelConfig(), 1).fullest in ("forward", "turn")
    piled = memory(workload(accumulate=2), ParallelConfig(), 1)
    assert next(part for part in piled.parts if part.name == "gradients, fp32").forward > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"frames": 10}, r"frames=10 is not 1 plus a multiple of 4; 9 is"),
        ({"size": (180, 320)}, r"size \(180, 320\) does not divide into patches of 16"),
        ({"batch": 0}, "batch must be at least 1, not 0"),
    ],
)
def test_workloads_that_cannot_be_are_refused(changes: dict[str, object], message: str):
    with pytest.raises(ValueError, match=message):
        workload(**changes)


def test_resolutions_have_names():
    assert resolution("720p") == (704, 1280)
    assert resolution("480, 832") == resolution("480p") == (480, 832)
    with pytest.raises(ValueError, match="unknown resolution '702p': did you mean '720p'"):
        resolution("702p")
