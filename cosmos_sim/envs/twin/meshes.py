"""Coarser visual meshes: most of the time of a small image in software rendering goes into triangles under a pixel."""

import mujoco
import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray


def coarsen_meshes(model: mujoco.MjModel, *, cell: float, min_faces: int) -> int:
    """Simplify the meshes of ``model`` that are only seen, never touched; returns how many triangles went.

    Meshes of at least ``min_faces`` triangles are simplified by :func:`clustered` with cells of ``cell`` metres. Meshes
    that any geometry collides with are left as they are, so physics is the same. Call it before a renderer is made.
    """
    is_mesh = model.geom_type == mujoco.mjtGeom.mjGEOM_MESH
    collides = (model.geom_contype != 0) | (model.geom_conaffinity != 0)
    touched = set(model.geom_dataid[is_mesh & collides])
    removed = 0
    for mesh in set(model.geom_dataid[is_mesh & ~collides]) - touched:
        count = int(model.mesh_facenum[mesh])
        if count < min_faces:
            continue
        rows = slice(model.mesh_faceadr[mesh], model.mesh_faceadr[mesh] + count)
        first = model.mesh_vertadr[mesh]
        vertices = model.mesh_vert[first : first + model.mesh_vertnum[mesh]]
        faces, kept = clustered(vertices, model.mesh_face[rows], cell)
        start = rows.start
        model.mesh_face[start : start + len(faces)] = faces
        model.mesh_facenormal[start : start + len(faces)] = model.mesh_facenormal[rows][kept]
        model.mesh_facetexcoord[start : start + len(faces)] = model.mesh_facetexcoord[rows][kept]
        model.mesh_facenum[mesh] = len(faces)
        removed += count - len(faces)
    return removed


def clustered(
    vertices: Float[ndarray, "n 3"], faces: Int[ndarray, "m 3"], cell: float
) -> tuple[Int[ndarray, "k 3"], Bool[ndarray, "m"]]:
    """Simplify a mesh by vertex clustering (Rossignac and Borrel, 1993).

    Space is cut into cubes of side ``cell``; all vertices of a cube become the one of them nearest to their mean, and
    triangles left with fewer than three corners are dropped. Returns the triangles that remain, with their new
    corners, and which of the old ones they were.
    """
    _, group = np.unique(np.floor(vertices / cell).astype(np.int64), axis=0, return_inverse=True)
    group = group.ravel()
    size = np.bincount(group)
    mean = np.stack([np.bincount(group, weights=vertices[:, axis]) / size for axis in range(3)], axis=1)
    order = np.lexsort([np.linalg.norm(vertices - mean[group], axis=1), group])
    nearest = order[np.searchsorted(group[order], np.arange(len(size)))]
    moved = nearest[group][faces]
    kept = (moved[:, 0] != moved[:, 1]) & (moved[:, 1] != moved[:, 2]) & (moved[:, 2] != moved[:, 0])
    return moved[kept], kept
