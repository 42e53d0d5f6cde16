"""What judges said of a dataset of dreams, as a table for a terminal and as plain data."""

from dataclasses import asdict
from typing import Any

from cosmos_sim.evaluation.table import grid
from cosmos_sim.metrics.agreement import Figure
from cosmos_sim.metrics.calibration import Calibration
from cosmos_sim.synthesis.bench import BenchScore, JudgeScore

FORMAT = "cosmos-sim dream scores 1"


def bench_text(score: BenchScore) -> str:
    """The means of each judge, what the simulator says of the judges, and what could not be judged."""
    rows = [
        [judge.judge if not k else "", group.group, str(group.dreams), _span(group.following), _span(group.physics)]
        for judge in score.judges
        for k, group in enumerate(judge.groups)
    ]
    parts = [
        f"{_count(len(score.records), 'dream')}, "
        + _count(len({record.instruction for record in score.records}), "instruction"),
        grid(["judge", "dreams", "judged", "following", "physics"], rows),
        "Means with 95% intervals, dreams taken as independent: Clopper-Pearson of verdicts, else Student.",
    ]
    parts += [_calibration(judge, judge.calibration) for judge in score.judges if judge.calibration is not None]
    for judge in score.judges:
        if judge.unjudged:
            episode, reason = next(iter(judge.unjudged.items()))
            parts.append(f"{judge.judge} did not judge {len(judge.unjudged)} (first: episode {episode}: {reason})")
    return "\n\n".join(parts)


def bench_json(score: BenchScore, *, settings: dict[str, Any]) -> dict[str, Any]:
    """All that is known, each dream's judgements with reasons included; ``settings`` tell how it came about."""
    return {
        "format": FORMAT,
        "dataset": score.dataset,
        "settings": settings,
        "judges": [_judge(judge) for judge in score.judges],
        "dreams": [
            {
                "episode": record.episode,
                "instruction": record.instruction,
                "accepted": record.accepted,
                "judgements": {
                    judge.judge: asdict(judge.judgements[record.episode])
                    for judge in score.judges
                    if record.episode in judge.judgements
                },
            }
            for record in score.records
        ],
    }


def _judge(judge: JudgeScore) -> dict[str, Any]:
    table = judge.calibration
    return {
        "judge": judge.judge,
        "groups": [asdict(group) for group in judge.groups],
        "unjudged": dict(judge.unjudged),
        "calibration": None
        if table is None
        else {
            **asdict(table),
            "accuracy": table.table.accuracy,
            "balanced_accuracy": table.table.balanced_accuracy,
            "error": table.error,
        },
        "physics_rank": None if judge.physics_rank is None else asdict(judge.physics_rank),
    }


def _calibration(judge: JudgeScore, found: Calibration) -> str:
    table = found.table
    succeed = table.true_positive + table.false_negative
    rank = judge.physics_rank or Figure(None)
    rows = [
        [f"{part.low:.1f} .. {part.high:.1f}", str(part.count), f"{part.probability:.2f}",
         f"{part.rate:.2f} ({part.interval.low:.2f} .. {part.interval.high:.2f})"]
        for part in found.bins
    ]  # fmt: skip
    return "\n".join(
        [
            f"{judge.judge} against the simulator: of {_count(table.total, 'dream')} {succeed} do what they were told",
            f"  accuracy {_number(table.accuracy)}, balanced {_number(table.balanced_accuracy)}, "
            f"area under the curve {_span(found.auc)}",
            f"  Brier {found.brier:.3f} (always saying the rate: {found.brier_of_rate:.3f}), calibration error "
            f"{found.error:.3f}, rank correlation of physics {_span(rank)}",
            *(f"  {line}" for line in grid(["following", "dreams", "mean", "true"], rows).splitlines()),
        ]
    )


def _span(figure: Figure) -> str:
    if figure.value is None:
        return f"- ({figure.note})" if figure.note else "-"
    if figure.low is None or figure.high is None:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} .. {figure.high:.3f})"


def _count(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
