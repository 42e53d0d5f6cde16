"""Orientation as a rotation vector that stays continuous while a hand points down."""

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial.transform import Rotation


def rotation_vector(rotation: Rotation) -> Float[ndarray, "3"]:
    """The rotation vector (axis times angle, radians) of ``rotation`` whose x component is not negative.

    A rotation by angle ``a`` about axis ``u`` is also one by ``2 pi - a`` about ``-u``. The usual choice, ``a <= pi``,
    jumps to the opposite vector whenever a hand that points down (half a turn about x) wavers; the choice by the sign
    of x does not. The angle lies in [0, 2 pi).
    """
    vector = rotation.as_rotvec()
    angle = np.linalg.norm(vector)
    if vector[0] < 0:
        vector = vector * (1 - 2 * np.pi / angle)
    return vector
