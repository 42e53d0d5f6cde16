"""Wrong, foreign and damaged files: refused by name, before anything is written."""

import json
import pickle
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tiny_networks import BASE, network, nvidia_state

from cosmos_sim.world_model.checkpoints.convert import Options, convert
from cosmos_sim.world_model.checkpoints.load import load_dit


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    return nvidia_state(network(BASE))


def refuse(tmp_path: Path, state: dict, message: str) -> None:
    torch.save(state, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=message):
        convert(tmp_path / "a.pt", tmp_path / "out", to="ours")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt"]


def test_missing_and_unexpected_weights_are_named(tmp_path: Path, state: dict[str, torch.Tensor]):
    moved = {name.replace("blocks.1.mlp.layer1", "blocks.1.mlp.fc1"): tensor for name, tensor in state.items()}
    message = (
        r"1 weights missing \(first: \['blocks.1.mlp.layer1.weight'\]\), 1 unexpected \(first: \['blocks.1.mlp.fc1"
    )
    refuse(tmp_path, moved, message)


def test_wrong_shapes_are_named(tmp_path: Path, state: dict[str, torch.Tensor]):
    name = "net.blocks.2.cross_attn.k_proj.weight"
    wrong = state | {name: state[name][:, :-1].clone()}
    refuse(tmp_path, wrong, r"blocks\.2\.cross_attn\.k_proj\.weight has shape \(48, 19\), expected \(48, 20\)")
    name = "net.x_embedder.proj.1.weight"
    refuse(tmp_path, state | {name: state[name][:, :-1].clone()}, r"takes 23 features; for 4 latent channels")


def test_foreign_networks_are_refused_and_relatives_recognised(tmp_path: Path, state: dict[str, torch.Tensor]):
    foreign = torch.nn.Linear(3, 2).state_dict()
    refuse(
        tmp_path, foreign, r"missing \(first: \['x_embedder\.proj\.1\.weight'\]\), 2 unexpected \(first: \['weight'\]"
    )
    control = state | {"net.control_blocks.0.after_proj.weight": torch.zeros(2, 2)}
    refuse(tmp_path, control, "holds no whole control branch")
    with pytest.raises(ValueError, match=r"control_blocks\.0\.after_proj.*looks like a Transfer2\.5 network"):
        load_dit(tmp_path / "a.pt")


def test_files_that_are_no_checkpoints(tmp_path: Path, state: dict[str, torch.Tensor]):
    file = tmp_path / "a.pt"

    def refused(message: str) -> None:
        with pytest.raises(ValueError, match=message):
            load_dit(file)

    torch.save(state, file)
    whole = file.read_bytes()
    file.write_bytes(b"")
    refused(r"is empty \(0 bytes\)")
    file.write_bytes(whole[: len(whole) // 2])
    refused(r"a\.pt \(\d+ bytes\) is damaged or truncated")
    file.write_bytes(b"<html>")
    refused("no torch checkpoint")
    torch.save(state, file, _use_new_zipfile_serialization=False)
    refused(r"a bare pickle, or torch's format before 1\.6")
    torch.save([torch.ones(2)], file)
    refused("holds a list, not a dictionary")


class Trap:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.target,))


