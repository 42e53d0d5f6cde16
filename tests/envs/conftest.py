"""The worlds that the tests of the environments step through."""

import pytest
from blob_world import BlobWorld


@pytest.fixture
def blob() -> BlobWorld:
    return BlobWorld()


@pytest.fixture
def unit_blob() -> BlobWorld:
    """With actions in [-1, 1] and cameras large enough for every checker."""
    return BlobWorld(action_low=(-1.0,) * 3, action_high=(1.0,) * 3, cameras={"top": (40, 48), "side": (36, 44)})
