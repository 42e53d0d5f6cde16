"""Any policy by one string: a shipped name, a folder, a hub id, or LeRobot's by ``lerobot:PATH``."""

from pathlib import Path

import torch

from cosmos_sim.policies.learned import LearnedPolicy
from cosmos_sim.types import Policy

LEROBOT = "lerobot:"


def load_policy(name: str | Path, *, device: torch.device | str = "cpu") -> Policy:
    """Load the policy called ``name``.

    Args:
        name: a policy shipped with the package (``"lift-good"``), a folder that ``cosmos-sim train policy``
            exported, a hub id (``owner/repository``), or LeRobot's: see :mod:`~cosmos_sim.policies.lerobot_adapter`.
        device: where it computes.

    Raises:
        ValueError: for an unknown name (suggesting the nearest shipped one), a config that is foreign or damaged, and
            weights that are missing, truncated, pickled or of another model.
    """
    text = str(name)
    if text.startswith(LEROBOT):
        from cosmos_sim.policies.lerobot_adapter import LeRobotPolicy

        return LeRobotPolicy.from_pretrained(text.removeprefix(LEROBOT), device=device)
    prefix, colon, _ = text.partition(":")
    if colon and not Path(text).exists() and prefix.isalpha() and len(prefix) > 1:
        raise ValueError(f"unknown kind of policy {prefix + ':'!r} in {text!r}; did you mean {LEROBOT!r}?")
    return LearnedPolicy.from_pretrained(name, device=device)
