"""The card of a collected dataset: what it holds and how it was made."""

import shlex
from collections.abc import Mapping, Sequence

from cosmos_sim.collection.plan import RANDOM, SEEDS_PER_COLLECTION, SKILLS, CollectionConfig

_TEXT = """\
---
license: apache-2.0
task_categories: [robotics]
tags: [LeRobot, robosuite, cosmos-sim]
configs:
- config_name: default
  data_files: data/*/*.parquet
---

# {task}: {episodes} episodes in the simulator twin

A Franka Panda in the simulator twin's task {task}, {length} steps at 10 Hz each, recorded on after the task is solved.
The actors are {actors}, so that the data hold failures as well as successes.

| actor | share asked | episodes | solved |
|---|---|---|---|
{rows}

Solved in all: {solved} of {episodes}.

## Features

Row `k` holds the observation before action `k`; `next.*` is measured after it.

| feature | content |
|---|---|
| `observation.images.agentview`, `observation.images.wrist` | RGB video, 128x128 |
| `observation.state` | point between the finger tips in metres (world frame), rotation vector in radians, \
distance between the fingers in metres |
| `action` | change of position and of rotation and the gripper's drive, each in [-1, 1] |
| `next.reward` | 1 where the task is solved at that moment, else 0 |
| `next.success` | whether the task is solved at that moment |

`meta/collection.json` holds the seed, skill and success of each episode, `meta/simulator_state.npz` the simulator's
true state at each row.{extras}

## How it was made

```
cosmos-sim collect --task {task} --episodes {episodes} --length {length} --seed {seed} --skills {skills}{options} \
--out DIR
```

Episode `i` starts from the twin's seed `{first_seed} + i`. Twin seeds below {reserved} belong to evaluation and are
never collected.
"""


_SCENES = (
    " Each episode has a scene of its own: its look is in `meta/collection.json`, in words in `meta/captions.jsonl`."
)
_SCENE = " All show the scene `{scenes}`, in words in `meta/captions.jsonl`."
_TOLD = " Each episode's task is its instruction, one of {told} different ones of the split `{split}`."
_ANNOTATED = """

`meta/annotations/episode_*.npz` holds the true depth (`depth.<camera>`, millimetres along the optical axis) and the
segments (`segments.<camera>`, indices into the names in `meta/segments.json`) of all images."""


def card(config: CollectionConfig, episodes: Sequence[Mapping[str, object]]) -> str:
    """The README of a collection whose ``episodes`` are as ``meta/collection.json`` lists them."""
    rows = []
    for skill, share in config.shares.items():
        mine = [bool(episode["success"]) for episode in episodes if episode["skill"] == skill]
        rows.append(f"| {skill} | {share:.0%} | {len(mine)} | {sum(mine)} |")
    extras, options = "", ""
    if config.scenes is not None:
        extras += _SCENES if config.scenes == RANDOM else _SCENE.format(scenes=config.scenes)
        options += f" --scenes {config.scenes}"
    if config.split is not None:
        told = len({episode["instruction"] for episode in episodes})
        extras += _TOLD.format(told=told, split=config.split)
        options += f" --split {config.split}"
    if config.verbs:
        options += " --verbs " + " ".join(shlex.quote(verb) for verb in config.verbs)
    if config.annotate:
        extras += _ANNOTATED
        options += " --annotate"
    return _TEXT.format(
        extras=extras,
        options=options,
        task=config.task,
        actors="scripted at several skills" if set(config.shares) <= set(SKILLS) else "scripted and trained policies",
        episodes=config.episodes,
        length=config.length,
        seed=config.seed,
        skills=",".join(f"{skill}={share:g}" for skill, share in config.shares.items()),
        rows="\n".join(rows),
        solved=sum(bool(episode["success"]) for episode in episodes),
        first_seed=(config.seed + 1) * SEEDS_PER_COLLECTION,
        reserved=SEEDS_PER_COLLECTION,
    )
