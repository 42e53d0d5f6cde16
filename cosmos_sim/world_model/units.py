"""How a DiT is cut into units for sharded training."""

from cosmos_sim.training.parallel import Unit
from cosmos_sim.world_model.block import Block
from cosmos_sim.world_model.dit import DiT


def dit_units(dit: DiT) -> list[Unit]:
    """A unit for each block, and for what comes before and after; exact is what ``DiT.cast`` keeps in fp32.

    Last comes the network itself, which may be a part of a larger model.

    Raises:
        ValueError: after ``fuse``, which joins weights of all blocks into one.
    """
    if dit.adaln_modulations is not None:
        raise ValueError("a network is sharded as it is, not after fuse()")
    children = dict(dit.named_children())
    embedders = [name for name in children if name.startswith(("t_embedd", "action_embedder"))]
    units = [
        Unit(tuple(children[name] for name in ("x_embedder", "crossattn_proj") if name in children)),
        Unit(tuple(children[name] for name in embedders), exact=True),
    ]
    for block in dit.blocks:
        assert isinstance(block, Block)
        units.append(Unit(tuple(block.get_submodule(name) for name in block.modulation_names), exact=True))
        units.append(Unit((block,), repeated=True))
    return [*units, Unit((dit.final_layer,), exact=True), Unit((dit,))]
