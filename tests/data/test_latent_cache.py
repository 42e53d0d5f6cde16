"""Arrays come back as they were put, or not at all."""

import threading
from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.data.latent_cache import LatentCache


@pytest.fixture
def cache(tmp_path: Path) -> LatentCache:
    return LatentCache(tmp_path / "latents")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.uint8])
def test_what_is_put_is_got(cache: LatentCache, dtype: type) -> None:
    array = np.random.default_rng(0).normal(size=(3, 4, 5, 2)).astype(dtype).transpose(2, 0, 1, 3)
    assert cache.get("abc.def") is None
    cache.put("abc.def", array)
    found = LatentCache(cache.folder).get("abc.def")
    assert found is not None
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, array)
    cache.put("abc.def", array + 1)
    np.testing.assert_array_equal(cache.get("abc.def"), array + 1)


def test_a_damaged_file_counts_as_missing_and_is_written_anew(cache: LatentCache) -> None:
    array = np.arange(400, dtype=np.float32)
    cache.put("key", array)
    whole = cache.path("key").read_bytes()
    flipped = bytearray(whole)
    flipped[-20] ^= 1
    for damaged in (b"", whole[:5], whole[: len(whole) // 2], whole[:-1], bytes(flipped), bytes(len(whole))):
        cache.path("key").write_bytes(damaged)
        assert cache.get("key") is None
    cache.put("key", array)
    np.testing.assert_array_equal(cache.get("key"), array)


def test_threads_that_put_the_same_leave_it_whole_and_nothing_else(cache: LatentCache) -> None:
    array = np.random.default_rng(1).normal(size=(50, 60)).astype(np.float32)
    faults: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                cache.put("shared", array)
                found = cache.get("shared")
                assert found is not None
                assert (found == array).all()
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert [file.name for file in cache.folder.rglob("*") if file.is_file()] == ["shared.safetensors"]


@pytest.mark.parametrize("key", ["", "ab", "../../etc", "a/b/c", ".hidden", "a b c"])
def test_a_key_that_is_no_name_is_refused(cache: LatentCache, key: str) -> None:
    with pytest.raises(ValueError, match="key must be a plain name"):
        cache.put(key, np.zeros(1))
