import numpy as np
import pytest

from cosmos_sim.data.segments import Segments

NAMES = ("background", "robot", "table", "cube")


def test_segments_are_chosen_by_name():
    ids = np.random.default_rng(0).integers(0, 4, (3, 5, 7)).astype(np.uint8)
    segments = Segments(ids, NAMES)
    chosen = segments.choose(("cube", "robot"))
    assert chosen.names == ("background", "cube", "robot")
    np.testing.assert_array_equal(chosen.ids, np.select([ids == 3, ids == 1], [1, 2], 0))
    np.testing.assert_array_equal(chosen.mask("cube"), segments.mask("cube"))
    np.testing.assert_array_equal(chosen.mask("background"), (ids == 0) | (ids == 2))
    assert not segments.choose(()).ids.any()


def test_what_are_no_segments_is_refused():
    ids = np.full((2, 3, 4), 3, np.uint8)
    with pytest.raises(ValueError, match="id 3, but only 3 have names"):
        Segments(ids, NAMES[:3])
    with pytest.raises(ValueError, match=r"int64 \(2, 3, 4\)"):
        Segments(ids.astype(np.int64), NAMES)
    with pytest.raises(ValueError, match="different names"):
        Segments(ids, (*NAMES, "cube"))
    for find in (Segments(ids, NAMES).mask, lambda name: Segments(ids, NAMES).choose((name,))):
        with pytest.raises(ValueError, match="'cubes': did you mean 'cube'"):
            find("cubes")
