"""The simulator twin. Without a screen, MuJoCo renders through EGL unless ``MUJOCO_GL`` says otherwise."""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # read by mujoco when it is imported
