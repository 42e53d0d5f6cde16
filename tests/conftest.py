"""Every test runs headless, offline and, so that xdist's workers share the cores, on one thread."""

import os

from chat_server import serve as serve  # a fixture of every test

for name, value in {"MUJOCO_GL": "egl", "HF_HUB_OFFLINE": "1", "WANDB_MODE": "offline", "OMP_NUM_THREADS": "1"}.items():
    os.environ.setdefault(name, value)
