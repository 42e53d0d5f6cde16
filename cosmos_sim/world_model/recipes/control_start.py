"""What a control branch begins from: the frozen network's own first blocks, and silence."""

import torch
from torch import nn

from cosmos_sim.world_model.control import initialise_control
from cosmos_sim.world_model.recipes.predict_start import Start, part_seed


@torch.no_grad()
def initialise(start: Start, module: nn.Module, name: str) -> None:
    """Give a part of a :class:`~cosmos_sim.world_model.control.ControlledDiT` its first values.

    Args:
        start: of the network.
        module: a part with memory on a device, and anything in it.
        name: as seen from the controlled network: ``base.blocks.0``, ``branches.edge.control_blocks.0``.
    """
    side, _, rest = name.partition(".")
    if side == "base":
        start.initialise(module, rest)
        return
    path = rest.partition(".")[2]
    parameters = dict(module.named_parameters(prefix=path))
    devices = {parameter.device for parameter in parameters.values() if parameter.device.type == "cuda"}
    with torch.random.fork_rng(list(devices)):
        torch.manual_seed(part_seed(start.seed, name))
        initialise_control(module, path)
    for own, parameter in parameters.items():
        if own.startswith("control_blocks.") and (copied := own.removeprefix("control_")) in start.stored:
            parameter.copy_(start.stored[copied].read())
