import numpy as np
import pytest
import tiny_annotators as tiny
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import pipeline

from cosmos_sim.augmentation.annotator_depth import DepthAnything
from cosmos_sim.augmentation.controls import depth_frames


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny.depth(tmp_path_factory.mktemp("models") / "depth")


@pytest.fixture(scope="module")
def frames():
    rng = np.random.default_rng(2)
    video = rng.integers(0, 256, (5, 40, 66, 3)).astype(np.uint8)
    video[2:, 10:30] //= 5
    return video


def found_by_transformers(folder, frames):
    """What transformers' own pipeline gives for each frame."""
    finder = pipeline("depth-estimation", model=str(folder), device="cpu")
    return np.stack([finder(Image.fromarray(image))["predicted_depth"].numpy() for image in frames])


def test_disparity_becomes_distance_over_the_whole_clip(folder, frames):
    raw = found_by_transformers(folder, frames)
    assert raw.std(axis=(1, 2)).min() > 0.1 * np.ptp(raw)
    found = DepthAnything(str(folder), device="cpu", batch=2)(frames)
    assert (found.dtype, found.shape) == (np.float32, (5, 40, 66))
    expected = np.interp(raw, (raw.min(), raw.max()), (10, 1))
    np.testing.assert_allclose(found, expected, atol=1e-3)
    nearness = 255 * (raw - raw.min()) / (raw.max() - raw.min())
    assert np.abs(depth_frames(found)[..., 0] - nearness).max() < 0.51


def test_metres_are_left_as_they_are(tmp_path, frames):
    folder = tiny.depth(tmp_path / "metric", metric=True)
    found = DepthAnything(str(folder), device="cpu")(frames)
    np.testing.assert_allclose(found, found_by_transformers(folder, frames), rtol=1e-4)


def test_missing_weights_name_the_model_and_the_command(frames):
    model = "depth-anything/Depth-Anything-V2-Small-hf"
    with pytest.raises(ValueError, match=f"the depth network '{model}' is not here; get it with: hf download {model}"):
        DepthAnything(device="cpu")(frames)


def test_incomplete_weights_are_refused(tmp_path, frames):
    folder = tiny.depth(tmp_path / "damaged")
    weights = load_file(folder / "model.safetensors")
    del weights["head.conv1.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks 1 weights of its DepthAnything.*first: head.conv1.weight"):
        DepthAnything(str(folder), device="cpu")(frames)
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(ValueError, match="holds no weights of DepthAnything"):
        DepthAnything(str(folder), device="cpu")(frames)


def test_wrong_use_is_named(folder, frames):
    with pytest.raises(ValueError, match="got float64"):
        DepthAnything(str(folder), device="cpu")(frames.astype(float))
    with pytest.raises(ValueError, match="1 or more, got 0"):
        DepthAnything(str(folder), batch=0)
