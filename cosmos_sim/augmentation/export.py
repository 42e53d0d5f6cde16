"""The dataset of an augmentation: the source's episodes, their variants, and where each came from."""

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmos_sim.augmentation.card import card
from cosmos_sim.augmentation.page import write_page
from cosmos_sim.augmentation.plan import AugmentConfig, prompt_json
from cosmos_sim.augmentation.staging import Staged
from cosmos_sim.augmentation.variant import attempt_json
from cosmos_sim.data.annotations import read_annotations, write_annotations
from cosmos_sim.data.captions import read_captions, write_captions
from cosmos_sim.data.files import new_folder
from cosmos_sim.data.lerobot import dataset_info
from cosmos_sim.data.lerobot_copy import EpisodeCopy, copy_dataset

PAGE = "augmentation.html"
RECORD = "augmentation.json"
"""In ``meta``: what the whole dataset was made with and of."""


@dataclass(frozen=True)
class Entry:
    """An episode of the dataset: the source's own, or a variant of it."""

    source: int
    staged: Staged | None = None

    def copy(self) -> EpisodeCopy:
        return EpisodeCopy(self.source, {} if self.staged is None else self.staged.videos)


def export(
    staged: Sequence[Staged],
    config: AugmentConfig,
    out: Path,
    *,
    failed: Mapping[str, str],
    include_source: bool,
    record: Mapping[str, Any],
) -> None:
    """Write the dataset ``out``, complete with its sidecars, and rename it into place.

    The source's episodes come first, then the accepted variants, both in the source's order. ``meta`` tells of the
    whole in ``augmentation.json`` and of each episode in ``augmentation.jsonl``; ``augmentation.html`` shows both.

    Args:
        staged: all variants that were made.
        config: what they were made by.
        out: the folder, which is not there or empty.
        failed: ``episode-variant`` of what could not be made, to why.
        include_source: whether the source's episodes are part of it.
        record: what else ``augmentation.json`` is to tell.

    Raises:
        ValueError: no variant was accepted.
        OSError: the disk is full or cannot be written.
    """
    entries = plan_entries(staged, include_source=include_source)
    accepted = [entry for entry in entries if entry.staged is not None]
    rejected = [one for one in staged if not one.accepted]
    if not accepted:
        reasons = [*failed.values(), *("; ".join(one.attempts[-1].faults) for one in rejected)]
        raise ValueError(f"none of {len(reasons)} variants of {config.dataset!r} was accepted; the first: {reasons[0]}")
    made = {one.episode for one in staged}
    skipped = {int(name.partition("-")[0]): reason for name, reason in sorted(failed.items(), reverse=True)}
    source = dataset_info(config.dataset).path
    told = {
        **record,
        "sources": len({entry.source for entry in entries}),
        "variants": len(accepted),
        "rejected": [_provenance(one, config) | {"source_episode": one.episode} for one in rejected],
        "failed": {name: failed[name] for name in sorted(failed)},
        "skipped": {str(episode): skipped[episode] for episode in sorted(skipped) if episode not in made},
    }
    with new_folder(out) as folder:
        copy_dataset(source, folder, [entry.copy() for entry in entries])
        _copy_sidecars(source, folder, entries)
        lines = [_line(k, entry, config) for k, entry in enumerate(entries)]
        (folder / "meta" / "augmentation.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        (folder / "meta" / RECORD).write_text(json.dumps(told, indent=1) + "\n")
        (folder / "README.md").write_text(card(told, lines))
        write_page(folder / PAGE, source, entries, rejected, told)


def plan_entries(staged: Sequence[Staged], *, include_source: bool) -> list[Entry]:
    """The episodes of the dataset in their order: sources that could be read, then variants that were accepted."""
    ordered = sorted(staged, key=lambda one: (one.episode, one.variant))
    sources = [Entry(episode) for episode in dict.fromkeys(one.episode for one in ordered)] if include_source else []
    return [*sources, *(Entry(one.episode, one) for one in ordered if one.accepted)]


def _copy_sidecars(source: Path, folder: Path, entries: Sequence[Entry]) -> None:
    """Captions of all episodes, annotations of the source's, and what else it keeps if all its episodes come first."""
    known, captions = read_captions(source), {}
    for k, entry in enumerate(entries):
        if entry.staged is not None:
            captions[k] = entry.staged.prompt.caption
        elif entry.source in known:
            captions[k] = known[entry.source]
        if entry.staged is None and (annotations := read_annotations(source, entry.source)) is not None:
            write_annotations(folder, k, annotations)
    write_captions(folder, captions)
    total = dataset_info(source).episodes
    if [entry.source for entry in entries[:total] if entry.staged is None] != list(range(total)):
        return
    made = {file.name for file in (folder / "meta").iterdir()} | {"annotations"}
    for file in (source / "meta").iterdir():
        if file.is_file() and file.name not in made:
            shutil.copyfile(file, folder / "meta" / file.name)


def _line(episode: int, entry: Entry, config: AugmentConfig) -> dict[str, Any]:
    line: dict[str, Any] = {"episode": episode, "source_episode": entry.source}
    return line | {"variant": None} if entry.staged is None else line | _provenance(entry.staged, config)


def _provenance(staged: Staged, config: AugmentConfig) -> dict[str, Any]:
    """Where a variant came from: its prompt, its seed, what it was held to, and how it was judged."""
    last = attempt_json(staged.attempts[-1])
    return {
        "variant": staged.variant,
        "prompt": prompt_json(staged.prompt),
        "seed": last["seed"],
        "controls": [str(spec) for spec in config.specs],
        "scores": last["scores"],
        "faults": last["faults"],
        "rejected_attempts": [attempt_json(attempt) for attempt in staged.attempts[:-1]],
    }
