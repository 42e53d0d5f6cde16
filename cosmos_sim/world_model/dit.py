"""The denoising network: NVIDIA's Cosmos-Predict2.5 diffusion transformer, at every size.

Module names are those of the released checkpoints (after their ``net.`` prefix), so a state dict loads as it is. The
2B and 14B networks and the small shipped worlds are one class with different :class:`DiTConfig`\\ s.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange, reduce
from jaxtyping import Float
from torch import Tensor, nn


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
    """Extrapolation of the rotary frequencies along time, height and width."""
    action_dim: int | None = None
    """Numbers of conditioning given to each temporal token (actions per latent x their width), or none."""

    def __post_init__(self) -> None:
        if self.model_channels % self.num_heads:
            raise ValueError(f"model_channels={self.model_channels} does not divide into num_heads={self.num_heads}")
        if self.head_dim % 2 or self.head_dim < 12:
            raise ValueError(f"rotary embedding needs an even head width of at least 12, not {self.head_dim}")
        if self.context_in_dim is not None and self.context_dim is None:
            raise ValueError(f"context_in_dim={self.context_in_dim} would be ignored: context_dim is None")

    @property
    def head_dim(self) -> int:
        return self.model_channels // self.num_heads


class DiT(nn.Module):
    """Predicts the flow's velocity (noise - data) of a latent video, given what is known of it."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        width, patch = config.model_channels, math.prod(config.patch)
        in_channels = config.latent_channels + 1 + config.padding_mask
        self.x_embedder = PatchEmbed(in_channels * patch, width)
        self.t_embedder = nn.Sequential(Sinusoid(width), TimestepEmbedding(width))
        self.t_embedding_norm = nn.RMSNorm(width, eps=1e-6)
        if config.context_in_dim is not None:
            assert config.context_dim is not None
            self.crossattn_proj = nn.Sequential(nn.Linear(config.context_in_dim, config.context_dim), nn.GELU())
        if config.action_dim is not None:
            self.action_embedder_B_D = ActionEmbedder(config.action_dim, 4 * width, width)
            self.action_embedder_B_3D = ActionEmbedder(config.action_dim, 4 * width, 3 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.num_blocks))
        self.final_layer = FinalLayer(config, config.latent_channels * patch)
        self.reset_parameters()

    def forward(
        self,
        latent: Float[Tensor, "b c t h w"],
        timestep: Float[Tensor, "b t_tokens"],
        condition_mask: Float[Tensor, "b 1 t h w"],
        *,
        context: Float[Tensor, "b l d"] | None = None,
        action: Float[Tensor, "b t_tokens a"] | None = None,
        padding_mask: Float[Tensor, "b 1 t h w"] | None = None,
    ) -> Float[Tensor, "b c t h w"]:
        """Velocity of ``latent``, in fp32.

        Args:
            latent: noisy latent, its known frames already replaced by their data.
            timestep: 1000 times the noise level sigma, one for each temporal token.
            condition_mask: 1 on known frames (less where they carry noise), 0 on frames to predict.
            context: text embedding, when the network attends to text.
            action: conditioning of each temporal token, when the network has an action embedder; without effect on
                tokens whose frames are all known.
            padding_mask: 1 on padded pixels; zeros when not given.
        """
        config = self.config
        self._check(latent, timestep, context, action)
        masks = [condition_mask]
        if config.padding_mask:
            masks.append(torch.zeros_like(condition_mask) if padding_mask is None else padding_mask)
        elif padding_mask is not None:
            raise ValueError("padding_mask would be ignored: this network was configured without it")
        x = self.x_embedder(patchify(torch.cat([latent, *masks], dim=1), config.patch))
        t, h, w = x.shape[1:4]
        rope = rotary_table((t, h, w), config.head_dim, config.rope_ratio, device=x.device)

        with torch.autocast(x.device.type, enabled=False):
            sinusoid, adaln = self.t_embedder(timestep.float() * 1e-3)
            if action is not None:
                known = reduce(condition_mask.float(), "b 1 (t r) h w -> b t 1", "min", r=config.patch[0])
                sinusoid = sinusoid + (1 - known) * self.action_embedder_B_D(action.float())
                adaln = adaln + (1 - known) * self.action_embedder_B_3D(action.float())
            emb = self.t_embedding_norm(sinusoid)
        if context is not None:
            context = context.to(x.dtype)
            if config.context_in_dim is not None:
                context = self.crossattn_proj(context)

        for block in self.blocks:
            x = block(x, emb, adaln, rope, context)
        with torch.autocast(x.device.type, enabled=False):
            out = self.final_layer(x.float(), emb, adaln)
        return unpatchify(out, config.patch)

    def _check(self, latent: Tensor, timestep: Tensor, context: Tensor | None, action: Tensor | None) -> None:
        config = self.config
        b, c, *size = latent.shape
        if c != config.latent_channels:
            raise ValueError(f"latent has {c} channels, the network takes {config.latent_channels}")
        if any(s % p for s, p in zip(size, config.patch, strict=True)):
            raise ValueError(f"latent of t h w = {tuple(size)} does not divide into patches of {config.patch}")
        tokens = size[0] // config.patch[0]
        if timestep.shape != (b, tokens):
            raise ValueError(f"timestep has shape {tuple(timestep.shape)}, expected {(b, tokens)}")
        if (context is None) != (config.context_dim is None):
            raise ValueError(f"context given: {context is not None}, but context_dim={config.context_dim}")
        if (action is None) != (config.action_dim is None):
            raise ValueError(f"action given: {action is not None}, but action_dim={config.action_dim}")
        if action is not None and action.shape != (b, tokens, config.action_dim):
            raise ValueError(f"action has shape {tuple(action.shape)}, expected {(b, tokens, config.action_dim)}")

    def reset_parameters(self) -> None:
        """Truncated normal of std 1/sqrt(fan_in), cut at 3 std; zeros where a path must start silent; norms at 1."""
        for module in self.modules():
            if isinstance(module, nn.Linear):
                std = module.in_features**-0.5
                nn.init.trunc_normal_(module.weight, std=std, a=-3 * std, b=3 * std)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.RMSNorm):
                nn.init.ones_(module.weight)
        for name, module in self.named_modules():
            if isinstance(module, ActionEmbedder):
                nn.init.zeros_(module.fc2.weight)
            elif name.endswith(".2") and "adaln_modulation" in name:
                nn.init.zeros_(module.get_parameter("weight"))

    def cast(self, dtype: torch.dtype) -> "DiT":
        """Hold the weights in ``dtype``, but for those that the original computes in fp32."""
        self.to(dtype)
        for name, module in self.named_modules():
            leaf = name.split(".")[-1]
            if leaf.startswith(("t_embedd", "adaln_modulation", "action_embedder")) or leaf == "final_layer":
                module.float()
        return self


