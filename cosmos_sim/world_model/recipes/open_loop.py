"""How well a world predicts held-out episodes when it is given their actions: the figures shown during training."""

from collections.abc import Sequence

import numpy as np

from cosmos_sim.metrics.video import psnr
from cosmos_sim.types import Episode
from cosmos_sim.world_model.world import World


def open_loop_figures(world: World, episodes: Sequence[Episode], *, steps: Sequence[int] = (1, 12)) -> dict[str, float]:
    """Per camera and number of steps: PSNR of the world, of the last frame seen, and of the tokenizer alone.

    Every episode is imagined from its first frame and from its middle. Also the median position error of the
    proprioception after the most steps (all entries, in the data's units, Euclidean over the first three), the share
    of frames whose success is judged rightly, and what negating the actions costs (dB at the fewest steps): a world
    that ignores its actions scores 0 there, and one that takes instructions is not asked. Steps that no episode has
    are left out, as are figures that are not finite.
    """
    steps = [n for n in steps if n < max(len(e) for e in episodes)]
    if not steps:
        return {}
    longest = max(steps)
    clips = [(e, s) for e in episodes for s in (0, len(e) // 2) if s + longest < len(e)]
    real = {
        camera: np.stack([e.frames[camera][s : s + longest + 1] for e, s in clips]) for camera in world.spec.cameras
    }
    states = np.stack([e.state[s : s + longest + 1] for e, s in clips])
    actions = np.stack([e.action[s : s + longest] for e, s in clips])
    seeds = list(range(len(clips)))
    begin = world.reset({camera: frames[:, 0] for camera, frames in real.items()}, states[:, 0], seeds)
    _, imagined = world.step(begin, actions)
    negated = None if world.config.words is not None else world.step(begin, -actions[:, : min(steps)])[1]
    ceiling = world.reconstruct(real)
    figures: dict[str, float] = {}
    for camera, frames in real.items():
        for n in steps:
            truth = frames[:, n]
            figures[f"psnr_{n}/{camera}"] = psnr(truth=truth, estimate=imagined.frames[camera][:, n - 1])
            figures[f"psnr_{n}_copy/{camera}"] = psnr(truth=truth, estimate=frames[:, 0])
            figures[f"psnr_{n}_ceiling/{camera}"] = psnr(truth=truth, estimate=ceiling[camera][:, n])
        if negated is not None:
            n = min(steps)
            wrong = psnr(truth=frames[:, n], estimate=negated.frames[camera][:, n - 1])
            figures[f"negated_actions_cost/{camera}"] = figures[f"psnr_{n}/{camera}"] - wrong
    error = np.linalg.norm(imagined.proprioception[:, -1, :3] - states[:, -1, :3], axis=-1)
    figures[f"position_error_{longest}"] = float(np.median(error))
    if imagined.success is not None and all(e.success is not None for e, _ in clips):
        truth = np.stack([e.success[s : s + longest] for e, s in clips])  # type: ignore[index]
        figures["success_accuracy"] = float(np.mean((imagined.success > 0.5) == truth))
    return {name: value for name, value in figures.items() if np.isfinite(value)}
