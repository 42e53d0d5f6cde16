"""Checkpoints on a disk that tears, lies and fills up."""

import json
import resource

import pytest
import torch
from torch import nn

from cosmos_sim.data.files import new_folder
from cosmos_sim.training import TrainConfig
from cosmos_sim.training.checkpoint import Checkpoints, CorruptCheckpointError
from cosmos_sim.training.ema import Ema
from cosmos_sim.training.optimizer import make_optimizer
from cosmos_sim.training.weights import load_weights, named_weights, save_weights


class Parts:
    """A model whose two layers share a weight, with its average and optimiser."""

    def __init__(self, seed: int, width: int = 6) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width), nn.BatchNorm1d(width))
        self.model[1].weight = self.model[0].weight
        self.optimizer = make_optimizer(self.model, TrainConfig())
        self.ema = Ema(self.model, 0.9)
        for step in range(3):
            self.model(torch.randn(4, width)).square().sum().backward()
            self.optimizer.step()
            self.ema.update(step)

    def tensors(self) -> dict[str, torch.Tensor]:
        moments = {
            f"{index}.{name}": value
            for index, state in self.optimizer.state_dict()["state"].items()
            for name, value in state.items()
        }
        return {**self.model.state_dict(), **{f"ema.{k}": v for k, v in self.ema.weights.items()}, **moments}


def saved(tmp_path, steps=(3, 7, 12), keep=5) -> tuple[Checkpoints, Parts]:
    checkpoints, parts = Checkpoints(tmp_path, keep=keep), Parts(0)
    for step in steps:
        checkpoints.save(step, parts.model, parts.ema, parts.optimizer, {"note": step})
    return checkpoints, parts


def test_what_is_saved_is_loaded(tmp_path):
    checkpoints, parts = saved(tmp_path)
    assert checkpoints.newest()["note"] == 12
    other = Parts(1)
    checkpoints.load(7, other.model, other.ema, other.optimizer)
    before, after = parts.tensors(), other.tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert other.model[1].weight is other.model[0].weight


def test_the_newest_are_kept_and_leftovers_cleared(tmp_path):
    (tmp_path / ".step-00000099.partial").mkdir()
    checkpoints, _ = saved(tmp_path, keep=2)
    assert checkpoints.steps() == [7, 12]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000007", "step-00000012"]


def test_a_checkpoint_moves_with_its_folder_and_says_what_it_holds(tmp_path):
    saved(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    meta = Checkpoints(tmp_path / "b", keep=1).newest()
    assert meta["step"] == 12
    assert meta["files"].keys() == {"model.safetensors", "ema.safetensors", "optimizer.pt"}


@pytest.mark.parametrize("file", ["model.safetensors", "ema.safetensors", "optimizer.pt", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["cut", "flip", "gone"])
def test_damage_of_any_file_is_seen(tmp_path, file, damage):
    checkpoints, _ = saved(tmp_path)
    path = checkpoints.path(12) / file
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[len(content) // 2 if file != "checkpoint.json" else 0] ^= 0xFF
    path.unlink()
    if damage != "gone":
        path.write_bytes(content if damage == "flip" else content[:-20])
    with pytest.warns(UserWarning, match=r"step-00000012.* is damaged.*going back"):
        assert checkpoints.newest()["step"] == 7
    assert checkpoints.steps() == [3, 7]


def test_if_all_are_damaged_it_says_so(tmp_path):
    checkpoints, _ = saved(tmp_path, steps=(3,))
    (checkpoints.path(3) / "model.safetensors").write_bytes(b"")
    with pytest.warns(UserWarning, match="step-00000003"), pytest.raises(CorruptCheckpointError, match="no checkpoint"):
        checkpoints.newest()
    assert Checkpoints(tmp_path / "none", keep=1).newest() is None


def test_a_full_disk_costs_only_the_new_checkpoint(tmp_path):
    """A limit on the size of files stands for the disk: writes beyond it fail in the same places."""
    checkpoints, parts = saved(tmp_path, steps=(3,))
    large = Parts(0, width=100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (10_000, 60_000):  # within the model, within the optimiser's state
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(OSError, match=r"step 7 could not be written: .*step-00000003 is intact"):
                checkpoints.save(7, large.model, large.ema, large.optimizer, {})
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
    checkpoints.load(checkpoints.newest()["step"], parts.model, parts.ema, parts.optimizer)


def test_weights_of_another_model_are_refused_by_name(tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(named_weights(nn.Linear(3, 2)), path)
    with pytest.raises(ValueError, match=r"'weight' is \(2, 3\) in .*, \(2, 4\) in the model"):
        load_weights(named_weights(nn.Linear(4, 2)), path)
    with pytest.raises(ValueError, match=r"'bias' is not in the model but in"):
        load_weights(named_weights(nn.Linear(3, 2, bias=False)), path)
    with pytest.raises(ValueError, match=r"'0.bias' is missing from"):
        load_weights(named_weights(nn.Sequential(nn.Linear(3, 2))), path)


def test_weights_keep_their_memory_layout(tmp_path):
    conv = nn.Conv2d(3, 5, 2).to(memory_format=torch.channels_last)
    save_weights(named_weights(conv), tmp_path / "a.safetensors")
    kept = conv.weight.detach().clone()
    conv.weight.data.zero_()
    load_weights(named_weights(conv), tmp_path / "a.safetensors")
    assert torch.equal(conv.weight, kept)
    assert conv.weight.is_contiguous(memory_format=torch.channels_last)


def test_a_folder_replaces_the_old_one_whole_or_not_at_all(tmp_path):
    target = tmp_path / "export"
    for word in ("first", "second"):
        with new_folder(target) as folder:
            (folder / word).write_text(word)
    with pytest.raises(FileNotFoundError), new_folder(target) as folder:
        (folder / "third" / "without a folder").write_text("third")
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["export"]


def test_the_optimiser_decays_matrices_alone():
    model = nn.Sequential(nn.Conv1d(2, 3, 4), nn.LayerNorm(7), nn.Linear(7, 5))
    model[2].weight.requires_grad_(False)
    decays = {
        id(p): group["weight_decay"]
        for group in make_optimizer(model, TrainConfig(weight_decay=0.4)).param_groups
        for p in group["params"]
    }
    named = {name: decays[id(p)] for name, p in model.named_parameters() if id(p) in decays}
    assert named == {"0.weight": 0.4, "0.bias": 0.0, "1.weight": 0.0, "1.bias": 0.0, "2.bias": 0.0}
    with pytest.raises(ValueError, match="GELU has no parameters to train"):
        make_optimizer(nn.GELU(), TrainConfig())


def test_a_checkpoints_record_is_readable_json(tmp_path):
    checkpoints, _ = saved(tmp_path, steps=(3,))
    assert json.loads((checkpoints.path(3) / "checkpoint.json").read_text())["note"] == 3
    assert torch.load(checkpoints.path(3) / "optimizer.pt", weights_only=True)["param_groups"]
