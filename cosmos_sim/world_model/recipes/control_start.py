"""What a control branch begins from: the frozen network's own first blocks and silence, or a branch that is there."""

import torch
from torch import nn

from cosmos_sim.world_model.checkpoints.stored import Weights
from cosmos_sim.world_model.control import initialise_control
from cosmos_sim.world_model.recipes.predict_start import Start, part_seed


@torch.no_grad()
def initialise(start: Start, module: nn.Module, name: str, *, branch: Weights | None = None) -> None:
    """Give a part of a :class:`~cosmos_sim.world_model.control.ControlledDiT` its first values.

    Args:
        start: of the network.
        module: a part with memory on a device, and anything in it.
        name: as seen from the controlled network: ``base.blocks.0``, ``branches.edge.control_blocks.0``.
        branch: the weights of a branch to go on from.
    """
    side, _, rest = name.partition(".")
    if side == "base":
        start.initialise(module, rest)
        return
    path = rest.partition(".")[2]
    parameters = dict(module.named_parameters(prefix=path))
    if branch is not None:
        for own, parameter in parameters.items():
            parameter.copy_(branch[own].read())
        return
    devices = {parameter.device for parameter in parameters.values() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(list(devices)):
        torch.manual_seed(part_seed(start.seed, name))
        initialise_control(module, path)
    for own, parameter in parameters.items():
        if own.startswith("control_blocks.") and (copied := own.removeprefix("control_")) in start.stored:
            parameter.copy_(start.stored[copied].read())
