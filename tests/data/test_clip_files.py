"""Facts about files are found out once, until the files change."""

import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.data.clip_files import FileRecords
from cosmos_sim.training.video import write_mp4


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "files.jsonl"


def test_digest_is_of_the_bytes_and_is_remembered(tmp_path: Path, records: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    expected = hashlib.blake2b(b"one", digest_size=20).hexdigest()
    assert FileRecords(records).digest(file) == expected
    changed = file.stat().st_mtime_ns
    file.write_bytes(b"two")
    os.utime(file, ns=(changed, changed))  # size and time as before: the record is believed, and nothing read
    assert FileRecords(records).digest(file) == expected
    os.utime(file, ns=(changed, changed + 1))
    assert FileRecords(records).digest(file) == hashlib.blake2b(b"two", digest_size=20).hexdigest()


def test_mangled_records_are_found_out_anew(tmp_path: Path, records: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"one")
    digest = FileRecords(records).digest(file)
    records.write_bytes(records.read_bytes()[:-9] + b"\n[1, 2]\n\xff\xfe\nnull\n")
    assert FileRecords(records).digest(file) == digest


def test_headers(tmp_path: Path, records: Path) -> None:
    write_mp4(tmp_path / "a.mp4", np.zeros((7, 32, 48, 3), np.uint8), fps=12.5)
    for _ in range(2):
        header = FileRecords(records).video(tmp_path / "a.mp4")
        assert (header.size, header.fps, header.frames, header.start) == ((32, 48), 12.5, 7, 0.0)
    with pytest.raises(ValueError, match=r"b.mp4.*missing"):
        FileRecords(records).video(tmp_path / "b.mp4")
    with pytest.raises(FileNotFoundError):
        FileRecords(records).digest(tmp_path / "b.mp4")
