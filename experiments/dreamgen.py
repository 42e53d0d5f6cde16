"""DreamGen's question, in the simulator: do imagined episodes make policies better, and does filtering them matter?

    python experiments/dreamgen.py --model runs/dreams/world --labeller runs/dreams/idm/export --out runs/dreamgen

Demonstrations of a task (``--task``; of Tabletop, of its instructions) are recorded by the script that knows how. A
world imagines further episodes from fresh starts, an inverse dynamics reads their actions, and diffusion policies
(language-conditioned where there is a choice of instructions) learn from

- ``real``: the demonstrations alone, for each of ``--demonstrations`` a verb,
- ``unfiltered``, ``filtered``, ``replayed``: these and all dreams; those whose scores pass (no truth is asked); those
  that succeed when their actions are carried out in the simulator,
- ``dreams``: the dreams that ``filtered`` has, alone.

All are tried from the same starts in the simulator; on Tabletop with what was seen and with unseen objects, behaviours
and environments. Beside the table of successes stands what each filter keeps: how many dreams pass it, and how many of
those do what they say when replayed. Every stage is kept under ``--out``, so that a stopped run goes on.
"""

import argparse
import datetime
import json
import multiprocessing
import shutil
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from real2real_table import Verdicts, chart, figures, rate, table

from cosmos_sim.cli import main as command
from cosmos_sim.collection.collect import collect
from cosmos_sim.collection.plan import CollectionConfig
from cosmos_sim.data.dreams import DreamRecord, read_dreams, write_dreams
from cosmos_sim.data.lerobot import dataset_info
from cosmos_sim.data.processes import serve_parent
from cosmos_sim.envs.twin.instructions import SPLITS, draw_instruction, verbs_of
from cosmos_sim.envs.twin.tasks import find_task
from cosmos_sim.evaluation.evaluate import versions
from cosmos_sim.evaluation.outcome import fingerprint
from cosmos_sim.evaluation.report import strict_json, write_whole
from cosmos_sim.evaluation.trials import TwinTrials, load_trials, save_trials
from cosmos_sim.policies.demonstrations import Selection
from cosmos_sim.policies.load import load_policy
from cosmos_sim.policies.recipe import policy_recipe
from cosmos_sim.synthesis.scores import CHECKS
from cosmos_sim.synthesis.starts import LANGUAGE_TASK
from cosmos_sim.training import TrainConfig, train
from cosmos_sim.training.provenance import git_commit

SEED, FIRST_SEED = 61, 30_000
SIGHT = {"resolution": 64, "crop": 56}
BATCH = 64
UNSEEN = "unseen_behaviours"
ARMS = ("real", "unfiltered", "filtered", "replayed", "dreams")


@dataclass(frozen=True)
class Job:
    """One policy to train, and what it is to be tried in."""

    arm: str
    demonstrations: int | None
    """Of each verb; ``None`` where there are none."""
    seed: int
    data: tuple[Selection, ...]
    out: Path
    steps: int
    starts: tuple[int, ...]
    verbs: tuple[str, ...]
    horizon: int
    cameras: tuple[str, ...] | None
    task: str

    @property
    def name(self) -> str:
        return self.arm if self.demonstrations is None else f"{self.demonstrations} {self.arm}"

    @property
    def run(self) -> Path:
        return self.out / "policies" / f"{self.name.replace(' ', '-')}-{self.seed}"

    def trials(self, split: str) -> Path:
        """Where the trials of ``split`` are kept: they are of these weights and no others."""
        own = self.out / "trials" / f"{self.run.name}-{fingerprint(self.run / 'export')[:12]}"
        return own / f"{split}-{self.starts[0]}-{len(self.starts)}-{self.horizon}.npz"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="all that is made and found is kept here")
    parser.add_argument("--model", type=Path, required=True, help="the world that imagines")
    parser.add_argument("--labeller", type=Path, required=True, help="what reads the actions")
    parser.add_argument("--task", default=LANGUAGE_TASK, help="of the simulator")
    parser.add_argument("--demonstrations", type=int, nargs="+", default=[10, 30, 100], help="of each verb")
    parser.add_argument(
        "--verbs", nargs="+", choices=verbs_of("seen"), metavar="VERB", help="of Tabletop (default: all)"
    )
    parser.add_argument("--cameras", nargs="+", help="that are imagined, and that policies see (default: all)")
    parser.add_argument("--dreams", type=int, default=10, help="of each instruction")
    parser.add_argument("--frames", type=int, default=49, help="of each dream")
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=ARMS)
    parser.add_argument("--seeds", type=int, default=2, help="policies of each kind")
    parser.add_argument("--trials", type=int, default=50, help="of each policy in each split")
    parser.add_argument("--horizon", type=int, help="steps of a trial (default: the task's)")
    parser.add_argument("--steps", type=int, default=4000, help="of each training")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--dream", nargs=argparse.REMAINDER, default=[], help="further options of cosmos-sim dream")
    parser.add_argument("--json", type=Path, default=Path("experiments/dreamgen.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/media/dreamgen.svg"))
    arguments = parser.parse_args()
    arguments.horizon = arguments.horizon or find_task(arguments.task).horizon
    if arguments.verbs and arguments.task != LANGUAGE_TASK:
        parser.error(f"--verbs would be ignored: {arguments.task} takes no instructions")
    if arguments.task == LANGUAGE_TASK:
        arguments.verbs = arguments.verbs or list(verbs_of("seen"))
    out, splits = arguments.out, splits_of(arguments.task)
    demonstrations = record(out / "demonstrations", max(arguments.demonstrations), arguments)
    imagined = imagine(demonstrations, out / "dreams", arguments)
    told = read_dreams(imagined, episodes=dataset_info(imagined).episodes)
    kept = {name: relabelled(imagined, out / name, told, name) for name in ("unfiltered", "filtered", "replayed")}
    jobs = plan(arguments, demonstrations, kept)
    for job in finished(jobs, workers=arguments.workers):
        solved = {split: sum(trial.success for trial in load_trials(job.trials(split))) for split in splits}
        print(f"{job.run.name}: {solved}", flush=True)
    names = list(dict.fromkeys(job.name for job in jobs))
    verdicts = {
        name: np.array(
            [
                [[trial.success for trial in load_trials(job.trials(split))] for split in splits]
                for job in jobs
                if job.name == name
            ]
        )
        for name in names
    }
    found = figures(verdicts, splits)
    shown, groups = found, splits
    if len(splits) == 1 and set(arguments.arms) - {"dreams"}:  # more is to be seen by the number of demonstrations
        groups = tuple(f"from {count}" for count in arguments.demonstrations)
        shown = figures(by_count(verdicts, arguments), groups, seen=len(groups))
        found["by demonstrations"] = shown
        print(table(shown, groups) + "\n")
    filters = kept_by(told)
    write_whole(arguments.json, strict_json(found | {"filters": filters} | about(arguments)))
    write_whole(arguments.picture, chart(shown, groups))
    print(table(found, splits))
    print("\n" + filter_table(filters))


