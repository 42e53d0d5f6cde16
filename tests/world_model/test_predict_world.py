"""A random miniature of the action-conditioned checkpoint: 12 actions of 7 numbers, 13 frames, 4 latents."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny_predict import DIT, images, lively, tiny_wan

from cosmos_sim.data.starts import Starts
from cosmos_sim.types import WorldModel, WorldSpec
from cosmos_sim.world_model.denoise import SamplingConfig, denoise
from cosmos_sim.world_model.dit import DiT
from cosmos_sim.world_model.predict_world import PredictWorld, PredictWorldConfig
from cosmos_sim.world_model.sampler import seeded_noise

SPEC = WorldSpec(
    task="lift the cube",
    cameras={"left": (16, 32), "right": (16, 16)},
    action_low=(-1.0,) * 7,
    action_high=(1.0,) * 7,
    state_low=(),
    state_high=(),
    fps=4.0,
    horizon=5,
    chunk=12,
    has_success=False,
)
CONFIG = PredictWorldConfig(
    SPEC, SamplingConfig(steps=3, guidance=0.0), action_mean=(0.1,) * 7, action_std=(0.05,) * 6 + (1.0,)
)
ACTION_DIT = replace(DIT, action_dim=28)


def dit(**changes: object) -> DiT:
    return lively(DiT(replace(ACTION_DIT, **changes)))


def world(config: PredictWorldConfig = CONFIG, **changes: object) -> PredictWorld:
    return PredictWorld(config, tiny_wan(), dit(**changes), device="cpu", dtype="float32")


def start(b: int = 2) -> dict[str, np.ndarray]:
    return {camera: images(b, size, seed=i) for i, (camera, size) in enumerate(SPEC.cameras.items())}


def plan(b: int = 2, t: int = 12, *, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (b, t, 7)).astype(np.float32)


def empty(b: int = 2) -> np.ndarray:
    return np.zeros((b, 0), np.float32)


@pytest.fixture(scope="module")
def made() -> PredictWorld:
    return world()


def test_it_is_a_world(made):
    assert isinstance(made, WorldModel)
    state = made.reset(start(), empty(), [5, 6])
    after, prediction = made.step(state, plan())
    assert {camera: f.shape for camera, f in prediction.frames.items()} == {
        "left": (2, 12, 16, 32, 3),
        "right": (2, 12, 16, 16, 3),
    }
    assert all(f.dtype == np.uint8 for f in prediction.frames.values())
    assert prediction.proprioception.shape == (2, 12, 0)
    assert prediction.success is None
    assert (state.steps, after.steps) == ((0, 0), (12, 12))


def test_a_chunk_by_hand(made):
    """13 frames of which the first was there; no action for latent 0, then 4 for each; (action - mean) / std."""
    frames, actions = start(1), plan(1)
    _, prediction = made.step(made.reset(frames, empty(1), [5]), actions)
    wan, network = tiny_wan(), dit()
    known = wan.encode(torch.from_numpy(np.concatenate([frames["left"], frames["right"]], axis=2))[:, None])
    normalised = (actions - 0.1) / np.array([0.05] * 6 + [1.0], np.float32)
    rows = torch.from_numpy(np.concatenate([np.zeros((1, 28), np.float32), normalised.reshape(3, 28)]))[None]
    text = torch.zeros(1, 512, 36)
    latent = denoise(network, seeded_noise((1, 4, 4, 2, 6), 5), CONFIG.sampling, known=known, context=text, action=rows)
    expected = wan.decode(latent)[:, 1:].numpy()
    found = np.concatenate([*prediction.frames.values()], axis=3).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert expected.std(axis=1).mean() > 1


def test_chunks_are_stitched_without_a_repeat_or_a_gap(made):
    """Two chunks in one call are those of two calls, the second from the last frame of the first."""
    actions, state = plan(t=24), made.reset(start(), empty(), [5, 6])
    end, both = made.step(state, actions)
    middle, first = made.step(state, actions[:, :12])
    after, second = made.step(middle, actions[:, 12:])
    for camera in SPEC.cameras:
        np.testing.assert_array_equal(both.frames[camera][:, :12], first.frames[camera])
        np.testing.assert_array_equal(both.frames[camera][:, 12:], second.frames[camera])
    assert torch.equal(end.frames, after.frames)
    last = np.concatenate([first.frames[camera][:, -1] for camera in SPEC.cameras], axis=2)
    np.testing.assert_array_equal(middle.frames.numpy(), last)


def test_a_chunk_that_is_not_full_holds_its_last_action(made):
    actions, state = plan(t=17), made.reset(start(), empty(), [5, 6])
    end, cut = made.step(state, actions)
    _, full = made.step(state, np.concatenate([actions, np.repeat(actions[:, -1:], 7, axis=1)], axis=1))
    for camera in SPEC.cameras:
        np.testing.assert_array_equal(cut.frames[camera], full.frames[camera][:, :17])
    last = np.concatenate([cut.frames[camera][:, -1] for camera in SPEC.cameras], axis=2)
    np.testing.assert_array_equal(end.frames.numpy(), last)
    assert end.steps == (17, 17)


def test_actions_reach_the_frames(made):
    state = made.reset(start(), empty(), [5, 6])
    _, one = made.step(state, plan())
    _, other = made.step(state, plan(seed=1))
    assert np.abs(one.frames["left"].astype(int) - other.frames["left"]).mean() > 1


def test_a_state_is_a_value_and_worlds_do_not_touch_each_other(made):
    state, actions = made.reset(start(), empty(), [5, 6]), plan()
    _, both = made.step(state, actions)
    _, again = made.step(state, actions)
    np.testing.assert_array_equal(both.frames["left"], again.frames["left"])
    parts = [made.select(state, [i]) for i in (1, 0)]
    alone = [
        made.step(part, actions[[i]])[1].frames["left"][0].astype(int) for part, i in zip(parts, (1, 0), strict=True)
    ]
    for frames, i in zip(alone, (1, 0), strict=True):
        assert np.abs(frames - both.frames["left"][i]).max() <= 1
    joined = made.join(parts)
    assert (joined.seeds, joined.steps) == ((6, 5), (0, 0))
    assert torch.equal(joined.frames, state.frames[[1, 0]])


def test_noise_comes_from_the_seed_and_the_step(made):
    frames, actions = start(1), plan(1)
    _, one = made.step(made.reset(frames, empty(1), [5]), actions)
    _, other = made.step(made.reset(frames, empty(1), [6]), actions)
    _, later = made.step(replace(made.reset(frames, empty(1), [5]), steps=(12,)), actions)
    for prediction in (other, later):
        assert np.abs(one.frames["left"].astype(int) - prediction.frames["left"]).mean() > 1


def test_the_whole_chunk_in_one_row():
    other = world(action_layout="chunk", action_dim=84)
    _, prediction = other.step(other.reset(start(1), empty(1), [0]), plan(1))
    assert prediction.frames["left"].shape == (1, 12, 16, 32, 3)


def test_guidance_by_text_keeps_the_actions():
    text, negative = (seeded_noise((1, 3, 36), seed) for seed in (9, 10))
    guided = replace(CONFIG, sampling=replace(CONFIG.sampling, guidance=2.0))
    arguments = {"context": text, "device": "cpu", "dtype": "float32"}
    one = PredictWorld(guided, tiny_wan(), dit(), negative=negative, **arguments)
    plain = PredictWorld(CONFIG, tiny_wan(), dit(), **arguments)
    frames = [w.step(w.reset(start(), empty(), [5, 6]), plan())[1].frames["left"].astype(int) for w in (one, plain)]
    assert np.abs(frames[0] - frames[1]).mean() > 1
    _, other = one.step(one.reset(start(), empty(), [5, 6]), plan(seed=1))
    assert np.abs(frames[0] - other.frames["left"]).mean() > 1
    with pytest.raises(ValueError, match=r"guidance=2\.0 needs a context"):
        world(guided)
    with pytest.raises(ValueError, match="would be ignored with guidance=0"):
        PredictWorld(CONFIG, tiny_wan(), dit(), negative=negative, **arguments)


def test_a_folder_holds_all_of_it(made, tmp_path):
    text = seeded_noise((1, 3, 36), 9)
    starts = Starts(frames=start(3), state=empty(3), seeds=np.arange(3), tasks=(SPEC.task,) * 3)
    kept = PredictWorld(
        CONFIG, tiny_wan(), dit(), context=text, starts=starts, card="A card.", device="cpu", dtype="float32"
    )
    kept.save_pretrained(tmp_path / "world")
    names = {"config.json", "dit", "tokenizer", "context.safetensors", "starts.safetensors", "README.md"}
    assert {path.name for path in (tmp_path / "world").iterdir()} == names
    loaded = PredictWorld.from_pretrained(tmp_path / "world", device="cpu", dtype="float32")
    assert (loaded.config, loaded.card, len(loaded.starts)) == (kept.config, "A card.", 3)
    states = [w.reset(start(1), empty(1), [4]) for w in (made, kept, loaded)]
    shown = [w.step(s, plan(1))[1].frames["left"] for w, s in zip((made, kept, loaded), states, strict=True)]
    np.testing.assert_array_equal(shown[1], shown[2])
    assert np.abs(shown[0].astype(int) - shown[1]).mean() > 0.5
    quick = PredictWorld.from_pretrained(tmp_path / "world", device="cpu", dtype="bfloat16", sampling_steps=1)
    assert quick.sampling.steps == 1
    assert quick.step(quick.reset(start(1), empty(1), [4]), plan(1))[1].frames["left"].shape == (1, 12, 16, 32, 3)
    config = json.loads((tmp_path / "world" / "config.json").read_text())
    (tmp_path / "world" / "config.json").write_text(json.dumps({**config, "format": 9}))
    with pytest.raises(ValueError, match="has format 9; this version reads 1"):
        PredictWorld.from_pretrained(tmp_path / "world", device="cpu")


def test_mistakes_are_named(made):
    state = made.reset(start(), empty(), [0, 1])
    with pytest.raises(ValueError, match=r"at least one; got shape \(2, 0, 7\)"):
        made.step(state, plan(t=0))
    with pytest.raises(ValueError, match=r"shape \(2, t, 7\); got \(1, 12, 7\)"):
        made.step(state, plan(1))
    with pytest.raises(ValueError, match="must be finite"):
        made.step(state, plan() * np.nan)
    with pytest.raises(ValueError, match=r"no proprioception: state must be \(2, 0\), not \(2, 3\)"):
        made.reset(start(), np.zeros((2, 3), np.float32), [0, 1])
    with pytest.raises(ValueError, match="this world has"):
        made.reset({"left": start()["left"]}, empty(), [0, 1])
    with pytest.raises(ValueError, match="frames of 'left' must be uint8"):
        made.reset({**start(), "left": start()["right"]}, empty(), [0, 1])


@pytest.mark.parametrize(
    ("spec", "changes", "message"),
    [
        ({"chunk": 10}, {}, "11 frames do not make whole latents"),
        ({"action_low": (-1.0,) * 6, "action_high": (1.0,) * 6}, {}, "4 actions of 6 make 24"),
        ({}, {"latent_channels": 6}, "latents of 6 channels, the tokenizer makes 4"),
        ({"cameras": {"left": (12, 32)}}, {}, "12x32"),
    ],
)
def test_parts_that_do_not_go_together(spec, changes, message):
    config = replace(CONFIG, spec=replace(SPEC, **spec), action_mean=None, action_std=None)
    with pytest.raises(ValueError, match=message):
        world(config, **changes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec": replace(SPEC, has_success=True)}, "has_success=True"),
        ({"spec": replace(SPEC, state_low=(0.0,), state_high=(1.0,))}, "state_dim=1"),
        ({"spec": replace(SPEC, cameras={"a": (16, 16), "b": (32, 16)})}, "one height"),
        ({"action_mean": (0.0,)}, "action_mean has 1 entries for actions of 7"),
        ({"action_std": (0.0,) * 7}, "action_std must be positive"),
    ],
)
def test_a_config_is_checked(change, message):
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **change)
