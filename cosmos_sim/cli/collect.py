"""``cosmos-sim collect``: episodes of the simulator twin as a LeRobot dataset."""

from pathlib import Path
from typing import Annotated

import tyro


def collect(
    *,
    task: str,
    episodes: int,
    out: Annotated[Path, tyro.conf.arg(metavar="DIR")],
    seed: int = 0,
    workers: int = 2,
    length: int | None = None,
    skills: str = "",
    scenes: str | None = None,
    annotate: bool = False,
    split: str | None = None,
    verbs: tuple[str, ...] = (),
) -> None:
    """Record episodes of the simulator twin, by scripted or trained policies, as a LeRobot dataset.

    Killed at any moment, the same command continues; the dataset is at DIR only when it is whole. The same options give
    the same dataset whatever the number of workers.

    Args:
        task: Lift, Stack, PickPlaceCan or Tabletop.
        episodes: How many episodes to record.
        out: The folder of the dataset, which must not exist yet.
        seed: Which collection; each has starts of its own, none of which evaluation uses.
        workers: Processes that record at the same time; one for each core is fastest.
        length: Steps of each episode, recorded on after success; the task's own horizon by default.
        skills: Share of the episodes of each skill, by default expert=.35,noisy=.2,clumsy=.2,wrong=.15,random=.1. A
            trained policy takes the place of a skill by its folder: expert=.5,runs/policy/export=.5, or
            lerobot:FOLDER=.5 for LeRobot's.
        scenes: What the episodes look like: random (another table, colours, light and background in each), or one scene
            by its name, such as base; robosuite's own look by default. Lift only.
        annotate: Also keep true depth and segments of all images.
        split: Where the instructions of Tabletop, its objects and looks are drawn from: seen (the default),
            unseen_objects, unseen_behaviours or unseen_environments. Each episode's task is its instruction.
        verbs: What is done, such as lift or "push left", of all that the split does; all of it by default.
    """
    from cosmos_sim.collection.collect import collect as run
    from cosmos_sim.collection.plan import CollectionConfig, parse_shares
    from cosmos_sim.envs.twin.tasks import find_split, find_task

    spec = find_task(task)
    config = CollectionConfig(
        task=task,
        episodes=episodes,
        seed=seed,
        length=spec.horizon if length is None else length,
        shares=parse_shares(skills),
        scenes=scenes,
        annotate=annotate,
        split=find_split(spec, split),
        verbs=verbs,
    )
    collected = run(config, out, workers=workers)
    if collected.new == 0:
        print(f"{str(out)!r} is complete already: nothing to do")
    rate = collected.successes / collected.episodes
    print(f"{collected.episodes} episodes in {str(out)!r}, {collected.successes} solved ({rate:.0%})")
