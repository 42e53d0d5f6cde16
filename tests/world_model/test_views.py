import numpy as np
import pytest
from tiny_predict import images

from cosmos_sim.world_model.views import join_views, split_views

VIEWS = ("agentview", "wrist", "side")


def test_views_go_in_and_come_out():
    videos = {view: images(4, (16, 20), seed=i) for i, view in enumerate(VIEWS)}
    joined = join_views(dict(reversed(videos.items())), VIEWS, size=(16, 60))
    np.testing.assert_array_equal(joined, np.concatenate([videos[view] for view in VIEWS], axis=2))
    for view, part in split_views(joined, VIEWS).items():
        np.testing.assert_array_equal(part, videos[view])


def test_cameras_of_other_sizes_come_back_at_their_own():
    sizes = {"agentview": (48, 64), "wrist": (16, 20), "side": (90, 40)}
    videos = {view: np.full((3, *size, 3), 40 * i, np.uint8) for i, (view, size) in enumerate(sizes.items())}
    joined = join_views(videos, VIEWS, size=(16, 60))
    assert joined.shape == (3, 16, 60, 3)
    for view, part in split_views(joined, VIEWS, sizes=sizes).items():
        np.testing.assert_array_equal(part, videos[view])


def test_masks_stay_between_0_and_1():
    masks = {view: np.eye(24, 30, dtype=np.float32)[None] for view in VIEWS}
    joined = join_views(masks, VIEWS, size=(40, 150))
    assert joined.shape == (1, 40, 150)
    assert joined.dtype == np.float32
    assert 0 == joined.min() < 0.5 < joined.max() <= 1
    np.testing.assert_array_equal(joined[:, :, :50], joined[:, :, 100:])


@pytest.mark.parametrize(
    ("videos", "size", "message"),
    [
        ({"agentview": 4, "wrist": 4, "sid": 4}, (16, 60), r"\['agentview', 'sid', 'wrist'\] .*did you mean 'side'"),
        ({"agentview": 4, "wrist": 4}, (16, 60), r"the views are \['agentview', 'wrist', 'side'\]"),
        ({"agentview": 4, "wrist": 5, "side": 4}, (16, 60), "unequal numbers of frames: .*'wrist': 5"),
        ({"agentview": 4, "wrist": 4, "side": 4}, (16, 61), "61 wide do not divide"),
    ],
)
def test_mistakes_are_named(videos, size, message):
    with pytest.raises(ValueError, match=message):
        join_views({view: images(t, (16, 20)) for view, t in videos.items()}, VIEWS, size=size)


def test_sizes_of_other_cameras_are_named():
    with pytest.raises(ValueError, match=r"sizes of \['wrist'\] given"):
        split_views(images(2, (16, 60)), VIEWS, sizes={"wrist": (4, 4)})
