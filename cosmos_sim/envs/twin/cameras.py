"""Images of a MuJoCo model, fast and clean in software rendering."""

import atexit
import functools
import os
import weakref
from dataclasses import dataclass

import mujoco
import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8
from numpy import ndarray

from cosmos_sim.envs.twin.tasks import Viewpoint

SAMPLES = 4
"""Samples per pixel. Anti-aliasing makes motion of less than a pixel visible, and with it learnable."""

_SHOWN, _HIDDEN = 1, 5
_OPEN: weakref.WeakSet["Cameras"] = weakref.WeakSet()


@dataclass(frozen=True, eq=False)
class Geometry:
    """What each pixel of an image shows: its distance along the optical axis in metres, and the index of its geometry.

    Where nothing is seen the distance is infinite and the index -1.
    """

    depth: Float32[ndarray, "h w"]
    geom: Int32[ndarray, "h w"]


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
        self._visual = model.geom_group == _SHOWN
        self._drawn = self._visual
        self._size = size
        self._options = mujoco.MjvOption()
        self._options.geomgroup[:] = 0
        self._options.geomgroup[_SHOWN] = 1
        self._options.sitegroup[:] = 0
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom)
        self._rectangle = mujoco.MjrRect(0, 0, size, size)
        try:
            self._opengl = mujoco.GLContext(size, size)
            self._opengl.make_current()
            self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_150)
        except (mujoco.FatalError, ImportError, RuntimeError) as error:
            backend = os.environ.get("MUJOCO_GL")
            raise RuntimeError(
                f"OpenGL is not available (MUJOCO_GL={backend!r}). Without a screen set MUJOCO_GL to egl or osmesa "
                "before mujoco is imported, and install libegl1 and libgl1-mesa-dri, or libosmesa6."
            ) from error
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, self._context)
        self._context.readDepthMap = mujoco.mjtDepthMap.mjDEPTH_ZEROFAR
        _OPEN.add(self)
        _close_at_exit()

    def render(self, data: mujoco.MjData, camera: str) -> UInt8[ndarray, "h w 3"]:
        """The image that ``camera`` sees of ``data``, whose kinematics must be up to date."""
        self._draw(data, camera, identities=False)
        image = np.empty((self._size, self._size, 3), np.uint8)
        mujoco.mjr_readPixels(image, None, self._rectangle, self._context)
        return np.ascontiguousarray(np.flipud(image))

    def geometry(self, data: mujoco.MjData, camera: str) -> Geometry:
        """What ``camera`` sees of ``data``, exactly: one sample a pixel, of the same pose as :meth:`render`."""
        self._draw(data, camera, identities=True)
        colours = np.empty((self._size, self._size, 3), np.uint8)
        nearness = np.empty((self._size, self._size), np.float32)
        mujoco.mjr_readPixels(colours, nearness, self._rectangle, self._context)
        identity = np.flipud(colours).astype(np.int32) @ np.array([1, 1 << 8, 1 << 16], np.int32)
        geoms = np.full(self._scene.ngeom + 1, -1, np.int32)
        for drawn in self._scene.geoms[: self._scene.ngeom]:
            if drawn.objtype == mujoco.mjtObj.mjOBJ_GEOM and drawn.segid >= 0:
                geoms[drawn.segid + 1] = drawn.objid
        return Geometry(self._metres(np.flipud(nearness)), geoms[identity])

    def hide(self, geoms: Bool[ndarray, "n"]) -> None:
        """Draw no geometry of which ``geoms`` is true, until told otherwise."""
        self._drawn = self._visual & ~geoms
        self._model.geom_group[self._visual] = _HIDDEN

    def upload(self, textures: list[int]) -> None:
        """Take over the present pixels of ``textures`` from the model."""
        self._opengl.make_current()
        for texture in textures:
            mujoco.mjr_uploadTexture(self._model, self._context, texture)

    def _draw(self, data: mujoco.MjData, camera: str, *, identities: bool) -> None:
        """Draw what ``camera`` sees, either as it looks or each geometry in a colour that is its identity."""
        if self not in _OPEN:
            raise RuntimeError("these cameras are closed")
        seen = self._drawn & in_view(self._model, data, camera)
        self._model.geom_group[self._drawn] = np.where(seen[self._drawn], _SHOWN, _HIDDEN)
        view = mujoco.MjvCamera()
        view.type, view.fixedcamid = mujoco.mjtCamera.mjCAMERA_FIXED, self._model.camera(camera).id
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(self._model, data, self._options, None, view, everything, self._scene)
        for flag in (mujoco.mjtRndFlag.mjRND_SHADOW, mujoco.mjtRndFlag.mjRND_REFLECTION):
            self._scene.flags[flag] = 0
        for flag in (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR):
            self._scene.flags[flag] = int(identities)
        self._opengl.make_current()
        mujoco.mjr_render(self._rectangle, self._scene, self._context)

    def _metres(self, nearness: Float32[ndarray, "h w"]) -> Float32[ndarray, "h w"]:
        """Distance from OpenGL's depth ``d``, 1 at the near plane ``n`` and 0 at the far plane ``f``:
        ``1 / distance = d (1 / n - 1 / f) + 1 / f``, since perspective makes depth linear in the inverse distance.
        """
        extent = self._model.stat.extent
        near, far = self._model.vis.map.znear * extent, self._model.vis.map.zfar * extent
        distance = 1 / (nearness.astype(np.float64) * (1 / near - 1 / far) + 1 / far)
        return np.where(nearness > 0, distance, np.inf).astype(np.float32)

    def close(self) -> None:
        """Free the OpenGL context; further calls do nothing."""
        if self in _OPEN:
            _OPEN.discard(self)
            self._opengl.make_current()  # what is freed is named by numbers that mean other things in another context
            self._context.free()
            self._opengl.free()


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
