"""The card of a dataset of dreams: what it holds and how it was made."""

from collections.abc import Mapping
from typing import Any

from cosmos_sim.data.files import short_name
from cosmos_sim.synthesis.scores import CHECKS

_TEXT = """\
---
task_categories: [robotics]
tags: [LeRobot, cosmos-sim, synthetic]
configs:
- config_name: default
  data_files: data/*/*.parquet
---

# Dreams of {dataset}

{count} imagined episodes at {fps:g} frames a second, made with cosmos-sim: videos by `{model}` from a first frame and
an instruction, **pseudo-actions** read off them by `{labeller}`. {verified}

| | episodes |
|---|---|
| of the seed dataset, first and as they are | {seed} |
| dreams made | {dreams} |
| dreams that passed | {accepted} |
| dreams that could not be made | {failed} |

Of the states (`observation.state`) {states}.

| filter | limit | what it measures |
|---|---|---|
{limits}

`meta/dreams.jsonl` tells the instruction, start, seed and scores of each dream, and whether it passed;
`meta/dreams.json` the settings and what was rejected. `dreams.html` shows all of it.

The license is that of the seed dataset.
"""


def card(record: Mapping[str, Any], *, fps: float) -> str:
    """The README of a dataset whose ``meta`` holds ``record``."""
    settings, worst = record["settings"], record["limits"]["worst"]
    words = {"world": "predicted by the world under the actions", "replay": "of the replay", "zeros": "zeros"}
    states = ", ".join(f"{count} dreams' are {words[name]}" for name, count in record["states_from"].items())
    return _TEXT.format(
        dataset=short_name(settings["dataset"]),
        count=record["dreams"] if settings["unfiltered"] else record["accepted"],
        fps=fps,
        model=short_name(settings["model"]),
        labeller=short_name(settings["labeller"]),
        verified=(
            "None of them has been seen to do what it says."
            if settings["twin"] is None
            else f"All that passed were replayed in the simulator's {settings['twin']} and succeeded."
        ),
        seed=record["seed_episodes"] or "not included",
        dreams=record["dreams"],
        accepted=f"{record['accepted']}" + (", all others are in it too" if settings["unfiltered"] else ""),
        failed=len(record["failed"]),
        states=states,
        limits="\n".join(f"| `{name}` | {limit:.3g} | {CHECKS[name]} |" for name, limit in worst.items()),
    )
