"""Limits of the checks for a dataset of which no other takes exist: set on its own videos in other colours.

Each episode is shown in other colours, contrast and brightness, and through the world's tokenizer: the robot, the
objects and their motion are untouched, so that whatever the checks say of it they say of a good variant. It is an
easier change than a new scene; where episodes can be rendered or recorded again in other scenes, set limits on those.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.augmentation.limits import Limits, set_limits
from cosmos_sim.augmentation.variant import Augmenter, Frames

EPISODES = 10
"""Episodes that limits are set on."""

LOOKS = 3
"""Colours in which each is shown."""

Shown = Callable[[Frames], Frames]
"""Videos of an episode's cameras as a world would show them, were it perfect."""


def calibrate(augmenter: Augmenter, shown: Shown, episodes: Sequence[int], *, seed: int) -> Limits:
    """Limits that an episode's own videos keep in other colours.

    Args:
        augmenter: reads episodes and scores them.
        shown: what the tokenizer makes of videos.
        episodes: those to choose :data:`EPISODES` from, evenly.
        seed: of the colours.

    Raises:
        ValueError: none of the episodes can be read.
    """
    chosen = [episodes[k] for k in np.linspace(0, len(episodes) - 1, min(EPISODES, len(episodes))).round().astype(int)]
    scores, faults = [], []
    for episode in chosen:
        try:
            source = augmenter.source(episode)
        except ValueError as error:
            faults.append(str(error))
            continue
        for look in range(LOOKS):
            rng = np.random.default_rng([seed, episode, look])
            recoloured = other_colours(source.episode.frames, rng)
            scores.append(augmenter.score(source, shown(recoloured)))
    if not scores:
        raise ValueError(f"the checks cannot be set on {augmenter.config.dataset!r}: {faults[0]}")
    return set_limits(scores, origin={"dataset": augmenter.config.dataset, "episodes": chosen, "looks": "recoloured"})


def other_colours(frames: Frames, rng: np.random.Generator) -> dict[str, UInt8[ndarray, "t h w 3"]]:
    """All cameras in the same other colours: channels mixed a little, and another contrast and brightness.

    ``255 (M x / 255) ** gamma`` of each pixel ``x``, ``M`` the identity plus up to .15 a coefficient, its rows summing
    to .85 to 1.1, and ``gamma`` from .75 to 1.33.
    """
    mix = np.eye(3) + rng.uniform(-0.15, 0.15, (3, 3))
    mix *= rng.uniform(0.85, 1.1) / mix.sum(axis=1, keepdims=True)
    gamma = float(np.exp(rng.uniform(np.log(0.75), np.log(1 / 0.75))))
    made = {}
    for camera, video in frames.items():
        out = np.empty_like(video)
        for image, to in zip(video, out, strict=True):
            mixed = np.clip(image.astype(np.float32) / 255 @ mix.T.astype(np.float32), 0, 1)
            to[...] = np.rint(255 * mixed**gamma)
        made[camera] = out
    return made
