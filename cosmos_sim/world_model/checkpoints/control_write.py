"""Control branches to disk, in each of the formats."""

from pathlib import Path

from cosmos_sim.data.files import new_file, new_folder
from cosmos_sim.data.pretrained import to_json
from cosmos_sim.world_model.checkpoints.control import Branch, Controls, check_kind
from cosmos_sim.world_model.checkpoints.control_names import join_nvidia, to_controlnet
from cosmos_sim.world_model.checkpoints.controlnet import controlnet_config
from cosmos_sim.world_model.checkpoints.dcp import write_dcp
from cosmos_sim.world_model.checkpoints.names import to_nvidia
from cosmos_sim.world_model.checkpoints.network import FORMAT, SHARD, check_exists_there, save_diffusers, save_ours
from cosmos_sim.world_model.checkpoints.shards import write_shards
from cosmos_sim.world_model.checkpoints.source import DIFFUSERS, OURS
from cosmos_sim.world_model.checkpoints.torch_file import write_torch_file
from cosmos_sim.world_model.control import KINDS


def save_branch(kind: str, branch: Branch, folder: Path, *, max_shard: int = SHARD) -> None:
    """Write our folder of one branch: ``config.json`` (kind "control") and ``model*.safetensors``.

    Raises:
        ValueError: ``kind`` is none of the kinds of control.
    """
    check_kind(kind)
    with new_folder(folder) as beside:
        write_shards(branch.weights, beside, OURS, max_bytes=max_shard)
        config = {"kind": "control", "format": FORMAT, "control": kind, "branch": branch.config, "dit": branch.base}
        (beside / "config.json").write_text(to_json(config))


def save_controls(controls: Controls, folder: Path, *, max_shard: int = SHARD) -> None:
    """Write our folder: that of a branch or, with a transformer, ``dit`` and ``controls/KIND`` in it.

    Raises:
        ValueError: a branch has no name.
    """
    for kind in controls.branches:
        check_kind(kind)
    if controls.base is None:
        ((kind, branch),) = controls.branches.items()
        save_branch(kind, branch, folder, max_shard=max_shard)
        return
    with new_folder(folder) as beside:
        save_ours(controls.base, beside / "dit", max_shard=max_shard)
        for kind, branch in controls.branches.items():
            save_branch(kind, branch, beside / "controls" / kind, max_shard=max_shard)


def save_controls_nvidia(controls: Controls, path: Path, *, distributed: bool = False) -> None:
    """Write NVIDIA's ``.pt``, or a distributed checkpoint: the transformer and its branches, in NVIDIA's order.

    Raises:
        ValueError: NVIDIA has no such network, or there is no transformer.
    """
    base = controls.with_base()
    check_exists_there(base.config, "NVIDIA's code")
    _check_spread(controls, "NVIDIA's code")
    order = sorted(controls.branches, key=lambda kind: KINDS.index(kind) if kind else 0)
    joined = join_nvidia(base.weights, [controls.branches[kind].weights for kind in order])
    named = to_nvidia(joined, base.config.head_dim)
    with new_folder(path) if distributed else new_file(path) as beside:
        (write_dcp if distributed else write_torch_file)(named, beside)


def save_controls_diffusers(controls: Controls, folder: Path, *, max_shard: int = SHARD) -> None:
    """Write the folders ``transformer`` and ``controlnet`` of a pipeline; of several branches, ``controlnet_KIND``.

    Raises:
        ValueError: diffusers has no such network, or there is no transformer.
    """
    base = controls.with_base()
    every = _check_spread(controls, "diffusers")
    configs = {kind: controlnet_config(branch.config, branch.base) for kind, branch in controls.branches.items()}
    save_diffusers(base, folder / "transformer", max_shard=max_shard, control_every=every)
    for kind, branch in controls.branches.items():
        with new_folder(folder / ("controlnet" if len(configs) == 1 else f"controlnet_{kind}")) as beside:
            write_shards(to_controlnet(branch.weights, base.weights), beside, DIFFUSERS, max_bytes=max_shard)
            (beside / "config.json").write_text(to_json(configs[kind]))


def _check_spread(controls: Controls, there: str) -> int:
    """The distance of the blocks that take hints, where it is one that others can have too."""
    base, found = controls.with_base().config, {branch.config.every for branch in controls.branches.values()}
    for kind, branch in controls.branches.items():
        if len(found) > 1 or branch.config.blocks != -(-base.num_blocks // branch.config.every):
            raise ValueError(
                f"{there} gives hints to every n-th of all {base.num_blocks} blocks; the {kind} branch has "
                f"{branch.config.blocks} blocks, every={branch.config.every}"
            )
    return found.pop()