class Block(nn.Module):
    """Self-attention, cross-attention and MLP, each ``x += gate * f(LN(x) * (1 + scale) + shift)``."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.model_channels
        self.self_attn = Attention(width, width, config.num_heads)
        self.adaln_modulation_self_attn = modulation(width, config.adaln_lora_dim, 3 * width)
        self.cross_attn = None
        if config.context_dim is not None:
            self.cross_attn = Attention(width, config.context_dim, config.num_heads)
            self.adaln_modulation_cross_attn = modulation(width, config.adaln_lora_dim, 3 * width)
        self.mlp = MLP(width, int(width * config.mlp_ratio))
        self.adaln_modulation_mlp = modulation(width, config.adaln_lora_dim, 3 * width)

    def forward(
        self,
        x: Float[Tensor, "b t h w d"],
        emb: Float[Tensor, "b t d"],
        adaln: Float[Tensor, "b t d3"],
        rope: tuple[Tensor, Tensor],
        context: Float[Tensor, "b l e"] | None,
    ) -> Float[Tensor, "b t h w d"]:
        t, h, w = x.shape[1:4]
        y, gate = modulate(x, self.adaln_modulation_self_attn, emb, adaln)
        y = rearrange(y, "b t h w d -> b (t h w) d")
        x = x + gate * rearrange(self.self_attn(y, y, rope), "b (t h w) d -> b t h w d", t=t, h=h, w=w)
        if self.cross_attn is not None:
            y, gate = modulate(x, self.adaln_modulation_cross_attn, emb, adaln)
            y = self.cross_attn(rearrange(y, "b t h w d -> b (t h w) d"), context)
            x = x + gate * rearrange(y, "b (t h w) d -> b t h w d", t=t, h=h, w=w)
        y, gate = modulate(x, self.adaln_modulation_mlp, emb, adaln)
        return x + gate * self.mlp(y)


class Attention(nn.Module):
    """Multi-head attention with RMS-normalised queries and keys; rotary positions when given."""

    def __init__(self, width: int, context_width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(width, width, bias=False)
        self.k_proj = nn.Linear(context_width, width, bias=False)
        self.v_proj = nn.Linear(context_width, width, bias=False)
        self.output_proj = nn.Linear(width, width, bias=False)
        self.q_norm = RMSNorm(width // num_heads, eps=1e-6)
        self.k_norm = RMSNorm(width // num_heads, eps=1e-6)

    def forward(
        self, x: Float[Tensor, "b n d"], context: Float[Tensor, "b l e"], rope: tuple[Tensor, Tensor] | None = None
    ) -> Float[Tensor, "b n d"]:
        q, k, v = (
            rearrange(y, "b n (heads e) -> b heads n e", heads=self.num_heads)
            for y in (self.q_proj(x), self.k_proj(context), self.v_proj(context))
        )
        q, k = self.q_norm(q), self.k_norm(k)
        if rope is not None:
            q, k = rotate(q, *rope), rotate(k, *rope)
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v)
        return self.output_proj(rearrange(y, "b heads n e -> b n (heads e)"))


class RMSNorm(nn.RMSNorm):
    """In the input's dtype, whatever the weight's."""

    def forward(self, x: Tensor) -> Tensor:
        assert self.weight is not None
        return F.rms_norm(x, self.normalized_shape, self.weight.to(x.dtype), self.eps)


class MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.layer1 = nn.Linear(width, hidden, bias=False)
        self.layer2 = nn.Linear(hidden, width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer2(F.gelu(self.layer1(x)))


class PatchEmbed(nn.Module):
    def __init__(self, in_features: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Sequential(nn.Identity(), nn.Linear(in_features, width, bias=False))

    def forward(self, patches: Tensor) -> Tensor:
        return self.proj(patches.to(self.proj[1].get_parameter("weight").dtype))


class Sinusoid(nn.Module):
    """[cos, sin] of the timestep times ``exp(-ln(1e4) i / (d / 2))``."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, t: Float[Tensor, "b t"]) -> Float[Tensor, "b t d"]:
        half = self.dim // 2
        frequency = torch.exp(-math.log(1e4) * torch.arange(half, device=t.device, dtype=torch.float32) / half)
        angle = t[..., None] * frequency
        return torch.cat([angle.cos(), angle.sin()], dim=-1)


