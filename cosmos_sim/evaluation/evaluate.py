"""The whole evaluation: policies x worlds x start states, beside the truth where there is one."""

import datetime
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cosmos_sim
from cosmos_sim.envs.rollout import Progress
from cosmos_sim.envs.trust import TrustRule
from cosmos_sim.evaluation.html import write_page
from cosmos_sim.evaluation.outcome import Outcome, OutcomeStore
from cosmos_sim.evaluation.report import (
    FORMAT,
    Comparison,
    Outcomes,
    Report,
    compare,
    policy_results,
    quarters,
    throughput,
)
from cosmos_sim.evaluation.run import Arena, Contender, Side

Replay = Callable[[Sequence[Outcome]], list[bool]]
Watch = Callable[[str, str, Progress], None]
"""Told of the side, the policy and how far its episodes are."""

_PACKAGES = ("torch", "numpy", "gymnasium", "mujoco", "robosuite", "lerobot", "diffusers")


@dataclass(frozen=True)
class Study:
    """What is to be compared."""

    contenders: Sequence[Contender]
    worlds: Sequence[Side]
    truth: Side | None
    seeds: Sequence[int]
    task: str
    horizon: int
    replay: Replay | None = None
    """The true verdicts of imagined episodes' actions; needs a truth."""
    trust: TrustRule | None = None
    """When trust in an imagined episode is lost, in worlds that tell it; the report then says what that changes."""

    def __post_init__(self) -> None:
        for what, names in (
            ("policies", [contender.name for contender in self.contenders]),
            ("worlds", [side.name for side in self.sides]),
        ):
            if not names:
                raise ValueError(f"there are no {what} to evaluate")
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise ValueError(f"{what} need different names, got {twice[0]!r} twice")
        if self.replay is not None and self.truth is None:
            raise ValueError("a replay needs a truth to replay in")

    @property
    def sides(self) -> list[Side]:
        return [*self.worlds, *([] if self.truth is None else [self.truth])]


def run_study(
    study: Study, out: str | Path, *, settings: Mapping[str, Any] | None = None, watch: Watch | None = None
) -> Report:
    """Run what is not yet there, and write ``out/report.json`` and ``out/report.html``.

    Every episode is kept under ``out/episodes`` as soon as its batch ends. Interrupted and called again, the same
    study goes on; more policies or seeds add to what is there. ``settings`` are told in the report as they are.
    """
    out = Path(out)
    store = OutcomeStore(out / "episodes")
    outcomes: dict[str, dict[str, list[Outcome]]] = {}
    for side in study.sides:
        with Arena(side, store) as arena:
            outcomes[side.name] = {
                contender.name: arena.run(
                    contender, study.seeds, progress=None if watch is None else _watching(watch, side, contender)
                )
                for contender in study.contenders
            }
    report = Report(
        format=FORMAT,
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        task=study.task,
        fps=study.worlds[0].fps,
        horizon=study.horizon,
        seeds=[int(seed) for seed in study.seeds],
        worlds=[side.name for side in study.worlds],
        truth=None if study.truth is None else study.truth.name,
        policies=policy_results(outcomes, study.trust),
        comparisons=_comparisons(study, outcomes),
        throughput=throughput(outcomes),
        settings=dict(settings or {}),
        versions=versions(),
    )
    report.save(out / "report.json")
    write_page(report, outcomes, out / "report.html")
    return report


def versions() -> dict[str, str]:
    """Versions of this package, of Python and of what the results depend on."""
    found = {"cosmos-sim": cosmos_sim.__version__, "python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _comparisons(study: Study, outcomes: Outcomes) -> list[Comparison]:
    if study.truth is None:
        return []
    results = []
    for side in study.worlds:
        replayed = None
        if study.replay is not None:
            replayed = {policy: study.replay(episodes) for policy, episodes in outcomes[side.name].items()}
        steps = quarters(study.horizon)
        results.append(compare(side.name, study.truth.name, outcomes, replayed, horizons=steps, trust=study.trust))
    return results


def _watching(watch: Watch, side: Side, contender: Contender) -> Callable[[Progress], None]:
    return lambda progress: watch(side.name, contender.name, progress)
