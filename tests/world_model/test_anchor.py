"""Sampling held to a video, against the formulas written out."""

from itertools import pairwise

import pytest
import torch
from tiny_predict import tiny_dit

from cosmos_sim.world_model.anchor import Anchor
from cosmos_sim.world_model.denoise import SamplingConfig, denoise
from cosmos_sim.world_model.sampler import euler, linear_times, seeded_noise, unipc

SHAPE = (1, 4, 3, 4, 6)
LATENT, NOISE = seeded_noise(SHAPE, 5), seeded_noise(SHAPE, 0)
SINGLE = SamplingConfig(steps=6, solver="euler", guidance=0.0)
KEEP = torch.zeros(1, 1, 3, 4, 6)
KEEP[..., :2], KEEP[:, :, 2] = 1, 0.5


@pytest.fixture(scope="module")
def given() -> dict[str, torch.Tensor]:
    return {"context": seeded_noise((1, 7, 36), 6)}


def plain(x: torch.Tensor, time: float, context: torch.Tensor) -> torch.Tensor:
    level, mask = torch.full((1, 3), float(int(1000 * time))), torch.zeros(1, 1, 3, 4, 6)
    with torch.no_grad():
        return tiny_dit()(x, level, mask, context=context)


@pytest.mark.parametrize("steps_kept", [0, 2, 25])
def test_guided_generation_shows_the_network_the_video_where_it_is_kept(given, steps_kept):
    """The network's input alone is mixed; the state goes on by what the network makes of it (Transfer2.5's loop)."""
    times, x = linear_times(6), NOISE
    for step, (time, after) in enumerate(pairwise(times)):
        seen = x
        if step <= steps_kept:
            seen = KEEP * ((1 - time) * LATENT + time * NOISE) + (1 - KEEP) * x
        x = x + (after - time) * plain(seen, time, given["context"])
    found = denoise(tiny_dit(), NOISE, SINGLE, **given, anchor=Anchor(LATENT, keep=KEEP, keep_steps=steps_kept))
    torch.testing.assert_close(found, x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("solver", ["euler", "unipc"])
def test_sampling_begins_from_the_video_with_noise(given, solver):
    """The schedule from sigma_max on, from (1 - sigma_max) video + sigma_max noise; no more steps than are left."""
    level = 0.6
    times = [level, *(t for t in linear_times(6) if t < level)]
    asked = []

    def velocity(x: torch.Tensor, time: float) -> torch.Tensor:
        return plain(x, time, given["context"])

    expected = {"euler": euler, "unipc": unipc}[solver](velocity, (1 - level) * LATENT + level * NOISE, times)
    found = denoise(
        tiny_dit(),
        NOISE,
        SamplingConfig(steps=6, solver=solver, guidance=0.0),
        **given,
        anchor=Anchor(LATENT, sigma_max=level),
        watch=lambda i, _: asked.append(i),
    )
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert asked == [*range(len(times) - 1)]
    assert len(asked) < 6


def test_known_frames_stay_known(given):
    """Their latents come out, not the video's, though sampling begins from it."""
    known = seeded_noise((1, 4, 1, 4, 6), 9)
    anchor = Anchor(LATENT, sigma_max=0.4, keep=KEEP)
    found = denoise(tiny_dit(), NOISE, SINGLE, **given, known=known, anchor=anchor)
    torch.testing.assert_close(found[:, :, :1], known, atol=1e-5, rtol=1e-5)


def test_nothing_kept_and_all_noise_change_nothing(given):
    free = denoise(tiny_dit(), NOISE, SINGLE, **given)
    for anchor in (Anchor(LATENT, keep=torch.zeros_like(KEEP)), Anchor(LATENT + 1, keep=KEEP * 0, keep_steps=0)):
        assert torch.equal(denoise(tiny_dit(), NOISE, SINGLE, **given, anchor=anchor), free)
    torch.testing.assert_close(
        denoise(tiny_dit(), NOISE, SINGLE, **given, anchor=Anchor(LATENT, sigma_max=1.0)), free, atol=0.01, rtol=0.01
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "neither sigma_max nor keep"),
        ({"sigma_max": 0.0}, r"noise level in \(0, 1\], not 0\.0"),
        ({"sigma_max": 4.0}, r"not 4\.0; a ratio of noise to data of 4 is 0\.8"),
        ({"keep": KEEP, "keep_steps": -1}, "0 or more, not -1"),
        ({"keep": KEEP[:, :, :2]}, r"keep has shape \(1, 1, 2, 4, 6\), expected \(1, 1, 3, 4, 6\)"),
        ({"sigma_max": 0.5, "latent": LATENT * torch.nan}, "must be finite"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Anchor(**{"latent": LATENT, **change})


def test_a_video_of_another_size_is_named(given):
    with pytest.raises(ValueError, match="do not fit the noise"):
        denoise(tiny_dit(), NOISE, SINGLE, **given, anchor=Anchor(LATENT[:, :, :2], sigma_max=0.5))
