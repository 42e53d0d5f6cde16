import numpy as np
import pytest

from cosmos_sim.augmentation.annotator_open import find_annotator
from cosmos_sim.augmentation.annotators import Recorded, known_phrases
from cosmos_sim.augmentation.control_spec import parse_control
from cosmos_sim.augmentation.controls import blur, depth_frames, edge, segment_frames
from cosmos_sim.augmentation.extract import control_frames, control_mask
from cosmos_sim.data.annotations import Annotations, write_annotations
from cosmos_sim.data.segments import Segments
from cosmos_sim.world_model.annotator import Annotator, AnnotatorConfig, AnnotatorNet

NAMES = ("background", "robot", "table", "cube")


@pytest.fixture(scope="module")
def annotations():
    rng = np.random.default_rng(7)
    sizes = {"agentview": (5, 20, 33), "wrist": (5, 17, 18)}
    return Annotations(
        depth={camera: rng.integers(300, 3000, size).astype(np.uint16) for camera, size in sizes.items()},
        segments={camera: rng.integers(0, 4, size).astype(np.uint8) for camera, size in sizes.items()},
        names=NAMES,
    )


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(8).integers(0, 256, (5, 20, 33, 3)).astype(np.uint8)


def test_what_was_recorded_is_read_from_the_dataset(annotations, frames, tmp_path):
    write_annotations(tmp_path, 3, annotations)
    recorded = Recorded.of(tmp_path, 3, "agentview")
    np.testing.assert_allclose(recorded.depth(frames), annotations.depth["agentview"] / 1000, rtol=1e-6)
    found = recorded.segments(frames, ("cube", "robot"))
    assert found.names == ("background", "cube", "robot")
    own = annotations.segments["agentview"]
    np.testing.assert_array_equal(found.ids, np.select([own == 3, own == 1], [1, 2], 0))
    assert known_phrases(recorded) == NAMES[1:]
    with pytest.raises(ValueError, match="no annotations of episode 4: collect it with --annotate"):
        Recorded.of(tmp_path, 4, "agentview")


def test_what_was_recorded_is_of_its_own_frames(annotations, frames):
    with pytest.raises(ValueError, match="no annotations of camera 'wirst': did you mean 'wrist'"):
        Recorded(annotations, "wirst")
    for wrong in (frames[:4], frames[:, :17]):
        with pytest.raises(ValueError, match=r"camera 'agentview' are of t h w \(5, 20, 33\), the frames are"):
            Recorded(annotations, "agentview").depth(wrong)
        with pytest.raises(ValueError, match="the frames are"):
            Recorded(annotations, "agentview").segments(wrong, ("robot",))
    with pytest.raises(ValueError, match="unknown segment 'robt': did you mean 'robot'"):
        Recorded(annotations, "agentview").segments(frames, ("robt",))


def test_segments_of_repeated_names_are_refused(annotations):
    with pytest.raises(ValueError, match="different names"):
        Segments(annotations.segments["wrist"], NAMES).choose(("cube", "cube"))


def test_each_control_is_made_as_it_is_asked_for(annotations, frames):
    recorded = Recorded(annotations, "agentview")
    for text, expected in (
        ("edge@low:0.5", edge(frames, "low")),
        ("blur@medium", blur(frames, "medium")),
        ("blur:robot", blur(frames, "very_low")),
        ("depth", depth_frames(annotations.depth["agentview"])),
        ("seg", segment_frames(annotations.segments["agentview"], 4)),
    ):
        found = control_frames(parse_control(text), frames, annotator=recorded, seed=4)
        np.testing.assert_array_equal(found, expected)
    some = control_frames(parse_control("seg"), frames, annotator=recorded, phrases=("cube",), seed=4)
    cube = (annotations.segments["agentview"] == 3).astype(np.uint8)
    np.testing.assert_array_equal(some, segment_frames(cube, 4))


def test_a_region_is_a_map_and_everywhere_is_none(annotations, frames):
    recorded = Recorded(annotations, "agentview")
    assert control_mask(parse_control("edge"), frames) is None
    found = control_mask(parse_control("blur:robot"), frames, annotator=recorded)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, annotations.segments["agentview"] == 1)


class AnyPhrase:
    """An annotator that knows no names by itself."""

    names = ()

    def depth(self, frames):
        return frames[..., 0].astype(np.float32)

    def segments(self, frames, phrases):
        return Segments(np.zeros(frames.shape[:3], np.uint8), ("background", *phrases))


def test_what_cannot_be_known_is_named(frames):
    with pytest.raises(ValueError, match=r"'depth:1\.0' needs an annotator, for its depth"):
        control_frames(parse_control("depth"), frames)
    with pytest.raises(ValueError, match="needs an annotator, for its region 'robot'"):
        control_mask(parse_control("blur:robot"), frames)
    with pytest.raises(ValueError, match="segments need the phrases to look for"):
        control_frames(parse_control("seg"), frames, annotator=AnyPhrase())


def test_annotators_are_found_by_name(frames, tmp_path):
    folder = tmp_path / "small"
    folder.mkdir()
    Annotator(AnnotatorNet(AnnotatorConfig(NAMES, widths=(4, 4))), figures={}).write(folder)
    small = find_annotator(str(folder), device="cpu")
    assert small.names == NAMES
    assert small.depth(frames).shape == frames.shape[:3]
    hub = find_annotator("hub", device="cpu")
    assert known_phrases(hub) == ()
    with pytest.raises(ValueError, match="the depth network 'depth-anything/Depth-Anything-V2-Small-hf' is not here"):
        hub.depth(frames)
    with pytest.raises(ValueError, match="the detector 'IDEA-Research/grounding-dino-base' is not here"):
        hub.segments(frames, ("robot",))
    with pytest.raises(ValueError, match="unknown annotator 'nowhere'"):
        find_annotator("nowhere")
