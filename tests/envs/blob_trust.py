"""Inverse dynamics that were trained to read the actions off a blob's frames, and calibrated."""

from functools import cache

import numpy as np
import torch
from blob_world import BlobState, BlobWorld

from cosmos_sim.envs.trust import Trust
from cosmos_sim.envs.trust_calibration import TrustCalibration
from cosmos_sim.types import Prediction
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, InverseDynamicsConfig, InverseDynamicsNet

CHUNK = 3
LOW, HIGH = np.array([-2, -0.5, 0], np.float32), np.array([1, 0.5, 3], np.float32)


class DreamingBlobWorld(BlobWorld):
    """The same, until after ``awake`` actions it does the opposite of what it is told."""

    def __init__(self, awake: int, **changes) -> None:
        super().__init__(**changes)
        self.awake = awake

    def step(self, state: BlobState, actions: np.ndarray) -> tuple[BlobState, Prediction]:
        at = np.array(state.steps)[:, None] + np.arange(actions.shape[1])
        return super().step(state, np.where(at[..., None] >= self.awake, LOW + HIGH - actions, actions))


def played(count: int, steps: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Frames ``n t1 h w c`` and actions ``n t a`` of blobs that are pushed about."""
    rng, world = np.random.default_rng(seed), BlobWorld(noise=0.0)
    actions = rng.uniform(LOW, HIGH, (count, steps, 3)).astype(np.float32)
    start = np.stack([rng.uniform(-0.2, 0.7, count), rng.uniform(-0.5, 0.5, count), rng.uniform(0, 0.2, count)], 1)
    path = start[:, None] + 0.1 * np.concatenate([np.zeros((count, 1, 3)), np.cumsum(actions, 1)], 1)
    return dict(world.draw(path)), actions


@cache
def blob_trust() -> Trust:
    torch.manual_seed(0)
    config = InverseDynamicsConfig(
        ("top", "side"), 3, CHUNK, resolution=16, width=8, dim=32, blocks=1, heads=2, draws=2
    )
    net = InverseDynamicsNet(config)
    net.low.copy_(torch.from_numpy(LOW))
    net.high.copy_(torch.from_numpy(HIGH))
    reader = InverseDynamics(net, figures={})
    frames, actions = played(400, CHUNK, 1)
    small = {camera: _small(images) for camera, images in frames.items()}
    optimiser, generator = torch.optim.Adam(net.parameters(), 4e-3), torch.Generator().manual_seed(0)
    net.train()
    for _ in range(250):
        rows = torch.randint(0, len(actions), (32,), generator=generator)
        loss = net.loss({c: v[rows] for c, v in small.items()}, torch.from_numpy(actions)[rows], None, generator)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    net.eval()
    raw = Trust(reader, TrustCalibration(0.0, -1.0, samples=4))
    frames, actions = played(100, CHUNK, 2)
    read = raw.read(raw.see(frames))
    errors = np.concatenate([raw.errors(read, actions), raw.errors(read, LOW + HIGH - actions)])
    follows = np.arange(200) < 100
    return Trust(reader, TrustCalibration.fit(errors, follows, samples=4))


def _small(images: np.ndarray) -> torch.Tensor:
    from cosmos_sim.data.images import stretch

    flat = stretch(images.reshape(-1, *images.shape[2:]), (16, 16))
    return torch.from_numpy(flat).unflatten(0, images.shape[:2])
