from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from cosmos_sim.types import WorldModel, WorldSpec
from cosmos_sim.world_model.dynamics import SMALL_DIT, Dynamics, DynamicsConfig
from cosmos_sim.world_model.tokenizer import Tokenizer, TokenizerConfig
from cosmos_sim.world_model.world import World, WorldConfig

SPEC = WorldSpec(
    task="move",
    cameras={"top": (16, 24), "side": (16, 16)},
    action_low=(-1.0,) * 3,
    action_high=(1.0,) * 3,
    state_low=(-2.0,) * 5,
    state_high=(2.0,) * 5,
    fps=10.0,
    horizon=9,
)
CONFIG = WorldConfig(
    spec=SPEC,
    tokenizer=TokenizerConfig(latent_channels=4, patch=2, encoder_width=8, decoder_width=8),
    dynamics=DynamicsConfig(
        state_dim=5,
        action_dim=3,
        latent_size=(4, 10),
        context=3,
        dit=replace(SMALL_DIT, latent_channels=4, model_channels=32, num_blocks=2, num_heads=2, adaln_lora_dim=8),
    ),
)


def made(config: WorldConfig) -> World:
    """A world whose random weights make actions matter."""
    torch.manual_seed(0)
    tokenizer, dynamics = Tokenizer(config.tokenizer), Dynamics(config.dynamics)
    with torch.no_grad():
        for parameter in dynamics.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return World(config, tokenizer, dynamics, card="a card", device="cpu", dtype="float32")


@pytest.fixture
def world() -> World:
    return made(CONFIG)


def observations(b: int, seed: int = 0) -> tuple[dict[str, np.ndarray], np.ndarray]:
    rng = np.random.default_rng(seed)
    frames = {c: rng.integers(0, 256, (b, h, w, 3), dtype=np.uint8) for c, (h, w) in SPEC.cameras.items()}
    return frames, rng.normal(size=(b, 5)).astype(np.float32)


def actions(b: int, t: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, (b, t, 3)).astype(np.float32)


def test_keeps_the_protocol_and_its_shapes(world: World):
    assert isinstance(world, WorldModel)
    frames, state = observations(2)
    _, prediction = world.step(world.reset(frames, state, [3, 4]), actions(2, 4))
    assert {c: f.shape for c, f in prediction.frames.items()} == {"top": (2, 4, 16, 24, 3), "side": (2, 4, 16, 16, 3)}
    assert all(f.dtype == np.uint8 for f in prediction.frames.values())
    assert prediction.proprioception.shape == (2, 4, 5)
    assert prediction.success.shape == (2, 4)
    assert ((prediction.success > 0) & (prediction.success < 1)).all()


def test_a_chunk_is_its_actions_one_by_one_and_states_are_values(world: World):
    frames, state = observations(2)
    start = world.reset(frames, state, [3, 4])
    chunk = actions(2, 3)
    _, whole = world.step(start, chunk)
    current = start
    for k in range(3):
        current, single = world.step(current, chunk[:, k : k + 1])
        np.testing.assert_array_equal(single.frames["top"][:, 0], whole.frames["top"][:, k])
        np.testing.assert_allclose(single.proprioception[:, 0], whole.proprioception[:, k], rtol=1e-5)
    _, again = world.step(start, chunk)
    np.testing.assert_array_equal(again.frames["side"], whole.frames["side"])


def test_a_world_of_chunks_imagines_several_frames_at_once():
    """Frames know all actions of their chunk and none of later ones; what fills up the last chunk leaves no trace."""
    chunked = replace(CONFIG, spec=replace(SPEC, chunk=2), dynamics=replace(CONFIG.dynamics, chunk=2, sketch=True))
    world = made(chunked)
    frames, state = observations(2)
    start, plan = world.reset(frames, state, [3, 4]), actions(2, 5)
    _, held = world.step(start, np.concatenate([plan, plan[:, -1:]], axis=1))
    after, whole = world.step(start, plan)
    assert (after.steps, whole.frames["top"].shape) == ((5, 5), (2, 5, 16, 24, 3))
    np.testing.assert_array_equal(whole.frames["top"], held.frames["top"][:, :5])
    np.testing.assert_array_equal(whole.success, held.success[:, :5])
    restored = world.dynamics.restore_state(after.history.states)
    np.testing.assert_allclose(restored, whole.proprioception[:, -3:], rtol=1e-5)
    shown = world.decode(after.history.latents[:, -1:])["top"]
    assert np.abs(shown[:, 0].astype(int) - whole.frames["top"][:, -1]).max() <= 1
    np.testing.assert_allclose(after.history.actions, world.dynamics.normalise_action(torch.tensor(plan[:, -2:])))

    later, changed = plan.copy(), plan.copy()
    later[:, 2:] *= -1
    changed[:, 1] *= -1
    np.testing.assert_array_equal(world.step(start, later)[1].frames["top"][:, :2], whole.frames["top"][:, :2])
    assert (world.step(start, changed)[1].frames["top"][:, 0] != whole.frames["top"][:, 0]).any()

    middle, first = world.step(start, plan[:, :2])
    _, second = world.step(middle, plan[:, 2:])
    joined = np.concatenate([first.frames["side"], second.frames["side"]], axis=1)
    np.testing.assert_array_equal(joined, whole.frames["side"])


