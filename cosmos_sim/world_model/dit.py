"""The denoising network: NVIDIA's Cosmos-Predict2.5 diffusion transformer, at every size.

Module names are those of the released checkpoints (after their ``net.`` prefix), so a state dict loads as it is; only
their ``pos_embedder.*`` is computed here. The 2B and 14B networks and the small shipped worlds are one class with
different :class:`DiTConfig`\\ s.
"""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast, get_args

import torch
from einops import reduce, repeat
from jaxtyping import Float
from torch import Tensor, nn

from cosmos_sim.world_model.action_conditioning import ActionEmbedder, ActionInjection, ActionLayout
from cosmos_sim.world_model.attention import KeysValues
from cosmos_sim.world_model.block import Block, Signal, fuse_blocks, modulations_of
from cosmos_sim.world_model.embedders import PatchEmbed, Sinusoid, TimestepEmbedding, patchify, unpatchify
from cosmos_sim.world_model.first_block import FirstBlockCache
from cosmos_sim.world_model.modulation import Modulations, layer_norm, modulation, without_autocast
from cosmos_sim.world_model.rope import rotary_table


@dataclass(frozen=True)
class DiTConfig:
    """Sizes and options of a :class:`DiT`. The defaults are Cosmos-Predict2.5-2B as released."""

    latent_channels: int = 16
    model_channels: int = 2048
    num_blocks: int = 28
    num_heads: int = 16
    mlp_ratio: float = 4.0
    adaln_lora_dim: int = 256
    patch: tuple[int, int, int] = (1, 2, 2)
    """Latent frames, rows and columns in one token. A patch as long as the window stacks its frames into channels."""
    padding_mask: bool = True
    """Whether the input has the padding-mask channel of the released checkpoints."""
    context_dim: int | None = 1024
    """Width of the text tokens that the blocks attend to; ``None`` for a network without cross-attention."""
    context_in_dim: int | None = 100352
    """Width of the raw text embedding that ``crossattn_proj`` maps to ``context_dim``; ``None`` for no projection."""
    rope_ratio: tuple[float, float, float] = (1.0, 3.0, 3.0)
    """Extrapolation of the rotary frequencies along time, height and width (see ``rope.resolution_ratio``)."""
    action_dim: int | None = None
    """Numbers in one row of actions (actions of a latent, or of the whole chunk, x their width), or none."""
    action_injection: ActionInjection = "timestep"
    """Where actions enter: the timestep embedding and shared modulation (released), cross-attention, or channels."""
    action_layout: ActionLayout = "latent"
    """A row of actions for each temporal token, without effect on known ones; or one row for the whole chunk."""
    causal: bool = False
    """Whether the tokens of a frame attend to no later frame."""
    image_dim: int | None = None
    """Width of the tokens of an image whose style the blocks attend to beside the text (Transfer2.5: 1152); or none."""

    def __post_init__(self) -> None:
        if self.model_channels % self.num_heads:
            raise ValueError(f"model_channels={self.model_channels} does not divide into num_heads={self.num_heads}")
        if self.head_dim % 2 or self.head_dim < 12:
            raise ValueError(f"rotary embedding needs an even head width of at least 12, not {self.head_dim}")
        if self.context_in_dim is not None and self.context_dim is None:
            raise ValueError(f"context_in_dim={self.context_in_dim} would be ignored: context_dim is None")
        if self.image_dim is not None and self.context_dim is None:
            raise ValueError(f"image_dim={self.image_dim} needs cross-attention, but context_dim is None")
        for name, kind in (("action_injection", ActionInjection), ("action_layout", ActionLayout)):
            value, (default, *others) = getattr(self, name), get_args(kind)
            if value not in (default, *others):
                raise ValueError(f"{name} must be one of {get_args(kind)}, not {value!r}")
            if self.action_dim is None and value != default:
                raise ValueError(f"{name}={value!r} would be ignored: action_dim is None")
        if self.action_injection == "cross_attention" and self.context_dim is None:
            raise ValueError("action_injection='cross_attention' needs cross-attention, but context_dim is None")
        if self.causal and self.action_layout == "chunk":
            raise ValueError("action_layout='chunk' shows every frame all actions, so the network cannot be causal")

    @property
    def head_dim(self) -> int:
        return self.model_channels // self.num_heads

    @property
    def in_channels(self) -> int:
        """Latent, condition mask, padding mask, and the actions' channels, in this order."""
        actions = self.latent_channels if self.action_injection == "channels" else 0
        return self.latent_channels + self.masks + actions

    @property
    def masks(self) -> int:
        """Channels that say which frames are known and which pixels are padded."""
        return 1 + self.padding_mask


