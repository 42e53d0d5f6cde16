"""The simulator twin.

Two settings of the environment are made here unless they are set already. Without a screen MuJoCo has to render through
EGL (``MUJOCO_GL``). And Mesa's software renderer is told to use no threads (``LP_NUM_THREADS``): at these image sizes
they gain nothing, and a process forked after they have started, as ``AsyncVectorEnv`` forks, would wait for them for
ever.
"""

import os

os.environ.setdefault("MUJOCO_GL", "egl")  # read by mujoco when it is imported
os.environ.setdefault("LP_NUM_THREADS", "0")
