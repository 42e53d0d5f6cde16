"""Does success in a learned world tell success in the simulator? Every policy of policies.py, on both sides.

    python experiments/agreement.py --policies runs/policies --world lift

Both sides begin from the same start states, made from seeds that no collection, no training and no look at a policy has
used. Episodes are kept under ``--out``: a stopped study goes on, and another world costs its own episodes only, since
the simulator's stay. Prints the table, and writes the figures (``--json``), the scatter plot (``--picture``) and, under
``--out``, a report with videos.
"""

import argparse
import datetime
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from policies import SPECS, Spec, source

from cosmos_sim.data.starts import Starts
from cosmos_sim.envs.rollout import Progress
from cosmos_sim.envs.starts import starts_from_twin
from cosmos_sim.envs.trust import TrustRule
from cosmos_sim.evaluation.chart import Point, scatter, standalone
from cosmos_sim.evaluation.evaluate import Study, run_study, versions
from cosmos_sim.evaluation.outcome import OutcomeStore
from cosmos_sim.evaluation.replay import replays
from cosmos_sim.evaluation.report import Comparison, Report, strict_json, write_whole
from cosmos_sim.evaluation.run import Arena, Contender
from cosmos_sim.evaluation.sides import contenders, load_world, task_text, trust_folder, twin_side, world_side
from cosmos_sim.evaluation.table import text_report
from cosmos_sim.evaluation.trusted import Trusted
from cosmos_sim.metrics.confusion import Confusion
from cosmos_sim.training.provenance import git_commit

TASK, HORIZON = "Lift", 60
FIRST_SEED = 1000
"""Beyond a world's shipped starts, and below the seeds of every collection."""