PRESETS: dict[str, DiTConfig] = {
    "predict2.5-2b": DiTConfig(),
    "predict2.5-2b-paper": DiTConfig(num_blocks=32),
    "predict2.5-14b": DiTConfig(model_channels=5120, num_heads=40, num_blocks=36),
    "predict2.5-2b-action": DiTConfig(action_dim=28),
}


def preset(name: str) -> DiTConfig:
    """The published network of that name.

    Raises:
        ValueError: there is none; the message suggests the nearest.
    """
    if name not in PRESETS:
        near = difflib.get_close_matches(name, PRESETS, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {sorted(PRESETS)}"
        raise ValueError(f"unknown network {name!r}; {hint}")
    return PRESETS[name]


Layer = tuple[Block, Tensor | KeysValues | None, Tensor | None]
"""A block, the text it reads, and its modulations where they are computed for all blocks at once."""


class DiT(nn.Module):
    """Predicts the flow's velocity (noise - data) of a latent video, given what is known of it."""

    adaln_modulations: Modulations | None

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.model_channels, math.prod(config.patch)
        self.x_embedder = PatchEmbed(config.in_channels * patch, width)
        self.t_embedder = nn.Sequential(Sinusoid(width), TimestepEmbedding(width))
        self.t_embedding_norm = nn.RMSNorm(width, eps=1e-6)
        if config.context_in_dim is not None:
            assert config.context_dim is not None
            self.crossattn_proj = nn.Sequential(nn.Linear(config.context_in_dim, config.context_dim), nn.GELU())
        if config.image_dim is not None:
            self.img_context_proj = nn.Sequential(nn.Linear(config.image_dim, width), nn.GELU())
        if config.action_dim is not None:
            embedder = partial(ActionEmbedder, config.action_dim, 4 * width)
            if config.action_injection == "timestep":
                self.action_embedder_B_D = embedder(width)
                self.action_embedder_B_3D = embedder(3 * width)
            elif config.action_injection == "cross_attention":
                assert config.context_dim is not None
                self.action_embedder_context = embedder(config.context_dim)
            else:
                self.action_embedder_channels = embedder(config.latent_channels)
        self.blocks = nn.ModuleList(make_block(config, Block) for _ in range(config.num_blocks))
        self.final_layer = FinalLayer(config, config.latent_channels * patch)
        self.register_module("adaln_modulations", None)
        self.reset_parameters()

    def forward(
        self,
        latent: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, "b t_tokens"],
        condition_mask: Float[Tensor, "b 1 t h w"],
        *,
        context: Float[Tensor, "b l d"] | Sequence[KeysValues] | None = None,
        action: Float[Tensor, "b t_tokens a"] | Float[Tensor, "b 1 a"] | None = None,
        padding_mask: Float[Tensor, "b 1 t h w"] | None = None,
        rope_ratio: tuple[float, float, float] | None = None,
        image_context: Float[Tensor, "b m e"] | None = None,
        first_block_cache: FirstBlockCache | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        """Velocity of ``latent``, in fp32.

        Args:
            latent: noisy latent, its known frames already replaced by their data.
            timestep: 1000 times the noise level sigma, one for each temporal token.
            condition_mask: 1 on known frames (less where they carry noise), 0 on frames to predict.
            context: text embedding, when the network attends to text; or what :meth:`encode_context` made of it, which
                spares every further evaluation that work.
            action: when the network has an action embedder, a row for each temporal token, without effect on tokens
                whose frames are all known (see ``actions_per_latent``); or, in the layout of the whole chunk, one row.
            padding_mask: 1 on padded pixels; zeros when not given.
            rope_ratio: in place of the config's, to try a size that the weights were not trained at.
            image_context: tokens of an image whose style is to be taken, for a network with ``image_dim`` and a context
                that is not encoded yet; a zero token, as in training without an image, when not given.
            first_block_cache: memory of an approximation that skips blocks; ``None`` computes all of them.

        Raises:
            ValueError: a shape that does not fit, an input that is missing or would be ignored.
        """
        x, signal, texts = self.embed(
            latent,
            timestep,
            condition_mask,
            context=context,
            action=action,
            padding_mask=padding_mask,
            rope_ratio=rope_ratio,
            image_context=image_context,
        )
        layers = self.layers(texts, signal)
        if first_block_cache is None:
            x = run(layers, x, signal)
        else:
            first, rest = (partial(run, part, signal=signal) for part in (layers[:1], layers[1:]))
            x = first_block_cache(x, first, rest)
        return self.head(x, signal)

    def embed(
        self,
        latent: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, "b t_tokens"],
        condition_mask: Float[Tensor, "b 1 t h w"],
        *,
        context: Float[Tensor, "b l d"] | Sequence[KeysValues] | None = None,
        action: Float[Tensor, "b t_tokens a"] | Float[Tensor, "b 1 a"] | None = None,
        padding_mask: Float[Tensor, "b 1 t h w"] | None = None,
        rope_ratio: tuple[float, float, float] | None = None,
        image_context: Float[Tensor, "b m e"] | None = None,
    ) -> tuple[Float[Tensor, "b t h w d"], Signal, Sequence[Tensor | KeysValues | None]]:
        """What the first block is given, what all blocks are told, and the text of each; arguments as forward's."""
        config = self.config
        self._check(latent, timestep, condition_mask, context, action, padding_mask)
        image = self.project_image(context, image_context)
        channels = [latent, self.masks(condition_mask, padding_mask)]
        tokens: Tensor | None = None
        with without_autocast(latent):
            sinusoid, adaln = self.t_embedder(timestep.float() * 1e-3)
            if action is not None:
                action, heard = action.float(), self._heard(condition_mask)
                if config.action_injection == "timestep":
                    sinusoid = sinusoid + heard * self.action_embedder_B_D(action)
                    adaln = adaln + heard * self.action_embedder_B_3D(action)
                elif config.action_injection == "cross_attention":
                    tokens = heard * self.action_embedder_context(action)
                else:
                    maps = heard * self.action_embedder_channels(action)
                    r, h, w = config.patch[0], *latent.shape[3:]
                    channels.append(repeat(maps, "b t c -> b c (t r) h w", r=r, h=h, w=w).to(latent.dtype))
            emb = self.t_embedding_norm(sinusoid)

        x = self.x_embedder(patchify(torch.cat(channels, dim=1), config.patch))
        t, h, w = x.shape[1:4]
        rope = rotary_table((t, h, w), config.head_dim, rope_ratio or config.rope_ratio, device=x.device)
        signal = Signal(emb, adaln, rope, None if tokens is None else tokens.to(x.dtype), image)
        return x, signal, self._contexts(context, x.dtype)

    def layers(self, texts: Sequence[Tensor | KeysValues | None], signal: Signal) -> list[Layer]:
        """The blocks with what each reads."""
        blocks = self._typed_blocks
        return list(zip(blocks, texts, modulations_of(blocks, self.adaln_modulations, signal), strict=True))

    def head(self, x: Float[Tensor, "b t h w d"], signal: Signal) -> Float[Tensor, "b c t h w"]:
        """The velocity, in fp32, from what the last block gives."""
        with without_autocast(x):
            out = self.final_layer(x.float(), signal.emb, signal.adaln)
        return unpatchify(out, self.config.patch)

    def masks(
        self, condition_mask: Float[Tensor, "b 1 t h w"], padding_mask: Float[Tensor, "b 1 t h w"] | None
    ) -> Float[Tensor, "b masks t h w"]:
        """The input's mask channels."""
        if not self.config.padding_mask:
            return condition_mask
        padding = torch.zeros_like(condition_mask) if padding_mask is None else padding_mask
        return torch.cat([condition_mask, padding], dim=1)

    def encode_context(
        self, context: Float[Tensor, "b l d"], image_context: Float[Tensor, "b m e"] | None = None
    ) -> tuple[KeysValues, ...]:
        """What each block reads from a text (and an image): give it to :meth:`forward` in its place at every step."""
        self._check_context(context, len(context))
        text, image = self.project(context, self.x_embedder.dtype), self.project_image(context, image_context)
        return tuple(block.read(text, image) for block in self._typed_blocks)

    def fuse(self) -> "DiT":
        """Join weights that meet the same input: queries, keys and values of a block, the modulations of all blocks.

        Fewer and larger products; state dicts keep their names, parameters do not.

        Raises:
            ValueError: a layer is not a plain linear one; adapters are to be merged before.
        """
        fuse_blocks(self, "blocks")
        return self

    def compile_blocks(self, **options: Any) -> "DiT":
        """Compile the block with ``torch.compile(**options)``: once for all of them, since they are alike."""
        for block in self._typed_blocks:
            block.compile(**options)
        return self

    def reset_parameters(self) -> None:
        """Initialise every weight: see :func:`initialise`."""
        if self.adaln_modulations is not None:
            raise ValueError("initialise a network before fuse(), not after")
        initialise(self)

    def cast(self, dtype: torch.dtype) -> "DiT":
        """Hold the weights in ``dtype``, but for those that the original computes in fp32."""
        cast_weights(self, dtype)
        return self

    @property
    def _typed_blocks(self) -> Sequence[Block]:
        return cast(Sequence[Block], self.blocks)

    def _heard(self, condition_mask: Tensor) -> Float[Tensor, "b t_tokens 1"]:
        """How much each temporal token minds its action: not at all where its frames are known, as released."""
        known = reduce(condition_mask.float(), "b 1 (t r) h w -> b t 1", "min", r=self.config.patch[0])
        return 1 - known if self.config.action_layout == "latent" else torch.ones_like(known)

    def _contexts(
        self, context: Tensor | Sequence[KeysValues] | None, dtype: torch.dtype
    ) -> Sequence[Tensor | KeysValues | None]:
        """The text for each block: the same embedding, or its own keys and values."""
        if context is None:
            return [None] * len(self.blocks)
        if not isinstance(context, Tensor):
            return context
        return [self.project(context, dtype)] * len(self.blocks)

    def project(self, context: Float[Tensor, "b l d"], dtype: torch.dtype) -> Float[Tensor, "b l e"]:
        """A text embedding as the blocks read it."""
        context = context.to(dtype)
        return context if self.config.context_in_dim is None else self.crossattn_proj(context)

    def project_image(
        self, context: Tensor | Sequence[KeysValues] | None, image: Float[Tensor, "b m e"] | None
    ) -> Float[Tensor, "b m d"] | None:
        """The image's tokens as the blocks read them; where there is none, a zero token: all of them would be alike."""
        dim = self.config.image_dim
        if image is not None and (dim is None or not isinstance(context, Tensor)):
            raise ValueError(f"image_context would be ignored: image_dim={dim}, context as text: {context is not None}")
        if dim is None or not isinstance(context, Tensor):
            return None
        if image is None:
            image = context.new_zeros(len(context), 1, dim)
        if image.ndim != 3 or (image.shape[0], image.shape[2]) != (len(context), dim):
            raise ValueError(f"image_context has shape {tuple(image.shape)}, expected {(len(context), 'any', dim)}")
        return self.img_context_proj(image.to(self.x_embedder.dtype))

    def _check(
        self,
        latent: Tensor,
        timestep: Tensor,
        condition_mask: Tensor,
        context: Tensor | Sequence[KeysValues] | None,
        action: Tensor | None,
        padding_mask: Tensor | None,
    ) -> None:
        config = self.config
        b, c, *size = latent.shape
        if c != config.latent_channels:
            raise ValueError(f"latent has {c} channels, the network takes {config.latent_channels}")
        if any(s < p or s % p for s, p in zip(size, config.patch, strict=True)):
            near = tuple(max(1, round(s / p)) * p for s, p in zip(size, config.patch, strict=True))
            raise ValueError(
                f"latent of t h w = {tuple(size)} does not divide into patches of {config.patch}; {near} would"
            )
        if padding_mask is not None and not config.padding_mask:
            raise ValueError("padding_mask would be ignored: this network was configured without it")
        for name, mask in (("condition_mask", condition_mask), ("padding_mask", padding_mask)):
            if mask is not None and mask.shape != (b, 1, *size):
                raise ValueError(f"{name} has shape {tuple(mask.shape)}, expected {(b, 1, *size)}")
        tokens = size[0] // config.patch[0]
        if timestep.shape != (b, tokens):
            raise ValueError(f"timestep has shape {tuple(timestep.shape)}, expected {(b, tokens)}")
        self._check_context(context, b)
        if (action is None) != (config.action_dim is None):
            raise ValueError(f"action given: {action is not None}, but action_dim={config.action_dim}")
        rows = tokens if config.action_layout == "latent" else 1
        if action is not None and action.shape != (b, rows, config.action_dim):
            raise ValueError(f"action has shape {tuple(action.shape)}, expected {(b, rows, config.action_dim)}")

    def _check_context(self, context: Tensor | Sequence[KeysValues] | None, b: int) -> None:
        config = self.config
        if (context is None) != (config.context_dim is None):
            raise ValueError(f"context given: {context is not None}, but context_dim={config.context_dim}")
        if isinstance(context, Tensor):
            width = config.context_in_dim or config.context_dim
            if context.ndim != 3 or context.shape[0] != b or context.shape[2] != width:
                raise ValueError(f"context has shape {tuple(context.shape)}, expected {(b, 'any', width)}")
        elif context is not None and (len(context) != len(self.blocks) or len(context[0].keys) != b):
            raise ValueError(
                f"context was encoded for {len(context)} blocks and a batch of {len(context[0].keys)}, "
                f"not for {len(self.blocks)} and {b}"
            )


