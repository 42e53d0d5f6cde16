"""Latents on disk, so that nothing is encoded twice."""

import os
import re
import threading
import zlib
from pathlib import Path

import numpy as np
from numpy import ndarray
from safetensors import SafetensorError
from safetensors.numpy import load, save

_NAME, _CHECK = "latent", "check"


class LatentCache:
    """A folder of arrays, each found by the key under which it was put there: a safetensors file each, with a CRC-32.

    The files lie in folders by the last two characters of their keys, which should differ: end keys with a hash.

    Several threads, processes and machines may share it. Only the disk bounds its size; any file may be deleted. A
    file that is cut or damaged counts as missing: it is not waited for until what was written is on the disk.
    """

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)

    def path(self, key: str) -> Path:
        """The file of ``key``, whether there or not.

        Raises:
            ValueError: a key that is no plain name of letters, digits, ``.``, ``_`` and ``-``, three or more.
        """
        if not re.fullmatch(r"\w[\w.-]{2,200}", key, re.ASCII):
            raise ValueError(f"a key must be a plain name of 3 to 200 characters, got {key!r}")
        return self.folder / key[-2:] / f"{key}.safetensors"

    def get(self, key: str) -> ndarray | None:
        """The array, or ``None`` if there is none or its file is damaged."""
        try:
            arrays = load(self.path(key).read_bytes())
            array, check = arrays[_NAME], arrays[_CHECK]
        except (OSError, SafetensorError, KeyError):
            return None
        return array if int(check[0]) == _checksum(array) else None

    def put(self, key: str, array: ndarray) -> None:
        """Keep ``array``, whole or not at all; another under the same key is replaced.

        Raises:
            OSError: the disk is full or cannot be written.
        """
        path = self.path(key)
        array = np.ascontiguousarray(array)
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(f".{key}.{os.getpid()}.{threading.get_ident()}.partial")
        try:
            partial.write_bytes(save({_NAME: array, _CHECK: np.asarray([_checksum(array)], np.uint32)}))
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def _checksum(array: ndarray) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())
