import shutil
import warnings

import numpy as np
import pytest
import tiny_annotators as tiny
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Sam2VideoModel, Sam2VideoProcessor, pipeline

from cosmos_sim.augmentation.annotator_grounded import GroundedSam, _surest

PHRASES = ("robot", "red cube")


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    return tiny.detector(tmp_path_factory.mktemp("models") / "detector")


@pytest.fixture(scope="module")
def tracker(tmp_path_factory):
    return tiny.tracker(tmp_path_factory.mktemp("models") / "tracker")


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(0)
    video = rng.integers(0, 90, (19, 40, 66, 3)).astype(np.uint8)
    for t, image in enumerate(video):
        image[8:24, 10 + t : 30 + t] += 120
    return video


def boxes_of(detector, image, phrase):
    """What transformers' own pipeline finds, the surest first."""
    finder = pipeline("zero-shot-object-detection", model=str(detector), device="cpu")
    found = finder(Image.fromarray(image), candidate_labels=[f"{phrase}."], threshold=0.15)
    return np.array([[one["box"][side] for side in ("xmin", "ymin", "xmax", "ymax")] for one in found])


def test_boxes_are_those_of_transformers_pipeline(detector, tracker, frames):
    ours = GroundedSam(str(detector), str(tracker), device="cpu")
    for phrase in PHRASES:
        expected = boxes_of(detector, frames[0], phrase)
        assert len(expected) == 5
        np.testing.assert_array_equal(ours._boxes(frames[0], phrase.title() + ".").int(), expected)


def test_the_tracker_sees_what_a_session_of_the_whole_video_sees(detector, tracker, frames):
    ours = GroundedSam(str(detector), str(tracker), device="cpu")
    boxes = torch.tensor([[10.0, 8.0, 30.0, 24.0], [35.0, 20.0, 60.0, 39.0], [1.0, 2.0, 9.0, 30.0]])
    expected = whole_video(tracker, frames, boxes)
    assert expected.std(axis=(2, 3)).min() > 1e-4
    np.testing.assert_allclose(np.stack(list(ours._follow(frames, boxes))), expected, atol=1e-6)


def test_all_objects_of_a_phrase_are_one_segment(detector, tracker, frames):
    ours = GroundedSam(str(detector), str(tracker), device="cpu")
    logits = whole_video(tracker, frames, ours._boxes(frames[0], "robot"))
    assert logits.shape[1] == 5
    expected = (logits > 0).any(axis=1)
    assert 0.2 < expected.mean() < 0.8
    assert expected.mean() > 1.02 * (logits[:, 0] > 0).mean()
    found = ours(frames, ["robot"])
    assert found.names == ("background", "robot")
    assert (found.mask("robot") == expected).mean() > 0.999


def test_a_pixel_belongs_to_the_phrase_that_claims_it_most():
    logits = torch.randn(5, 7, 9, generator=torch.Generator().manual_seed(3)) - 0.8
    owner = torch.tensor([0, 2, 2, 0, 3])
    found = _surest(logits, owner, 4)
    for y in range(7):
        for x in range(9):
            best = int(logits[:, y, x].argmax())
            assert found[y, x] == (int(owner[best]) + 1 if logits[best, y, x] > 0 else 0)
    assert set(found.flat) == {0, 1, 3, 4}


def whole_video(tracker, frames, boxes):
    """The logits ``t n h w`` of a session that holds the whole video and forgets nothing."""
    processor, network = Sam2VideoProcessor.from_pretrained(tracker), Sam2VideoModel.from_pretrained(tracker).eval()
    session = processor.init_video_session(video=list(frames))
    processor.add_inputs_to_inference_session(
        session, frame_idx=0, obj_ids=list(range(len(boxes))), input_boxes=[boxes.tolist()]
    )
    outputs = network.propagate_in_video_iterator(session, start_frame_idx=0)
    size = [frames.shape[1:3]]
    return np.stack([processor.post_process_masks([o.pred_masks], size, binarize=False)[0][:, 0] for o in outputs])


def with_scores(detector, folder, image, phrase, logit):
    """The detector with weights that score every word of ``phrase`` with ``logit`` in every box."""
    ours = GroundedSam(str(detector), "unused", device="cpu")
    ours._boxes(image, phrase)
    processor, network = ours._detector
    outputs = network(**processor(images=image, text=f"{phrase}.", return_tensors="pt"), return_dict=True)
    words = outputs.encoder_last_hidden_state_text[0]
    shutil.copytree(detector, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(name for name in weights if name.endswith("decoder.layer_norm.weight"))
    weights[name] = torch.zeros_like(weights[name])
    target = torch.full((len(words),), logit)
    weights[name.replace("weight", "bias")] = torch.linalg.lstsq(words, target[:, None], driver="gelsd").solution[:, 0]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize(("logit", "found"), [(-1.9, 5), (-2.5, 0)])
def test_a_second_try_looks_for_less(detector, tracker, frames, tmp_path, logit, found):
    """Scores of .13 are between the thresholds of the two tries, those of .08 below both."""
    weak = with_scores(detector, tmp_path / "weak", frames[0], "robot", logit)
    ours = GroundedSam(str(weak), str(tracker), device="cpu")
    assert len(ours._boxes(frames[0], "robot")) == found
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        segments = ours(frames[:2], ["robot"])
    about = [str(one.message) for one in told if "was found" in str(one.message)]
    assert about == ([] if found else ["nothing like 'robot' was found in the first frame"])
    assert segments.mask("robot").any() == bool(found)


def test_the_tracker_forgets_what_it_no_longer_looks_at(detector, tracker, frames):
    ours = GroundedSam(str(detector), str(tracker), device="cpu")
    boxes = torch.tensor([[10.0, 8.0, 30.0, 24.0]])
    kept = []
    processor = None
    for _ in ours._follow(frames, boxes):
        processor = processor or ours._tracker[0]
    original = processor.init_video_session

    def remember(*args, **kwargs):
        kept.append(original(*args, **kwargs))
        return kept[-1]

    processor.init_video_session = remember
    ours._follow(frames[:1], boxes)
    for _ in ours._follow(frames, boxes):
        (session,) = kept
        assert len(session.processed_frames) == 1
        assert len(session.output_dict_per_obj[0]["non_cond_frame_outputs"]) <= 17
    assert min(session.output_dict_per_obj[0]["non_cond_frame_outputs"]) > 1


def test_missing_weights_name_the_model_and_the_command(detector, frames):
    with pytest.raises(
        ValueError, match=r"the detector 'IDEA-Research/grounding-dino-base' is not here.*hf download IDEA"
    ):
        GroundedSam(device="cpu")(frames[:1], PHRASES)
    with pytest.raises(
        ValueError, match=r"the tracker 'facebook/sam2.1-hiera-large' is not here.*hf download facebook/"
    ):
        GroundedSam(str(detector), device="cpu")(frames[:1], PHRASES)


def test_wrong_use_is_named(detector, tracker, frames):
    ours = GroundedSam(str(detector), str(tracker), device="cpu")
    with pytest.raises(ValueError, match="must be named, got"):
        ours(frames[:1], [])
    with pytest.raises(ValueError, match="got float64"):
        ours(frames[:1].astype(float), PHRASES)
    with pytest.raises(ValueError, match=r"(lacks \d+|holds no) weights of"):
        GroundedSam(str(tracker), str(tracker), device="cpu")(frames[:1], PHRASES)
