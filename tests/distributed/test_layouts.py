"""The same training on one process and on several, spread in every way; four processes are started once."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from processes import free_ports, launch, ranked
from tiny_training import CAUSAL, Case, train
from torch import nn

from cosmos_sim.training.layout import Layout, ParallelConfig, open_layout
from cosmos_sim.training.parallel import Unit, parallelise
from cosmos_sim.world_model.context_parallel import ContextParallel
from cosmos_sim.world_model.dit import DiT
from cosmos_sim.world_model.units import dit_units

BY_TWO = {
    "sharded": Case(),
    "context": Case(ParallelConfig(context=2)),
    "copies": Case(ParallelConfig(replicate=2), steps=3),
    "context, causal": Case(ParallelConfig(context=2, checkpointing="attention"), CAUSAL),
    "sharded, checkpointed": Case(ParallelConfig(checkpointing="full"), steps=3),
    "context, partly frozen": Case(ParallelConfig(context=2), CAUSAL, steps=3, trained="k_proj"),
    "sharded, partly frozen": Case(steps=3, trained="q_proj"),
    "sharded, bf16": Case(steps=2, bf16=True),
    "context, compiled": Case(ParallelConfig(context=2, checkpointing="selective", compile=True), steps=3),
}
BY_FOUR = {
    "hybrid": Case(ParallelConfig(replicate=2)),
    "sharded, context": Case(ParallelConfig(context=2)),
    "hybrid, context, causal": Case(ParallelConfig(replicate=2, context=2, checkpointing="selective"), CAUSAL, steps=3),
    "context of four": Case(ParallelConfig(context=4, checkpointing="selective"), steps=3),
}
CASES = BY_TWO | BY_FOUR


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """What the first process of each layout found."""
    folder = tmp_path_factory.mktemp("layouts")
    launch(work, 4, folder, free_ports(len(CASES) + 1))
    return {file.stem: torch.load(file, weights_only=True) for file in folder.iterdir()}


@pytest.fixture(scope="module")
def alone() -> dict[Case, dict[str, Any]]:
    """The same by one process, where nothing is wrapped or checkpointed."""
    return {case: train(case, Layout(ParallelConfig(), torch.device("cpu"))) for case in map(plain, CASES.values())}


def plain(case: Case) -> Case:
    return replace(case, parallel=ParallelConfig(), bf16=False)


def work(index: int, folder: Path, ports: list[int]) -> None:
    """One of four processes; two pairs first do the cases for two, side by side."""
    for number, (name, case) in enumerate(BY_TWO.items()):
        if number % 2 == index // 2:
            with ranked(index % 2, 2, ports.pop(0)):
                run(name, case, folder)
        else:
            ports.pop(0)
    for name, case in BY_FOUR.items():
        with ranked(index, 4, ports.pop(0)):
            run(name, case, folder)
    with ranked(index, 4, ports.pop(0)), open_layout(ParallelConfig(), "cpu") as layout:
        facts = {**agreed(layout), **refused(layout)}
        if layout.main:
            torch.save(facts, folder / "facts.pt")


def run(name: str, case: Case, folder: Path) -> None:
    with pytest.MonkeyPatch.context() as patch, open_layout(case.parallel, "cpu") as layout:
        patch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))  # seconds, not minutes
        results = train(case, layout)
        results["parts"] = layout.gather(
            [(part.index, part.count) for part in (layout.part(split=True), layout.part(split=False))]
        )
        if layout.main:
            torch.save(results, folder / f"{name}.pt")


def agreed(layout: Layout) -> dict[str, Any]:
    torch.manual_seed(layout.rank)
    model = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    model[1].running_mean += layout.rank
    parallelise(model, [Unit((model,))], layout, bf16=False)
    whole = model[0].weight.full_tensor().detach()
    layout.barrier()
    return {
        "any": [layout.any(layout.rank == 2), layout.any(False)],
        "mean": layout.mean(torch.tensor([1.0, layout.rank])).tolist(),
        "gathered": layout.gather(f"process {layout.rank}"),
        "weights": layout.gather(whole.tolist()),
        "buffers": layout.gather(model[1].running_mean.tolist()),
    }


def refused(layout: Layout) -> dict[str, Any]:
    model = DiT(replace(Case().model, num_heads=3))
    with pytest.raises(ValueError, match="3 attention heads do not divide among context=4"):
        ContextParallel(model, dist.group.WORLD)
    with pytest.raises(ValueError, match=r"shard=4 is more than the 3 blocks of DiT.*replicate=2 would do"):
        parallelise(model, dit_units(model), layout, bf16=False)
    return {}


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if not case.bf16])
def test_every_layout_learns_the_same(
    found: dict[str, dict[str, Any]], alone: dict[Case, dict[str, Any]], name: str
) -> None:
    case, got = CASES[name], found[name]
    expected = alone[plain(case)]
    assert len(got["losses"]) == case.steps
    assert abs(got["losses"][0] / got["losses"][-1] - 1) > 0.05
    torch.testing.assert_close(got["losses"], expected["losses"], rtol=1e-5, atol=0)
    torch.testing.assert_close(got["norms"], expected["norms"], rtol=1e-5, atol=0)
    for step, gradients in expected["gradients"].items():
        assert got["gradients"][step].keys() == gradients.keys()
        assert len(gradients) > 2
        for parameter, gradient in gradients.items():
            error = (got["gradients"][step][parameter] - gradient).norm() / gradient.norm()
            assert error < 1e-5, (step, parameter, error)
    assert got["frozen"] == []


def test_no_process_ever_holds_the_whole_model(found: dict[str, dict[str, Any]], alone: dict[Case, Any]) -> None:
    assert alone[Case()]["held"] > 0.9
    assert found["sharded"]["held"] < 0.75
    assert found["context of four"]["held"] < 0.6


def test_bf16_spares_the_layers_that_are_exact(found: dict[str, dict[str, Any]], alone: dict[Case, Any]) -> None:
    dtypes = found["sharded, bf16"]["dtypes"]
    assert dtypes.pop("blocks.1.mlp.layer1") == "torch.bfloat16"
    assert set(dtypes.values()) == {"torch.float32"}
    assert set(found["sharded"]["dtypes"].values()) == {"torch.float32"}
    expected = alone[plain(CASES["sharded, bf16"])]
    torch.testing.assert_close(found["sharded, bf16"]["losses"], expected["losses"], rtol=0.02, atol=0)
    assert found["sharded, bf16"]["losses"] != expected["losses"]


def test_context_groups_share_videos_and_no_images(found: dict[str, dict[str, Any]]) -> None:
    assert found["sharded"]["parts"] == [[(0, 2), (0, 2)], [(1, 2), (1, 2)]]
    assert found["context"]["parts"] == [[(0, 1), (0, 2)], [(0, 1), (1, 2)]]
    assert found["sharded, context"]["parts"] == [
        [(0, 2), (0, 4)],
        [(0, 2), (1, 4)],
        [(1, 2), (2, 4)],
        [(1, 2), (3, 4)],
    ]


def test_processes_agree(found: dict[str, dict[str, Any]]) -> None:
    facts = found["facts"]
    assert facts["any"] == [True, False]
    assert facts["mean"] == [1.0, 1.5]
    assert facts["gathered"] == [f"process {rank}" for rank in range(4)]
    torch.manual_seed(0)
    torch.testing.assert_close(facts["weights"], [nn.Linear(3, 5).weight.tolist()] * 4)
    assert facts["buffers"] == [[0.0] * 5] * 4
