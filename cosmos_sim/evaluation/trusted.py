"""Verdicts that count only as long as the imagined frames followed the actions."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from cosmos_sim.envs.trust import TrustRule
from cosmos_sim.evaluation.outcome import Outcome
from cosmos_sim.metrics.agreement import Agreement
from cosmos_sim.metrics.confusion import Confusion


@dataclass(frozen=True)
class Trusted:
    """A world as a judge of policies when an imagined success counts only if trust held; failures stay failures."""

    rule: TrustRule
    episodes: int
    lost: int
    """Imagined episodes in which trust was lost."""
    withdrawn: int
    """Successes among them, which do not count here."""
    agreement: Agreement
    verdicts: Confusion
    replay: Confusion | None


def lost_at(outcome: Outcome, rule: TrustRule) -> int | None:
    """After how many actions trust was lost; ``None`` where it held to the end, or where nothing judged it."""
    return None if outcome.trust is None else rule.lost_at(outcome.trust)


def believed(outcome: Outcome, rule: TrustRule) -> Outcome:
    """``outcome``, as a failure if trust was lost in it, up to and with the frame that solved the task."""
    return outcome if lost_at(outcome, rule) is None else replace(outcome, success=False)


def is_judged(outcomes: Mapping[str, Sequence[Outcome]]) -> bool:
    """Whether trust was recorded in a side's episodes."""
    return any(outcome.trust is not None for episodes in outcomes.values() for outcome in episodes)


def trust_text(rule: TrustRule) -> str:
    """The rule in words."""
    return (
        f"a success counts only if trust was never below {rule.minimum:g} for {rule.frames} frames in a row, up to and "
        "with the frame that solved the task"
    )
