import json
import pickle
from dataclasses import replace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from cosmos_sim.data.starts import Starts


def make(n=3, seed=0, tasks=("lift the cube", "stack", "lift the cube", "push", "stack")):
    rng = np.random.default_rng(seed)
    return Starts(
        frames={
            "wrist": rng.integers(0, 256, (n, 6, 4, 3), dtype=np.uint8),
            "agentview": rng.integers(0, 256, (n, 5, 7, 3), dtype=np.uint8),
        },
        state=rng.normal(size=(n, 2)).astype(np.float32),
        seeds=np.arange(10, 10 + n),
        tasks=tasks[:n],
    )


def same(a: Starts, b: Starts) -> bool:
    return (
        list(a.frames) == list(b.frames)
        and all(np.array_equal(a.frames[c], b.frames[c]) for c in a.frames)
        and np.array_equal(a.state, b.state)
        and np.array_equal(a.seeds, b.seeds)
        and a.tasks == b.tasks
    )


def test_a_saved_file_reads_back_with_its_camera_order(tmp_path):
    starts = make()
    starts.save(tmp_path / "deep" / "starts.safetensors")
    assert same(Starts.load(tmp_path / "deep" / "starts.safetensors"), starts)
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["starts.safetensors"]


def test_a_file_with_one_task_for_all_is_read(tmp_path):
    starts = replace(make(), tasks=("lift",) * 3)
    starts.save(tmp_path / "new.safetensors")
    with safe_open(tmp_path / "new.safetensors", framework="numpy") as file:
        names = file.keys()
        tensors, metadata = {name: file.get_tensor(name) for name in names}, file.metadata()
    assert json.loads(metadata.pop("tasks")) == ["lift"] * 3
    save_file(tensors, tmp_path / "old.safetensors", metadata=metadata | {"task": "lift"})
    assert same(Starts.load(tmp_path / "old.safetensors"), starts)


def test_select_and_concatenate_are_inverse():
    starts = make(5)
    assert same(Starts.concatenate([starts.select([0, 1]), starts.select(np.array([2, 3, 4]))]), starts)
    assert starts.select([4, 4]).seeds.tolist() == [14, 14]
    assert starts.select([3, 0]).tasks == ("push", "lift the cube")
    assert len(starts.select([1])) == 1


def test_index_finds_a_seed_and_names_some_where_it_is_missing():
    assert make().index(12) == 2
    with pytest.raises(ValueError, match=r"seed 99; these 3 are there: 10, 11, 12$"):
        make().index(99)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"frames": {}}, "at least one camera"),
        ({"state": np.zeros((2, 2), np.float32)}, "state must be of 3 starts, as seeds are, got 2"),
        ({"state": np.zeros((3, 2))}, "float64"),
        ({"state": np.full((3, 2), np.nan, np.float32)}, "nan"),
        ({"frames": {"top": np.zeros((3, 4, 4, 1), np.uint8)}}, "'top'.*1"),
        ({"frames": {"top": np.zeros((3, 4, 4, 3), np.float32)}}, "'top'.*float32"),
        ({"seeds": np.zeros(3, np.int32)}, "int32"),
        ({"tasks": ("lift",)}, "tasks must be of 3 starts, as seeds are, got 1"),
        ({"tasks": "lif"}, "a tuple of texts, got 'lif'"),
        ({"tasks": ("lift", "stack", None)}, "a tuple of texts"),
    ],
)
def test_bad_starts_are_refused_with_the_value(change, message):
    with pytest.raises(ValueError, match=message):
        replace(make(), **change)


def test_unlike_starts_do_not_concatenate():
    with pytest.raises(ValueError, match="no starts"):
        Starts.concatenate([])
    with pytest.raises(ValueError, match="shapes"):
        Starts.concatenate([make(), replace(make(), state=np.zeros((3, 4), np.float32))])


def test_indices_outside_are_refused():
    with pytest.raises(ValueError, match=r"0\.\.2, got \[3\]"):
        make().select([3])
    with pytest.raises(ValueError, match="-1"):
        make().select([-1])


def test_what_is_not_a_whole_file_of_starts_is_refused_by_name(tmp_path):
    whole = tmp_path / "whole.safetensors"
    make().save(whole)
    truncated = tmp_path / "truncated.safetensors"
    truncated.write_bytes(whole.read_bytes()[:-20])
    pickled = tmp_path / "pickled.safetensors"
    pickled.write_bytes(pickle.dumps({"state": [1, 2, 3]}))
    for path in (truncated, pickled):
        with pytest.raises(ValueError, match=path.name):
            Starts.load(path)
    with pytest.raises(FileNotFoundError, match="absent"):
        Starts.load(tmp_path / "absent.safetensors")


def test_other_safetensors_are_not_starts(tmp_path):
    save_file({"weight": np.zeros(3)}, tmp_path / "weights.safetensors")
    with pytest.raises(ValueError, match=r"weights\.safetensors.*format is None"):
        Starts.load(tmp_path / "weights.safetensors")


def test_images_are_kept_as_png_and_a_broken_one_is_refused_by_the_files_name(tmp_path):
    smooth = replace(make(), frames={"front": np.full((3, 64, 64, 3), 7, np.uint8)})
    smooth.save(tmp_path / "smooth.safetensors")
    assert (tmp_path / "smooth.safetensors").stat().st_size < smooth.frames["front"].nbytes / 10
    data = (tmp_path / "smooth.safetensors").read_bytes()
    (tmp_path / "broken.safetensors").write_bytes(data.replace(b"\x89PNG", b"\x89PMG"))
    with pytest.raises(ValueError, match=r"broken\.safetensors.*an image is broken"):
        Starts.load(tmp_path / "broken.safetensors")
