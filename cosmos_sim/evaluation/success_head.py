"""Does the success head tell the truth: on real frames, and on frames that the world imagined?"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from numpy import ndarray

from cosmos_sim.envs.success import SuccessRule
from cosmos_sim.metrics.confusion import Confusion, confusion
from cosmos_sim.types import Episode
from cosmos_sim.world_model.dynamics import History
from cosmos_sim.world_model.world import World

_ENCODED = 64


@dataclass(frozen=True)
class Verdicts:
    """The success head against the truth."""

    frames: Confusion
    """Frame by frame."""
    ever: Confusion
    """Whole episodes: solved at some time? The head says so by the rule that ends an episode of the world."""
    last: Confusion
    """Whole episodes: solved at the last frame?"""

    def figures(self) -> dict[str, dict[str, float | None]]:
        """Counts and shares, as plain data."""
        return {
            name: {**asdict(table), "accuracy": table.accuracy, "balanced_accuracy": table.balanced_accuracy}
            for name, table in (("frames", self.frames), ("ever", self.ever), ("last", self.last))
        }


def verdicts(
    pairs: Sequence[tuple[Bool[ndarray, "t"], Float[ndarray, "t"]]],
    *,
    rule: SuccessRule = SuccessRule(),  # noqa: B008
) -> Verdicts:
    """Of episodes, each a truth and a probability for every frame after its first."""
    solved = [probability > rule.threshold for _, probability in pairs]
    return Verdicts(
        frames=confusion(truth=np.concatenate([t for t, _ in pairs]), verdict=np.concatenate(solved)),
        ever=confusion(
            truth=np.array([truth.any() for truth, _ in pairs]),
            verdict=np.array([_held(probability, rule) for _, probability in pairs]),
        ),
        last=confusion(
            truth=np.array([bool(truth[-1]) for truth, _ in pairs]), verdict=np.array([bool(s[-1]) for s in solved])
        ),
    )


def on_real_frames(
    world: World,
    episodes: Iterable[Episode],
    *,
    rule: SuccessRule = SuccessRule(),  # noqa: B008
) -> Verdicts | None:
    """The head applied to recorded frames, encoded, with the recorded past: what it would say of a perfect imagination.

    ``None`` for a world without a success head, or if no episode has recorded success. The last action's outcome is
    left out: it was recorded, but not seen.
    """
    if not world.spec.has_success:
        return None
    pairs = [
        (np.asarray(episode.success[:-1], dtype=bool), real_probability(world, episode))
        for episode in episodes
        if episode.success is not None and len(episode) > 1
    ]
    return verdicts(pairs, rule=rule) if pairs else None


@torch.inference_mode()
def real_probability(world: World, episode: Episode) -> Float[ndarray, "t-1"]:
    """The head's probability at every frame of ``episode`` but the first."""
    dynamics = world.dynamics
    frames = {camera: episode.frames[camera] for camera in world.spec.cameras}
    parts = range(0, len(episode), _ENCODED)
    latents = torch.cat([world.encode({c: v[None, k : k + _ENCODED] for c, v in frames.items()})[0] for k in parts])
    states = dynamics.normalise_state(torch.as_tensor(episode.state, device=latents.device))
    actions = dynamics.normalise_action(torch.as_tensor(episode.action, device=latents.device))
    history = History.begin(
        latents[:1], states[:1], context=dynamics.config.context, action_dim=dynamics.config.action_dim
    )
    pasts = []
    for action, latent, state in zip(actions[:-1], latents[1:], states[1:], strict=True):
        pasts.append(history)
        history = history.append(action[None, None], latent[None, None], state[None, None])
    past = History.join(pasts)
    predicted = dynamics.predict_states(past.states, torch.cat([past.actions, actions[:-1, None]], dim=1))
    logit, _ = dynamics.read(past, latents[1:, None], predicted)
    probability: ndarray = logit[:, 0].sigmoid().cpu().numpy()
    return probability


def _held(probability: Float[ndarray, "t"], rule: SuccessRule) -> bool:
    above = (probability > rule.threshold).astype(np.int64)
    return len(above) >= rule.frames and bool((np.convolve(above, np.ones(rule.frames)) == rule.frames).any())
