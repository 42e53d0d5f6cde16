"""What makes dreams, opened from its config, and the limits that its seed dataset's real episodes set."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cosmos_sim.data.dreams import is_dreamt
from cosmos_sim.data.files import new_file
from cosmos_sim.data.lerobot import dataset_info, read_episodes
from cosmos_sim.data.pretrained import find_folder
from cosmos_sim.data.statistics import statistics
from cosmos_sim.envs.worlds import load_world
from cosmos_sim.evaluation.outcome import fingerprint
from cosmos_sim.synthesis.dreaming import ActionRange, Dream, Dreaming
from cosmos_sim.synthesis.export import RECORD
from cosmos_sim.synthesis.imagining import find_imaginer, open_imaginer
from cosmos_sim.synthesis.plan import DreamConfig, Job
from cosmos_sim.synthesis.scores import Limits, set_limits
from cosmos_sim.synthesis.staging import Staging
from cosmos_sim.synthesis.starts import Start, Starts
from cosmos_sim.world_model.latent_actions import load_inverse_dynamics

EPISODES = 24
"""Real episodes that limits are set on."""
_LIMITS = "limits.json"


def open_dreaming(config: DreamConfig, usual: ActionRange, device: str) -> Dreaming:
    """What makes the dreams of ``config`` on ``device``.

    Raises:
        ValueError: a network that is missing, damaged or foreign, or they do not fit each other or the dataset.
    """
    return Dreaming(
        config,
        open_imaginer(config.model, device=device, guidance=config.guidance, steps=config.steps),
        load_inverse_dynamics(config.labeller, device=device),
        usual=usual,
        starts=Starts(config),
        world=None if config.world is None else load_world(config.world, device=device),
    )


class Opener:
    """Opens what makes dreams in a process; one of its own is picklable."""

    def __init__(self, config: DreamConfig, usual: ActionRange) -> None:
        self.config, self.usual = config, usual

    def __call__(self, device: str) -> "Work":
        return Work(open_dreaming(self.config, self.usual, device))


class Work:
    """Makes one dream after another."""

    def __init__(self, dreaming: Dreaming) -> None:
        self.dreaming = dreaming

    def __call__(self, job: Job) -> Dream:
        return self.dreaming.dream(job)


def action_range(dataset: str) -> ActionRange:
    """Range and spread of a dataset's actions.

    Raises:
        ValueError: it is itself of dreams, or cannot be read.
    """
    info = dataset_info(dataset)
    if is_dreamt(info.path):
        raise ValueError(
            f"{dataset!r} is itself imagined: its actions are pseudo-actions, and say nothing of real ones"
        )
    found = statistics(episode.action for episode in read_episodes(dataset, cameras=[]))
    low, high, spread = (np.asarray(values, np.float32) for values in (found.minimum, found.maximum, found.std))
    return ActionRange(low, high, spread)


def find_limits(
    config: DreamConfig, out: Path, usual: ActionRange, *, given: Mapping[str, float], slack: float, device: str
) -> Limits:
    """The limits of the filters: ``given`` ones, and of the others those that real episodes set.

    Real episodes of the seed dataset (those that succeed, where it tells) are labelled and scored as dreams are, after
    the model's tokenizer. Their scores are kept beside ``out`` until all is done, and then in it.

    Raises:
        ValueError: a given limit of no check; no episode is as long as a dream; what :func:`open_dreaming` raises.
    """
    Limits(given)
    done = out / "meta" / RECORD
    if done.is_file():
        return set_limits(json.loads(done.read_text())["limits"]["origin"]["real"], slack=slack, given=given)
    staging = Staging(out)
    kept = staging.work.path / _LIMITS
    with staging.opened(config):
        if not kept.is_file():
            dreaming = open_dreaming(config, usual, device)
            with new_file(kept) as partial:
                partial.write_text(json.dumps(real_scores(dreaming)))
        return set_limits(json.loads(kept.read_text()), slack=slack, given=given)


def real_scores(dreaming: Dreaming) -> list[dict[str, float]]:
    """The scores of up to :data:`EPISODES` real episodes, evenly chosen, cut to a dream's length.

    Raises:
        ValueError: none of them is long enough to be read.
    """
    config, imagines = dreaming.config, dreaming.imagines
    info = dataset_info(config.dataset)
    found: list[dict[str, float]] = []
    chosen = np.linspace(0, info.episodes - 1, min(4 * EPISODES, info.episodes)).round().astype(int)
    for episode in read_episodes(config.dataset, [int(k) for k in chosen], dreaming.cameras):
        if len(episode) < config.frames or (episode.success is not None and not episode.success.any()):
            continue
        frames = imagines.reconstructed({camera: video[: config.frames] for camera, video in episode.frames.items()})
        start = Start({camera: video[0] for camera, video in frames.items()}, episode.state[0])
        seed = len(found)
        reading = dreaming.labeller.read(frames, episode.state[: config.frames], samples=config.samples, seed=seed)
        found.append(dreaming.score(frames, start, reading, seed=seed)[1])
        if len(found) == EPISODES:
            break
    if not found:
        raise ValueError(
            f"limits cannot be set on {config.dataset!r}: no episode that succeeds has the {config.frames} frames of a "
            "dream; make dreams shorter"
        )
    return found


def digests(config: DreamConfig) -> dict[str, str]:
    """Digests of the files of the networks that a config names."""
    names = {"model": find_imaginer(config.model), "labeller": Path(config.labeller)}
    if config.world is not None:
        names["world"] = find_folder(config.world, "world")
    return {name: fingerprint(path) for name, path in names.items() if path.is_dir()}
