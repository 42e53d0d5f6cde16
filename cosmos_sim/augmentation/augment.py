"""A dataset's episodes in new scenes, checked, and the dataset that they make together."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from cosmos_sim.augmentation.export import RECORD, export
from cosmos_sim.augmentation.plan import AugmentConfig, Job, jobs_of
from cosmos_sim.augmentation.prompts import Prompts
from cosmos_sim.augmentation.staging import Staging
from cosmos_sim.augmentation.template import Prompt
from cosmos_sim.augmentation.variant import Variant
from cosmos_sim.data.lerobot import dataset_info
from cosmos_sim.data.runners import Opener, Runner, carry_out
from cosmos_sim.data.work_folder import is_finished


@dataclass(frozen=True)
class Augmented:
    """A finished dataset."""

    path: Path
    sources: int
    """Episodes that were varied."""
    variants: int
    """Variants that are in the dataset."""
    rejected: int
    """Variants that failed their checks in every attempt."""
    failed: Mapping[str, str]
    """``episode-variant`` of what could not be made, to why."""
    skipped: Mapping[int, str]
    """Episodes of which nothing could be made, to why; they are left out."""
    new: int
    """Variants that this call made; the others were there from before."""


def augment(
    config: AugmentConfig,
    out: str | Path,
    *,
    prompts: Prompts,
    opener: Opener[Job, Variant],
    runner: Runner,
    include_source: bool = True,
    record: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Augmented:
    """Make the variants of ``config`` and assemble them as the LeRobot dataset ``out``.

    Variants are staged one by one in ``<out>.augmenting``, so that a process killed at any moment is continued by the
    same call; ``out`` is whole or is not there. An episode that cannot be read or varied is named and left out.

    Args:
        config: what is made.
        out: the folder of the dataset, which must not exist yet.
        prompts: of the variants; those of an episode are kept once they are chosen.
        opener: makes what makes variants, in each process that does; see
            :func:`~cosmos_sim.augmentation.open.open_augmenter`.
        runner: the processes.
        include_source: whether the source's episodes come first.
        record: what else ``meta/augmentation.json`` is to tell.

    Raises:
        ValueError: ``out`` holds something else or was begun with other options (naming the difference), the world
            cannot be opened, or no variant of any episode was accepted.
        OSError: the disk is full, or a process died; what is done is kept.
    """
    out = Path(out).absolute()
    settings = config.as_json() | {"include_source": include_source}
    staging = Staging(out)
    if is_finished(out, Path("meta", RECORD), settings, what="an augmented dataset"):
        staging.work.remove()
        return _summary(out, new=0)
    episodes = _chosen(config)
    with staging.opened(config):
        chosen = {episode: _prompts(staging, prompts, episode, config.variants) for episode in episodes}
        jobs = jobs_of(chosen, staging.done())
        total = len(episodes) * config.variants
        bar = tqdm(total=total, initial=total - len(jobs), desc="augmenting", unit="variant", disable=not progress)

        def keep(job: Job, variant: Variant) -> None:
            staging.save(job, variant)
            if not variant.accepted:
                bar.write(f"{job.title} is rejected: {'; '.join(variant.attempts[-1].faults)}")

        with bar:
            failed = carry_out(jobs, opener, runner, keep, bar)
        told = {"settings": settings, **(record or {})}
        export(staging.all(), config, out, failed=failed, include_source=include_source, record=told)
    staging.work.remove()
    return _summary(out, new=len(jobs) - len(failed))


def _chosen(config: AugmentConfig) -> list[int]:
    info = dataset_info(config.dataset)
    chosen = range(info.episodes) if config.episodes is None else sorted(config.episodes)
    for episode in chosen:
        if not 0 <= episode < info.episodes:
            raise ValueError(f"{config.dataset!r} has episodes 0..{info.episodes - 1}, not {episode}")
    return list(chosen)


def _prompts(staging: Staging, prompts: Prompts, episode: int, count: int) -> list[Prompt]:
    kept = staging.prompts(episode)
    if kept is None:
        kept = prompts.of(episode, range(count))
        staging.save_prompts(episode, kept)
    return kept


def _summary(out: Path, *, new: int) -> Augmented:
    told = json.loads((out / "meta" / RECORD).read_text())
    skipped = {int(episode): reason for episode, reason in told["skipped"].items()}
    return Augmented(out, told["sources"], told["variants"], len(told["rejected"]), told["failed"], skipped, new)
