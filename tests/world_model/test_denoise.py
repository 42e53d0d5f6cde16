from dataclasses import replace

import pytest
import torch

from cosmos_sim.world_model.denoise import SAMPLING, SamplingConfig, denoise
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.sampler import euler, linear_times, seeded_noise

TINY = DiTConfig(
    latent_channels=4,
    model_channels=48,
    num_blocks=2,
    num_heads=2,
    adaln_lora_dim=8,
    context_dim=20,
    context_in_dim=36,
    rope_ratio=(1.0, 2.0, 2.0),
)
SHAPE = (2, 4, 3, 6, 8)


def lively(module: DiT) -> DiT:
    """Every weight drawn anew, so that nothing is hidden by a zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            drawn = 0.2 * torch.randn(parameter.shape, generator=generator)
            parameter.copy_(drawn + (1.0 if parameter.ndim == 1 else 0.0))
    return module.eval()


class Recorder:
    """The network, and what it was asked."""

    def __init__(self, network: DiT) -> None:
        self.network, self.calls, self.encoded = network, [], 0

    def __call__(self, latent, timestep, condition_mask, **conditions):
        self.calls.append((latent, timestep, condition_mask))
        return self.network(latent, timestep, condition_mask, **conditions)

    def encode_context(self, context):
        self.encoded += 1
        return self.network.encode_context(context)


@pytest.fixture(scope="module")
def network() -> DiT:
    return lively(DiT(TINY))


@pytest.fixture
def given() -> dict[str, torch.Tensor]:
    known = seeded_noise((*SHAPE[:2], 2, *SHAPE[3:]), 5)
    return {"known": known, "context": seeded_noise((2, 7, 36), 6), "negative": seeded_noise((2, 7, 36), 7)}


def test_the_formula_of_guidance_and_of_known_frames(network, given):
    """Written out for Euler: known frames in the input, in the mask, and in the velocity; cond + g (cond - uncond)."""
    noise, mask = seeded_noise(SHAPE, 0), torch.zeros(2, 1, 3, 6, 8)
    mask[:, :, :2] = 1
    data = torch.cat([given["known"], torch.zeros(2, 4, 1, 6, 8)], dim=2)

    def velocity(x: torch.Tensor, time: float) -> torch.Tensor:
        seen = torch.where(mask.bool(), data, x)
        level = torch.full((2, 3), float(int(1000 * time)))
        cond, uncond = (network(seen, level, mask, context=given[name]) for name in ("context", "negative"))
        return torch.where(mask.bool(), noise - data, cond + 1.5 * (cond - uncond))

    with torch.no_grad():
        expected = euler(velocity, noise, linear_times(3))
    found = denoise(network, noise, SamplingConfig(steps=3, solver="euler", guidance=1.5), **given)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("schedule", ["linear", "karras"])
@pytest.mark.parametrize("solver", ["unipc", "heun", "euler"])
def test_known_frames_come_out_as_in_the_original(network, given, solver, schedule):
    """Pure noise is taken for a time just below 1, and the straight path from there ends just short of the data."""
    noise, config = seeded_noise(SHAPE, 0), SamplingConfig(steps=4, solver=solver, guidance=0.5, schedule=schedule)
    found = denoise(network, noise, config, **given)
    expected = torch.lerp(given["known"], noise[:, :, :2], 1 - config.times()[0])
    torch.testing.assert_close(found[:, :, :2], expected, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found[:, :, 2], noise[:, :, 2], atol=0.1)


def test_one_batch_or_two_passes_give_the_same(network, given):
    config = SamplingConfig(steps=3, guidance=2.0)
    one, two = (denoise(network, seeded_noise(SHAPE, 1), replace(config, batched_guidance=b), **given) for b in (1, 0))
    torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-5)


def test_passes_are_not_wasted(network, given):
    def work(config: SamplingConfig, **conditions) -> tuple[list[int], int]:
        recorder = Recorder(network)
        denoise(recorder, seeded_noise(SHAPE, 0), config, **conditions)
        return [len(latent) for latent, *_ in recorder.calls], recorder.encoded

    config = SamplingConfig(steps=3)
    assert work(replace(config, guidance=0.0), context=given["context"]) == ([2, 2, 2], 1)
    assert work(config, **given) == ([4, 4, 4], 1)
    assert work(replace(config, batched_guidance=False), **given) == ([2] * 6, 2)
    middle = linear_times(3)[1]
    assert work(replace(config, guidance_interval=(middle - 0.01, middle + 0.01)), **given) == ([2, 4, 2], 2)


@pytest.mark.parametrize("batched", [True, False])
def test_skipped_blocks(network, given, batched):
    """A threshold that nothing stays below changes nothing; a great one changes the result, by something."""
    config, noise = SamplingConfig(steps=6, guidance=1.0, batched_guidance=batched), seeded_noise(SHAPE, 0)
    exact = denoise(network, noise, config, **given)
    assert torch.equal(denoise(network, noise, replace(config, first_block_threshold=1e-9), **given), exact)
    near = denoise(network, noise, replace(config, first_block_threshold=0.9), **given)
    assert not torch.equal(near, exact)
    assert near.isfinite().all()


def test_the_negative_prompt_is_zeros_without_one(network, given):
    config = SamplingConfig(steps=2)
    conditions = {"known": given["known"], "context": given["context"]}
    silent = denoise(network, seeded_noise(SHAPE, 0), config, **conditions)
    zeros = denoise(network, seeded_noise(SHAPE, 0), config, **conditions, negative=torch.zeros_like(given["negative"]))
    assert torch.equal(silent, zeros)
    assert not torch.allclose(silent, denoise(network, seeded_noise(SHAPE, 0), config, **given), atol=1e-3)


@pytest.mark.parametrize(
    ("config", "first", "others"),
    [
        (SAMPLING["predict2.5-2b"], 0.1, 995.0),
        (replace(SAMPLING["predict2.5-2b"], whole_timesteps=False), 0.1, 200 / 201 * 1000),
        (SAMPLING["predict2.5-2b-pretrained"], 999.0, 999.0),
        (SAMPLING["predict2.5-14b"], 999.0, 999.0),
        (SAMPLING["predict2.5-2b-action"], 999.0, 999.0),
    ],
)
def test_the_timestep_of_every_released_checkpoint(network, given, config, first, others):
    recorder = Recorder(network)
    conditions = {k: v for k, v in given.items() if k != "negative"}
    denoise(recorder, seeded_noise(SHAPE, 0), config, **conditions)
    timestep = recorder.calls[0][1]
    torch.testing.assert_close(timestep[0], torch.tensor([first, first, others]))
    assert len(recorder.calls) == config.evaluations == (36 if config.schedule == "karras" else 35)


def test_what_is_watched_is_the_data_at_the_end(network, given):
    seen = []
    noise = seeded_noise(SHAPE, 0)
    found = denoise(network, noise, SamplingConfig(steps=3), **given, watch=lambda i, x: seen.append((i, x)))
    assert [i for i, _ in seen] == [0, 1, 2]
    torch.testing.assert_close(seen[-1][1], found, atol=1e-5, rtol=1e-5)


def test_the_same_seed_gives_the_same(network, given):
    one, two = (denoise(network, seeded_noise(SHAPE, 4), SamplingConfig(steps=2), **given) for _ in range(2))
    assert torch.equal(one, two)


def test_a_nan_is_an_error_that_names_its_evaluation(network, given):
    class Breaking(Recorder):
        def __call__(self, *inputs, **conditions):
            out = super().__call__(*inputs, **conditions)
            return out * torch.nan if len(self.calls) == 3 else out

    with pytest.raises(FloatingPointError, match=r"evaluation 3 of 5, at noise level 0\.88"):
        denoise(Breaking(network), seeded_noise(SHAPE, 0), SamplingConfig(steps=5), **given)


def test_mistakes_are_named(network, given):
    noise, config = seeded_noise(SHAPE, 0), SamplingConfig(steps=2)
    with pytest.raises(ValueError, match="do not leave frames to predict"):
        denoise(network, noise, config, known=noise, context=given["context"])
    with pytest.raises(ValueError, match=r"known latents of shape \(2, 4, 2, 6, 8\) must be finite"):
        denoise(network, noise, config, known=given["known"] * torch.inf, context=given["context"])
    with pytest.raises(ValueError, match=r"guidance=7\.0 needs a text embedding"):
        denoise(network, noise, config)
    with pytest.raises(ValueError, match="would be ignored with guidance=0"):
        denoise(network, noise, replace(config, guidance=0.0), **given)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": "unipcs"}, "did you mean 'unipc'"),
        ({"schedule": "cosine"}, "linear or karras, not 'cosine'"),
        ({"schedule": "karras", "shift": 3.0}, r"shift=3\.0 would be ignored"),
        ({"shift": 0.0}, "positive, not 0"),
        ({"steps": 0}, "at least 1 step, not 0"),
        ({"guidance": -1.0}, "not negative, not -1"),
        ({"guidance": float("nan")}, "not nan"),
        ({"guidance_interval": (0.5, 0.5)}, r"\(0\.5, 0\.5\)"),
        ({"first_block_threshold": 1.0}, r"\[0, 1\), not 1"),
        ({"known_time": 2.0}, r"\[0, 1\], not 2"),
    ],
)
def test_options_are_checked_where_they_are_set(change, message):
    with pytest.raises(ValueError, match=message):
        SamplingConfig(**change)
