"""Videos of a block that moves by its actions."""

import numpy as np

from cosmos_sim.types import Episode

CAMERAS = {"above": (32, 48), "side": (32, 32)}


def pushed(seed: int, steps: int = 20) -> Episode:
    """A block that moves by its action, two values of it, and is red while the third is 1 and blue while it is -1.

    The fourth value, uniform in [-1, 1], shows in nothing.
    """
    rng = np.random.default_rng(seed)
    place, lit = np.array([16.0, 16.0]), rng.choice([-1.0, 1.0], steps)
    frames = {name: np.full((steps, *size, 3), 90, np.uint8) for name, size in CAMERAS.items()}
    action = np.zeros((steps, 4), np.float32)
    for k in range(steps):
        x, y = place.astype(int)
        colour = (220, 40, 40) if k and lit[k - 1] > 0 else (40, 40, 220)
        frames["above"][k, y - 4 : y + 4, x - 4 : x + 4] = colour
        frames["side"][k, 20:28, x - 4 : x + 4] = colour
        target = np.clip(place + rng.integers(-4, 5, 2), 6, 26)
        action[k] = [*(target - place) / 4, lit[k], rng.uniform(-1, 1)]
        place = target
    return Episode(frames, np.zeros((steps, 2), np.float32), action, "push")
