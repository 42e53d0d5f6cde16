"""Degrees of parallelism, parts of a batch, and what torchrun's environment must hold."""

from contextlib import nullcontext

import pytest
import torch

import cosmos_sim.training.layout as layout_module
from cosmos_sim.training.layout import WHOLE, Layout, ParallelConfig, Part, open_layout


def test_parts_make_up_the_whole():
    items = torch.arange(24).reshape(12, 2)
    parts = [Part(index, 3).of(items) for index in range(3)]
    assert [len(part) for part in parts] == [4, 4, 4]
    assert torch.equal(torch.stack(parts, dim=1).flatten(0, 1), items)
    assert Part(1, 2).of(["a", "b", "c", "d"]) == ["b", "d"]
    assert WHOLE.of("abc") == "abc"


def test_a_batch_that_does_not_divide_is_refused():
    with pytest.raises(ValueError, match="7 samples do not divide into 2 equal parts"):
        Part(0, 2).of(range(7))
    with pytest.raises(ValueError, match="no part 2 of 2"):
        Part(2, 2)


@pytest.mark.parametrize(
    ("config", "processes", "shard"),
    [
        (ParallelConfig(), 1, 1),
        (ParallelConfig(), 6, 6),
        (ParallelConfig(replicate=2, context=3), 12, 2),
        (ParallelConfig(replicate=128, shard=4, context=8), 4096, 4),
    ],
)
def test_processes_that_are_left_shard(config: ParallelConfig, processes: int, shard: int):
    assert config.shards(processes) == shard


@pytest.mark.parametrize(
    ("config", "processes", "message"),
    [
        (ParallelConfig(replicate=2), 1, "need a multiple of 2 processes, but there is 1"),
        (ParallelConfig(context=4), 6, "need a multiple of 4 processes, but there are 6"),
        (ParallelConfig(replicate=2, shard=2, context=2), 16, "need 8 processes, but there are 16"),
        (ParallelConfig(shard=3), 2, "need 3 processes, but there are 2"),
    ],
)
def test_degrees_must_fit_the_processes(config: ParallelConfig, processes: int, message: str):
    with pytest.raises(ValueError, match=message):
        config.shards(processes)


def test_options_are_checked_where_they_are_set():
    with pytest.raises(ValueError, match=r"parallel.context must be at least 1, but is 0"):
        ParallelConfig(context=0)
    with pytest.raises(ValueError, match=r"unknown parallel.checkpointing 'selectiv'; did you mean 'selective'"):
        ParallelConfig(checkpointing="selectiv")  # type: ignore[arg-type]


def test_parts_follow_the_context_group():
    layout = Layout(ParallelConfig(context=2), torch.device("cpu"), rank=5, size=8)
    assert layout.part(split=True) == Part(2, 4)
    assert layout.part(split=False) == Part(5, 8)


def test_copies_are_numbered_in_the_order_of_ranks():
    config = ParallelConfig(replicate=3, context=2)
    layouts = [Layout(config, torch.device("cpu"), rank=rank, size=12) for rank in range(12)]
    assert [layout.copy for layout in layouts] == [0] * 4 + [1] * 4 + [2] * 4


@pytest.mark.parametrize(
    ("device", "error", "closed"),
    [("cuda", ValueError, 0), ("cuda", SystemExit, 1), ("cuda", None, 1), ("cpu", ValueError, 1)],
)
def test_after_an_error_it_does_not_wait_for_the_other_gpus(
    monkeypatch: pytest.MonkeyPatch, device: str, error: type[BaseException] | None, closed: int
):
    calls: list[str] = []
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setattr(layout_module, "_own_device", lambda name, rank: torch.device(device))
    monkeypatch.setattr(layout_module, "_divide", lambda config, own, shard: None)
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda *_, **__: None)
    monkeypatch.setattr(torch.distributed, "destroy_process_group", lambda: calls.append("closed"))
    with nullcontext() if error is None else pytest.raises(error), open_layout(ParallelConfig(), device):
        if error is not None:
            raise error
    assert len(calls) == closed


def test_one_process_needs_nothing(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with open_layout(ParallelConfig(), "cpu") as layout:
        assert layout.main
        assert layout.mesh is None
        assert not torch.distributed.is_initialized()
        assert layout.any(True)
        assert layout.gather({"a": 1}) == [{"a": 1}]
        assert layout.mean(torch.tensor([2.0, 3.0])).tolist() == [2.0, 3.0]


def test_an_environment_that_is_not_whole_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOCAL_RANK", "0")
    monkeypatch.setenv("MASTER_PORT", "29500")
    with (
        pytest.raises(ValueError, match="WORLD_SIZE=2, but RANK, MASTER_ADDR not set"),
        open_layout(ParallelConfig(), "cpu"),
    ):
        pass