FAMILIES = {
    "diffusion": "diffusion policy (UNet)",
    "regression": "regression",
    "act": "LeRobot ACT",
    "lerobot-diffusion": "LeRobot Diffusion",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--policies", type=Path, required=True, help="the folder that policies.py trained into")
    parser.add_argument("--world", default="lift", help="a shipped name, a folder or a hub id")
    parser.add_argument("--episodes", type=int, default=50, help="of each policy on each side")
    parser.add_argument("--out", type=Path, default=Path("runs/agreement"), help="episodes and the report come here")
    parser.add_argument("--json", type=Path, default=Path("experiments/agreement.json"))
    parser.add_argument("--picture", type=Path, default=Path("docs/media/agreement.svg"))
    parser.add_argument("--batch", type=int, default=25, help="imagined episodes at once")
    parser.add_argument("--trust", default="auto", help="what judges the frames; none, or the world's own (auto)")
    parser.add_argument("--truth-only", action="store_true", help="run the simulator's side and stop")
    arguments = parser.parse_args()
    seeds = range(FIRST_SEED, FIRST_SEED + arguments.episodes)
    judged = contenders([source(spec, arguments.policies) for spec in SPECS])
    if arguments.truth_only:
        run_truth(judged, seeds, arguments.out)
        return
    world, content = load_world(arguments.world)
    starts = twin_starts(seeds, arguments.out / "starts.safetensors")
    judge = trust_folder(arguments.trust, world)
    side = world_side(
        arguments.world, world, content, horizon=HORIZON, width=arguments.batch, twin_starts=starts, trust=judge
    )
    study = Study(
        contenders=judged,
        worlds=[side],
        truth=twin_side(TASK, horizon=HORIZON),
        seeds=seeds,
        task=task_text(TASK),
        horizon=HORIZON,
        replay=lambda outcomes: replays(TASK, outcomes, cache=arguments.out / "replays.json"),
        trust=None if judge is None else TrustRule(),
    )
    settings = {
        "device": str(world.device),
        "precision": str(world.dtype).removeprefix("torch."),
        "sampling steps": len(world.times) - 1,
        "batch": arguments.batch,
    }
    report = run_study(study, arguments.out, settings=settings, watch=tell)
    write_whole(arguments.json, strict_json(figures(report, content)))
    points = [
        Point(spec.name.replace(spec.family, FAMILIES[spec.family]), *rates(report, spec.name), FAMILIES[spec.family])
        for spec in SPECS
    ]
    write_whole(arguments.picture, standalone(scatter(points, world="the learned world"), width=680))
    print(text_report(report))
    print(f"\n{arguments.json}, {arguments.picture} and {arguments.out / 'report.html'} are written")


def run_truth(judged: Sequence[Contender], seeds: Sequence[int], out: Path) -> None:
    """Every policy in the simulator, kept where the whole study looks for it."""
    side = twin_side(TASK, horizon=HORIZON)
    with Arena(side, OutcomeStore(out / "episodes")) as arena:
        for contender in judged:
            solved = sum(outcome.success for outcome in arena.run(contender, seeds))
            print(f"{contender.name:22s} {solved:3d}/{len(seeds)} in the simulator", flush=True)


def twin_starts(seeds: Sequence[int], path: Path) -> Starts:
    """The simulator's observations after ``reset(seed)``, made once and kept at ``path``."""
    if path.is_file():
        kept = Starts.load(path)
        if set(seeds) <= set(kept.seeds.tolist()):
            return kept
    starts = starts_from_twin(TASK, seeds)
    starts.save(path)
    return starts


def tell(side: str, policy: str, progress: Progress) -> None:
    """A line when a policy begins on a side."""
    if progress.steps == 0 and progress.episodes:
        print(f"{policy} in {side}: {progress.episodes} episodes", flush=True)


def rates(report: Report, policy: str) -> list[Any]:
    """The policy's rate in the world, and the true one."""
    found = next(result for result in report.policies if result.name == policy)
    assert report.truth is not None
    return [found.sides[side].rate for side in (report.worlds[0], report.truth)]


def figures(report: Report, content: str) -> dict[str, Any]:
    """What the study found, in full but for the videos."""
    (comparison,) = report.comparisons
    return {
        "study": "policies trained independently, in a learned world and in the simulator, which is the truth",
        "date": datetime.date.today().isoformat(),
        "commit": git_commit(),
        "world": {"name": report.worlds[0], "sha256": content, "settings": report.settings},
        "task": report.task,
        "horizon": report.horizon,
        "seeds": [report.seeds[0], report.seeds[-1]],
        "policies": [policy_figures(report, comparison, spec) for spec in SPECS],
        "agreement": asdict(comparison.agreement),
        "by horizon": [asdict(at) for at in comparison.horizons],
        "success head": {
            "closed loop on both sides": told(comparison.verdicts),
            "the same actions in the simulator": told(comparison.replay),
        },
        "with trust": trusted(comparison.trusted),
        "versions": versions(),
    }


def policy_figures(report: Report, comparison: Comparison, spec: Spec) -> dict[str, Any]:
    """One policy: how it was made, and how it fared on both sides; an episode is its steps to success, or null."""
    result = next(result for result in report.policies if result.name == spec.name)
    pairing = next(pairing for pairing in comparison.pairings if pairing.policy == spec.name)
    sides = {"truth": result.sides[comparison.truth], "world": result.sides[comparison.world]}
    return {
        **asdict(spec),
        **{
            name: {
                **asdict(side.rate),
                "steps to success": [episode.steps if episode.success else None for episode in side.episodes],
            }
            for name, side in sides.items()
        },
        "difference": pairing.difference,
        "mcnemar_p": pairing.mcnemar_p,
        "replay": told(pairing.replay),
    }


def trusted(found: Trusted | None) -> dict[str, Any] | None:
    """What becomes of the agreement when a success counts only where the frames followed the actions."""
    if found is None:
        return None
    return {
        "rule": asdict(found.rule),
        "lost": found.lost,
        "withdrawn": found.withdrawn,
        "agreement": asdict(found.agreement),
        "success head": told(found.replay),
    }


def told(table: Confusion | None) -> Mapping[str, Any] | None:
    return None if table is None else {**asdict(table), "balanced_accuracy": table.balanced_accuracy}


if __name__ == "__main__":
    main()
