import gc
import weakref
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny_predict import DIT, SIZE, WordText, images, tiny_dit, tiny_predict, tiny_wan

from cosmos_sim.world_model.chunks import plan_chunks
from cosmos_sim.world_model.denoise import SAMPLING, SamplingConfig, denoise
from cosmos_sim.world_model.parts import Parts
from cosmos_sim.world_model.pipeline import PipelineConfig
from cosmos_sim.world_model.predict import Predict
from cosmos_sim.world_model.request import NEGATIVE_PROMPT, Request
from cosmos_sim.world_model.sampler import seeded_noise

TEXT = Request(name="a", inference_type="text2world", prompt="a robot lifts the cube", seed=3)


@pytest.mark.parametrize(
    ("total", "chunk", "overlap", "given"),
    [(93, 93, 1, 0), (1, 93, 1, 0), (277, 93, 1, 5), (31, 13, 5, 1), (14, 13, 1, 1)],
)
def test_chunks_cover_a_video_without_a_gap_or_a_repeat(total, chunk, overlap, given):
    plan = plan_chunks(total, chunk=chunk, overlap=overlap, given=given)
    shown = [f for c in plan for f in range(c.start, c.start + c.frames)[-c.new :]]
    assert shown == list(range(total))
    assert all(c.frames == chunk for c in plan[:-1])
    assert plan[0].given == given
    for before, after in pairwise(plan):
        assert after.given == overlap
        assert after.start + overlap == before.start + before.frames


@pytest.mark.parametrize("chunks", [1, 2, 4])
def test_a_long_video_is_its_chunks_stitched_by_hand(chunks):
    """Each chunk by itself, from the noise of seed + i and the last frame of the one before, which is not repeated."""
    frames = 13 + 12 * (chunks - 1)
    pipeline, wan, dit = tiny_predict(), tiny_wan(), tiny_dit()
    found = list(pipeline.video(pipeline.job(replace(TEXT, num_output_frames=frames))))
    assert [len(part) for part in found] == [13] + [12] * (chunks - 1)
    context, negative = WordText().encode([TEXT.prompt, NEGATIVE_PROMPT]).split(1)
    expected: list[np.ndarray] = []
    for i in range(chunks):
        known = wan.encode(torch.from_numpy(expected[-1][None, None])) if expected else None
        noise = seeded_noise((1, 4, 4, 4, 6), 3 + i)
        latent = denoise(dit, noise, SamplingConfig(steps=3), known=known, context=context, negative=negative)
        expected += [*wan.decode(latent)[0].numpy()][bool(expected) :]
    assert len(expected) == frames
    np.testing.assert_array_equal(np.concatenate(found), np.stack(expected))
    assert np.std(expected, axis=0).mean() > 1


def test_any_length_and_size():
    pipeline = tiny_predict()
    for frames, size in ((1, (32, 48)), (6, (48, 32)), (15, (16, 64))):
        made = np.concatenate([*pipeline.video(pipeline.job(replace(TEXT, num_output_frames=frames, resolution=size)))])
        assert made.shape == (frames, *size, 3)


def test_it_begins_from_what_is_given():
    pipeline, frames = tiny_predict(), images(5)
    shown = tiny_wan().decode(tiny_wan().encode(torch.from_numpy(frames)[None]))[0].numpy().astype(int)
    job = pipeline.job(replace(TEXT, inference_type="video2world", input_path="a.mp4", num_output_frames=9))
    made = next(pipeline.video(job, frames)).astype(int)
    assert np.abs(made[:5] - shown).max() <= 2
    other = next(pipeline.video(job, images(5, seed=1))).astype(int)
    assert np.abs(made[5:] - other[5:]).mean() > 1
    with pytest.raises(ValueError, match=r"begins from frames of shape \(5, 32, 48, 3\), not None"):
        next(pipeline.video(job))


def test_the_same_seed_gives_the_same_and_another_another():
    pipeline = tiny_predict()
    one, two, other = (next(pipeline.video(pipeline.job(replace(TEXT, seed=s)))) for s in (3, 3, 4))
    np.testing.assert_array_equal(one, two)
    assert np.abs(one.astype(int) - other).mean() > 1


def test_memory_does_not_grow_with_the_video():
    """Of five chunks none stays but the last frame of one, and the tensors alive are as many after each."""
    pipeline = tiny_predict()
    job = pipeline.job(replace(TEXT, num_output_frames=13 + 4 * 12, num_steps=1))
    others = [x for x in gc.get_objects() if type(x) is torch.Tensor]  # held: none may go meanwhile
    seen, alive, tensors = [], [], []
    for part in pipeline.video(job):
        seen.append(weakref.ref(part))
        del part
        alive.append(sum(ref() is not None for ref in seen))
        if len(seen) in (2, 5):
            gc.collect()
            tensors.append(sum(x.numel() for x in gc.get_objects() if type(x) is torch.Tensor))
    assert max(alive) <= 2
    assert tensors[0] == tensors[1]
    del others


