from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps
from scipy.ndimage import correlate1d
from torchvision.transforms import functional as reference

from cosmos_sim.cli import main
from cosmos_sim.policies.image_augmentation import (
    KERNEL,
    ImageAugmentation,
    brighten,
    contrast,
    equalise,
    find_augmentation,
    gamma,
    saturate,
    sharpen,
    speckle,
    turn_hue,
)
from cosmos_sim.policies.load import load_policy
from cosmos_sim.policies.recipe import policy_recipe

NOTHING = ImageAugmentation(
    chance=1.0, brightness=0, contrast=0, saturation=0, hue=0, gamma=0, specks=0, equalise=0, sharpness=0
)


@pytest.fixture(scope="module")
def frames() -> torch.Tensor:
    """Five images of smooth colours with noise, one of them all of one colour."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[0:20, 0:26] / 26
    base = np.stack([rows, columns, 1 - rows * columns], axis=-1)
    images = 255 * (base[None] * random.uniform(0.2, 1, (5, 1, 1, 3))) + random.normal(0, 12, (5, 20, 26, 3))
    images[3] = (200, 40, 40)
    return torch.from_numpy(images.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def images(frames: torch.Tensor) -> torch.Tensor:
    return frames.permute(0, 3, 1, 2).float() / 255


FACTORS = torch.tensor([0.3, 0.8, 1.0, 1.2, 1.7])


@pytest.mark.parametrize(
    ("ours", "theirs", "strengths"),
    [
        (brighten, reference.adjust_brightness, FACTORS),
        (contrast, reference.adjust_contrast, FACTORS),
        (saturate, reference.adjust_saturation, FACTORS),
        (gamma, reference.adjust_gamma, FACTORS),
        (turn_hue, reference.adjust_hue, torch.tensor([-0.5, -0.2, 0.0, 0.1, 0.4])),
    ],
)
def test_colours_change_as_in_torchvision(images: torch.Tensor, ours, theirs, strengths: torch.Tensor):
    changed = ours(images, strengths).clamp(0, 1)
    for image, strength, own in zip(images, strengths, changed, strict=True):
        torch.testing.assert_close(own, theirs(image, strength.item()), atol=1e-4, rtol=0)


def test_histograms_are_equalised_as_in_pillow(frames: torch.Tensor, images: torch.Tensor):
    large = torch.from_numpy(np.random.default_rng(1).integers(30, 90, (2, 48, 64, 3), dtype=np.uint8))
    for some in (frames, large):
        found = (255 * equalise(some.permute(0, 3, 1, 2).float() / 255)).round().byte().permute(0, 2, 3, 1)
        for own, image in zip(found, some, strict=True):
            np.testing.assert_array_equal(own, np.asarray(ImageOps.equalize(Image.fromarray(image.numpy()))))
    assert found.float().std() > 60 > 30 > large.float().std()


def test_sharpness_is_what_a_gaussian_takes_away(images: torch.Tensor):
    amounts, sigmas = torch.tensor([-1.0, -0.4, 0.0, 0.5, 1.0]), torch.tensor([0.4, 0.7, 0.9, 1.2, 1.5])
    found = sharpen(images, amounts, sigmas)
    offsets = np.arange(KERNEL) - KERNEL // 2
    for own, image, amount, sigma in zip(found, images.numpy(), amounts.numpy(), sigmas.numpy(), strict=True):
        kernel = np.exp(-0.5 * (offsets / sigma) ** 2)
        blurred = image
        for axis in (1, 2):
            blurred = correlate1d(blurred, kernel / kernel.sum(), axis=axis, mode="mirror")
        np.testing.assert_allclose(own.numpy(), image + amount * (image - blurred), atol=1e-5)


def test_specks_are_black_and_white_in_equal_shares():
    images = torch.full((2, 3, 50, 70), 0.5)
    place = torch.rand((2, 50, 70), generator=torch.Generator().manual_seed(0))
    found = speckle(images, torch.tensor([0.3, 0.0]), place)
    assert torch.equal(found[1], images[1])
    assert (found[0] == found[0, :1]).all()  # a speck is one in all colours
    for level in (0.0, 1.0):
        assert (found[0, 0] == level).float().mean().item() == pytest.approx(0.15, abs=0.02)


def test_an_augmentation_of_nothing_changes_nothing(frames: torch.Tensor):
    assert torch.equal(NOTHING(frames, torch.Generator().manual_seed(0)), frames)
    assert torch.equal(replace(ImageAugmentation(), chance=0.0, equalise=0.0)(frames, torch.Generator()), frames)


@pytest.mark.parametrize(
    "name", [field.name for field in fields(ImageAugmentation) if field.name not in ("chance", "sigma")]
)
def test_every_change_can_come_alone(frames: torch.Tensor, name: str):
    one = replace(NOTHING, **{name: 0.3})
    many = frames.repeat(20, 1, 1, 1)
    changed = one(many, torch.Generator().manual_seed(1))
    assert changed.dtype == torch.uint8
    assert changed.shape == many.shape
    share = (changed != many).flatten(1).any(1).float().mean()
    assert (0.1 < share < 0.5) if name == "equalise" else (share > 0.6)


def test_draws_are_the_generators_and_each_images_own(frames: torch.Tensor):
    standard = find_augmentation("standard")
    same = frames[:1].repeat(12, 1, 1, 1)
    one, again, other = (standard(same, torch.Generator().manual_seed(seed)) for seed in (5, 5, 6))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert len({image.numpy().tobytes() for image in one}) > 9


@pytest.mark.parametrize(("name", "value"), [("hue", 0.6), ("chance", -0.1), ("sigma", 0.0), ("gamma", 9)])
def test_strengths_out_of_range_are_named(name: str, value: float):
    with pytest.raises(ValueError, match=f"{name}.*got {value}"):
        ImageAugmentation(**{name: value})


def test_only_training_sees_augmented_images(dataset: Path):
    sizes = {"resolution": 32, "crop": 28, "width": 8, "keypoints": 8, "features": 16}
    plain, changed = (
        policy_recipe(
            selection(dataset), family="regression", encoder=sizes, batch_size=8, jitter=0.0, image_augmentation=given
        )
        for given in (None, find_augmentation("standard"))
    )
    batch = changed.batch(0, torch.Generator().manual_seed(0))
    augmented = {
        camera: find_augmentation("standard")(images, generator)
        for generator in [torch.Generator().manual_seed(7)]
        for camera, images in batch.frames.items()
    }
    expected = plain.policy.loss(augmented, batch.state, batch.actions, None, torch.Generator())
    assert changed.loss(batch, 0, torch.Generator().manual_seed(7))["loss"] == expected
    assert plain.evaluate(torch.Generator()) == changed.evaluate(torch.Generator())


def selection(dataset: Path):
    from cosmos_sim.policies.demonstrations import Selection

    return Selection(str(dataset))


def test_train_policy_with_image_augmentation(
    dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    words = ["train", "policy", "--data", str(dataset), "--out", str(tmp_path / "run"), "--kind", "regression"]
    words += ["--resolution", "24", "--crop", "20", "--steps", "2", "--device", "cpu", "--image-augmentation"]
    monkeypatch.setattr("sys.argv", ["cosmos-sim", *words])
    main([*words, "standard"])
    trained = load_policy(tmp_path / "run" / "export").metadata["training"]
    assert trained["image_augmentation"]["hue"] == ImageAugmentation().hue
    with pytest.raises(SystemExit):
        main([*words, "standart"])
    assert "did you mean 'standard'" in capsys.readouterr().err