class TimestepEmbedding(nn.Module):
    """Passes the sinusoid on, and the modulation that all blocks share: Linear2(SiLU(Linear1(sinusoid)))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear_1 = nn.Linear(width, width, bias=False)
        self.linear_2 = nn.Linear(width, 3 * width, bias=False)

    def forward(self, sinusoid: Float[Tensor, "b t d"]) -> tuple[Float[Tensor, "b t d"], Float[Tensor, "b t d3"]]:
        return sinusoid, self.linear_2(F.silu(self.linear_1(sinusoid)))


class ActionEmbedder(nn.Module):
    def __init__(self, in_features: int, hidden: int, out_features: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(in_features, hidden)
        self.fc2 = nn.Linear(hidden, out_features)

    def forward(self, action: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(action), approximate="tanh"))


class FinalLayer(nn.Module):
    def __init__(self, config: DiTConfig, out_features: int) -> None:
        super().__init__()
        width = config.model_channels
        self.linear = nn.Linear(width, out_features, bias=False)
        self.adaln_modulation = modulation(width, config.adaln_lora_dim, 2 * width)

    def forward(self, x: Tensor, emb: Tensor, adaln: Tensor) -> Tensor:
        shift, scale = (self.adaln_modulation(emb) + adaln[..., : 2 * x.shape[-1]])[:, :, None, None].chunk(2, dim=-1)
        return self.linear(layer_norm(x) * (1 + scale) + shift)


def modulation(width: int, rank: int, out_features: int) -> nn.Sequential:
    """AdaLN-LoRA: SiLU and two linear layers through a narrow middle."""
    return nn.Sequential(nn.SiLU(), nn.Linear(width, rank, bias=False), nn.Linear(rank, out_features, bias=False))


def modulate(x: Tensor, adaln_lora: nn.Module, emb: Tensor, adaln: Tensor) -> tuple[Tensor, Tensor]:
    """``LN(x) * (1 + scale) + shift`` and the gate, both in ``x``'s dtype; the modulation itself in fp32."""
    with torch.autocast(x.device.type, enabled=False):
        modulation = (adaln_lora(emb) + adaln)[:, :, None, None].to(x.dtype)
    shift, scale, gate = modulation.chunk(3, dim=-1)
    return layer_norm(x) * (1 + scale) + shift, gate


