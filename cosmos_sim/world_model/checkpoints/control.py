"""Control branches from disk, of any of the formats, with or without the transformer that they stand beside."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from cosmos_sim.data.pretrained import check_fit, from_dict
from cosmos_sim.world_model.checkpoints.control_names import from_controlnet, has_branches, split_nvidia
from cosmos_sim.world_model.checkpoints.controlnet import CONTROLNET, controlnet_config
from cosmos_sim.world_model.checkpoints.infer import Shapes, Unseen, infer_config
from cosmos_sim.world_model.checkpoints.names import Which, from_nvidia
from cosmos_sim.world_model.checkpoints.network import FORMAT, Network, open_merged
from cosmos_sim.world_model.checkpoints.source import Source
from cosmos_sim.world_model.checkpoints.stored import StoredTensor, Weights, shapes
from cosmos_sim.world_model.control import KINDS, ControlBranch, ControlConfig, check_beside
from cosmos_sim.world_model.dit import DiTConfig


@dataclass(frozen=True)
class Branch:
    """A control branch: its weights under our names, and the transformer it was made for."""

    config: ControlConfig
    base: DiTConfig
    weights: Weights


@dataclass(frozen=True)
class Controls:
    """Branches by kind, and the transformer where the checkpoint holds it too."""

    branches: Mapping[str, Branch]
    base: Network | None = None

    def flat(self) -> dict[str, StoredTensor]:
        """All weights, under their names with the kind of their branch, or ``dit``, in front."""
        parts = {kind: branch.weights for kind, branch in self.branches.items()}
        parts |= {} if self.base is None else {"dit": self.base.weights}
        return {f"{part}/{name}": tensor for part, weights in parts.items() for name, tensor in weights.items()}

    def refilled(self, flat: Weights) -> "Controls":
        """The same with other weights, as :meth:`flat` names them."""
        parts: dict[str, dict[str, StoredTensor]] = {}
        for path, tensor in flat.items():
            part, _, name = path.partition("/")
            parts.setdefault(part, {})[name] = tensor
        base = None if self.base is None else replace(self.base, weights=parts["dit"])
        return Controls({kind: replace(branch, weights=parts[kind]) for kind, branch in self.branches.items()}, base)

    def with_base(self) -> Network:
        """The transformer.

        Raises:
            ValueError: the checkpoint holds branches alone.
        """
        if self.base is None:
            raise ValueError(f"the {' and '.join(self.branches)} branch lies without its transformer: give it as base")
        return self.base


def open_control(
    source: Source,
    *,
    base: Source | None = None,
    kinds: Sequence[str] | None = None,
    which: Which = "auto",
    unseen: Unseen | None = None,
) -> Controls:
    """Read the configuration of control branches and check every weight's name and shape; no data is read yet.

    Args:
        base: the transformer, for a branch that lies without it; not looked at where the checkpoint holds its own.
        kinds: what the branches are, in their order, where the checkpoint does not say it (four are edge, blur, depth,
            seg when not given, and one may stay nameless, as ``""``); otherwise which of them to take.
        which: the averaged or the regular weights of a training checkpoint.
        unseen: what shapes do not say, for files without a configuration (NVIDIA's).

    Raises:
        ValueError: there are none, the checkpoint is damaged or foreign, or an option or an adapter would be ignored.
    """
    where = str(source.path)
    if is_branch(source) or source.branches:
        held = base if is_branch(source) else replace(source, branches=())
        if held is None and (unseen is not None or which != "auto"):
            raise ValueError(f"{unseen or which} would be ignored: {where} has a config.json, and one set of weights")
        network = None if held is None else open_merged(held, which=which, unseen=unseen)
        every = None if held is None else held.config.get("controlnet_block_every_n")
        found = [_in_folder(part, network, every) for part in source.branches or (source,)]
    else:
        weights, parts = split_nvidia(from_nvidia(source.weights, which))
        if any(".lora_" in name for part in (weights, *parts) for name in part):
            raise ValueError(f"{where} holds a LoRA adapter beside control branches, which is not read")
        network = Network(infer_config(shapes(weights), unseen, where=where), weights)
        every = None if unseen is None else unseen.control_every
        found = [("", _branch(part, network.config, every, where)) for part in parts]
    return Controls(_named(found, kinds, where), network)


def is_control(source: Source) -> bool:
    """Whether there are control branches, alone or with their transformer."""
    return bool(source.branches) or is_branch(source) or has_branches(from_nvidia(source.weights))


def branch_shapes(base: DiTConfig, config: ControlConfig) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a branch's weights; nothing is allocated."""
    with torch.device("meta"):
        return {name: tuple(tensor.shape) for name, tensor in ControlBranch(base, config).state_dict().items()}


def is_branch(source: Source) -> bool:
    """Whether it is a branch alone, of ours or of diffusers."""
    return source.config.get("kind") == "control" or source.diffusers_class == CONTROLNET


def _in_folder(source: Source, base: Network | None, every: int | None) -> tuple[str, Branch]:
    """A branch of ours or of diffusers, and its kind where its folder says it."""
    where, stated = str(source.path), source.config
    if source.is_ours:
        if stated.get("format") != FORMAT:
            raise ValueError(f"{where} has format {stated.get('format')!r}; this version reads {FORMAT}")
        made_for = from_dict(DiTConfig, stated.get("dit", {}), where=f"{where}/config.json")
        config = from_dict(ControlConfig, stated.get("branch", {}), where=f"{where}/config.json")
        found = Branch(config, made_for, source.weights)
        check_fit(shapes(source.weights), branch_shapes(made_for, config), where, what="the branch of its config")
        if base is not None:
            check_beside(base.config, made_for, where)
        return str(stated.get("control", "")), found
    if base is None:
        raise ValueError(f"{where} does not say what transformer it stands beside: give that as base")
    weights, copies = from_controlnet(source.weights)
    for name, tensor in copies.items():
        own = base.weights.get(name)
        if own is None or own.shape != tensor.shape or not torch.equal(own.read(), tensor.read().to(own.dtype)):
            raise ValueError(f"{where}: its copy of {name} is not the transformer's own, which is not read")
    found = _branch(weights, base.config, every, where)
    for name, value in controlnet_config(found.config, found.base).items():
        if name in stated and stated[name] != value and not name.startswith(("_", "max_size")):
            raise ValueError(f"{where}/config.json says {name}={stated[name]!r}, its weights say {value!r}")
    kind = source.path.name.removeprefix("controlnet_")
    kind = "blur" if kind == "vis" else kind  # NVIDIA's name of it
    return kind if kind in KINDS else "", found


def _branch(weights: Weights, base: DiTConfig, every: int | None, where: str) -> Branch:
    """A branch whose configuration is read off its shapes."""
    config = infer_control(shapes(weights), base, every=every, where=where)
    return Branch(config, base, weights)


def infer_control(found: Shapes, base: DiTConfig, *, every: int | None = None, where: str) -> ControlConfig:
    """The configuration of the branch, beside the transformer of ``base``, that has weights of these names and shapes.

    Args:
        every: the distance of the blocks that its hints go to, which shapes do not say; such that they spread over all
            when not given.

    Raises:
        ValueError: it is no such branch; the message names the first missing and unexpected weights.
    """
    numbers = {
        int(part) for name in found if name.startswith("control_blocks.") and (part := name.split(".")[1]).isdigit()
    }
    embedder = found.get("control_embedder.proj.1.weight")
    if not numbers or embedder is None:
        raise ValueError(f"{where} holds no whole control branch: its embedder or its blocks are missing")
    pixels = base.patch[0] * base.patch[1] * base.patch[2]
    if embedder[1] % pixels:
        raise ValueError(f"{where}: {embedder[1]} features of the control do not divide into patches of {base.patch}")
    blocks = len(numbers)
    config = ControlConfig(blocks, every or -(-base.num_blocks // blocks), embedder[1] // pixels)
    check_fit(found, branch_shapes(base, config), where, what="a control branch of its size")
    return config


def _named(found: Sequence[tuple[str, Branch]], kinds: Sequence[str] | None, where: str) -> dict[str, Branch]:
    """Branches by their kinds, which are theirs or given."""
    for kind in kinds or ():
        check_kind(kind)
    if kinds is not None and len(set(kinds)) != len(kinds):
        raise ValueError(f"controls name one twice: {list(kinds)}")
    known = [kind for kind, _ in found if kind]
    if known and (len(known) < len(found) or len(set(known)) < len(known)):
        raise ValueError(f"{where} holds {len(found)} control branches, of which each needs a name of its own: {known}")
    if known:
        named = dict(found)
        for kind in kinds or ():
            if kind not in named:
                raise ValueError(f"{where} has no {kind} branch, only {' and '.join(named)}")
        return named if kinds is None else {kind: named[kind] for kind in kinds}
    if kinds is None:
        kinds = {1: ("",), len(KINDS): KINDS}.get(len(found), ())
    if len(kinds) != len(found):
        raise ValueError(f"{where} holds {len(found)} control branches without names: give as many, not {list(kinds)}")
    return {kind: branch for kind, (_, branch) in zip(kinds, found, strict=True)}


def check_kind(kind: str) -> None:
    """Refuse what is no kind of control.

    Raises:
        ValueError: it is none; the message suggests the nearest.
    """
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"the kinds are {', '.join(KINDS)}"
        raise ValueError(
            f"unknown control {kind!r}; {hint}" if kind else f"say which control it is: {', '.join(KINDS)}"
        )
