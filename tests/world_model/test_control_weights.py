"""Masks over pixels on the grid of tokens, against SciPy; shares of several controls."""

import numpy as np
import pytest
import torch
from scipy.interpolate import RegularGridInterpolator

from cosmos_sim.world_model.control_weights import Control, shares, token_weights, weighed


def resized(volume: np.ndarray, size: tuple[int, int, int]) -> np.ndarray:
    """Linear between the centres of cells, constant beyond the outermost."""
    centres = [np.arange(n) + 0.5 for n in volume.shape]
    wanted = [
        np.clip((np.arange(n) + 0.5) * old / n, 0.5, old - 0.5) for n, old in zip(size, volume.shape, strict=True)
    ]
    double = (
        [np.repeat(volume, 2, axis=0), [np.array([0.5, 1.5]), *centres[1:]]] if len(volume) == 1 else [volume, centres]
    )
    grid = np.stack(np.meshgrid(*wanted, indexing="ij"), axis=-1)
    return RegularGridInterpolator(double[1], double[0])(grid)


@pytest.mark.parametrize(
    ("pixels", "tokens"),
    [
        ((9, 24, 40), (3, 3, 5)),
        ((93, 16, 12), (24, 2, 3)),
        ((5, 6, 10), (5, 3, 2)),
        ((1, 8, 6), (1, 2, 3)),
        ((2, 4, 6), (2, 8, 9)),
    ],
)
def test_the_first_frame_is_resized_alone_and_the_others_together(
    pixels: tuple[int, int, int], tokens: tuple[int, int, int]
):
    mask = np.random.default_rng(0).random(pixels)
    expected = resized(mask[:1], (1, *tokens[1:]))
    if tokens[0] > 1:
        expected = np.concatenate([expected, resized(mask[1:], (tokens[0] - 1, *tokens[1:]))])
    found = token_weights(torch.from_numpy(mask), tokens=tokens)
    assert found.shape == tokens
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_mask_on_the_grid_stays_as_it_is():
    mask = torch.rand(3, 2, 5)
    assert token_weights(mask, tokens=(3, 2, 5)) is mask


@pytest.mark.parametrize(("frames", "tokens"), [(8, 3), (1, 3), (5, 1), (2, 3)])
def test_frames_that_do_not_divide_are_refused(frames: int, tokens: int):
    with pytest.raises(ValueError, match=f"a mask of {frames} frames does not divide among {tokens} frames"):
        token_weights(torch.ones(frames, 4, 4), tokens=(tokens, 2, 2))


def test_shares():
    latent = torch.zeros(1, 2, 1, 4, 4)
    a, b = torch.tensor([[[[0.5, 1.0]]]]), torch.tensor([[[[0.0, 3.0]]]])
    assert shares({"edge": Control(latent, 1.5), "seg": Control(latent, 0.0), "blur": Control(latent)}) == {
        "edge": 1.5,
        "blur": 1.0,
    }
    found = shares({"edge": Control(latent, 0.5, a), "seg": Control(latent, 0.25), "blur": Control(latent, 1.0, b)})
    assert list(found) == ["edge", "seg", "blur"]
    torch.testing.assert_close(found["edge"], torch.tensor([0.25, 0.5 / 3.75]).view(1, 1, 1, 2, 1))
    torch.testing.assert_close(found["seg"], torch.tensor([0.25, 0.25 / 3.75]).view(1, 1, 1, 2, 1))
    torch.testing.assert_close(found["blur"], torch.tensor([0.0, 3 / 3.75]).view(1, 1, 1, 2, 1))
    silent = shares({"edge": Control(latent, 2.0, torch.zeros(1, 1, 1, 2)), "seg": Control(latent, 2.0)})
    assert list(silent) == ["seg"]
    assert torch.equal(silent["seg"], torch.ones(1, 1, 1, 2, 1))


def test_weighed_once_shares_stay():
    """Also where an empty map, which goes, was the only one: what is left is still capped."""
    latent, nowhere = torch.zeros(1, 2, 1, 4, 4), torch.zeros(1, 1, 1, 2)
    where = torch.tensor([[[[0.2, 1.0]]]])
    for controls in (
        {"edge": Control(latent, 2.0, nowhere), "seg": Control(latent, 2.0)},
        {"edge": Control(latent, 2.0, where), "seg": Control(latent, 0.0), "blur": Control(latent, 0.7)},
        {"edge": Control(latent, 2.0), "seg": Control(latent, 0.0)},
    ):
        expected, found = shares(controls), shares(weighed(controls))
        assert list(found) == list(weighed(controls)) == list(expected)
        for kind, share in expected.items():
            torch.testing.assert_close(found[kind], share)
