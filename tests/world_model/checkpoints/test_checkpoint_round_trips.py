"""Through every format and back: not a bit changes."""

import json
import zipfile
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from tiny_networks import BASE, CONFIGS, network, nvidia_state, same, shards, stored

from cosmos_sim.world_model.checkpoints.convert import Options, convert
from cosmos_sim.world_model.checkpoints.infer import Unseen
from cosmos_sim.world_model.checkpoints.network import save_ours
from cosmos_sim.world_model.checkpoints.source import open_source


@pytest.mark.parametrize("kind", CONFIGS)
def test_ours_to_nvidia_and_diffusers_and_back(kind: str, tmp_path: Path):
    config = CONFIGS[kind]
    model = network(config, torch.bfloat16)
    model.final_layer.float()
    torch.save(nvidia_state(model), tmp_path / "first.pt")
    unseen = Unseen(rope_ratio=config.rope_ratio, action_layout=config.action_layout)
    small = Options(max_shard=30_000)
    convert(tmp_path / "first.pt", tmp_path / "ours", to="ours", options=Options(unseen=unseen, max_shard=30_000))
    assert stored(tmp_path / "ours")[0] == config
    same(stored(tmp_path / "ours")[1], model.state_dict())

    convert(tmp_path / "ours", tmp_path / "second.pt", to="nvidia")
    convert(tmp_path / "second.pt", tmp_path / "again", to="ours", options=Options(unseen=unseen, max_shard=30_000))
    assert (tmp_path / "again/config.json").read_text() == (tmp_path / "ours/config.json").read_text()
    same(shards(tmp_path / "again"), model.state_dict())

    keep = Options(keep_actions=config.action_dim is not None, max_shard=30_000)
    convert(tmp_path / "ours", tmp_path / "pipeline", to="diffusers", options=keep)
    convert(tmp_path / "pipeline", tmp_path / "back", to="ours", options=small)
    assert (tmp_path / "back/config.json").read_text() == (tmp_path / "ours/config.json").read_text()
    same(shards(tmp_path / "back"), model.state_dict())


def test_a_pt_file_is_what_torch_would_have_saved(tmp_path: Path):
    model = network(BASE, torch.bfloat16)
    torch.save(nvidia_state(model), tmp_path / "theirs.pt")
    convert(tmp_path / "theirs.pt", tmp_path / "ours", to="ours")
    convert(tmp_path / "ours", tmp_path / "mine.pt", to="nvidia")
    expected = {
        name: tensor.bfloat16() if "pos_embedder" in name else tensor for name, tensor in nvidia_state(model).items()
    }
    same(torch.load(tmp_path / "mine.pt", weights_only=True), expected)
    mapped = torch.load(tmp_path / "mine.pt", weights_only=True, mmap=True)
    same(mapped, expected)
    assert all(tensor.data_ptr() % 64 == 0 for tensor in mapped.values())
    with zipfile.ZipFile(tmp_path / "mine.pt") as archive:
        assert archive.testzip() is None


def test_pt_to_a_distributed_checkpoint_and_back(tmp_path: Path):
    model = network(CONFIGS["action"], torch.bfloat16)
    options = Options(unseen=Unseen(rope_ratio=(1.0, 2.0, 2.0)))
    torch.save(nvidia_state(model), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "iter_1/model", to="nvidia-dcp", options=options)
    target = {name: torch.zeros_like(tensor) for name, tensor in nvidia_state(model).items()}
    target |= {name: tensor.bfloat16() for name, tensor in target.items() if "pos_embedder" in name}
    dcp.load(target, checkpoint_id=tmp_path / "iter_1/model")
    convert(tmp_path / "iter_1", tmp_path / "b.pt", to="nvidia")
    same(torch.load(tmp_path / "b.pt", weights_only=True), target)
    same({name[4:]: tensor for name, tensor in target.items() if "pos_" not in name}, model.state_dict())


def test_shards_are_as_small_as_asked_and_indexed(tmp_path: Path):
    model = network(BASE)
    torch.save(nvidia_state(model), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "ours", to="ours", options=Options(max_shard=50_000))
    index = json.loads((tmp_path / "ours/model.safetensors.index.json").read_text())
    files = sorted(file.name for file in (tmp_path / "ours").glob("*.safetensors"))
    assert len(files) > 3
    assert files[0] == f"model-00001-of-{len(files):05d}.safetensors"
    assert sorted(set(index["weight_map"].values())) == files
    assert set(index["weight_map"]) == set(model.state_dict())
    assert index["metadata"]["total_size"] == sum(t.nbytes for t in model.state_dict().values())
    sizes = {
        name: sum(model.state_dict()[k].nbytes for k, f in index["weight_map"].items() if f == name) for name in files
    }
    assert all(size <= 50_000 for size in sizes.values())
    save_ours(_network(tmp_path / "ours"), tmp_path / "single")
    assert [file.name for file in (tmp_path / "single").glob("model*")] == ["model.safetensors"]


def test_fp32_averages_become_bf16_and_integers_do_not(tmp_path: Path):
    model = network(BASE)
    torch.save(nvidia_state(model), tmp_path / "a.pt")
    convert(tmp_path / "a.pt", tmp_path / "b.pt", to="nvidia", options=Options(dtype=torch.bfloat16))
    same(
        torch.load(tmp_path / "b.pt", weights_only=True),
        {name: tensor.bfloat16() for name, tensor in nvidia_state(model).items()},
    )


def _network(path: Path):
    from cosmos_sim.world_model.checkpoints.network import open_network

    return open_network(open_source(path))
