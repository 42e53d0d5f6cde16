"""What is kept of one episode, and the folder that keeps it: an evaluation that was interrupted goes on from there."""

import hashlib
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.data.files import new_file
from cosmos_sim.evaluation.clip import beside, jpeg, mp4
from cosmos_sim.types import Rollout

_FORMAT = 1


@dataclass(frozen=True, eq=False)
class Outcome:
    """One episode of one policy on one side, without the frames themselves."""

    seed: int
    success: bool
    state: Float32[ndarray, "t1 n"]
    action: Float32[ndarray, "t a"]
    probability: Float32[ndarray, "t"] | None
    """The success head's output after each step; ``None`` where there is no such head."""
    trust: Float32[ndarray, "t"] | None
    """After each step, not a number before there is any; ``None`` on a side that nothing judges."""
    video: bytes
    """All cameras side by side, MP4."""
    poster: bytes
    """The start frame, JPEG."""
    env_seconds: float
    """Its share of the time that its batch spent in the environment."""
    policy_seconds: float

    def __len__(self) -> int:
        return len(self.action)

    @classmethod
    def of(cls, rollout: Rollout, *, fps: float, env_seconds: float, policy_seconds: float) -> "Outcome":
        video = beside(rollout.frames)
        return cls(
            seed=rollout.seed,
            success=rollout.success,
            state=rollout.state,
            action=rollout.action,
            probability=rollout.success_probability,
            trust=rollout.trust,
            video=mp4(video, fps=fps),
            poster=jpeg(video[0]),
            env_seconds=env_seconds,
            policy_seconds=policy_seconds,
        )


class OutcomeStore:
    """A folder of outcomes, each under what decides it: the run's description, by content, and the seed.

    A file is there whole or not at all. One that cannot be read counts as absent and is made anew.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, run: Mapping[str, Any], seed: int) -> Path:
        """Where the outcome of ``seed`` under the JSON-able description ``run`` lies."""
        text = json.dumps({"format": _FORMAT, **run}, sort_keys=True)
        return self.folder / hashlib.sha256(text.encode()).hexdigest()[:24] / f"{seed}.npz"

    def load(self, run: Mapping[str, Any], seed: int) -> Outcome | None:
        """The outcome if it is there, else ``None``."""
        try:
            with np.load(self.path(run, seed), allow_pickle=False) as file:
                return Outcome(
                    seed=seed,
                    success=bool(file["success"]),
                    state=file["state"],
                    action=file["action"],
                    probability=file.get("probability"),
                    trust=file.get("trust"),
                    video=file["video"].tobytes(),
                    poster=file["poster"].tobytes(),
                    env_seconds=float(file["env_seconds"]),
                    policy_seconds=float(file["policy_seconds"]),
                )
        except (OSError, KeyError, ValueError, EOFError, zipfile.BadZipFile):
            return None

    def save(self, run: Mapping[str, Any], outcome: Outcome) -> None:
        """Write ``outcome`` beside its place first, then rename it into it."""
        path = self.path(run, outcome.seed)
        arrays = {
            "success": np.array(outcome.success),
            "state": outcome.state,
            "action": outcome.action,
            "video": np.frombuffer(outcome.video, dtype=np.uint8),
            "poster": np.frombuffer(outcome.poster, dtype=np.uint8),
            "env_seconds": np.array(outcome.env_seconds),
            "policy_seconds": np.array(outcome.policy_seconds),
        }
        for name, values in (("probability", outcome.probability), ("trust", outcome.trust)):
            if values is not None:
                arrays[name] = values
        with new_file(path) as partial, partial.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)


def fingerprint(folder: str | Path) -> str:
    """A digest of every file in ``folder``, by name and content, hidden ones left out."""
    digest = hashlib.sha256()
    root = Path(folder)
    files = sorted(path.relative_to(root) for path in root.rglob("*") if path.is_file())
    for path in files:
        if any(part.startswith(".") for part in path.parts):
            continue
        digest.update(f"{path.as_posix()}\0{(root / path).stat().st_size}\0".encode())
        with (root / path).open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