def by_count(verdicts: Verdicts, arguments: argparse.Namespace) -> Verdicts:
    """Of verdicts in one split, those of arms with demonstrations: an arm to ``(policies, counts, trials)``."""
    return {
        arm: np.concatenate([verdicts[f"{count} {arm}"] for count in arguments.demonstrations], axis=1)
        for arm in arguments.arms
        if arm != "dreams"
    }


def splits_of(task: str) -> tuple[str, ...]:
    """What policies are tried in: one thing, where the task takes no instructions."""
    return SPLITS if task == LANGUAGE_TASK else ("seen",)


def record(path: Path, each: int, arguments: argparse.Namespace) -> Path:
    """Demonstrations of the task, or of its instructions as seen in training, ``each`` a verb on average."""
    spoken = {"split": "seen", "verbs": tuple(arguments.verbs)} if arguments.verbs else {}
    config = CollectionConfig(
        task=arguments.task,
        episodes=round(1.1 * each * verbs_in(arguments)),
        seed=SEED,
        length=max(arguments.horizon, arguments.frames),
        shares={"expert": 1.0},
        **spoken,
    )
    return collect(config, path, workers=arguments.workers).path


def verbs_in(arguments: argparse.Namespace) -> int:
    """How many things are done: one, where there are no instructions."""
    return len(arguments.verbs or ("",))


def imagine(demonstrations: Path, path: Path, arguments: argparse.Namespace) -> Path:
    """Dreams of the demonstrations' instructions from fresh starts, all of them kept, by the command of a user."""
    words = ["dream", "--dataset", str(demonstrations), "--out", str(path), "--model", str(arguments.model)]
    words += ["--labeller", str(arguments.labeller), "--per-instruction", str(arguments.dreams)]
    words += ["--frames", str(arguments.frames), "--starts", "twin", "--twin", arguments.task, "--unfiltered"]
    words += ["--limit", "replay=2"]  # what a replay comes to is told of every dream, and held against none
    words += ["--cameras", *arguments.cameras] if arguments.cameras else []
    command([*words, "--workers", str(arguments.workers), *arguments.dream])
    return path


def relabelled(source: Path, path: Path, told: Sequence[DreamRecord], kind: str) -> Path:
    """The dreams once more, those marked as accepted that an arm learns from; files are shared with ``source``."""
    if not path.is_dir():
        beside = path.with_name(f".{path.name}.partial")
        shutil.rmtree(beside, ignore_errors=True)
        shutil.copytree(source, beside, copy_function=lambda a, b: Path(b).hardlink_to(a))
        (beside / "meta" / "dreams.jsonl").unlink()
        write_dreams(beside, [replace(record, accepted=passes(record, kind)) for record in told])
        beside.rename(path)
    return path


def passes(record: DreamRecord, kind: str) -> bool:
    """Whether an arm learns from a dream."""
    if kind == "unfiltered":
        return True
    if kind == "replayed":
        return record.scores["replay"] == 0
    return not record.more["faults"]


