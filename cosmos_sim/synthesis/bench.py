"""A dataset of dreams before its judges: scores in the manner of DreamGen Bench, and how far a judge is to be trusted.

DreamGen Bench (Jang et al., 2025, arXiv:2505.12705) has vision-language models score instruction following and physics
alignment of generated robot videos. Where the simulator can carry out what a dream shows, its predicates are the truth
that those models are held against here.
"""

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import stats

from cosmos_sim.data.chat import UnusableReplyError
from cosmos_sim.data.dreams import DreamRecord, read_dreams
from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.envs.twin.tasks import find_task
from cosmos_sim.metrics.agreement import Figure
from cosmos_sim.metrics.calibration import Calibration, calibration
from cosmos_sim.metrics.intervals import clopper_pearson, mean_interval
from cosmos_sim.synthesis.judge_vlm import Look, find_judge
from cosmos_sim.synthesis.judged import Judged, judgement_key
from cosmos_sim.synthesis.judges import Judge, Judgement, PredicateJudge, told_to_twin
from cosmos_sim.synthesis.starts import LANGUAGE_TASK
from cosmos_sim.types import Episode

TWIN = "twin"
"""The simulator, where a judge is named."""


@dataclass(frozen=True)
class Seat:
    """A judge at the bench."""

    name: str
    settings: str
    """Whatever else decides its judgements."""
    judge_of: Callable[[DreamRecord, Episode], Judge | None]
    """The judge of a dream; ``None`` for one that it cannot judge."""
    cannot: str = ""
    """Why, then."""


@dataclass(frozen=True)
class GroupScore:
    """The means of a judge's scores over some of the dreams, taken as independent."""

    group: str
    """``all``; ``accepted`` and ``rejected`` by the filters; or a split."""
    dreams: int
    following: Figure
    physics: Figure


@dataclass(frozen=True)
class JudgeScore:
    """What one judge said of all dreams."""

    judge: str
    groups: tuple[GroupScore, ...]
    judgements: Mapping[int, Judgement]
    """By episode."""
    unjudged: Mapping[int, str]
    """Why not, by episode."""
    calibration: Calibration | None
    """``following`` as the probability that the simulator's predicate holds, over the dreams that both judged; ``None``
    without the simulator, of itself, and where there are none."""
    physics_rank: Figure | None
    """Spearman's rank correlation of ``physics`` with the simulator's, likewise."""


@dataclass(frozen=True)
class BenchScore:
    """What all judges said of a dataset."""

    dataset: str
    records: tuple[DreamRecord, ...]
    judges: tuple[JudgeScore, ...]


def take_seat(name: str, *, task: str | None = None, look: Look | None = None, device: str = "auto") -> Seat:
    """The judge called ``name``: :data:`TWIN`, or as :func:`~cosmos_sim.synthesis.judge_vlm.find_judge` takes it.

    Args:
        name: of the judge.
        task: the simulator's, where ``meta/dreams.jsonl`` does not tell it.
        look: how models are shown the dreams.
        device: of models that are loaded here.

    Raises:
        ValueError: no such judge or task.
        OSError: a server that cannot be reached.
    """
    if name != TWIN:
        if name.isidentifier() and not Path(name).is_dir():
            hint = "; did you mean 'twin'?" if difflib.get_close_matches(name, [TWIN]) else ""
            raise ValueError(f"unknown judge {name!r}: take {TWIN}, URL#MODEL, a hub id or a folder{hint}")
        model = find_judge(name, look, device=device)
        return Seat(name, model.identity, lambda record, episode: model)

    def of(record: DreamRecord, episode: Episode) -> Judge | None:
        if record.start.seed is None:
            return None
        return PredicateJudge(episode.action, record.start, twin_task(record, task))

    return Seat(name, str(task), of, "its start is of no seed of the simulator")


def twin_task(record: DreamRecord, task: str | None) -> str:
    """The simulator's task of a dream: what is told of it, else ``task``, else the one that takes instructions.

    Raises:
        ValueError: ``task`` is another one than what is told, or unknown; the message names the episode.
    """
    told = record.start.task
    if told is not None and task is not None and told != find_task(task).name:
        raise ValueError(f"episode {record.episode} is of the simulator's task {told!r}, not {task!r}")
    return find_task(told or task or LANGUAGE_TASK).name


def check_instructions(records: Sequence[DreamRecord], task: str | None) -> None:
    """Raise :class:`ValueError`, naming the episode, for an instruction of a dream that begins in the simulator which
    its task does not know."""
    for record in records:
        if record.start.seed is not None:
            name = twin_task(record, task)
            try:
                told_to_twin(name, record.instruction)
            except ValueError as error:
                raise ValueError(f"episode {record.episode} cannot be judged by the simulator: {error}") from error


