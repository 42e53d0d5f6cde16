"""Which episodes of a dataset were imagined, what was asked for and what they began from: ``meta/dreams.jsonl``.

One line a dream; episodes without one were recorded. The dreams' actions are pseudo-actions, read off the video.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cosmos_sim.data.files import new_file

FILE = "meta/dreams.jsonl"
_KEYS = ("episode", "instruction", "seed", "start", "scores", "accepted")


@dataclass(frozen=True)
class DreamStart:
    """The moment that a dream begins from, as far as it is known."""

    seed: int | None = None
    """Of the simulator's reset that shows it."""
    source_episode: int | None = None
    """The seed dataset's episode that begins with it."""
    task: str | None = None
    """The simulator's task."""
    split: str | None = None
    """Of the simulator's language task."""


@dataclass(frozen=True)
class DreamRecord:
    """What is known of one imagined episode."""

    episode: int
    instruction: str
    seed: int
    """Of the noise that it was imagined from."""
    start: DreamStart
    accepted: bool
    """Whether it passed the filters."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """What the filters measured."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Whatever else its line tells."""


def is_dreamt(dataset: Path) -> bool:
    """Whether the folder ``dataset`` holds imagined episodes."""
    return (dataset / FILE).is_file()


def read_dreams(dataset: Path, *, episodes: int) -> tuple[DreamRecord, ...]:
    """The dreams among the ``episodes`` of the folder ``dataset``, in their order, where there must be some.

    Raises:
        ValueError: there is no such file; or what :func:`dreams_among` raises.
    """
    if not is_dreamt(dataset):
        raise ValueError(f"{str(dataset)!r} holds no dreams: it has no {FILE}, which cosmos-sim dream writes")
    return tuple(record for _, record in sorted(dreams_among(dataset, episodes=episodes).items()))


def dreams_among(dataset: Path, *, episodes: int) -> dict[int, DreamRecord]:
    """Which of the ``episodes`` of the folder ``dataset`` are dreams: none, some of them beside real ones, or all.

    Raises:
        ValueError: naming the line that is no dream's, of an episode that is not there or was told of before.
    """
    if not is_dreamt(dataset):
        return {}
    file = dataset / FILE
    records: dict[int, DreamRecord] = {}
    for number, line in enumerate(file.read_bytes().splitlines(), start=1):
        where = f"line {number} of {str(file)!r}"
        try:
            record = _record(json.loads(line))
        except (ValueError, TypeError) as error:
            raise ValueError(f"{where} is not a dream's: {error}") from error
        if not 0 <= record.episode < episodes:
            raise ValueError(f"{where} tells of episode {record.episode}, but there are 0 .. {episodes - 1}")
        if record.episode in records:
            raise ValueError(f"{where} tells of episode {record.episode} once more")
        records[record.episode] = record
    return records


def write_dreams(dataset: Path, records: Sequence[DreamRecord]) -> None:
    """Make ``records`` what the folder ``dataset`` tells of its episodes."""
    lines = []
    for record in records:
        told = {
            "episode": record.episode,
            "instruction": record.instruction,
            "start": vars(record.start),
            "seed": record.seed,
            "scores": dict(record.scores),
            "accepted": record.accepted,
        }
        lines.append(json.dumps({**told, **record.more}, ensure_ascii=False, allow_nan=False) + "\n")
    with new_file(dataset / FILE) as partial:
        partial.write_text("".join(lines), encoding="utf-8")


def _record(line: Any) -> DreamRecord:
    if not isinstance(line, dict):
        raise ValueError(f"it should be an object, got {line!r}")
    if missing := [key for key in ("episode", "instruction", "seed", "start", "accepted") if key not in line]:
        raise ValueError(f"it lacks {', '.join(missing)}")
    start, scores = line["start"], line.get("scores", {})
    if not isinstance(start, dict) or not isinstance(scores, dict):
        raise ValueError(f"start and scores should be objects, got {start!r} and {scores!r}")
    if not isinstance(line["instruction"], str) or not line["instruction"].strip():
        raise ValueError(f"instruction should be a text that is not empty, got {line['instruction']!r}")
    if not isinstance(line["accepted"], bool):
        raise ValueError(f"accepted should be true or false, got {line['accepted']!r}")
    return DreamRecord(
        episode=_whole(line, "episode"),
        instruction=line["instruction"],
        seed=_whole(line, "seed"),
        start=DreamStart(
            seed=None if start.get("seed") is None else _whole(start, "seed"),
            source_episode=None if start.get("source_episode") is None else _whole(start, "source_episode"),
            task=_name(start, "task"),
            split=_name(start, "split"),
        ),
        accepted=line["accepted"],
        scores=scores,
        more={key: value for key, value in line.items() if key not in _KEYS},
    )


def _whole(values: Mapping[str, Any], key: str) -> int:
    value = values[key]
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{key} should be a whole number from 0 on, got {value!r}")
    return value


def _name(values: Mapping[str, Any], key: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise ValueError(f"{key} of the start should be a text, got {value!r}")
    return value
