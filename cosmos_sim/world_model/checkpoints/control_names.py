"""Names of control branches: NVIDIA's files hold them among the transformer's weights, diffusers beside copies of some.

Ours are ``control_embedder.*`` and ``control_blocks.*`` of each branch by itself, as in NVIDIA's files of one branch.
In those of several the branch has a number: ``control_embedder.2.*`` and ``control_blocks_2.*``.
"""

import re
from collections.abc import Sequence

from cosmos_sim.world_model.checkpoints.names import BLOCK, TOP, rename_module, renamed
from cosmos_sim.world_model.checkpoints.stored import StoredTensor, Weights

NUMBERED = re.compile(r"(control_(?:embedder\.|blocks_))(\d+)\.(.+)")

COPIES = {ours: theirs for ours, theirs in TOP.items() if not ours.startswith("final_layer")} | {
    "x_embedder.proj.1": "patch_embed_base.proj"
}
"""Modules of the transformer that diffusers' control network has copies of."""
CONTROL_TOP = COPIES | {"control_embedder.proj.1": "patch_embed.proj"}
CONTROL_BLOCK = BLOCK | {"before_proj": "before_proj", "after_proj": "after_proj"}
CONTROL_TOP_BACK = {theirs: ours for ours, theirs in CONTROL_TOP.items()}
CONTROL_BLOCK_BACK = {theirs: ours for ours, theirs in CONTROL_BLOCK.items()}


def has_branches(weights: Weights) -> bool:
    """Whether NVIDIA's weights (without their ``net.``) hold control branches."""
    return any(name.startswith(("control_embedder.", "control_blocks")) for name in weights)


def split_nvidia(weights: Weights) -> tuple[dict[str, StoredTensor], list[dict[str, StoredTensor]]]:
    """The transformer's weights, and those of each branch under our names; what is neither keeps its name.

    Raises:
        ValueError: numbers of branches that leave one out, or branches with a number beside one without.
    """
    base: dict[str, StoredTensor] = {}
    branches: dict[int, dict[str, StoredTensor]] = {}
    for name, tensor in weights.items():
        if found := NUMBERED.fullmatch(name):
            start, number, rest = found.groups()
            branches.setdefault(int(number), {})[f"{start[:-1]}.{rest}"] = tensor
        elif name.startswith(("control_embedder.", "control_blocks.")):
            branches.setdefault(-1, {})[name] = tensor
        else:
            base[name] = tensor
    numbers = sorted(branches)
    if numbers not in ([-1], list(range(len(numbers)))):
        found_there = ", ".join("one without a number" if number < 0 else str(number) for number in numbers)
        raise ValueError(f"control branches must be one, or numbered from 0 without a gap; there are: {found_there}")
    return base, [branches[number] for number in numbers]


def join_nvidia(base: Weights, branches: Sequence[Weights]) -> dict[str, StoredTensor]:
    """The weights of one file, as :func:`split_nvidia` takes them apart."""
    joined = dict(base)
    for number, branch in enumerate(branches):
        for name, tensor in branch.items():
            if len(branches) > 1:
                part, _, rest = name.partition(".")
                name = f"{part}{'_' if part == 'control_blocks' else '.'}{number}.{rest}"
            joined[name] = tensor
    return joined


def to_controlnet(branch: Weights, base: Weights) -> dict[str, StoredTensor]:
    """The weights of diffusers' control network, with its copies of the transformer's."""
    copies = {name: tensor for name, tensor in base.items() if name.rpartition(".")[0] in COPIES}
    return renamed(
        copies | dict(branch),
        lambda name: rename_module(name, CONTROL_TOP, CONTROL_BLOCK, "control_blocks", "control_blocks"),
    )


def from_controlnet(weights: Weights) -> tuple[dict[str, StoredTensor], dict[str, StoredTensor]]:
    """A branch under our names, and the copies of the transformer's weights beside it, under theirs."""
    named = renamed(
        weights,
        lambda name: rename_module(name, CONTROL_TOP_BACK, CONTROL_BLOCK_BACK, "control_blocks", "control_blocks"),
    )
    copies = {name: tensor for name, tensor in named.items() if name.rpartition(".")[0] in COPIES}
    return {name: tensor for name, tensor in named.items() if name not in copies}, copies
