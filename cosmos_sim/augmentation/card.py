"""The card of an augmented dataset: what it holds and how it was made."""

from collections.abc import Mapping, Sequence
from typing import Any

from cosmos_sim.data.files import short_name

_TEXT = """\
---
task_categories: [robotics]
tags: [LeRobot, cosmos-sim, augmentation]
configs:
- config_name: default
  data_files: data/*/*.parquet
---

# {dataset}, {times}

{sources} episodes of `{dataset}` and {variants} variants of them in other scenes, made by `{world}` with cosmos-sim.
The pictures of a variant are generated; its actions, states, rewards and time stamps are those of its source, bit for
bit.

| | episodes |
|---|---|
| of the source, {included} | {sources} |
| variants that passed their checks | {variants} |
| variants that were rejected, and left out | {rejected} |
| variants that could not be made | {failed} |

Every variant was held to its source by the controls {controls}, with guidance {guidance:g}, and checked: whether the
robot and the objects are where they were, whether what moves moves as it did, whether the rest stands still, and
whether the views of a moment agree. The limits were set on real videos, not on these; they are in
`meta/augmentation.json`.

`meta/augmentation.jsonl` tells the source, prompt, seed and scores of each episode, `meta/captions.jsonl` what it
shows. `augmentation.html` shows sources and variants side by side.

The license is that of the source.
"""


def card(record: Mapping[str, Any], lines: Sequence[Mapping[str, Any]]) -> str:
    """The README of a dataset whose ``meta`` holds ``record`` and ``lines``."""
    settings = record["settings"]
    kept = any(line["variant"] is None for line in lines)
    return _TEXT.format(
        dataset=short_name(settings["dataset"]),
        times=f"{settings['variants']} variants of each episode",
        world=short_name(settings["model"]),
        sources=record["sources"],
        included="unchanged and first" if kept else "not included",
        variants=record["variants"],
        rejected=len(record["rejected"]),
        failed=len(record["failed"]),
        controls=", ".join(f"`{control}`" for control in settings["controls"]),
        guidance=settings["guidance"],
    )