def test_low_vram_gives_the_same():
    both, single = (tiny_predict(low_vram=flag) for flag in (False, True))
    made = [next(p.video(p.job(TEXT), watch=lambda chunk, i, latent, p=p: p.still(latent))) for p in (both, single)]
    np.testing.assert_array_equal(*made)
    meta = Predict(
        single.config, dit=tiny_dit, tokenizer=tiny_wan, text=WordText(), device=torch.device("meta"), low_vram=True
    )
    dit = meta.parts.use("dit")
    assert {p.device.type for p in dit.parameters()} == {"meta"}


class Placed(torch.nn.Module):
    """Says where it was put, on a machine without the device."""

    place = "cpu"

    def to(self, device: object) -> "Placed":
        self.place = str(device)
        return self


@pytest.mark.parametrize("low_vram", [True, False])
def test_low_vram_keeps_one_network_on_the_device(low_vram):
    made = {}
    makers = {name: lambda name=name: made.setdefault(name, Placed()) for name in "abc"}
    parts = Parts(makers, device=torch.device("cuda"), low_vram=low_vram)
    for name in "abcba":
        assert parts.use(name) is made[name]
        on_device = {other for other, module in made.items() if module.place == "cuda"}
        assert on_device == ({name} if low_vram else set(made))
    parts.rest()
    assert {module.place for module in made.values()} == {"cpu"}


def test_nothing_is_made_before_it_is_used():
    def never() -> torch.nn.Module:
        raise AssertionError("made too early")

    pipeline = Predict(
        PipelineConfig(DIT, SamplingConfig(), chunk=13, size=SIZE),
        dit=never,
        tokenizer=never,
        text=WordText(),
        device=torch.device("cpu"),
    )
    job = pipeline.job(TEXT)
    assert (job.frames, job.evaluations, job.size) == (13, 35, SIZE)
    pipeline.prepare([job])


def test_watching_shows_stills():
    pipeline, seen = tiny_predict(), []
    job = pipeline.job(replace(TEXT, num_output_frames=20))
    made = [*pipeline.video(job, watch=lambda c, i, latent: seen.append((c.index, i, pipeline.still(latent))))]
    assert [(c, i) for c, i, _ in seen] == [(c, i) for c in range(2) for i in range(3)]
    assert seen[0][2].shape == (*SIZE, 3)
    assert sum(len(part) for part in made) == 20


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"resolution": (30, 48)}, r"resolution 30 x 48 is no multiple of 16 pixels; 32 x 48 is"),
        ({"num_output_frames": 14, "enable_autoregressive": False}, "14 frames are more than the 13 of a chunk"),
        ({"chunk_size": 17}, "chunk_size=17, but the network makes 13 frames at most"),
        ({"chunk_overlap": 2}, "chunk_overlap=2 makes no whole latents: 1, 5"),
        ({"chunk_size": 5, "chunk_overlap": 5, "num_output_frames": 9}, "5 for a chunk leaves nothing"),
        (
            {"inference_type": "image2world", "input_path": "a.png", "num_output_frames": 1},
            "1 for frames leaves nothing",
        ),
    ],
)
def test_requests_that_cannot_be_made_are_named(change, message):
    with pytest.raises(ValueError, match=rf"request 'a': .*{message}"):
        tiny_predict().job(replace(TEXT, **change))


def test_a_nan_is_told_with_its_chunk():
    pipeline = tiny_predict()
    with torch.no_grad():
        pipeline.parts.use("dit").final_layer.linear.weight[0, 0] = torch.nan
    with pytest.raises(FloatingPointError, match="request 'a', chunk 1 of 1: evaluation 1 of 3"):
        next(pipeline.video(pipeline.job(TEXT)))


def test_a_job_can_be_repeated_from_its_request():
    pipeline = tiny_predict(SAMPLING["predict2.5-2b"])
    job = pipeline.job(TEXT)
    assert pipeline.job(job.filled()).filled() == job.filled()
    assert job.filled().num_steps == 35
    assert job.filled().negative_prompt == NEGATIVE_PROMPT
    assert tiny_predict(SamplingConfig(guidance=0.0)).job(TEXT).prompts == (TEXT.prompt,)
