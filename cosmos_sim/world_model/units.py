"""How a DiT, and one with control branches, is cut into units for sharded training."""

from collections.abc import Iterable

from torch import nn

from cosmos_sim.training.parallel import Unit
from cosmos_sim.world_model.block import Block
from cosmos_sim.world_model.control import ControlBranch, ControlledDiT
from cosmos_sim.world_model.dit import DiT


def dit_units(dit: DiT) -> list[Unit]:
    """A unit for each block, and for what comes before and after; exact is what ``DiT.cast`` keeps in fp32.

    Last comes the network itself, which may be a part of a larger model.

    Raises:
        ValueError: after ``fuse``, which joins weights of all blocks into one.
    """
    return [*_parts(dit), Unit((dit,))]


def controlled_units(controlled: ControlledDiT) -> list[Unit]:
    """Those of the transformer, and of each branch in the same way: a unit for each block, and for its embedder.

    Raises:
        ValueError: as :func:`dit_units`.
    """
    units = _parts(controlled.base)
    for branch in controlled.branches.values():
        assert isinstance(branch, ControlBranch)
        _check_separate(branch)
        units += [Unit((branch.control_embedder,)), *_blocks(branch.control_blocks)]
    return [*units, Unit((controlled,))]


def _parts(dit: DiT) -> list[Unit]:
    _check_separate(dit)
    children = dict(dit.named_children())
    inputs = [name for name in ("x_embedder", "crossattn_proj", "img_context_proj") if name in children]
    embedders = [name for name in children if name.startswith(("t_embedd", "action_embedder"))]
    return [
        Unit(tuple(children[name] for name in inputs)),
        Unit(tuple(children[name] for name in embedders), exact=True),
        *_blocks(dit.blocks),
        Unit((dit.final_layer,), exact=True),
    ]


def _blocks(blocks: Iterable[nn.Module]) -> list[Unit]:
    units = []
    for block in blocks:
        assert isinstance(block, Block)
        units.append(Unit(tuple(block.get_submodule(name) for name in block.modulation_names), exact=True))
        units.append(Unit((block,), repeated=True))
    return units


def _check_separate(network: DiT | ControlBranch) -> None:
    if network.adaln_modulations is not None:
        raise ValueError("a network is sharded as it is, not after fuse()")
