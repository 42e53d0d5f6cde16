import numpy as np
import pytest
import torch
from PIL import Image

from cosmos_sim.policies.encoder import EncoderConfig, ObservationEncoder, SpatialSoftmax, centre_crop, resize


def config(**changes) -> EncoderConfig:
    values = {"cameras": ("front", "side"), "state_dim": 5, "resolution": 32, "crop": 24, "width": 8, "keypoints": 6}
    return EncoderConfig(**{**values, "features": 12, **changes})


def test_resize_is_pillows_antialiased_bilinear():
    noise = np.random.default_rng(0).integers(0, 256, (1, 60, 44, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(noise[0]).resize((20, 20), Image.Resampling.BILINEAR))
    difference = resize(torch.from_numpy(noise), 20)[0].numpy().astype(int) - expected
    assert np.abs(difference).max() <= 1


def test_centre_crop_takes_the_middle():
    frames = torch.arange(8 * 8).reshape(1, 8, 8, 1).to(torch.uint8)
    assert torch.equal(centre_crop(frames, 4), frames[:, 2:6, 2:6])


def test_spatial_softmax_finds_a_peak():
    softmax = SpatialSoftmax(channels=1, keypoints=1)
    torch.nn.init.constant_(softmax.maps.weight, 50.0)
    image = torch.zeros(1, 1, 5, 9)
    image[0, 0, 1, 6] = 1.0
    column, row = softmax(image)[0].tolist()
    assert column == pytest.approx(-1 + 6 * 2 / 8, abs=1e-4)
    assert row == pytest.approx(-1 + 1 * 2 / 4, abs=1e-4)


@pytest.mark.parametrize("image", ["cnn", "vit"])
def test_encodes_every_camera_and_the_state(image: str):
    encoder = ObservationEncoder(config(image=image, depth=1))
    frames = {c: torch.randint(0, 256, (2, 24, 24, 3), dtype=torch.uint8) for c in ("front", "side")}
    state = torch.randn(2, 5)
    out = encoder(frames, state)
    assert out.shape == (2, 3 * 12)
    for changed in (
        encoder({**frames, "front": 255 - frames["front"]}, state)[:, :12],
        encoder({**frames, "side": 255 - frames["side"]}, state)[:, 12:24],
        encoder(frames, -state)[:, 24:],
    ):
        assert not torch.allclose(changed, out[:, [*range(12)]])
    assert torch.allclose(encoder({**frames, "front": 255 - frames["front"]}, state)[:, 12:], out[:, 12:], atol=1e-6)


def test_works_with_images_alone_and_with_state_alone():
    frames = {"front": torch.zeros(2, 24, 24, 3, dtype=torch.uint8)}
    assert ObservationEncoder(config(cameras=("front",), state_dim=0))(frames, torch.zeros(2, 0)).shape == (2, 12)
    assert ObservationEncoder(config(cameras=()))({}, torch.zeros(2, 5)).shape == (2, 12)


def test_jitter_scales_contrast_and_shifts_brightness():
    encoder = ObservationEncoder(config(cameras=("front",), state_dim=0))
    grey = {"front": torch.full((1, 24, 24, 3), 102, dtype=torch.uint8)}
    brighter = {"front": torch.full((1, 24, 24, 3), 153, dtype=torch.uint8)}
    none = torch.zeros(1, 0)
    shift = torch.tensor([[1.0, 51 / 127.5]])
    assert torch.allclose(encoder(grey, none, shift), encoder(brighter, none), atol=1e-5)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cameras": (), "state_dim": 0}, "at least one camera"),
        ({"cameras": ("a", "a")}, "differ"),
        ({"image": "resnet"}, "'resnet'"),
        ({"crop": 40}, "got 40"),
        ({"width": 12}, "got 12"),
        ({"image": "vit", "patch": 7}, "got 7"),
    ],
)
def test_bad_configs_name_the_value(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        config(**changes)
