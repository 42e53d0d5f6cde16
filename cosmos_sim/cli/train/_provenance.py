"""What a trained artefact says about its making."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.provenance import git_commit


def provenance(data: Path, out: Path, store: EpisodeStore, train: TrainConfig) -> dict[str, Any]:
    """Data, command, seed and commit, without the names of the folders that hold ``data`` and ``out``."""
    command = "cosmos-sim " + shlex.join(word for word in sys.argv[1:] if word != "--debug")
    for folder in {data.absolute().parent, out.absolute().parent}:
        command = re.sub(rf"(?<=[ =]){re.escape(str(folder))}/", "", command)
    return {
        "data": f"{data.name}: {len(store)} episodes, {store.info.steps} steps",
        "command": command,
        "seed": train.seed,
        "steps": train.steps,
        "commit": git_commit(),
    }
