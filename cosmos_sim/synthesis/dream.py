"""Videos of what instructions say, labelled with actions and filtered, and the dataset that they make together."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tqdm import tqdm

from cosmos_sim.data.lerobot import dataset_info
from cosmos_sim.data.runners import Opener, Runner, carry_out
from cosmos_sim.data.work_folder import is_finished
from cosmos_sim.synthesis.dreaming import ActionRange, Dream
from cosmos_sim.synthesis.export import RECORD, export, judge
from cosmos_sim.synthesis.plan import DreamConfig, Job, plan_jobs
from cosmos_sim.synthesis.scores import Limits
from cosmos_sim.synthesis.staging import Staging


@dataclass(frozen=True)
class Dreamt:
    """A finished dataset."""

    path: Path
    dreams: int
    accepted: int
    faults: Mapping[str, int]
    """How many dreams each check rejected."""
    failed: Mapping[str, str]
    """Names of the dreams that could not be made, to why."""
    new: int
    """Dreams that this call made; the others were there from before."""


def dream(
    config: DreamConfig,
    out: str | Path,
    *,
    opener: Opener[Job, Dream],
    runner: Runner,
    limits: Limits,
    usual: ActionRange,
    unfiltered: bool = False,
    with_seed: bool = False,
    progress: bool = True,
) -> Dreamt:
    """Make the dreams of ``config`` and assemble those that pass as the LeRobot dataset ``out``.

    Dreams are staged one by one in ``<out>.dreaming``, so that a process killed at any moment is continued by the same
    call; ``out`` is whole or is not there. One that cannot be made is named and left out.

    Args:
        config: what is made.
        out: the folder of the dataset, which must not exist yet.
        opener: makes what makes dreams, in each process that does.
        runner: the processes.
        limits: what is good enough.
        usual: range and spread of the seed dataset's actions.
        unfiltered: put rejected dreams in as well.
        with_seed: put the seed dataset's episodes in first.

    Raises:
        ValueError: ``out`` holds something else or was begun with other options (naming the difference), a network
            cannot be opened, or no dream was accepted.
        OSError: the disk is full, or a process died; what is done is kept.
    """
    out = Path(out).absolute()
    told = {"unfiltered": unfiltered, "with_seed": with_seed, "limits": dict(limits.worst)}
    settings = config.as_json() | told
    staging = Staging(out)
    if is_finished(out, Path("meta", RECORD), settings, what="a dataset of dreams"):
        staging.work.remove()
        return _summary(out, new=0)
    info = dataset_info(config.dataset)
    with staging.opened(config):
        every = plan_jobs(config, info.episode_tasks)
        done = staging.done()
        jobs = [job for job in every if job.name not in done]
        begun = len(every) - len(jobs)
        with tqdm(total=len(every), initial=begun, desc="dreaming", unit="dream", disable=not progress) as bar:
            failed = carry_out(jobs, opener, runner, partial(staging.save, config), bar)
        judged = judge(staging, sorted(staging.done()), limits, spread=usual.spread)
        export(staging, judged, config, info, out, limits=limits, failed=failed, settings=settings)
    staging.work.remove()
    return _summary(out, new=len(jobs) - len(failed))


def _summary(out: Path, *, new: int) -> Dreamt:
    told = json.loads((out / "meta" / RECORD).read_text())
    faults: dict[str, int] = {}
    for one in told["rejected"]:
        for fault in one["faults"]:
            check = fault.partition(" ")[0]
            faults[check] = faults.get(check, 0) + 1
    return Dreamt(out, told["dreams"], told["accepted"], faults, told["failed"], new)
