"""What training begins from: any checkpoint, any part at a time, and new weights that change nothing yet."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_dit import inputs, output
from tiny_predict import DIT, lively, tiny_wan

from cosmos_sim.training.layout import Layout, ParallelConfig
from cosmos_sim.training.parallel import parallelise
from cosmos_sim.types import WorldSpec
from cosmos_sim.world_model.checkpoints.network import Network, save_dcp, save_diffusers, save_nvidia, save_ours
from cosmos_sim.world_model.checkpoints.stored import held
from cosmos_sim.world_model.dit import DiT
from cosmos_sim.world_model.predict_world import PredictWorldConfig, save_world
from cosmos_sim.world_model.recipes.predict_start import Start, begin
from cosmos_sim.world_model.units import dit_units

CPU = Layout(ParallelConfig(), torch.device("cpu"))
RELEASED = replace(DIT, rope_ratio=(1.0, 3.0, 3.0))
"""What a checkpoint without a configuration is taken for."""


def network(config=RELEASED) -> Network:
    return Network(config, {name: held(tensor) for name, tensor in lively(DiT(config)).state_dict().items()})


def filled(start: Start) -> DiT:
    model = start.network()
    assert all(parameter.is_meta for parameter in model.parameters())
    parallelise(model, dit_units(model), CPU, bf16=False, initialise=start.initialise)
    return model


SAVE = {
    "nvidia.pt": save_nvidia,
    "dcp": save_dcp,
    "diffusers": save_diffusers,
    "ours": save_ours,
}


@pytest.mark.parametrize("name", SAVE)
def test_it_begins_from_any_checkpoint(name, tmp_path):
    SAVE[name](network(), tmp_path / name)
    start = begin(tmp_path / name)
    assert (start.config, start.fresh) == (RELEASED, ())
    wanted = network().weights
    for key, value in filled(start).state_dict().items():
        assert torch.equal(value, wanted[key].read()), key


def test_what_is_drawn_depends_on_seed_and_name_alone():
    """Whatever was made before it, in whichever order."""
    start = Start(DIT, seed=3)
    whole, alone = filled(start), start.network()
    torch.manual_seed(99)
    for name in ("final_layer", "blocks.1", "x_embedder"):
        part = alone.get_submodule(name).to_empty(device="cpu")
        start.initialise(part, name)
        for key, value in part.state_dict().items():
            assert torch.equal(value, whole.get_submodule(name).state_dict()[key])
    first, second = (whole.get_submodule(f"blocks.{i}.mlp.layer1").get_parameter("weight") for i in (0, 1))
    assert not torch.equal(first, second)
    other = filled(Start(DIT, seed=4))
    assert not torch.equal(
        other.get_submodule("x_embedder.proj.1").get_parameter("weight"), whole.x_embedder.proj[1].weight
    )


def test_a_part_is_initialised_like_the_whole():
    """Standard deviation 1/sqrt(fan in), zeros where a path starts silent, norms at one."""
    config = replace(DIT, action_dim=6)
    model = filled(begin(None, config=DIT, action_dim=6))
    torch.manual_seed(0)
    whole = DiT(config)
    for (name, mine), (_, theirs) in zip(model.named_parameters(), whole.named_parameters(), strict=True):
        assert mine.eq(0).all() == theirs.eq(0).all(), name
        assert mine.eq(1).all() == theirs.eq(1).all(), name
        if mine.numel() > 500 and not theirs.eq(0).all():
            assert mine.std().item() == pytest.approx(theirs.std().item(), rel=0.15), name
            assert mine.abs().max() <= 3 * mine.shape[1] ** -0.5


def test_a_network_gains_actions_that_change_nothing_yet(tmp_path):
    save_ours(network(), tmp_path / "base")
    start = begin(tmp_path / "base", action_dim=12)
    assert {name.partition(".")[0] for name in start.fresh} == {"action_embedder_B_D", "action_embedder_B_3D"}
    model = filled(start)
    given = inputs(start.config)
    plain = {name: value for name, value in given.items() if name != "action"}
    base = lively(DiT(RELEASED))
    torch.testing.assert_close(output(model, **given), output(base, **plain))
    hidden = model.get_submodule("action_embedder_B_D.fc1").get_parameter("weight")
    assert hidden.std() > 0.1, "what comes before the zeros is drawn, not left as memory was"


def test_embedders_for_another_robot_are_made_anew(tmp_path):
    save_ours(network(replace(DIT, action_dim=28)), tmp_path / "base")
    same, other = begin(tmp_path / "base", action_dim=28), begin(tmp_path / "base", action_dim=116)
    assert same.fresh == ()
    assert len(other.fresh) == 8
    model = filled(other)
    assert model.get_submodule("action_embedder_B_3D.fc2").get_parameter("weight").eq(0).all()
    with pytest.raises(ValueError, match="conditioned on actions"):
        begin(tmp_path / "base")


def test_a_world_brings_its_normalisation(tmp_path: Path):
    config = replace(DIT, action_dim=28)
    spec = WorldSpec("", {"video": (32, 48)}, (-1.0,) * 7, (1.0,) * 7, (), (), 5.0, 24, 12, False)
    figures = {"action_mean": (0.5,) * 7, "action_std": (2.0,) * 7}
    save_world(PredictWorldConfig(spec, **figures), network(config), tiny_wan(), tmp_path / "world")
    start = begin(tmp_path / "world", action_dim=28)
    assert (start.action_mean, start.action_std) == ((0.5,) * 7, (2.0,) * 7)
    assert begin(tmp_path / "world", action_dim=116).action_mean is None


def test_the_rotary_ratio_is_the_stage_s_or_the_checkpoint_s(tmp_path):
    save_ours(network(), tmp_path / "base")
    assert begin(tmp_path / "base").config.rope_ratio == (1.0, 3.0, 3.0)
    assert begin(tmp_path / "base", rope_ratio=(1.0, 2.0, 2.0)).config.rope_ratio == (1.0, 2.0, 2.0)


def test_what_cannot_be_begun_from(tmp_path):
    with pytest.raises(ValueError, match="one of the two"):
        begin(None)
    with pytest.raises(ValueError, match="nowhere"):
        begin(tmp_path / "nowhere")
    torch.save({"net.x_embedder.proj.1.weight": torch.zeros(3)}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt"):
        begin(tmp_path / "other.pt")
