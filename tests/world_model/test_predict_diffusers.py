"""The whole pipeline against diffusers' own, where both define the same thing.

That is: Karras times, known frames told 1e-4, timesteps not cut to integers, the same weights, noise, text and frames.
"""

import numpy as np
import pytest
import torch
from diffusers import Cosmos2_5_PredictBasePipeline, CosmosTransformer3DModel, UniPCMultistepScheduler
from PIL import Image
from tiny_predict import DIT, SIZE, WordText, images, tiny_dit, tiny_wan

from cosmos_sim.world_model.checkpoints.network import Network, save_diffusers
from cosmos_sim.world_model.checkpoints.stored import held
from cosmos_sim.world_model.denoise import SamplingConfig, denoise
from cosmos_sim.world_model.sampler import seeded_noise


class Unguarded:
    """In the place of NVIDIA's guardrails, which are models of their own."""

    def to(self, device: object) -> None:
        pass

    def check_text_safety(self, prompt: str) -> bool:
        return True

    def check_video_safety(self, frames: np.ndarray) -> np.ndarray:
        return frames


@pytest.fixture(scope="module")
def theirs(tmp_path_factory) -> Cosmos2_5_PredictBasePipeline:
    dit = tiny_dit()
    folder = tmp_path_factory.mktemp("diffusers")
    save_diffusers(Network(DIT, {name: held(tensor) for name, tensor in dit.state_dict().items()}), folder / "dit")
    scheduler = UniPCMultistepScheduler(
        use_karras_sigmas=True, use_flow_sigmas=True, prediction_type="flow_prediction", sigma_max=200.0, sigma_min=0.01
    )
    pipeline = Cosmos2_5_PredictBasePipeline(
        text_encoder=None,
        tokenizer=None,
        transformer=CosmosTransformer3DModel.from_pretrained(folder / "dit").eval(),
        vae=tiny_wan().vae,
        scheduler=scheduler,
        safety_checker=Unguarded(),
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.mark.parametrize("given", [0, 1, 5])
def test_the_same_latents_as_diffusers(theirs, given):
    noise, frames, text = seeded_noise((1, 4, 4, 4, 6), 3), images(given or 1), WordText()
    prompt, negative = text.encode(["a robot lifts the cube", "blurry"]).split(1)
    pictures = [Image.fromarray(frame) for frame in frames]
    with torch.no_grad():
        expected = theirs(
            image=pictures[0] if given == 1 else None,
            video=pictures if given == 5 else None,
            height=SIZE[0],
            width=SIZE[1],
            num_frames=13,
            num_inference_steps=36,
            guidance_scale=3.0,
            latents=noise.clone(),
            prompt_embeds=prompt,
            negative_prompt_embeds=negative,
            output_type="latent",
        ).frames
    config = SamplingConfig(schedule="karras", guidance=3.0, known_time=1e-4, whole_timesteps=False)
    found = denoise(
        tiny_dit(),
        noise,
        config,
        known=tiny_wan().encode(torch.from_numpy(frames)[None]) if given else None,
        context=prompt,
        negative=negative,
    )
    assert 0.5 < expected.std() < 5
    assert (found - expected).abs().max() < 1e-4
    if given:
        without = denoise(tiny_dit(), noise, config, context=prompt, negative=negative)
        assert (without - expected).abs().max() > 0.1
