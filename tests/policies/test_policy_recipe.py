import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from cosmos_sim.data.lerobot import read_episodes, write_dataset
from cosmos_sim.policies.demonstrations import Selection, load_demonstrations
from cosmos_sim.policies.load import load_policy
from cosmos_sim.policies.recipe import PolicyRecipe, policy_recipe
from cosmos_sim.training import TrainConfig, train

TINY = {"resolution": 32, "crop": 28, "width": 8, "keypoints": 8, "features": 16}
SUCCESSFUL = (0, 1, 3, 4, 6, 7, 8, 9)


def select(dataset: Path, **changes) -> Selection:
    return Selection(str(dataset), **{"tail": 2, "held_out": 0.2, **changes})


def recipe(dataset: Path, **changes) -> PolicyRecipe:
    family = changes.get("family", "diffusion")
    sizes = {
        "diffusion": {"channels": (16, 32), "horizon": 8, "execute": 4},
        "regression": {"horizon": 4, "execute": 4},
    }
    given = {"model": sizes.get(family), "encoder": TINY, "batch_size": 16, **changes}
    return policy_recipe(given.pop("selection", select(dataset)), **given)


def test_successful_episodes_are_chosen_and_cut_after_success(dataset: Path):
    data = load_demonstrations(select(dataset), cameras=("side", "front"), resolution=32)
    assert data.episodes == SUCCESSFUL
    assert list(data.frames) == ["side", "front"]
    rows = torch.cat([data.train_rows, data.held_out_rows]).sort().values
    assert torch.equal(rows, torch.arange(8 * 9))
    assert len(data.held_out_rows) in (9, 18, 27)
    episode = next(iter(read_episodes(dataset, episodes=[3])))
    np.testing.assert_array_equal(data.state[18:27], episode.state[:9])
    np.testing.assert_array_equal(data.action[18:27], episode.action[:9])


def test_selections(dataset: Path):
    def chosen(**changes) -> tuple[int, ...]:
        return load_demonstrations(select(dataset, **changes), cameras=(), resolution=32).episodes

    assert chosen(demonstrations=3) == (0, 1, 3)
    assert chosen(successful=False) == tuple(range(10))
    with pytest.raises(ValueError, match="8 episodes that qualify"):
        chosen(demonstrations=9)
    with pytest.raises(ValueError, match=r"collection.json does not exist"):
        chosen(skills=("expert",))
    with pytest.raises(ValueError, match="draw=3 would be ignored"):
        select(dataset, draw=3)
    for field, value in {"demonstrations": 0, "tail": -1, "held_out": 1.0}.items():
        with pytest.raises(ValueError, match=f"{field}.*got {value}"):
            select(dataset, **{field: value})


def test_a_seed_draws_the_demonstrations(dataset: Path):
    def drawn(seed: int | None) -> tuple[int, ...]:
        return load_demonstrations(select(dataset, demonstrations=3, draw=seed), cameras=(), resolution=32).episodes

    found = {drawn(seed) for seed in range(12)}
    assert len(found) > 6
    assert all(len(set(some)) == 3 and set(some) <= set(SUCCESSFUL) and list(some) == sorted(some) for some in found)
    assert drawn(4) == drawn(4)
    assert drawn(None) == (0, 1, 3)


def test_datasets_are_drawn_by_their_shares(dataset: Path, tmp_path: Path):
    some = [replace(episode, state=episode.state + 100) for episode in read_episodes(dataset, episodes=[0, 1])]
    both = [select(dataset, held_out=0.0), select(write_dataset(some, tmp_path / "few"), held_out=0.0)]

    def of_the_few(**changes) -> float:
        drawn = recipe(dataset, selection=both, state_noise=0.0, batch_size=4096, **changes)
        batch = drawn.batch(0, torch.Generator().manual_seed(0))
        rest = drawn.batch(0, torch.Generator().manual_seed(0))
        assert torch.equal(batch.state, rest.state)
        return float((batch.state[:, 0] > 50).float().mean())

    assert of_the_few() == pytest.approx(0.2, abs=0.03)
    assert of_the_few(shares=(1.0, 1.0)) == pytest.approx(0.5, abs=0.03)
    assert of_the_few(shares=(9.0, 1.0)) == pytest.approx(0.1, abs=0.03)
    for shares, message in (((1.0,), "got 1 for 2"), ((1.0, 0.0), "positive"), ((1.0, float("nan")), "positive")):
        with pytest.raises(ValueError, match=message):
            of_the_few(shares=shares)


def test_skills_are_read_from_the_collection(dataset: Path, tmp_path: Path):
    copy = write_dataset(read_episodes(dataset, episodes=[0, 1, 2, 3]), tmp_path / "copy")
    skills = ["expert", "clumsy", "clumsy", "expert"]
    record = {"episodes": [{"index": index, "skill": skill} for index, skill in enumerate(skills)]}
    (copy / "meta" / "collection.json").write_text(json.dumps(record))

    def chosen(**changes) -> tuple[int, ...]:
        return load_demonstrations(select(copy, **changes), cameras=(), resolution=32).episodes

    assert chosen(skills=("expert",)) == (0, 3)
    assert chosen(skills=("clumsy",)) == (1,)
    assert chosen(skills=("clumsy",), successful=False) == (1, 2)
    with pytest.raises(ValueError, match=r"'novice'.*\['clumsy', 'expert'\]"):
        chosen(skills=("novice",))
    (copy / "meta" / "collection.json").write_text(json.dumps({"episodes": record["episodes"][:3]}))
    with pytest.raises(ValueError, match="the skills of 3 of 4 episodes: choose episodes without skills"):
        chosen(skills=("expert",))