def test_its_past_is_encoded_anew_after_so_many_actions():
    """Counted by each world for itself; before that nothing changes, and what was shown stays what it was."""
    never, renewing = made(CONFIG), made(replace(CONFIG, renew_every=3))
    frames, state = observations(2)
    plan = actions(2, 5)
    start = never.reset(frames, state, [3, 4])
    before, early = never.step(start, plan[:, :3])
    renewed, same = renewing.step(start, plan[:, :3])
    np.testing.assert_array_equal(same.frames["top"], early.frames["top"])
    assert (before.history.latents != renewed.history.latents).any()
    torch.testing.assert_close(renewed.history.latents, never.encode(never.decode(before.history.latents)))
    torch.testing.assert_close(renewed.history.states, before.history.states)
    _, on = renewing.step(start, plan)
    _, again = never.step(renewed, plan[:, 3:])
    np.testing.assert_array_equal(on.frames["side"][:, 3:], again.frames["side"])

    ahead, _ = renewing.step(renewing.select(start, [1]), plan[1:, :1])
    joined = renewing.join([renewing.select(start, [0]), ahead])
    after, _ = renewing.step(joined, np.stack([plan[0, :2], plan[1, 1:3]]))
    torch.testing.assert_close(after.history.latents[1], renewed.history.latents[1], atol=1e-3, rtol=1e-3)
    alone, _ = never.step(never.select(start, [0]), plan[:1, :2])
    torch.testing.assert_close(after.history.latents[0], alone.history.latents[0], atol=1e-3, rtol=1e-3)


def test_noise_comes_from_each_worlds_seed_whatever_the_batch(world: World):
    frames, state = observations(3)
    start = world.reset(frames, state, [7, 8, 7])
    _, batch = world.step(start, actions(3, 2))
    for i in range(3):
        _, alone = world.step(world.select(start, [i]), actions(3, 2)[i : i + 1])
        difference = alone.frames["top"][0].astype(int) - batch.frames["top"][i].astype(int)
        assert np.abs(difference).max() <= 1
    twice = world.select(start, [0, 0])
    _, prediction = world.step(twice, np.stack([actions(3, 2)[0]] * 2))
    np.testing.assert_array_equal(prediction.frames["top"][0], prediction.frames["top"][1])
    joined = world.join([world.select(start, [2, 0]), world.select(start, [1])])
    assert joined.seeds == (7, 7, 8)
    _, reordered = world.step(joined, actions(3, 2)[[2, 0, 1]])
    np.testing.assert_array_equal(reordered.frames["side"], batch.frames["side"][[2, 0, 1]])
    other = world.reset({c: f[:1] for c, f in frames.items()}, state[:1], [9])
    _, changed = world.step(other, actions(3, 2)[:1])
    assert (changed.frames["top"][0] != batch.frames["top"][0]).any()


def test_actions_and_the_first_frame_matter(world: World):
    frames, state = observations(1)
    start = world.reset(frames, state, [0])
    outcomes = [world.step(start, actions(1, 2, seed))[1].frames["top"] for seed in (1, 2)]
    assert (outcomes[0] != outcomes[1]).any()
    _, elsewhere = world.step(world.reset(observations(1, 5)[0], state, [0]), actions(1, 2, 1))
    assert (elsewhere.frames["top"] != outcomes[0]).any()


def test_saved_and_loaded_it_is_the_same_world(world: World, tmp_path: Path):
    world.save_pretrained(tmp_path / "w")
    once = World.from_pretrained(tmp_path / "w", device="cpu", dtype="float32")
    once.save_pretrained(tmp_path / "again")
    twice = World.from_pretrained(tmp_path / "again", device="cpu", dtype="float32")
    assert once.config == world.config
    assert twice.card == "a card"
    frames, state = observations(1)
    a, b = (w.step(w.reset(frames, state, [1]), actions(1, 2))[1] for w in (once, twice))
    np.testing.assert_array_equal(a.frames["top"], b.frames["top"])
    rounded = world.step(world.reset(frames, state, [1]), actions(1, 2))[1]
    assert np.abs(rounded.proprioception - a.proprioception).max() < 0.05


