"""What makes variants, opened from its config: the world, its annotator, and the limits of the checks."""

import hashlib
import json
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.augmentation.annotator_open import HUB, find_annotator
from cosmos_sim.augmentation.calibration import calibrate
from cosmos_sim.augmentation.checks import InverseDynamics
from cosmos_sim.augmentation.export import RECORD
from cosmos_sim.augmentation.limits import Limits, limits_from, read_limits, write_limits
from cosmos_sim.augmentation.plan import AugmentConfig, Job
from cosmos_sim.augmentation.staging import Staging
from cosmos_sim.augmentation.variant import Augmenter, Variant
from cosmos_sim.data.lerobot import dataset_info
from cosmos_sim.data.pretrained import find_folder
from cosmos_sim.data.runners import Work
from cosmos_sim.evaluation.outcome import fingerprint
from cosmos_sim.types import Frames
from cosmos_sim.world_model.annotator import KIND
from cosmos_sim.world_model.latent_actions import load_inverse_dynamics
from cosmos_sim.world_model.load_transfer import find_model, load_transfer
from cosmos_sim.world_model.transfer import Transfer
from cosmos_sim.world_model.transfer_folder import ANNOTATOR

ACTIONS = "actions"
LIMITS = "checks.json"
"""The limits in an annotator's folder, set on real videos that it has read."""


def open_augmenter(config: AugmentConfig, limits: Limits, device: str) -> Work[Job, Variant]:
    """What makes the variants of ``config`` on ``device``: an opener once config and limits are bound.

    Raises:
        ValueError: as :func:`~cosmos_sim.world_model.load_transfer.load_transfer`, an unknown annotator, or cameras
            that are not the world's.
    """
    return _augmenter(config, load_transfer(config.model, device=device), limits, device=device).vary


def _augmenter(config: AugmentConfig, world: Transfer, limits: Limits, *, device: str) -> Augmenter:
    annotator = find_annotator(annotator_name(config), device=device)
    reader = None if config.labeller is None else action_reader(config.labeller, device=device)
    return Augmenter(config, world, annotator, limits=limits, inverse_dynamics=reader)


def action_reader(name: str, *, device: str) -> InverseDynamics:
    """What reads the actions off a variant, one a frame; the last is the one before it.

    Raises:
        ValueError: no inverse dynamics of that name, folder or hub id.
    """
    labeller = load_inverse_dynamics(name, device=device)

    def read(frames: Frames) -> Float32[ndarray, "t a"]:
        action = labeller.read(frames).action
        return np.concatenate([action, action[-1:]])

    return read


def find_limits(config: AugmentConfig, out: Path, *, device: str) -> Limits:
    """The limits of the checks: those of ``config``, else the annotator's own, else set on the dataset itself.

    Those set on the dataset take a minute or more, and are kept beside ``out`` until all is done. An annotator's own
    say nothing of actions: of those the limit is always set on the dataset.

    Raises:
        ValueError: a file without limits (or without that of the actions, where they are read), or what
            :func:`open_augmenter` and :meth:`Staging.opened` raise.
    """
    if config.checks is not None:
        given = read_limits(Path(config.checks))
        if config.labeller is not None and ACTIONS not in given.worst:
            raise ValueError(
                f"{config.checks!r} has no limit of {ACTIONS!r}, which labeller={config.labeller!r} is for"
            )
        return given
    own = Path(annotator_name(config)) / LIMITS
    known = read_limits(own) if own.is_file() else None
    if known is not None and config.labeller is None:
        return known
    done = out / "meta" / RECORD
    if done.is_file():
        return limits_from(json.loads(done.read_text())["checks"])
    staging = Staging(out)
    kept = staging.work.path / LIMITS
    with staging.opened(config):
        if not kept.is_file():
            world = load_transfer(config.model, device=device)
            augmenter = _augmenter(config, world, Limits({}), device=device)
            episodes = config.episodes or range(dataset_info(config.dataset).episodes)
            found = calibrate(augmenter, world.reconstructed, list(episodes), seed=config.seed)
            if known is not None:
                worst = {**known.worst, ACTIONS: found.worst[ACTIONS]}
                found = Limits(worst, {**known.origin, ACTIONS: found.origin})
            write_limits(found, kept)
    return read_limits(kept)


def weights_digest(model: str) -> str:
    """A digest of the files of a world, or of the one file that it is read from; as :func:`find_model` finds it."""
    path = find_model(model)
    if path.is_dir():
        return fingerprint(path)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def annotator_name(config: AugmentConfig) -> str:
    """Who reads generated frames, ``hub`` or a folder: whom the config names, else the world's own, else the hub's
    networks.
    """
    if config.annotator is not None:
        return HUB if config.annotator == HUB else str(find_folder(config.annotator, KIND))
    own = find_model(config.model) / ANNOTATOR
    return str(own) if own.is_dir() else HUB
