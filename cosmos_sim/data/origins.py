"""Which episodes of a dataset show one motion: an augmented dataset holds each of its source's several times over."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cosmos_sim.data.split import held_out_names, some_of


def read_provenance(dataset: Path) -> list[dict[str, Any]] | None:
    """What ``meta/augmentation.jsonl`` tells of each episode: at least ``episode``, ``source_episode`` and ``variant``,
    which is ``None`` for the source's own; ``None`` where there is no such file.

    Raises:
        ValueError: naming the file, if it cannot be read.
    """
    file = dataset / "meta" / "augmentation.jsonl"
    if not file.is_file():
        return None
    try:
        lines: list[dict[str, Any]] = [json.loads(line) for line in file.read_text().splitlines()]
        for line in lines:
            if not {"episode", "source_episode", "variant"} <= set(line):
                raise ValueError(f"no episode, source_episode and variant in {line}")
    except (ValueError, TypeError) as error:
        raise ValueError(f"{str(file)!r} cannot be read: {error}") from error
    return lines


def read_origins(dataset: Path, episodes: int) -> tuple[int, ...]:
    """For each of the ``episodes`` of ``dataset`` the number of the one that it was made from; its own if of none.

    Episodes of one origin have the same actions: they belong on the same side of any split.

    Raises:
        ValueError: as :func:`read_provenance`.
    """
    told = {line["episode"]: line["source_episode"] for line in read_provenance(dataset) or ()}
    return tuple(told.get(episode, episode) for episode in range(episodes))


def held_out_of(dataset: Path, episodes: int, *, fraction: float = 0.1) -> tuple[int, ...]:
    """The episodes of ``dataset`` that are held out: as :func:`~cosmos_sim.data.split.held_out` chooses among those
    that were recorded, with all variants of theirs.

    Raises:
        ValueError: as :func:`read_provenance` and :func:`~cosmos_sim.data.split.held_out`.
    """
    origins = read_origins(dataset, episodes)
    names = list(dict.fromkeys(origins))
    apart = {names[k] for k in held_out_names([str(name) for name in names], fraction=fraction)}
    return tuple(episode for episode, origin in enumerate(origins) if origin in apart)


def labelled_of(dataset: Path, episodes: Sequence[int], *, share: float) -> tuple[int, ...]:
    """Those of ``episodes`` of ``dataset`` whose actions may be seen, where only a ``share`` of them may: as
    :func:`~cosmos_sim.data.split.some_of` chooses among those that were recorded, with all variants of theirs.

    Raises:
        ValueError: as :func:`read_provenance` and :func:`~cosmos_sim.data.split.some_of`.
    """
    told = read_origins(dataset, max(episodes, default=-1) + 1)
    names = list(dict.fromkeys(told[episode] for episode in episodes))
    chosen = {names[k] for k in some_of([str(name) for name in names], share=share)}
    return tuple(episode for episode in episodes if told[episode] in chosen)
