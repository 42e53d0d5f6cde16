"""Images of a MuJoCo model, fast and clean in software rendering."""

import atexit
import functools
import os
import weakref

import mujoco
import numpy as np
from jaxtyping import Bool, UInt8
from numpy import ndarray

from cosmos_sim.envs.twin.tasks import Viewpoint

SAMPLES = 4
"""Samples per pixel. Anti-aliasing makes motion of less than a pixel visible, and with it learnable."""

_SHOWN, _HIDDEN = 1, 5
_OPEN: weakref.WeakSet["Cameras"] = weakref.WeakSet()


class Cameras:
    """Renders named cameras of ``model`` as square images of ``size`` pixels.

    Three things make this several times faster than MuJoCo's defaults where OpenGL runs on a CPU: no shadows, no
    reflections, and no geometry drawn that the camera cannot see (:func:`in_view`), which leaves every pixel as it was.
    The renderer owns its OpenGL context and makes it current for each image, so any number may live in one process.
    Only visual geometry (robosuite's group 1) is drawn; ``model.geom_group`` is used to hide what is out of view.
    """

    def __init__(self, model: mujoco.MjModel, *, size: int) -> None:
        model.vis.quality.offsamples = SAMPLES
        model.vis.quality.shadowsize = 0
        model.vis.global_.offwidth = model.vis.global_.offheight = size
        self._model = model
        self._drawn = model.geom_group == _SHOWN
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = 0
        self._options.geomgroup[_SHOWN] = 1
        self._options.sitegroup[:] = 0
        try:
            self._renderer = mujoco.Renderer(model, size, size)
        except (mujoco.FatalError, ImportError, RuntimeError) as error:
            backend = os.environ.get("MUJOCO_GL")
            raise RuntimeError(
                f"OpenGL is not available (MUJOCO_GL={backend!r}). Without a screen set MUJOCO_GL to egl or osmesa "
                "before mujoco is imported, and install libegl1 and libgl1-mesa-dri, or libosmesa6."
            ) from error
        _OPEN.add(self)
        _close_at_exit()

    def render(self, data: mujoco.MjData, camera: str) -> UInt8[ndarray, "h w 3"]:
        """The image that ``camera`` sees of ``data``, whose kinematics must be up to date."""
        seen = self._drawn & in_view(self._model, data, camera)
        self._model.geom_group[self._drawn] = np.where(seen[self._drawn], _SHOWN, _HIDDEN)
        self._renderer.update_scene(data, camera, self._options)
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = 0
        self._renderer.scene.flags[mujoco.mjtRndFlag.mjRND_REFLECTION] = 0
        return self._renderer.render()

    def close(self) -> None:
        """Free the OpenGL context; further calls do nothing."""
        self._renderer.close()


@functools.cache
def _close_at_exit() -> None:
    """Free what is still open before OpenGL's own exit handler, which was registered earlier, ends the display."""

    def close_all() -> None:
        for cameras in list(_OPEN):
            cameras.close()

    atexit.register(close_all)


def place_camera(model: mujoco.MjModel, camera: str, viewpoint: Viewpoint) -> None:
    """Move the fixed camera ``camera`` of ``model`` to ``viewpoint``."""
    view = model.camera(camera)
    view.pos[:] = viewpoint.position
    view.fovy[:] = viewpoint.degrees
    mujoco.mju_mat2Quat(view.quat, viewpoint.rotation().ravel())


def in_view(model: mujoco.MjModel, data: mujoco.MjData, camera: str) -> Bool[ndarray, "n"]:
    """Which geometries may be seen by ``camera``, whose image is square.

    A geometry is out of view when its bounding sphere (centre ``c`` in the camera's frame, looking along -z; radius
    ``r``) lies beyond one side of the pyramid of vision of half angle ``a``: ``|c_x| cos a + c_z sin a > r``, the same
    for y, or behind the camera: ``c_z > r``. Planes have no bounding sphere and always count as seen.
    """
    index = model.camera(camera).id
    rotation = data.cam_xmat[index].reshape(3, 3)
    centre = (data.geom_xpos - data.cam_xpos[index]) @ rotation
    half = np.radians(model.cam_fovy[index]) / 2
    side = np.abs(centre[:, :2]).max(axis=1) * np.cos(half) + centre[:, 2] * np.sin(half)
    radius = model.geom_rbound
    return (model.geom_type == mujoco.mjtGeom.mjGEOM_PLANE) | ((side <= radius) & (centre[:, 2] <= radius))
