"""The study of dreams: what an arm learns from, what a filter keeps, and that relabelled sets are told apart."""

from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.data.dreams import DreamRecord, DreamStart, read_dreams, write_dreams
from cosmos_sim.data.lerobot import dataset_info, write_dataset
from cosmos_sim.envs.twin.instructions import parse_instruction
from cosmos_sim.types import Episode


def record(index: int, *, succeeds: bool, faults: tuple[str, ...] = ()) -> DreamRecord:
    scores = {"deviation": 0.1, "jerk": 0.5, "cycle": 0.4, "replay": float(not succeeds), "duplicate": 0.2}
    return DreamRecord(index, "push", index, DreamStart(seed=index), not faults, scores, {"faults": list(faults)})


TOLD = (
    record(0, succeeds=True),
    record(1, succeeds=False, faults=("cycle 1.3, at most 0.9",)),
    record(2, succeeds=True, faults=("cycle 1, at most 0.9", "jerk 4, at most 2")),
    record(3, succeeds=False),
    record(4, succeeds=True),
)


def test_arms_learn_from_what_they_say(load) -> None:
    module = load("dreamgen")
    kept = {kind: [module.passes(one, kind) for one in TOLD] for kind in ("unfiltered", "filtered", "replayed")}
    assert kept == {
        "unfiltered": [True] * 5,
        "filtered": [True, False, False, True, True],
        "replayed": [True, False, True, False, True],
    }


def test_what_each_filter_keeps_and_how_much_of_it_is_good(load) -> None:
    module = load("dreamgen")
    rows = {row["filter"]: row for row in module.kept_by(TOLD)}
    assert list(rows) == ["no filter", "deviation", "jerk", "cycle", "duplicate", "all of these"]
    shares = {name: (row["precision"]["successes"], row["yield"]["successes"]) for name, row in rows.items()}
    assert shares["no filter"] == (3, 5)
    assert shares["jerk"] == (2, 4)
    assert shares["cycle"] == shares["all of these"] == (2, 3)
    assert rows["cycle"]["yield"]["trials"] == 5
    text = module.filter_table(list(rows.values()))
    assert "| all of these | 3/5 | 2 | 9-99% |" in text
    nothing = module.kept_by([record(0, succeeds=True, faults=("jerk 4, at most 2",))])
    assert nothing[-1]["precision"] is None
    assert "| all of these | 0/1 | | |" in module.filter_table(nothing)


def test_relabelled_dreams_are_the_same_but_for_what_is_accepted(load, tmp_path: Path) -> None:
    module = load("dreamgen")
    rng = np.random.default_rng(0)
    episode = Episode(
        {"front": rng.integers(0, 256, (4, 32, 48, 3), np.uint8)},
        rng.normal(size=(4, 2)).astype(np.float32),
        rng.normal(size=(4, 3)).astype(np.float32),
        "push",
    )
    source = write_dataset([episode] * len(TOLD), tmp_path / "dreams")
    write_dreams(source, TOLD)
    made = module.relabelled(source, tmp_path / "replayed", TOLD, "replayed")
    again = read_dreams(made, episodes=5)
    assert [one.accepted for one in again] == [True, False, True, False, True]
    assert [one.accepted for one in read_dreams(source, episodes=5)] == [one.accepted for one in TOLD]
    assert dataset_info(made).episodes == 5
    (video, *_), (other, *_) = (sorted(folder.rglob("*.mp4")) for folder in (source, made))
    assert video.stat().st_ino == other.stat().st_ino
    assert module.relabelled(source, tmp_path / "replayed", TOLD, "unfiltered") == made  # kept from before


@pytest.mark.parametrize("kind", ["real", "dreams"])
def test_the_plan_pairs_demonstrations_with_dreams(load, tmp_path: Path, kind: str) -> None:
    module = load("dreamgen")
    arguments = module.argparse.Namespace(
        trials=3,
        seeds=2,
        arms=[kind, "filtered"],
        demonstrations=[10, 30],
        out=tmp_path,
        steps=5,
        horizon=40,
        cameras=["agentview"],
        verbs=["lift", "push left", "stack", "place in"],
        task="Tabletop",
    )
    folders = {name: tmp_path / name for name in ("unfiltered", "filtered", "replayed")}
    jobs = module.plan(arguments, tmp_path / "demonstrations", folders)
    names = [job.name for job in jobs if job.seed == 0]
    assert names == (["10 real", "30 real"] if kind == "real" else ["dreams"]) + ["10 filtered", "30 filtered"]
    assert [part.demonstrations for part in jobs[0].data] == [40 if kind == "real" else None]
    assert [Path(part.data).name for part in jobs[-1].data] == ["demonstrations", "filtered"]
    assert len({job.run for job in jobs}) == len(jobs)


def test_trials_are_of_the_verbs_of_the_study(load) -> None:
    module = load("dreamgen")

    def drawn(split: str) -> set[str]:
        texts = [module.instruction(seed, split, ["lift", "push right"]) for seed in range(60)]
        return {parse_instruction(text).verb for text in texts}

    assert drawn("seen") == drawn("unseen_objects") == drawn("unseen_environments") == {"lift", "push right"}
    assert drawn("unseen_behaviours") == {"push forward", "push left"}


def test_of_one_task_the_demonstrations_are_the_groups(load) -> None:
    module = load("dreamgen")
    rng = np.random.default_rng(0)
    names = ("10 real", "30 real", "10 filtered", "30 filtered", "dreams")
    verdicts = {name: rng.random((2, 1, 7)) < 0.5 for name in names}
    arguments = module.argparse.Namespace(demonstrations=[10, 30], arms=["real", "filtered", "dreams"])
    groups = module.by_count(verdicts, arguments)
    assert set(groups) == {"real", "filtered"}
    np.testing.assert_array_equal(groups["filtered"][:, 1], verdicts["30 filtered"][:, 0])
    found = module.figures(groups, ("10 demonstrations", "30 demonstrations"), seen=2)
    assert found["arms"]["real"]["total"]["trials"] == 28
    assert "unseen scenes" not in found["arms"]["real"]
