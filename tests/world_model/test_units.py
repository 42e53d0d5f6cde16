"""How a network is cut into units for sharded training."""

import pytest
import torch

from cosmos_sim.world_model.control import ControlBranch, ControlledDiT
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.units import controlled_units, dit_units

SMALL = DiTConfig(
    latent_channels=2, model_channels=24, num_blocks=2, num_heads=2, adaln_lora_dim=4, context_dim=8, context_in_dim=10
)


@pytest.mark.parametrize("action", [{}, {"action_dim": 3}, {"action_dim": 3, "action_injection": "cross_attention"}])
def test_every_weight_is_in_a_unit_and_exact_where_inference_has_it_so(action):
    with torch.device("meta"):
        model = DiT(DiTConfig(**{**SMALL.__dict__, **action}))
    names = {parameter: name for name, parameter in model.named_parameters()}
    exact: dict[str, bool] = {}
    for unit in dit_units(model)[:-1]:
        for parameter in (p for module in unit.modules for p in module.parameters()):
            exact.setdefault(names[parameter], unit.exact)
    kept = {name: p.dtype == torch.float32 for name, p in model.cast(torch.bfloat16).named_parameters()}
    assert exact == kept
    assert len(set(kept.values())) == 2


def test_every_weight_of_branches_is_in_a_unit_too():
    with torch.device("meta"):
        base = DiT(DiTConfig(**{**SMALL.__dict__, "image_dim": 5}))
        model = ControlledDiT(base, {kind: ControlBranch.beside(base) for kind in ("edge", "depth")})
    names = {parameter: name for name, parameter in model.named_parameters()}
    units = controlled_units(model)
    exact: dict[str, bool] = {}
    for unit in units[:-1]:
        for parameter in (p for module in unit.modules for p in module.parameters()):
            exact.setdefault(names[parameter], unit.exact)
    kept = {name: p.dtype == torch.float32 for name, p in model.cast(torch.bfloat16).named_parameters()}
    assert exact == kept
    repeated = [module for unit in units if unit.repeated for module in unit.modules]
    assert len(repeated) == 2 + 2 * 2
    assert units[-1].modules == (model,)
    with torch.device("meta"):
        model.branches["edge"].fuse()
    with pytest.raises(ValueError, match=r"not after fuse\(\)"):
        controlled_units(model)


def test_blocks_are_the_repeated_units():
    model = DiT(SMALL)
    repeated = [module for unit in dit_units(model) if unit.repeated for module in unit.modules]
    assert repeated == list(model.blocks)
    assert dit_units(model)[-1].modules == (model,)


def test_joined_weights_are_refused():
    with pytest.raises(ValueError, match=r"not after fuse\(\)"):
        dit_units(DiT(SMALL).fuse())