def score_dreams(
    dataset: str | Path,
    seats: Sequence[Seat],
    *,
    task: str | None = None,
    seed: int = 0,
    judged: Judged | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> BenchScore:
    """Have the judges in ``seats`` judge every dream of ``dataset``.

    Args:
        dataset: as for :func:`~cosmos_sim.data.lerobot.dataset_info`, with ``meta/dreams.jsonl``; episodes that were
            recorded are passed over.
        seats: the judges, of different names.
        task: as for :func:`take_seat`.
        seed: what each judge may leave to chance follows from it and the episode.
        judged: what is known from an earlier run, and where each judgement is kept at once.
        progress: told how many dreams of how many are done.

    Raises:
        ValueError: the dataset holds no dreams; or before any is judged, an instruction that the simulator does not
            know; or whatever a judge raises.
        OSError: a server that cannot be reached.
    """
    info = dataset_info(dataset)
    records = read_dreams(info.path, episodes=info.episodes)
    if any(seat.name == TWIN for seat in seats):
        check_instructions(records, task)
    judged = judged or Judged()
    found: dict[str, dict[int, Judgement]] = {seat.name: {} for seat in seats}
    failed: dict[str, dict[int, str]] = {seat.name: {} for seat in seats}
    episodes = read_episodes(info.path, [record.episode for record in records])
    for done, (record, episode) in enumerate(zip(records, episodes, strict=True), start=1):
        for seat in seats:
            try:
                judgement = _judge(seat, record, episode, judged, seed=seed)
            except UnusableReplyError as error:
                failed[seat.name][record.episode] = str(error)
                continue
            if judgement is None:
                failed[seat.name][record.episode] = seat.cannot
            else:
                found[seat.name][record.episode] = judgement
        if progress is not None:
            progress(done, len(records))
    truth = found.get(TWIN)
    scores = [_score(name, found[name], failed[name], records, None if name == TWIN else truth) for name in found]
    return BenchScore(str(dataset), records, tuple(scores))


def mean_score(values: Sequence[float]) -> Figure:
    """The mean of scores with the interval of 95% that fits them: Clopper and Pearson's of verdicts, which are all 0 or
    1, and otherwise Student's, cut to 0 .. 1."""
    if not values:
        return Figure(None, note="no dream was judged")
    mean = float(np.mean(values))
    if set(values) <= {0.0, 1.0}:
        exact = clopper_pearson(round(sum(values)), len(values))
        return Figure(mean, exact.low, exact.high, "Clopper-Pearson")
    if len(values) == 1:
        return Figure(mean, note="one dream: no interval")
    interval = mean_interval(values)
    return Figure(mean, max(0.0, interval.low), min(1.0, interval.high), "Student")


def _judge(seat: Seat, record: DreamRecord, episode: Episode, judged: Judged, *, seed: int) -> Judgement | None:
    key = judgement_key(f"{seat.name} {seat.settings}", record, episode, seed=seed)
    if (known := judged.get(key)) is not None:
        return known
    judge = seat.judge_of(record, episode)
    if judge is None:
        return None
    judgement = judge.judge(episode.frames, record.instruction, seed=seed * 1_000_003 + record.episode * 101)
    judged.keep(key, judgement)
    return judgement


def _score(
    name: str,
    found: Mapping[int, Judgement],
    failed: Mapping[int, str],
    records: Sequence[DreamRecord],
    truth: Mapping[int, Judgement] | None,
) -> JudgeScore:
    groups = []
    for group, members in _groups(records):
        said = [found[record.episode] for record in members if record.episode in found]
        following, physics = [one.following for one in said], [one.physics for one in said]
        groups.append(GroupScore(group, len(said), mean_score(following), mean_score(physics)))
    both = sorted(set(found) & set(truth or {}))
    table, rank = None, None
    if truth is not None and both:
        table = calibration(
            truth=np.array([truth[k].following == 1 for k in both]),
            probability=np.array([found[k].following for k in both]),
        )
        rank = _rank_correlation([truth[k].physics for k in both], [found[k].physics for k in both])
    return JudgeScore(name, tuple(groups), dict(found), dict(failed), table, rank)


def _groups(records: Sequence[DreamRecord]) -> Iterator[tuple[str, list[DreamRecord]]]:
    """All dreams, and those that differ by the filters' verdict or by split, where there is more than one kind."""
    yield "all", list(records)
    kinds: list[Callable[[DreamRecord], str | None]] = [
        lambda record: "accepted" if record.accepted else "rejected",
        lambda record: record.start.split,
    ]
    for kind in kinds:
        names = sorted({name for record in records if (name := kind(record)) is not None})
        if len(names) > 1:
            yield from ((name, [record for record in records if kind(record) == name]) for name in names)


def _rank_correlation(truth: Sequence[float], scores: Sequence[float]) -> Figure:
    if len(truth) < 3 or len(set(truth)) == 1 or len(set(scores)) == 1:
        return Figure(None, note="a rank correlation needs three dreams or more, and scores that vary")
    return Figure(float(stats.spearmanr(truth, scores).statistic), note=f"{len(truth)} dreams")