def test_variants_are_held_out_with_the_episodes_that_they_were_made_from(dataset: Path, tmp_path: Path):
    copy = Path(shutil.copytree(dataset, tmp_path / "copy"))
    lines = [{"episode": k, "source_episode": k // 2, "variant": None if k % 2 else 0} for k in range(10)]
    (copy / "meta" / "augmentation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for share in (0.2, 0.4, 0.6):
        data = load_demonstrations(select(copy, held_out=share), cameras=(), resolution=32)
        judged, trained = (
            {data.episodes[row // 9] // 2 for row in rows.tolist()} for rows in (data.held_out_rows, data.train_rows)
        )
        assert judged
        assert trained
        assert not judged & trained


def test_a_dataset_without_success_must_be_taken_whole(dataset: Path, tmp_path: Path):
    from dataclasses import replace

    plain = [replace(e, success=None, reward=None) for e in read_episodes(dataset, episodes=[0, 1])]
    copy = write_dataset(plain, tmp_path / "plain")
    with pytest.raises(ValueError, match=r"no next.success"):
        load_demonstrations(select(copy), cameras=(), resolution=32)
    data = load_demonstrations(select(copy, successful=False), cameras=(), resolution=32)
    assert len(data.train_rows) + len(data.held_out_rows) == 24


def test_chunks_repeat_the_last_action_past_the_end(dataset: Path):
    data = load_demonstrations(select(dataset), cameras=(), resolution=32)
    data.action[:, 0] = torch.arange(len(data.action))
    chunks = data.chunks(torch.tensor([6, 17, 18]), 4)
    assert chunks[:, :, 0].tolist() == [[6, 7, 8, 8], [17, 17, 17, 17], [18, 19, 20, 21]]


def test_crops_cut_where_they_are_told(dataset: Path):
    data = load_demonstrations(select(dataset), cameras=("side", "front"), resolution=32)
    rows, top, left = torch.tensor([5, 50]), torch.tensor([0, 4]), torch.tensor([3, 1])
    crops = data.crops(rows, crop=28, top=top, left=left)
    for camera in ("side", "front"):
        assert torch.equal(crops[camera][0], data.frames[camera][5, 0:28, 3:31])
        assert torch.equal(crops[camera][1], data.frames[camera][50, 4:32, 1:29])
        assert torch.equal(data.crops(rows, crop=28)[camera][1], data.frames[camera][50, 2:30, 2:30])


def test_batches_are_drawn_by_the_generator_alone(dataset: Path):
    one = recipe(dataset)
    first, again, other = (one.batch(0, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(first.frames["side"], again.frames["side"])
    assert torch.equal(first.state, again.state)
    assert not torch.equal(first.actions, other.actions)
    assert first.frames["front"].shape == (16, 28, 28, 3)
    assert first.actions.shape == (16, 8, 3)


@pytest.mark.parametrize("family", ["diffusion", "regression"])
def test_learns_to_point_at_the_square(dataset: Path, tmp_path: Path, family: str):
    """From pictures alone, since the state is noise; judged through the exported policy on episodes trained on."""
    torch.set_num_threads(1)
    selection = select(dataset, held_out=0.0)
    one = recipe(dataset, family=family, selection=selection, provenance={"command": "cosmos-sim train policy"})
    config = TrainConfig(steps=150, lr=3e-3, warmup=20, ema=0.95, log_every=50, device="cpu", autocast="fp32")
    generator = torch.Generator().manual_seed(0)
    before, batch = one.evaluate(generator)["action_error_train"], one.batch(0, generator)
    loss = one.loss(batch, 0, generator)["loss"].item()
    figures = train(one, config, tmp_path / "run")
    assert figures["action_error_train"] < 0.15 < 0.3 < before
    assert one.loss(batch, 0, generator)["loss"].item() < 0.3 * loss

    policy = load_policy(tmp_path / "run" / "export")
    episodes = list(read_episodes(dataset, episodes=[0, 4, 7]))
    policy.reset([0, 1, 2])
    observation = {
        "pixels": {camera: np.stack([e.frames[camera][2] for e in episodes]) for camera in ("front", "side")},
        "agent_pos": np.stack([e.state[2] for e in episodes]),
    }
    wanted = np.stack([e.action[2:6] for e in episodes])
    assert np.abs(policy.act(observation, {}) - wanted).mean() < 0.2
    card = (tmp_path / "run" / "export" / "README.md").read_text()
    assert "point at the square" in card
    assert "cosmos-sim train policy" in card
    assert f"{figures['action_error_train']:.2f}"[:3] in card
    assert str(tmp_path) not in card


def test_unknown_families_cameras_and_options_are_refused(dataset: Path):
    with pytest.raises(ValueError, match="'difusion'; did you mean 'diffusion'"):
        recipe(dataset, family="difusion")
    with pytest.raises(ValueError, match="'fornt'; did you mean 'front'"):
        recipe(dataset, cameras=("fornt",))
    for field, value in {"batch_size": 0, "jitter": 1.5, "state_noise": -1, "seed": -2}.items():
        with pytest.raises(ValueError, match=f"{field}.*got {value}"):
            recipe(dataset, **{field: value})
