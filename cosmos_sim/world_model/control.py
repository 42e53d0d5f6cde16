"""Control branches of Cosmos-Transfer2.5: a video is generated along the edges, blur, depth or segments of another.

Beside a frozen transformer stands a branch for each kind of control. It begins as a copy of the transformer's first
blocks, reads the control video and the transformer's own input, and adds what its zero-initialised projections make of
them ("hints") to some blocks of the transformer: a new branch changes nothing. Cosmos-Predict2.5 (arXiv 2511.00062),
section 6.1, and the released code; module names are those of the released checkpoints.
"""

import difflib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_sim.world_model.attention import KeysValues
from cosmos_sim.world_model.block import Block, Signal, fuse_blocks, modulations_of
from cosmos_sim.world_model.control_weights import Control, shares, weighed
from cosmos_sim.world_model.dit import DiT, DiTConfig, Layer, cast_weights, initialise, make_block, run
from cosmos_sim.world_model.embedders import PatchEmbed, patchify
from cosmos_sim.world_model.first_block import FirstBlockCache
from cosmos_sim.world_model.modulation import Modulations

KINDS = ("edge", "blur", "depth", "seg")
"""The kinds of control, in the order of NVIDIA's four-branch checkpoints (where blur is called vis)."""


@dataclass(frozen=True)
class ControlConfig:
    """Sizes of a :class:`ControlBranch`. The defaults are those of Cosmos-Transfer2.5-2B as released."""

    blocks: int = 4
    every: int = 7
    """Hint ``i`` is added to what block ``every * i`` of the transformer gives."""
    channels: int = 130
    """Input channels: the control's latent, padded with zeros, and the masks of the transformer's own input."""

    def __post_init__(self) -> None:
        for name in ("blocks", "every", "channels"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")

    @classmethod
    def beside(cls, base: DiTConfig, *, blocks: int = 4) -> "ControlConfig":
        """For any transformer: at most so many blocks, evenly over its depth, and no more channels than it has data.

        Raises:
            ValueError: ``blocks`` is below 1.
        """
        if blocks < 1:
            raise ValueError(f"blocks must be at least 1, not {blocks}")
        every = -(-base.num_blocks // blocks)
        return cls(blocks=-(-base.num_blocks // every), every=every, channels=base.latent_channels + base.masks)

    @property
    def places(self) -> range:
        """The transformer's blocks that hints are added to."""
        return range(0, self.blocks * self.every, self.every)


class ControlBlock(Block):
    """A block of the branch: a transformer's, and a projection of what it gives to a hint."""

    def __init__(self, width: int, *, first: bool, **sizes: Any) -> None:
        super().__init__(width, **sizes)
        self.before_proj = nn.Linear(width, width) if first else None
        self.after_proj = nn.Linear(width, width)

    def forward(  # type: ignore[override]  # a block with two results
        self,
        c: Float[Tensor, "b t h w d"],
        signal: Signal,
        text: Float[Tensor, "b l e"] | KeysValues | None,
        modulations: Sequence[Float[Tensor, "b t d3"]],
        x: Float[Tensor, "b t h w d"],
        weight: float | Float[Tensor, "b t h w 1"],
    ) -> tuple[Float[Tensor, "b t h w d"], Float[Tensor, "b t h w d"]]:
        """What the next block is given, and the weighted hint; ``x`` is the transformer's own input."""
        if self.before_proj is not None:
            c = self.before_proj(c) + x
        c = super().forward(c, signal, cast(Any, text), modulations)
        hint = self.after_proj(c)
        return c, hint * (weight.to(hint.dtype) if isinstance(weight, Tensor) else weight)


class ControlBranch(nn.Module):
    """Reads one kind of control beside a transformer of the sizes of ``base``."""

    adaln_modulations: Modulations | None

    def __init__(self, base: DiTConfig, config: ControlConfig) -> None:
        super().__init__()
        if config.places[-1] >= base.num_blocks:
            raise ValueError(f"a hint for block {config.places[-1]}, but the transformer has {base.num_blocks} blocks")
        if config.channels < base.latent_channels + base.masks:
            raise ValueError(
                f"channels={config.channels} do not hold {base.latent_channels} of a latent and {base.masks} masks"
            )
        self.base, self.config = base, config
        patch = base.patch[0] * base.patch[1] * base.patch[2]
        self.control_embedder = PatchEmbed(config.channels * patch, base.model_channels)
        self.control_blocks = nn.ModuleList(
            make_block(base, partial(ControlBlock, first=i == 0)) for i in range(config.blocks)
        )
        self.register_module("adaln_modulations", None)
        initialise_control(self)

    @classmethod
    def beside(cls, dit: DiT, config: ControlConfig | None = None) -> "ControlBranch":
        """A new branch: copies of the first blocks of ``dit``, and projections at zero, so that it changes nothing.

        The rest of its input layer is random, from torch's global generator.
        """
        branch = cls(dit.config, config or ControlConfig.beside(dit.config))
        copied = {f"control_{name}": value for name, value in dit.state_dict().items() if name.startswith("blocks.")}
        own = branch.state_dict()
        own.update((name, value) for name, value in copied.items() if name in own)
        branch.load_state_dict(own)
        return branch.to(dit.x_embedder.proj[1].get_parameter("weight").device)

    def hints(
        self,
        latent: Float[Tensor, "b c t h w"],
        masks: Float[Tensor, "b masks t h w"],
        x: Float[Tensor, "b t h w d"],
        signal: Signal,
        texts: Sequence[Tensor | KeysValues | None],
        weight: float | Float[Tensor, "b t h w 1"],
    ) -> Iterator[Float[Tensor, "b t h w d"]]:
        """The weighted hints, each computed when it is asked for, so that no more than one is held at a time.

        Args:
            latent: of the control video.
            masks: those of the transformer's input.
            x: the transformer's embedded input, with the ``signal`` for its blocks.
            texts: one for each block of the branch.
        """
        zeros = latent.new_zeros(1).expand(
            len(latent), self.config.channels - latent.shape[1] - masks.shape[1], *latent.shape[2:]
        )
        c = self.control_embedder(patchify(torch.cat([latent, zeros, masks], dim=1), self.base.patch))
        blocks = self._typed_blocks
        joined = modulations_of(blocks, self.adaln_modulations, signal)
        for block, text, modulations in zip(blocks, texts, joined, strict=True):
            own = block.modulations(signal) if modulations is None else modulations
            c, hint = block(c, signal, text, own, x, weight)
            yield hint

    def read(self, text: Float[Tensor, "b l e"], image: Float[Tensor, "b m d"] | None = None) -> tuple[KeysValues, ...]:
        """What each block reads of a text (and an image) as the transformer projects them."""
        return tuple(block.read(text, image) for block in self._typed_blocks)

    def fuse(self) -> "ControlBranch":
        """As :meth:`DiT.fuse <cosmos_sim.world_model.dit.DiT.fuse>`."""
        fuse_blocks(self, "control_blocks")
        return self

    def cast(self, dtype: torch.dtype) -> "ControlBranch":
        """As :meth:`DiT.cast <cosmos_sim.world_model.dit.DiT.cast>`."""
        cast_weights(self, dtype)
        return self

    @property
    def _typed_blocks(self) -> Sequence[ControlBlock]:
        return cast(Sequence[ControlBlock], self.control_blocks)


class ControlledDiT(nn.Module):
    """A frozen transformer with control branches.

    Args:
        base: it is frozen here; the branches are not.
        branches: by kind of control; without any it is the transformer.

    Raises:
        ValueError: one was made for a transformer of other sizes.
    """

    def __init__(self, base: DiT, branches: Mapping[str, ControlBranch]) -> None:
        super().__init__()
        for kind, branch in branches.items():
            check_beside(base.config, branch.base, f"the {kind} branch")
        self.base = base.requires_grad_(False)
        self.branches = nn.ModuleDict(branches)

    @property
    def config(self) -> DiTConfig:
        return self.base.config

    def forward(
        self,
        latent: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, "b t_tokens"],
        condition_mask: Float[Tensor, "b 1 t h w"],
        *,
        controls: Mapping[str, Control],
        context: Float[Tensor, "b l d"] | Sequence[KeysValues] | None = None,
        action: Float[Tensor, "b t_tokens a"] | Float[Tensor, "b 1 a"] | None = None,
        padding_mask: Float[Tensor, "b 1 t h w"] | None = None,
        rope_ratio: tuple[float, float, float] | None = None,
        image_context: Float[Tensor, "b m e"] | None = None,
        first_block_cache: FirstBlockCache | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        """Velocity of ``latent``, in fp32; arguments as those of :class:`DiT <cosmos_sim.world_model.dit.DiT>`.

        A branch whose control is missing, or has no weight anywhere, is not computed: without any the result is the
        transformer's own, bit for bit.

        Args:
            controls: by kind.
            context: also what :meth:`encode_context` made of it, for the same kinds.

        Raises:
            ValueError: a control without a branch, or of a shape that does not fit.
        """
        self._check(controls, latent)
        encoded = [] if context is None or isinstance(context, Tensor) else list(context)
        count = len(self.base.blocks)
        x, signal, texts = self.base.embed(
            latent,
            timestep,
            condition_mask,
            context=encoded[:count] if encoded else context,
            action=action,
            padding_mask=padding_mask,
            rope_ratio=rope_ratio,
            image_context=image_context,
        )
        masks = self.base.masks(condition_mask, padding_mask)
        weights = shares(controls)
        streams: list[tuple[range, Iterator[Tensor]]] = []
        for kind, branch in self._typed_branches(controls):
            end = count + branch.config.blocks
            own = encoded[count:end] if encoded else [texts[0]] * branch.config.blocks
            if kind in weights:
                hints = branch.hints(controls[kind].latent.to(latent.dtype), masks, x, signal, own, weights[kind])
                streams.append((branch.config.places, hints))
            count = end

        layers = self.base.layers(texts, signal)
        if first_block_cache is None:
            x = run_with_hints(layers, x, signal, streams)
        else:
            x = first_block_cache(
                x,
                partial(run_with_hints, layers[:1], signal=signal, streams=streams),
                partial(run_with_hints, layers[1:], signal=signal, streams=streams, start=1),
            )
        return self.base.head(x, signal)

    def encode_context(
        self,
        context: Float[Tensor, "b l d"],
        image_context: Float[Tensor, "b m e"] | None = None,
        *,
        kinds: Sequence[str],
    ) -> tuple[KeysValues, ...]:
        """What the transformer's blocks read of a text (and an image), then those of the branches of ``kinds``."""
        own = self.base.encode_context(context, image_context)
        text = self.base.project(context, self.base.x_embedder.dtype)
        image = self.base.project_image(context, image_context)
        return own + tuple(layer for _, branch in self._typed_branches(kinds) for layer in branch.read(text, image))

    def bound(
        self, controls: Mapping[str, Control], *, image_context: Float[Tensor, "b m e"] | None = None
    ) -> "BoundNetwork":
        """This network with its controls given: what :func:`~cosmos_sim.world_model.denoise.denoise` calls."""
        self._known(controls)
        return BoundNetwork(self, weighed(controls), image_context)

    def fuse(self) -> "ControlledDiT":
        """As :meth:`DiT.fuse <cosmos_sim.world_model.dit.DiT.fuse>`, in the transformer and in every branch."""
        self.base.fuse()
        for _, branch in self._typed_branches(self.branches.keys()):
            branch.fuse()
        return self

    def cast(self, dtype: torch.dtype) -> "ControlledDiT":
        """As :meth:`DiT.cast <cosmos_sim.world_model.dit.DiT.cast>`, in the transformer and in every branch."""
        cast_weights(self, dtype)
        return self

    def compile_blocks(self, **options: Any) -> "ControlledDiT":
        """Compile the blocks of the transformer and of the branches with ``torch.compile(**options)``."""
        self.base.compile_blocks(**options)
        for _, branch in self._typed_branches(self.branches.keys()):
            for block in branch.control_blocks:
                block.compile(**options)
        return self

    def _typed_branches(self, kinds: Iterable[str]) -> list[tuple[str, ControlBranch]]:
        """Those of ``kinds``, in the order in which they stand here."""
        wanted = set(kinds)
        return [(kind, cast(ControlBranch, branch)) for kind, branch in self.branches.items() if kind in wanted]

    def _known(self, kinds: Iterable[str]) -> None:
        for kind in kinds:
            if kind not in self.branches:
                near = difflib.get_close_matches(kind, self.branches.keys(), n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"there are {list(self.branches.keys())}"
                raise ValueError(f"no branch for the control {kind!r}; {hint}")

    def _check(self, controls: Mapping[str, Control], latent: Tensor) -> None:
        self._known(controls)
        b, _, *size = latent.shape
        grid = tuple(s // p for s, p in zip(size, self.config.patch, strict=True))
        for kind, control in controls.items():
            branch = cast(ControlBranch, self.branches[kind])
            room = branch.config.channels - self.config.masks
            found = control.latent.shape
            if len(found) != 5 or (found[0], *found[2:]) != (b, *size) or found[1] > room:
                raise ValueError(f"the {kind} control has shape {tuple(found)}, expected {(b, f'up to {room}', *size)}")
            if control.weight_map is not None and control.weight_map.shape != (b, *grid):
                raise ValueError(
                    f"the weight map of {kind} has shape {tuple(control.weight_map.shape)}, expected {(b, *grid)}"
                )


@dataclass(frozen=True)
class BoundNetwork:
    """A :class:`ControlledDiT` with its controls: a :class:`~cosmos_sim.world_model.denoise.Network`.

    Controls and image are repeated where guidance makes the batch a multiple of theirs.
    """

    network: ControlledDiT
    controls: Mapping[str, Control]
    image_context: Float[Tensor, "b m e"] | None = None

    def __call__(
        self,
        latent: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, "b t"],
        condition_mask: Float[Tensor, "b 1 t h w"],
        *,
        context: Sequence[KeysValues] | None = None,
        action: Float[Tensor, "b t a"] | None = None,
        first_block_cache: FirstBlockCache | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        controls = {kind: control.repeat(len(latent)) for kind, control in self.controls.items()}
        return self.network(
            latent,
            timestep,
            condition_mask,
            controls=controls,
            context=context,
            action=action,
            first_block_cache=first_block_cache,
        )

    def encode_context(self, context: Float[Tensor, "b l d"]) -> tuple[KeysValues, ...]:
        image = self.image_context
        if image is not None:
            image = image.repeat(len(context) // len(image), 1, 1)
        return self.network.encode_context(context, image, kinds=tuple(self.controls))


SHARED = (
    "latent_channels",
    "model_channels",
    "num_blocks",
    "num_heads",
    "mlp_ratio",
    "adaln_lora_dim",
    "patch",
    "padding_mask",
    "context_dim",
    "causal",
    "image_dim",
)
"""What a branch and its transformer have in common."""


def check_beside(base: DiTConfig, made_for: DiTConfig, what: str) -> None:
    """Hold the transformer that a branch was made for against the one it stands beside.

    Raises:
        ValueError: they differ in what both must have in common.
    """
    for name in SHARED:
        own, expected = getattr(made_for, name), getattr(base, name)
        if own != expected:
            raise ValueError(f"{what} is for a transformer of {name}={own}, this one has {expected}")


def initialise_control(module: nn.Module, name: str = "") -> None:
    """As :func:`~cosmos_sim.world_model.dit.initialise`, with projections at zero, so that a new branch is silent.

    Args:
        module: a :class:`ControlBranch`, or a part of one.
        name: of that part.
    """
    initialise(module, name)
    for path, part in module.named_modules(prefix=name):
        if path.endswith(("before_proj", "after_proj")) and isinstance(part, nn.Linear):
            nn.init.zeros_(part.weight)


def run_with_hints(
    layers: Sequence[Layer],
    x: Float[Tensor, "b t h w d"],
    signal: Signal,
    streams: Sequence[tuple[range, Iterator[Tensor]]],
    start: int = 0,
) -> Float[Tensor, "b t h w d"]:
    """The layers from number ``start`` on, with the sum of the hints for each added to what it gives."""
    for i, layer in enumerate(layers, start):
        x = run([layer], x, signal)
        hints = [next(stream) for places, stream in streams if i in places]
        if hints:
            x = x + sum(hints[1:], hints[0])
    return x