def layer_norm(x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], eps=1e-6).to(x.dtype)


def patchify(x: Float[Tensor, "b c t h w"], patch: tuple[int, int, int]) -> Float[Tensor, "b t h w p"]:
    r, m, n = patch
    return rearrange(x, "b c (t r) (h m) (w n) -> b t h w (c r m n)", r=r, m=m, n=n)


def unpatchify(x: Float[Tensor, "b t h w p"], patch: tuple[int, int, int]) -> Float[Tensor, "b c t h w"]:
    """Back to a video; the output features are ordered (m n r c), unlike the input's (c r m n)."""
    r, m, n = patch
    return rearrange(x, "b t h w (m n r c) -> b c (t r) (h m) (w n)", r=r, m=m, n=n)


def rotary_table(
    size: tuple[int, int, int], head_dim: int, ratio: tuple[float, float, float], *, device: torch.device
) -> tuple[Float[Tensor, "n e"], Float[Tensor, "n e"]]:
    """Cosines and sines of the 3-D rotary embedding, for the ``t h w`` tokens of a video, in fp32.

    Height and width take ``head_dim // 6`` frequencies each, time the rest; an axis of ``d`` channels has
    ``theta = 10000 * ratio ** (d / (d - 2))`` (NTK-aware extrapolation).
    """
    spatial = head_dim // 6 * 2
    angles = []
    for axis, (length, dim) in enumerate(zip(size, (head_dim - 2 * spatial, spatial, spatial), strict=True)):
        theta = 1e4 * ratio[axis] ** (dim / (dim - 2))
        frequency = theta ** (-torch.arange(0, dim, 2, device=device, dtype=torch.float32) / dim)
        angle = torch.arange(length, device=device, dtype=torch.float32)[:, None] * frequency
        shape = [1, 1, 1, dim // 2]
        shape[axis] = length
        angles.append(angle.view(shape).expand(*size, dim // 2))
    angle = rearrange(torch.cat(angles, dim=-1), "t h w e -> (t h w) e").repeat(1, 2)
    return angle.cos(), angle.sin()


def rotate(x: Float[Tensor, "b heads n e"], cos: Tensor, sin: Tensor) -> Float[Tensor, "b heads n e"]:
    """Rotate the pairs (i, i + e/2) of every head, in fp32."""
    x = x.float()
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


PRESETS: dict[str, DiTConfig] = {
    "predict2.5-2b": DiTConfig(),
    "predict2.5-2b-paper": DiTConfig(num_blocks=32),
    "predict2.5-14b": DiTConfig(model_channels=5120, num_heads=40, num_blocks=36),
    "predict2.5-2b-action": DiTConfig(action_dim=28),
}
