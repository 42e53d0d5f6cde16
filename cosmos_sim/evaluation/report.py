"""What an evaluation found, as plain data: the content of ``report.json``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from cosmos_sim.data.files import new_file
from cosmos_sim.envs.trust import TrustRule
from cosmos_sim.evaluation.outcome import Outcome
from cosmos_sim.evaluation.trusted import Trusted, believed, is_judged, lost_at
from cosmos_sim.metrics.agreement import Agreement, agreement
from cosmos_sim.metrics.confusion import Confusion, confusion
from cosmos_sim.metrics.intervals import Interval, clopper_pearson, mcnemar_exact, wilson

FORMAT = "cosmos-sim evaluation 1"

Outcomes = Mapping[str, Mapping[str, Sequence[Outcome]]]
"""Side, then policy, then one outcome a seed, all in the same order."""


@dataclass(frozen=True)
class Rate:
    """A success rate and what the number of trials leaves open (95%)."""

    successes: int
    trials: int
    rate: float
    clopper_pearson: Interval
    wilson: Interval

    @classmethod
    def of(cls, successes: int, trials: int) -> "Rate":
        intervals = clopper_pearson(successes, trials), wilson(successes, trials)
        return cls(successes, trials, successes / trials, *intervals)


@dataclass(frozen=True)
class Episode:
    """One episode on one side."""

    seed: int
    success: bool
    steps: int
    success_probability: list[float] | None
    """The success head's output after each step; ``None`` on a side without one."""
    trust: list[float] | None = None
    """After each step, not a number (in JSON: null) before there is any; ``None`` on a side that nothing judges."""
    trust_lost: int | None = None
    """The step after which trust was lost."""


@dataclass(frozen=True)
class SideResult:
    """One policy on one side."""

    rate: Rate
    episodes: list[Episode]
    trusted: Rate | None = None
    """The rate when successes count only where trust held; ``None`` on a side that nothing judges."""


@dataclass(frozen=True)
class PolicyResult:
    """One policy on all sides, by the side's name."""

    name: str
    sides: dict[str, SideResult]


@dataclass(frozen=True)
class Pairing:
    """One policy in a world against the truth, start by start."""

    policy: str
    difference: float
    """Rate in the world minus true rate."""
    mcnemar_p: float
    """Exact two-sided p that both sides succeed equally often from the same starts."""
    verdicts: Confusion
    """Closed loop on both sides: from each start, success in the world against success in truth."""
    replay: Confusion | None
    """The world's verdict against the truth of the very same actions; ``None`` if it was not asked for."""
    replayed: list[bool] | None
    """By start: whether the actions of the imagined episode succeed in truth."""


@dataclass(frozen=True)
class AtHorizon:
    """A world as a judge of policies when only successes within the first ``steps`` count, on either side."""

    steps: int
    agreement: Agreement
    true_rate: float
    """Mean over policies."""
    simulated_rate: float


@dataclass(frozen=True)
class Comparison:
    """A world as a judge of policies."""

    world: str
    truth: str
    agreement: Agreement
    horizons: list[AtHorizon]
    """By rising steps; the last one is the study's own horizon."""
    verdicts: Confusion
    replay: Confusion | None
    start_difference: float
    """Largest absolute difference of proprioception between the sides' start states, in its own units."""
    pairings: list[Pairing]
    trusted: Trusted | None = None
    """The same when an imagined success counts only where trust held; ``None`` where nothing judged that."""


@dataclass(frozen=True)
class Throughput:
    """How fast a side ran."""

    side: str
    steps: int
    env_seconds: float
    policy_seconds: float
    steps_per_second: float
    """Environment steps of counted episodes, all environments together, per second spent in the environment."""


@dataclass(frozen=True)
class Report:
    """Everything that an evaluation found, every raw outcome included."""

    format: str
    created: str
    """UTC, ISO 8601."""
    task: str
    fps: float
    horizon: int
    seeds: list[int]
    worlds: list[str]
    truth: str | None
    policies: list[PolicyResult]
    comparisons: list[Comparison]
    throughput: list[Throughput]
    settings: dict[str, Any]
    versions: dict[str, str]

    def to_json(self) -> str:
        """As strict JSON: what is not a finite number is ``null``."""
        return strict_json(asdict(self))

    def save(self, path: str | Path) -> None:
        """Write :meth:`to_json` beside ``path`` first, then rename it into place."""
        write_whole(path, self.to_json())


