"""Checkpoints on a disk that tears, lies and fills up."""

import json
import pickle
import resource

import pytest
import torch
from stored_tensors import stored_tensors
from torch import nn

from cosmos_sim.data.files import new_folder
from cosmos_sim.training import TrainConfig
from cosmos_sim.training.checkpoint import Checkpoints, CorruptCheckpointError, run_tensors
from cosmos_sim.training.ema import Ema
from cosmos_sim.training.layout import Layout, ParallelConfig
from cosmos_sim.training.optimizer import make_optimizer

ALONE = Layout(ParallelConfig(), torch.device("cpu"))


class Parts:
    """A model whose two layers share a weight, with its average and optimiser."""

    def __init__(self, seed: int, width: int = 6) -> None:
        torch.manual_seed(seed)
        self.model = nn.Sequential(nn.Linear(width, width), nn.Linear(width, width), nn.BatchNorm1d(width))
        self.model[1].weight = self.model[0].weight
        self.model[1].bias.requires_grad_(False)
        self.optimizer = make_optimizer(self.model, TrainConfig())
        self.ema = Ema(self.model, 0.9)
        self.train(3)

    def train(self, steps: int) -> None:
        for step in range(steps):
            self.model(torch.randn(4, len(self.model[0].bias))).square().sum().backward()
            self.optimizer.step()
            self.ema.update(step)

    def tensors(self) -> dict[str, torch.Tensor]:
        return run_tensors(self.model, self.ema, self.optimizer)


def saved(tmp_path, steps=(3, 7, 12), keep=5) -> tuple[Checkpoints, Parts]:
    checkpoints, parts = Checkpoints(tmp_path, keep=keep, layout=ALONE), Parts(0)
    for step in steps:
        checkpoints.save(step, parts.tensors(), {"note": step})
    checkpoints.wait()
    return checkpoints, parts


def test_what_is_saved_is_loaded(tmp_path):
    checkpoints, parts = saved(tmp_path)
    assert checkpoints.newest()["note"] == 12
    other = Parts(1)
    checkpoints.load(7, other.tensors())
    before, after = parts.tensors(), other.tensors()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert other.model[1].weight is other.model[0].weight
    reference = {
        f"optimizer.{name}.{key}": value
        for name, p in parts.model.named_parameters()
        for key, value in parts.optimizer.state.get(p, {}).items()
    }
    read = stored_tensors(checkpoints.path(7))
    assert reference.keys() == {name for name in read if name.startswith("optimizer.")}
    assert all(torch.equal(read[name], value) for name, value in reference.items())
    assert all(reference[f"optimizer.{name}.step"] == 3 for name in ("0.weight", "0.bias", "2.weight"))
    assert {name for name in before if "1.bias" in name} == {"model.1.bias"}


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path):
    """What is saved is what was there at the call, however much it has changed by the time it is written."""
    checkpoints, parts = Checkpoints(tmp_path, keep=5, layout=ALONE), Parts(0, width=200)
    expected = {name: value.clone() for name, value in parts.tensors().items()}
    checkpoints.save(3, parts.tensors(), {})
    parts.train(2)
    checkpoints.wait()
    read = stored_tensors(checkpoints.path(3))
    assert read.keys() == expected.keys()
    assert all(torch.equal(read[name], value) for name, value in expected.items())
    assert not torch.equal(read["model.0.weight"], parts.model[0].weight)


def test_the_newest_are_kept_and_leftovers_cleared(tmp_path):
    (tmp_path / ".step-00000099.partial").mkdir()
    checkpoints, _ = saved(tmp_path, keep=2)
    assert checkpoints.steps() == [7, 12]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000007", "step-00000012"]


def test_a_checkpoint_moves_with_its_folder_and_says_what_it_holds(tmp_path):
    saved(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    checkpoints, other = Checkpoints(tmp_path / "b", keep=1, layout=ALONE), Parts(1)
    meta = checkpoints.newest()
    assert meta["step"] == 12
    assert meta["files"].keys() == {".metadata", "__0_0.distcp"}
    checkpoints.load(12, other.tensors())
    assert json.loads((tmp_path / "b" / "step-00000012" / "checkpoint.json").read_text()) == meta


@pytest.mark.parametrize("file", ["__0_0.distcp", ".metadata", "checkpoint.json"])
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
    (checkpoints.path(3) / "__0_0.distcp").write_bytes(b"")
    with pytest.warns(UserWarning, match="step-00000003"), pytest.raises(CorruptCheckpointError, match="no checkpoint"):
        checkpoints.newest()
    with pytest.raises(CorruptCheckpointError, match=r"the damaged step-00000003\.corrupt; delete them to begin anew"):
        checkpoints.newest()
    assert Checkpoints(tmp_path / "none", keep=1, layout=ALONE).newest() is None


def test_a_full_disk_costs_only_the_new_checkpoint(tmp_path):
    """A limit on the size of files stands for the disk: writes beyond it fail in the same places."""
    checkpoints, parts = saved(tmp_path, steps=(3,))
    large = Parts(0, width=100)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (1_000, 60_000):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            checkpoints.save(7, large.tensors(), {})
            with pytest.raises(OSError, match=r"step 7 could not be written: .*step-00000003 is intact"):
                checkpoints.wait()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert not checkpoints.failed
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000003"]
    checkpoints.load(checkpoints.newest()["step"], parts.tensors())


def test_a_checkpoint_of_another_model_is_refused_by_name(tmp_path):
    checkpoints, parts = saved(tmp_path, steps=(3,))
    tensors = parts.tensors()
    with pytest.raises(ValueError, match=r"'model.0.bias' is \(6,\) in .*step-00000003, \(4,\) in the run"):
        checkpoints.load(3, tensors | {"model.0.bias": torch.zeros(4)})
    with pytest.raises(ValueError, match=r"'model.0.more' is missing from"):
        checkpoints.load(3, tensors | {"model.0.more": torch.zeros(4)})
    with pytest.raises(ValueError, match=r"'model.0.bias' is not in the run but in .*, as are 0 others"):
        checkpoints.load(3, {name: value for name, value in tensors.items() if name != "model.0.bias"})


def test_metadata_that_would_run_something_is_never_loaded(tmp_path):
    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "opened"), "w"))

    checkpoints, parts = saved(tmp_path / "a", steps=(3,))
    (checkpoints.path(3) / ".metadata").write_bytes(pickle.dumps(Harmful()))
    with pytest.raises(ValueError, match=r"it names _?io\.open, which is never loaded"):
        checkpoints.load(3, parts.tensors())
    assert not (tmp_path / "opened").exists()


def test_weights_keep_their_memory_layout(tmp_path):
    conv = nn.Conv2d(3, 5, 2).to(memory_format=torch.channels_last)
    checkpoints = Checkpoints(tmp_path, keep=1, layout=ALONE)
    tensors = {name: value.detach() for name, value in conv.named_parameters()}
    checkpoints.save(1, tensors, {})
    checkpoints.wait()
    kept = conv.weight.detach().clone()
    conv.weight.data.zero_()
    checkpoints.load(1, tensors)
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
