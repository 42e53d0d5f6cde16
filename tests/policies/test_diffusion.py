import math

import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from cosmos_sim.policies.diffusion import DiffusionConfig, DiffusionModel, noise_schedule
from cosmos_sim.policies.encoder import EncoderConfig
from cosmos_sim.policies.learned import episode_generators
from cosmos_sim.policies.unet import timestep_embedding

ENCODER = EncoderConfig(("front",), 5, resolution=32, crop=24, width=8, keypoints=4, features=8)


def config(**changes) -> DiffusionConfig:
    return DiffusionConfig(**{"encoder": ENCODER, "action_dim": 3, "channels": (16, 24), "kernel": 3, **changes})


def inputs(b: int = 2) -> tuple[dict, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (b, 24, 24, 3), dtype=torch.uint8, generator=generator)
    return {"front": frames}, torch.randn(b, 5, generator=generator)


def test_schedule_is_the_squared_cosine():
    def alpha_bar(t: float) -> float:
        return math.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2

    betas = [min(1 - alpha_bar((i + 1) / 100) / alpha_bar(i / 100), 0.999) for i in range(100)]
    expected = np.cumprod(1 - np.array(betas))
    np.testing.assert_allclose(noise_schedule(config()).alphas_cumprod, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("prediction", ["epsilon", "sample", "v_prediction"])
def test_sampling_follows_ddim_written_out(prediction: str):
    """Song et al. (arXiv:2010.02502), eq. 12 with sigma = 0, from the model's own predictions."""
    model = DiffusionModel(config(prediction=prediction, inference_steps=4)).eval()
    frames, state = inputs()
    got = model.predict(frames, state, episode_generators([5, 9]))
    noise = torch.stack([torch.randn(16, 3, generator=g) for g in episode_generators([5, 9])])
    alpha_bar = DDPMScheduler(100, beta_schedule="squaredcos_cap_v2").alphas_cumprod
    x, steps = noise, [99, 74, 49, 24]
    with torch.no_grad():
        condition = model.encoder(frames, state)
        for step, following in zip(steps, [*steps[1:], -1], strict=True):
            out = model.unet(x, torch.full((2,), step), condition)
            a = alpha_bar[step]
            data = {
                "epsilon": (x - (1 - a).sqrt() * out) / a.sqrt(),
                "sample": out,
                "v_prediction": a.sqrt() * x - (1 - a).sqrt() * out,
            }[prediction].clamp(-1, 1)
            epsilon = {
                "epsilon": out,
                "sample": (x - a.sqrt() * out) / (1 - a).sqrt(),
                "v_prediction": a.sqrt() * out + (1 - a).sqrt() * x,
            }[prediction]
            after = alpha_bar[following] if following >= 0 else torch.tensor(1.0)
            x = after.sqrt() * data + (1 - after).sqrt() * epsilon
    torch.testing.assert_close(got, x, rtol=1e-3, atol=1e-4)


def test_a_perfect_prediction_costs_nothing(monkeypatch: pytest.MonkeyPatch):
    """The loss of a network that knows the clean actions is zero, whatever it is asked to predict."""
    frames, state = inputs()
    actions = torch.rand(2, 16, 3) * 2 - 1
    peer = DDIMScheduler(100, beta_schedule="squaredcos_cap_v2")
    for prediction in ("epsilon", "sample", "v_prediction"):
        model = DiffusionModel(config(prediction=prediction, draws=3))
        data = actions.repeat(3, 1, 1)

        def knowing(noisy, step, condition, data=data, prediction=prediction):
            a = peer.alphas_cumprod[step][:, None, None]
            noise = (noisy - a.sqrt() * data) / (1 - a).sqrt()
            return {
                "epsilon": noise,
                "sample": data,
                "v_prediction": a.sqrt() * noise - (1 - a).sqrt() * data,
            }[prediction]

        monkeypatch.setattr(model.unet, "forward", knowing)
        loss = model.loss(frames, state, actions, None, torch.Generator().manual_seed(1))
        assert loss.item() < 1e-6


def test_actions_come_back_in_their_own_units():
    model = DiffusionModel(config(prediction="sample")).eval()
    model.action_centre.copy_(torch.tensor([10.0, 0.0, -5.0]))
    model.action_scale.copy_(torch.tensor([2.0, 1.0, 0.5]))
    frames, state = inputs()
    actions = model.predict(frames, state, episode_generators([0, 1]))
    assert actions.shape == (2, 16, 3)
    low, high = torch.tensor([8.0, -1.0, -5.5]), torch.tensor([12.0, 1.0, -4.5])
    assert ((actions >= low - 1e-5) & (actions <= high + 1e-5)).all()


def test_timestep_embedding_is_sines_then_cosines():
    step = torch.tensor([0, 7])
    expected = [[f(t * 10_000 ** (-i / 3)) for f in (math.sin, math.cos) for i in range(4)] for t in (0, 7)]
    torch.testing.assert_close(timestep_embedding(step, 8), torch.tensor(expected), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action_dim": 0}, "got 0"),
        ({"execute": 17}, "got 17"),
        ({"channels": (12,)}, "12"),
        ({"horizon": 15}, "got 15"),
        ({"kernel": 4}, "got 4"),
        ({"prediction": "noise"}, "'noise'"),
        ({"inference_steps": 101}, "got 101"),
        ({"draws": 0}, "got 0"),
    ],
)
def test_bad_configs_name_the_value(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        config(**changes)