def test_code_in_a_file_is_never_run(tmp_path: Path, state: dict[str, torch.Tensor]):
    torch.save(state | {"net.extra": Trap(tmp_path / "sprung")}, tmp_path / "a.pt")
    with pytest.raises(ValueError, match=r"holds more than tensors \(.*\), which is never loaded"):
        load_dit(tmp_path / "a.pt")
    (tmp_path / "b.safetensors").write_bytes(pickle.dumps(Trap(tmp_path / "sprung")))
    with pytest.raises(ValueError, match="is a pickle in place of a safetensors file"):
        load_dit(tmp_path / "b.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_truncated_and_missing_shards(tmp_path: Path, state: dict[str, torch.Tensor]):
    torch.save(state, tmp_path / "a.pt")
    folder = tmp_path / "ours"
    convert(tmp_path / "a.pt", folder, to="ours", options=Options(max_shard=100_000))
    shard = sorted(folder.glob("*.safetensors"))[1]
    content = shard.read_bytes()
    shard.write_bytes(content[:-1])
    with pytest.raises(ValueError, match=rf"{shard.name} \(\d+ bytes\) is damaged"):
        convert(folder, tmp_path / "b.pt", to="nvidia")
    shard.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{shard.name} \(0 bytes\) is damaged"):
        convert(folder, tmp_path / "b.pt", to="nvidia")
    shard.unlink()
    with pytest.raises(ValueError, match=rf"promises the shard '{shard.name}'"):
        convert(folder, tmp_path / "b.pt", to="nvidia")
    shard.write_bytes(content)
    index = folder / "model.safetensors.index.json"
    text = index.read_text()
    index.write_text(json.dumps({"weight_map": {"a": "../a.pt"}}))
    with pytest.raises(ValueError, match=r"promises the shard '\.\./a\.pt'"):
        load_dit(folder)
    index.write_text(text.replace("x_embedder", "y_embedder"))
    with pytest.raises(ValueError, match="which does not hold it"):
        load_dit(folder)
    index.write_text("{")
    with pytest.raises(ValueError, match="is no index of shards"):
        load_dit(folder)
    assert not (tmp_path / "b.pt").exists()


def test_places_that_hold_no_checkpoint(tmp_path: Path, state: dict[str, torch.Tensor]):
    with pytest.raises(ValueError, match=r"`hf download nvidia/Cosmos-Predict2\.5-2B base/x\.pt --local-dir"):
        load_dit("nvidia/Cosmos-Predict2.5-2B/base/x.pt")
    with pytest.raises(ValueError, match="no file or folder"):
        load_dit(tmp_path / "nothing")
    (tmp_path / "repository/base").mkdir(parents=True)
    torch.save(state, tmp_path / "repository/base/a.pt")
    with pytest.raises(ValueError, match=r"inside it there are \['base/a\.pt'\]"):
        load_dit(tmp_path / "repository")
    (tmp_path / "repository/config.json").write_text('{"_class_name": "UNet2DModel"}')
    with pytest.raises(ValueError, match="describes 'UNet2DModel'"):
        load_dit(tmp_path / "repository")


def test_destinations_are_not_overwritten_or_misnamed(tmp_path: Path, state: dict[str, torch.Tensor]):
    torch.save(state, tmp_path / "a.pt")
    save_file({"x": torch.ones(1)}, tmp_path / "old.pt")
    before = (tmp_path / "old.pt").read_bytes()
    with pytest.raises(ValueError, match=r"old\.pt exists"):
        convert(tmp_path / "a.pt", tmp_path / "old.pt", to="nvidia")
    assert (tmp_path / "old.pt").read_bytes() == before
    convert(tmp_path / "a.pt", tmp_path / "old.pt", to="nvidia", overwrite=True)
    load_dit(tmp_path / "old.pt")
    with pytest.raises(ValueError, match=r"holds .*a\.pt, which is read"):
        convert(tmp_path / "a.pt", tmp_path, to="ours", overwrite=True)
    (tmp_path / "pipeline" / "vae").mkdir(parents=True)
    with pytest.raises(ValueError, match="holds 'vae', which is no part of a checkpoint"):
        convert(tmp_path / "a.pt", tmp_path / "pipeline", to="ours", overwrite=True)
    assert (tmp_path / "pipeline" / "vae").is_dir()
    with pytest.raises(ValueError, match=r"ending in \.pt"):
        convert(tmp_path / "a.pt", tmp_path / "folder", to="nvidia")
    with pytest.raises(ValueError, match="ours is a folder"):
        convert(tmp_path / "a.pt", tmp_path / "b.safetensors", to="ours")
    with pytest.raises(ValueError, match="lora_alpha=3 would be ignored"):
        convert(tmp_path / "a.pt", tmp_path / "b", to="ours", options=Options(lora_alpha=3))


@pytest.mark.parametrize("change", [{"causal": True}, {"action_dim": 6, "action_injection": "channels"}])
def test_networks_that_would_compute_something_else_elsewhere(change: dict, tmp_path: Path):
    from cosmos_sim.world_model.checkpoints.network import Network, save_diffusers, save_nvidia
    from cosmos_sim.world_model.checkpoints.stored import held

    config = replace(BASE, **change)
    weights = {name: held(tensor) for name, tensor in network(config).state_dict().items()}
    for save, target in ((save_nvidia, tmp_path / "a.pt"), (save_diffusers, tmp_path / "a")):
        with pytest.raises(ValueError, match=f"has no network with {list(change)[-1]}="):
            save(Network(config, weights), target)
    assert not list(tmp_path.iterdir())
