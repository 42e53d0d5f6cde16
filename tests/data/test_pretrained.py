"""Artefacts on disk: found, checked, and refused by name when they are not what they should be."""

import json
import pickle
from dataclasses import dataclass
from pathlib import Path

import gymnasium
import pytest
import torch
from safetensors.torch import save_file

import cosmos_sim  # noqa: F401, registers the environments
from cosmos_sim.data.pretrained import find_folder, from_dict, load_weights, read_config, read_tensors, to_json


@dataclass(frozen=True)
class Inner:
    size: tuple[int, int]
    rate: float = 0.5


@dataclass(frozen=True)
class Outer:
    name: str
    inner: Inner
    maybe: Inner | None = None


def test_configs_survive_json_and_wrong_ones_are_named():
    config = Outer("a", Inner((2, 3)), Inner((4, 5), 1.0))
    assert from_dict(Outer, json.loads(to_json(vars(config)))) == config
    with pytest.raises(ValueError, match=r"config\.inner has an unknown field 'sized'"):
        from_dict(Outer, {"name": "a", "inner": {"sized": [1, 2]}})
    with pytest.raises(ValueError, match="lacks the field 'inner'"):
        from_dict(Outer, {"name": "a"})


def test_an_unknown_world_is_named_with_the_nearest_one():
    with pytest.raises(ValueError, match=r"unknown world 'lift2'.*did you mean 'lift'"):
        gymnasium.make("CosmosWorld-v0", world="lift2")
    with pytest.raises(ValueError, match="nobody/nothing"):
        find_folder("nobody/nothing", "world")


def test_a_folder_in_the_way_does_not_hide_a_shipped_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "lift").mkdir()
    monkeypatch.chdir(tmp_path)
    assert (find_folder("lift", "world") / "config.json").is_file()
    assert find_folder("./lift", "world") == Path("lift")


def test_a_folder_of_something_else_is_refused(tmp_path: Path):
    with pytest.raises(ValueError, match=r"no config\.json"):
        read_config(tmp_path, "world")
    (tmp_path / "config.json").write_text('{"kind": "policy"}')
    with pytest.raises(ValueError, match="kind='policy', not a world"):
        read_config(tmp_path, "world")
    (tmp_path / "config.json").write_text('{"kind": ')
    with pytest.raises(ValueError, match="not valid JSON"):
        read_config(tmp_path, "world")
    with pytest.raises(ValueError, match="is a file"):
        find_folder(tmp_path / "config.json", "world")


def test_truncated_weights_and_pickles_are_refused_and_never_loaded(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    save_file({"weight": torch.ones(50, 40)}, path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"model\.safetensors \(\d+ bytes\) is damaged"):
        read_tensors(path)

    class Trap:
        def __reduce__(self) -> tuple:
            return (Path.touch, (tmp_path / "sprung",))

    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ValueError, match="is a pickle in place of a safetensors file"):
        read_tensors(path)
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="is a pickle"):
        read_tensors(path)
    path.rename(tmp_path / "model.pt")
    with pytest.raises(ValueError, match=r"holds model\.pt, a pickle"):
        read_tensors(path)
    assert not (tmp_path / "sprung").exists()


def test_a_good_file_may_begin_like_a_pickle(tmp_path: Path):
    """The first byte of a safetensors file is its header's length modulo 256."""
    path = tmp_path / "model.safetensors"
    for length in range(1, 200):
        save_file({"w" * length: torch.ones(2)}, path)
        if path.read_bytes()[0] == 0x80:
            break
    assert path.read_bytes()[0] == 0x80
    assert read_tensors(path)["w" * length].tolist() == [1, 1]


def test_weights_that_do_not_fit_are_named(tmp_path: Path):
    path = tmp_path / "model.safetensors"
    layer = torch.nn.Linear(3, 2)
    save_file({"weight": torch.ones(2, 3)}, path)
    with pytest.raises(ValueError, match=r"1 weights missing \(first: \['bias'\]\)"):
        load_weights(layer, path)
    save_file({"weight": torch.ones(2, 4), "bias": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"weight has shape \(2, 4\), expected \(2, 3\)"):
        load_weights(layer, path)
    save_file({"weight": torch.ones(2, 3), "bias": torch.full((2,), 7.0)}, path)
    load_weights(layer, path)
    assert layer.bias.tolist() == [7, 7]
