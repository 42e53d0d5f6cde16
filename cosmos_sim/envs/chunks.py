"""Any number of actions in a world that takes a fixed number at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from cosmos_sim.types import Prediction, WorldModel


def imagine(
    world: WorldModel,
    state: Any,
    actions: Float32[ndarray, "b t a"],
    *,
    seeds: Int64[ndarray, "b"],
    steps: Int64[ndarray, "b"],
) -> tuple[Any, Prediction]:
    """What any number ``t >= 1`` of actions lead to in a world that takes ``spec.chunk`` of them at once.

    Whole chunks are the world's own steps. Of the rest, the last action is held until the chunk is full, the frames of
    the actions that were given are kept, and the world begins again from the last of these, as from a real
    observation: what the held actions lead to never enters the new state. A world with chunks of 1 is stepped as it is.

    Two limits: a network that attends to all frames of a chunk alike may let held actions be felt in the frames that
    are kept, and a world that remembers more than its last frame forgets the rest.

    Args:
        seeds: of the episodes.
        steps: actions that they have taken before these. Worlds that begin again draw their noise from a seed that is
            made of both, so that it is never drawn twice.
    """
    t, chunk = actions.shape[1], world.spec.chunk
    whole = t - t % chunk
    parts = []
    if whole:
        state, prediction = world.step(state, actions[:, :whole])
        parts.append(prediction)
    if rest := t - whole:
        held = np.repeat(actions[:, -1:], chunk - rest, axis=1)
        _, prediction = world.step(state, np.concatenate([actions[:, whole:], held], axis=1))
        kept = _first(prediction, rest)
        frames = {camera: images[:, -1] for camera, images in kept.frames.items()}
        state = world.reset(frames, kept.proprioception[:, -1], _resumed(seeds, steps + t))
        parts.append(kept)
    return state, concatenate(parts)


def concatenate(parts: Sequence[Prediction]) -> Prediction:
    """Predictions that follow each other, as one."""
    first = parts[0]
    if len(parts) == 1:
        return first
    success = [part.success for part in parts if part.success is not None]
    return Prediction(
        frames={camera: np.concatenate([part.frames[camera] for part in parts], axis=1) for camera in first.frames},
        proprioception=np.concatenate([part.proprioception for part in parts], axis=1),
        success=np.concatenate(success, axis=1) if success else None,
    )


def _first(prediction: Prediction, t: int) -> Prediction:
    return Prediction(
        frames={camera: images[:, :t] for camera, images in prediction.frames.items()},
        proprioception=prediction.proprioception[:, :t],
        success=None if prediction.success is None else prediction.success[:, :t],
    )


def _resumed(seeds: Int64[ndarray, "b"], steps: Int64[ndarray, "b"]) -> list[int]:
    """Seeds of worlds that begin again after so many actions."""
    pairs = zip(seeds.tolist(), steps.tolist(), strict=True)
    return [int(np.random.SeedSequence(pair).generate_state(1)[0]) for pair in pairs]
