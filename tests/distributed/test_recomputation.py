"""What each level of activation checkpointing computes again, and that results are the same."""

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from tiny_training import CAUSAL, PLAIN, Case, train
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from cosmos_sim.training.layout import Checkpointing, Layout, ParallelConfig
from cosmos_sim.training.parallel import Unit, parallelise
from cosmos_sim.world_model.dit import DiT, DiTConfig
from cosmos_sim.world_model.units import dit_units

LEVELS: list[Checkpointing] = ["none", "selective", "attention", "full"]


def layout(level: Checkpointing = "none", *, compiled: bool = False) -> Layout:
    return Layout(ParallelConfig(checkpointing=level, compile=compiled), torch.device("cpu"))


class Operations(TorchDispatchMode):
    """Counts matrix products and forward attention."""

    def __init__(self) -> None:
        super().__init__()
        self.count: Counter[str] = Counter()

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name == "mm" or ("scaled_dot_product" in name and "backward" not in name):
            self.count["mm" if name == "mm" else "attention"] += 1
        return function(*arguments, **(options or {}))


@pytest.mark.parametrize("level", LEVELS[1:])
@pytest.mark.parametrize("model", [PLAIN, CAUSAL], ids=["plain", "causal"])
def test_every_level_gives_identical_results(level: Checkpointing, model: DiTConfig) -> None:
    case = Case(model=model, steps=4)
    expected, got = train(case, layout()), train(case, layout(level))
    assert got["losses"] == expected["losses"]
    for step, gradients in expected["gradients"].items():
        assert all(torch.equal(got["gradients"][step][name], gradient) for name, gradient in gradients.items())


def test_each_level_computes_again_what_it_says() -> None:
    torch.manual_seed(0)
    config = replace(PLAIN, action_dim=None)
    made: dict[str, Counter[str]] = {}
    for level in LEVELS:
        model = DiT(config)
        parallelise(model, dit_units(model), layout(level), bf16=False)
        latent, mask = torch.randn(1, 4, 2, 6, 10), torch.zeros(1, 1, 2, 6, 10)
        loss = model(latent, torch.zeros(1, 2), mask, context=torch.randn(1, 7, 20)).sum()
        with Operations() as backward:
            loss.backward()
        made[level] = backward.count
    blocks, products, attentions = config.num_blocks, 10, 2
    assert made["none"]["attention"] == 0
    assert made["selective"] == made["none"]
    assert made["attention"] - made["none"] == Counter(mm=blocks * products)
    assert made["full"] - made["none"] == Counter(mm=blocks * products, attention=blocks * attentions)


def test_what_has_no_blocks_is_not_asked_to_checkpoint_or_compile_them() -> None:
    model = nn.Linear(3, 5)
    with pytest.raises(ValueError, match=r"checkpointing='full' would be ignored: Linear has no blocks"):
        parallelise(model, [Unit((model,))], layout("full"), bf16=False)
    with pytest.raises(ValueError, match=r"compile=True would be ignored: Linear has no blocks"):
        parallelise(model, [], layout(compiled=True), bf16=False)


def test_a_model_without_memory_needs_values() -> None:
    with torch.device("meta"):
        model = DiT(PLAIN)
    with pytest.raises(ValueError, match="'x_embedder' is on the meta device"):
        parallelise(model, dit_units(model), layout(), bf16=False)


def test_a_unit_is_of_the_model() -> None:
    model = nn.Linear(3, 5)
    with pytest.raises(ValueError, match="ReLU is in a unit, but not in the model Linear"):
        parallelise(model, [Unit((nn.ReLU(),))], layout(), bf16=False)
