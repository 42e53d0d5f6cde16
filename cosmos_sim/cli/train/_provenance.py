"""What a trained artefact says about its making."""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

from cosmos_sim.data.store import EpisodeStore
from cosmos_sim.training.config import TrainConfig
from cosmos_sim.training.provenance import git_commit


def command() -> str:
    """The command line that is running; of an absolute path, its name."""
    words = [re.sub(r"^(--[\w-]+=)?/.*", _ending, word) for word in sys.argv[1:] if word != "--debug"]
    return shlex.join(["cosmos-sim", *words])


def _ending(match: re.Match[str]) -> str:
    option, _, path = match[0].rpartition("=")
    parts = Path(path).parts[1:]
    return f"{option}{'=' if option else ''}{'/'.join(parts[-2:] if parts[-1] == 'export' else parts[-1:])}"


def provenance(data: Path, store: EpisodeStore, train: TrainConfig) -> dict[str, Any]:
    """Data, command, seed, steps and commit."""
    return {
        "data": f"{data.name}: {len(store)} episodes, {store.info.steps} steps",
        **of_run(train),
    }


def of_run(train: TrainConfig) -> dict[str, Any]:
    """Command, seed, steps and commit."""
    return {"command": command(), "seed": train.seed, "steps": train.steps, "commit": git_commit()}