def plan(arguments: argparse.Namespace, demonstrations: Path, kept: dict[str, Path]) -> list[Job]:
    """Every policy of the study."""
    starts = tuple(range(FIRST_SEED, FIRST_SEED + arguments.trials))
    cameras = tuple(arguments.cameras) if arguments.cameras else None
    verbs = tuple(arguments.verbs or ())
    fixed = arguments.out, arguments.steps, starts, verbs, arguments.horizon, cameras, arguments.task
    jobs = []
    for seed in range(arguments.seeds):
        for arm in arguments.arms:
            for count in arguments.demonstrations if arm != "dreams" else [None]:
                data: tuple[Selection, ...] = ()
                if count is not None:
                    data += (Selection(str(demonstrations), demonstrations=count * verbs_in(arguments)),)
                if arm != "real":
                    data += (Selection(str(kept["filtered" if arm == "dreams" else arm])),)
                jobs.append(Job(arm, count, seed, data, *fixed))
    return jobs


def finished(jobs: Sequence[Job], *, workers: int) -> list[Job]:
    """``jobs`` once all are done, by so many processes."""
    if workers == 1:
        return [judge(job) for job in jobs]
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=serve_parent) as pool:
        return list(pool.map(judge, jobs))


def judge(job: Job) -> Job:
    """Train the policy unless that is done, and try it where that is not done, on one core."""
    torch.set_num_threads(1)
    spoken, splits = job.task == LANGUAGE_TASK, splits_of(job.task)
    recipe = policy_recipe(
        job.data, language=spoken, cameras=job.cameras, encoder=SIGHT, batch_size=BATCH, jitter=0.0, seed=job.seed
    )
    schedule = TrainConfig(
        steps=job.steps,
        lr=1e-3,
        weight_decay=1e-4,
        warmup=min(100, job.steps),
        final_lr=0.02,
        ema=0.99,
        seed=job.seed,
        save_every=500,
        eval_every=job.steps,
        keep=1,
        threads=1,
    )
    train(recipe, schedule, job.run)
    missing = [split for split in splits if not job.trials(split).is_file()]
    policy = load_policy(job.run / "export", device="cpu") if missing else None
    for split in missing:
        assert policy is not None
        with TwinTrials(job.task, split=split if spoken else None, horizon=job.horizon) as twin:
            told = [instruction(seed, split, job.verbs) for seed in job.starts] if spoken else None
            save_trials(job.trials(split), twin.run(policy, job.starts, instructions=told))
    return job


def instruction(seed: int, split: str, verbs: Sequence[str]) -> str:
    """What a trial is about: of unseen behaviours, one that shares a word with what was done in training."""
    words = {verb.split()[0] for verb in verbs}
    among = [verb for verb in verbs_of(split) if verb in verbs or (split == UNSEEN and verb.split()[0] in words)]
    return draw_instruction(np.random.default_rng([seed, 9]), split, among).text


def kept_by(told: Sequence[DreamRecord]) -> list[dict[str, Any]]:
    """Of each check, and of all that ask no truth: how many dreams pass, and how many of these succeed in a replay."""
    truth = np.array([record.scores["replay"] == 0 for record in told])
    blind = [name for name in CHECKS if name not in ("replay", "duplicate") and name in told[0].scores]
    failed = {name: np.array([_fails(record, name) for record in told]) for name in [*blind, "duplicate"]}
    rows = [("no filter", np.ones(len(told), bool))]
    rows += [(name, ~flags) for name, flags in failed.items()]
    rows.append(("all of these", ~np.any(list(failed.values()), axis=0)))
    return [
        {"filter": name, "yield": rate(keep), "precision": rate(truth[keep]) if keep.any() else None}
        for name, keep in rows
    ]


def _fails(record: DreamRecord, check: str) -> bool:
    return any(fault.startswith(f"{check} ") for fault in record.more["faults"])


def filter_table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown: what each filter keeps."""
    lines = ["| filter | dreams kept | of these succeed when replayed | 95% |", "|---|--:|--:|--:|"]
    for row in rows:
        share, good = row["yield"], row["precision"]
        told = "| | |"
        if good is not None:
            told = f"| {good['successes']} | {100 * good['low']:.0f}-{100 * good['high']:.0f}% |"
        lines.append(f"| {row['filter']} | {share['successes']}/{share['trials']} {told}")
    return "\n".join(lines)


def about(arguments: argparse.Namespace) -> dict[str, Any]:
    """How the figures came about."""
    names = ("task", "verbs", "cameras", "demonstrations", "dreams", "frames", "seeds", "trials", "horizon", "steps")
    return {
        "study": "policies trained on demonstrations and dreams, in the simulator",
        "date": datetime.date.today().isoformat(),
        "commit": git_commit(),
        "settings": {name: getattr(arguments, name) for name in names} | {"batch": BATCH, **SIGHT},
        "networks": {name: fingerprint(getattr(arguments, name)) for name in ("model", "labeller")},
        "limits": json.loads((arguments.out / "dreams" / "meta" / "dreams.json").read_text())["limits"],
        "starts": [FIRST_SEED, FIRST_SEED + arguments.trials - 1],
        "versions": versions(),
    }


if __name__ == "__main__":
    main()