class FinalLayer(nn.Module):
    def __init__(self, config: DiTConfig, out_features: int) -> None:
        super().__init__()
        width = config.model_channels
        self.linear = nn.Linear(width, out_features, bias=False)
        self.adaln_modulation = modulation(width, config.adaln_lora_dim, 2 * width)

    def forward(self, x: Tensor, emb: Tensor, adaln: Tensor) -> Tensor:
        shift, scale = (self.adaln_modulation(emb) + adaln[..., : 2 * x.shape[-1]])[:, :, None, None].chunk(2, dim=-1)
        return self.linear(layer_norm(x) * (1 + scale) + shift)


def initialise(module: nn.Module, name: str = "") -> None:
    """Truncated normal of std 1/sqrt(fan_in), cut at 3 std; zeros where a path must start silent; norms at 1.

    Action embedders end in zeros but for that of cross-attention: a zero key would be normalised, and its gradient
    with it, by 1/sqrt(1e-6). Numbers come from torch's global generator.

    Args:
        module: a :class:`DiT`, or a part of one.
        name: of that part in the network, which says what must start silent.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            std = part.in_features**-0.5
            nn.init.trunc_normal_(part.weight, std=std, a=-3 * std, b=3 * std)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.RMSNorm):
            nn.init.ones_(part.weight)
    for path, part in module.named_modules(prefix=name):
        if isinstance(part, ActionEmbedder) and path != "action_embedder_context":
            nn.init.zeros_(part.fc2.weight)
        elif path.endswith(".2") and "adaln_modulation" in path:
            nn.init.zeros_(part.get_parameter("weight"))


def make_block[B: Block](config: DiTConfig, kind: Callable[..., B]) -> B:
    """A block as the network of ``config`` has them."""
    return kind(
        config.model_channels,
        heads=config.num_heads,
        hidden=int(config.model_channels * config.mlp_ratio),
        context_width=config.context_dim,
        adaln_rank=config.adaln_lora_dim,
        causal=config.causal,
        image=config.image_dim is not None,
    )


def cast_weights(module: nn.Module, dtype: torch.dtype) -> None:
    """Hold the weights of a network, or of what stands beside it, in ``dtype`` or, as the original does, in fp32."""
    exact = ("t_embedd", "adaln_modulation", "action_embedder", "final_layer")
    for name, parameter in module.named_parameters():
        kept = any(part.startswith(exact) for part in name.split("."))
        parameter.data = parameter.data.to(torch.float32 if kept else dtype)


def run(layers: Sequence[Layer], x: Tensor, signal: Signal) -> Float[Tensor, "b t h w d"]:
    for block, text, modulations in layers:
        x = block(x, signal, text, block.modulations(signal) if modulations is None else modulations)
    return x