def compare(
    world: str,
    truth: str,
    outcomes: Outcomes,
    replayed: Mapping[str, Sequence[bool]] | None = None,
    *,
    horizons: Sequence[int],
    trust: TrustRule | None = None,
) -> Comparison:
    """Judge the side ``world`` by the side ``truth``, and once more with ``trust`` where that was recorded.

    ``replayed`` holds, by policy, the true verdicts of the actions taken in the world. ``horizons`` are the steps at
    which agreement is told, the last one that of the episodes.
    """
    pairings = []
    for policy, imagined in outcomes[world].items():
        verdict, true = _successes(imagined), _successes(outcomes[truth][policy])
        table = confusion(truth=true, verdict=verdict)
        replay = None if replayed is None else np.array(replayed[policy], dtype=bool)
        pairings.append(
            Pairing(
                policy=policy,
                difference=float(verdict.mean() - true.mean()),
                mcnemar_p=mcnemar_exact(table.false_positive, table.false_negative),
                verdicts=table,
                replay=None if replay is None else confusion(truth=replay, verdict=verdict),
                replayed=None if replay is None else replay.tolist(),
            )
        )
    policies = list(outcomes[world])
    starts = [
        float(np.max(np.abs(a.state[0] - b.state[0])))
        for policy in policies
        for a, b in zip(outcomes[world][policy], outcomes[truth][policy], strict=True)
    ]
    none = Confusion(0, 0, 0, 0)
    replay_tables = [pairing.replay for pairing in pairings if pairing.replay is not None]
    by_horizon = [at_horizon(outcomes[truth], outcomes[world], steps) for steps in horizons]
    found = Comparison(
        world=world,
        truth=truth,
        agreement=by_horizon[-1].agreement,
        horizons=by_horizon,
        verdicts=sum((pairing.verdicts for pairing in pairings), none),
        replay=sum(replay_tables, none) if replay_tables else None,
        start_difference=max(starts),
        pairings=pairings,
    )
    return found if trust is None else replace(found, trusted=_trusted(found, outcomes, replayed, trust))


def _trusted(
    found: Comparison, outcomes: Outcomes, replayed: Mapping[str, Sequence[bool]] | None, trust: TrustRule
) -> Trusted | None:
    imagined = outcomes[found.world]
    if not is_judged(imagined):
        return None
    kept = {policy: [believed(outcome, trust) for outcome in episodes] for policy, episodes in imagined.items()}
    again = compare(
        found.world, found.truth, {**outcomes, found.world: kept}, replayed, horizons=[found.horizons[-1].steps]
    )
    doubted = [one for episodes in imagined.values() for one in episodes if lost_at(one, trust) is not None]
    return Trusted(
        rule=trust,
        episodes=found.verdicts.total,
        lost=len(doubted),
        withdrawn=sum(outcome.success for outcome in doubted),
        agreement=again.agreement,
        verdicts=again.verdicts,
        replay=again.replay,
    )


def at_horizon(
    truth: Mapping[str, Sequence[Outcome]], simulated: Mapping[str, Sequence[Outcome]], steps: int
) -> AtHorizon:
    """Agreement of two sides, by policy, on success within ``steps``: an episode ends with its first success."""
    sides = [np.stack([_successes(side[policy], within=steps) for policy in simulated]) for side in (truth, simulated)]
    found = agreement(truth=sides[0], simulated=sides[1])
    return AtHorizon(steps, found, float(sides[0].mean()), float(sides[1].mean()))


def quarters(horizon: int) -> list[int]:
    """A quarter, a half, three quarters and all of ``horizon`` steps, rounded up; each once."""
    return sorted({-(-horizon * quarter // 4) for quarter in (1, 2, 3, 4)})


def policy_results(outcomes: Outcomes, trust: TrustRule | None = None) -> list[PolicyResult]:
    """Rates and raw outcomes of every policy on every side, with ``trust`` also where that was recorded."""
    policies = list(next(iter(outcomes.values())))
    return [
        PolicyResult(policy, {side: _side_result(by_policy[policy], trust) for side, by_policy in outcomes.items()})
        for policy in policies
    ]


def throughput(outcomes: Outcomes) -> list[Throughput]:
    """How fast each side ran, over all policies; episodes of earlier, interrupted runs included."""
    results = []
    for side, by_policy in outcomes.items():
        every = [outcome for episodes in by_policy.values() for outcome in episodes]
        steps = sum(len(outcome) for outcome in every)
        env_seconds = sum(outcome.env_seconds for outcome in every)
        policy_seconds = sum(outcome.policy_seconds for outcome in every)
        results.append(Throughput(side, steps, env_seconds, policy_seconds, steps / env_seconds))
    return results


def strict_json(value: Any) -> str:
    """Dictionaries, lists and scalars as strict JSON: what is not a finite number is ``null``."""
    return json.dumps(_finite(value), indent=1, allow_nan=False) + "\n"


def write_whole(path: str | Path, text: str) -> None:
    """Write ``text`` beside ``path`` first, then rename it into place."""
    with new_file(Path(path)) as partial:
        partial.write_text(text, encoding="utf-8")


def _side_result(outcomes: Sequence[Outcome], trust: TrustRule | None) -> SideResult:
    episodes = [
        Episode(
            outcome.seed,
            outcome.success,
            len(outcome),
            _rounded(outcome.probability),
            _rounded(outcome.trust),
            None if trust is None else lost_at(outcome, trust),
        )
        for outcome in outcomes
    ]
    trusted = None
    if trust is not None and any(outcome.trust is not None for outcome in outcomes):
        trusted = Rate.of(sum(believed(outcome, trust).success for outcome in outcomes), len(outcomes))
    return SideResult(Rate.of(sum(outcome.success for outcome in outcomes), len(outcomes)), episodes, trusted)


def _rounded(values: np.ndarray | None) -> list[float] | None:
    return None if values is None else [round(float(value), 4) for value in values]


def _successes(outcomes: Sequence[Outcome], *, within: int | None = None) -> np.ndarray:
    reached = [outcome.success and (within is None or len(outcome) <= within) for outcome in outcomes]
    return np.array(reached, dtype=bool)


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