def test_more_sampling_steps_are_another_way_to_the_frame(world: World, tmp_path: Path):
    world.save_pretrained(tmp_path / "w")
    four = World.from_pretrained(tmp_path / "w", device="cpu", dtype="float32", sampling_steps=4)
    frames, state = observations(1)
    one_step = world.step(world.reset(frames, state, [1]), actions(1, 1))[1].frames["top"]
    four_steps = four.step(four.reset(frames, state, [1]), actions(1, 1))[1].frames["top"]
    assert (one_step != four_steps).any()
    with pytest.raises(ValueError, match="not 0"):
        World.from_pretrained(tmp_path / "w", sampling_steps=0)


def test_wrong_inputs_are_named(world: World):
    frames, state = observations(2)
    start = world.reset(frames, state, [0, 1])
    with pytest.raises(ValueError, match=r"\(2, 1, 4\)"):
        world.step(start, np.zeros((2, 1, 4), np.float32))
    with pytest.raises(ValueError, match="nan"):
        world.step(start, np.full((2, 1, 3), np.nan, np.float32))
    with pytest.raises(ValueError, match=r"\(2, 4\)"):
        world.reset(frames, np.zeros((2, 4), np.float32), [0, 1])
    with pytest.raises(ValueError, match="wrist"):
        world.reset({"top": frames["top"], "wrist": frames["side"]}, state, [0, 1])
    with pytest.raises(ValueError, match="16x24"):
        world.reset({"top": frames["side"], "side": frames["side"]}, state, [0, 1])
    with pytest.raises(ValueError, match="1 observations for 2 seeds"):
        world.reset({c: f[:1] for c, f in frames.items()}, state, [0, 1])
    with pytest.raises(ValueError, match="int8"):
        World(CONFIG, Tokenizer(CONFIG.tokenizer), Dynamics(CONFIG.dynamics), dtype=torch.int8)
    with pytest.raises(ValueError, match="float16"):
        World(CONFIG, Tokenizer(CONFIG.tokenizer), Dynamics(CONFIG.dynamics), dtype="float16")


def test_a_config_that_contradicts_itself_is_refused():
    with pytest.raises(ValueError, match="latent_size"):
        replace(CONFIG, dynamics=replace(CONFIG.dynamics, latent_size=(4, 8)))
    with pytest.raises(ValueError, match="action_dim is 4"):
        replace(CONFIG, dynamics=replace(CONFIG.dynamics, action_dim=4))
    with pytest.raises(ValueError, match="chunk is 2 in the dynamics, 1 in the spec"):
        replace(CONFIG, dynamics=replace(CONFIG.dynamics, chunk=2))
    for chunk in (0, 4):
        with pytest.raises(ValueError, match=rf"as many as the world remembers \(3\), not {chunk}"):
            replace(CONFIG.dynamics, chunk=chunk)
    with pytest.raises(ValueError, match="renew_every must be at least 1 action, not 0"):
        replace(CONFIG, renew_every=0)
    with pytest.raises(ValueError, match="one height"):
        replace(CONFIG, spec=replace(SPEC, cameras={"top": (16, 24), "side": (8, 16)}))


class OnDevice(TorchDispatchMode):
    """Notes operations that touch another device than ``device``."""

    def __init__(self, device: str) -> None:
        super().__init__()
        self.device = device
        self.operations = 0
        self.elsewhere: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        self.operations += 1
        leaves = tree_leaves((args, kwargs, result))
        if any(isinstance(leaf, torch.Tensor) and leaf.device.type != self.device for leaf in leaves):
            self.elsewhere.append(str(operation))
        return result


def test_a_step_never_waits_for_the_cpu(world: World, monkeypatch: pytest.MonkeyPatch):
    """As a CUDA graph needs it: on the meta device, tensors have no values that anything could be decided by."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which does not know the meta device
    for module in (world.tokenizer, world.dynamics, world.noise):
        module.to("meta")
    history = (torch.empty(2, *shape, device="meta") for shape in ((4, 4, 10), (3, 4, 4, 10), (3, 5), (2, 3)))
    counts = torch.empty(2, dtype=torch.long, device="meta")
    with torch.inference_mode(), OnDevice("meta") as watch:
        outputs = world._imagine(counts, counts, torch.empty(2, 1, 3, device="meta"), *history)
    assert [tuple(y.shape) for y in outputs[-2:]] == [(2, 1, 16, 24, 3), (2, 1, 16, 16, 3)]
    assert watch.operations > 100
    assert watch.elsewhere == []


def test_a_step_is_one_graph(world: World):
    """As compiling needs it. What TorchInductor makes of the graph, benchmarks/world_throughput.py compares."""
    frames, state = observations(2)
    start = world.reset(frames, state, [3, 4])
    _, expected = world.step(start, actions(2, 2))
    world._run = torch.compile(world._imagine, fullgraph=True, dynamic=False, backend="eager")
    _, traced = world.step(start, actions(2, 2))
    np.testing.assert_array_equal(traced.frames["side"], expected.frames["side"])
    np.testing.assert_allclose(traced.proprioception, expected.proprioception, rtol=1e-5)
