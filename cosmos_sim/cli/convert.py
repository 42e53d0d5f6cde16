"""``cosmos-sim convert``."""

from pathlib import Path
from typing import Any, Literal

import tyro


def convert(
    source: tyro.conf.Positional[str],
    destination: tyro.conf.Positional[Path],
    *,
    to: Literal["nvidia", "nvidia-dcp", "diffusers", "ours"],
    dtype: Literal["keep", "bf16", "fp32"] = "keep",
    weights: Literal["auto", "ema", "regular"] = "auto",
    adapter: str | None = None,
    inner_adapter: Literal["merge", "extract", "drop"] | None = None,
    lora_alpha: float | None = None,
    rope_ratio: tuple[float, float, float] | None = None,
    action_layout: Literal["latent", "chunk"] | None = None,
    keep_actions: bool = False,
    base: str | None = None,
    controls: tuple[Literal["edge", "blur", "depth", "seg"], ...] = (),
    control_every: int | None = None,
    max_shard_gb: float = 5.0,
    overwrite: bool = False,
) -> None:
    """Convert checkpoints between NVIDIA's, diffusers' and our formats.

    Networks (2B, 14B, action-conditioned, any size), Transfer2.5's control branches, LoRA adapters and the Wan2.1 VAE;
    which of them SOURCE is, and in which format, is seen from it. One tensor at a time is in memory; a damaged or
    foreign file is refused before anything is written.

    Args:
        source: A .pt, .pth or .safetensors file, or a folder of NVIDIA's trainer, diffusers, PEFT or ours.
        destination: A .pt or .pth file for nvidia, a folder for the others (diffusers: of the pipeline).
        to: nvidia is one .pt file, nvidia-dcp a distributed checkpoint; ours of an adapter is PEFT's.
        dtype: Of the weights written; keep leaves them bit for bit as they are.
        weights: The averaged (ema) or the regular weights of a training checkpoint; auto takes ema where it is.
        adapter: A LoRA adapter to merge into the network.
        inner_adapter: What becomes of a LoRA adapter that lies among the weights of SOURCE.
        lora_alpha: The adapter's alpha, where its file does not hold it; NVIDIA's 32 by default.
        rope_ratio: Rotary extrapolation along t, h and w, which NVIDIA's files do not say; 1 3 3 (720p) by default.
        action_layout: Rows of actions, which NVIDIA's files do not say; one for each latent by default.
        keep_actions: For diffusers, which has no action conditioning: keep those weights in a file it does not read.
        base: The transformer that a control branch stands beside, where SOURCE is a branch alone.
        controls: What control branches are, in their order, where SOURCE does not say it; else which to convert.
        control_every: Distance of the blocks that branches give hints to, which NVIDIA's files do not say.
        max_shard_gb: Size of a safetensors shard, at most.
        overwrite: Replace what is at the destination.
    """
    import torch
    from tqdm import tqdm

    from cosmos_sim.world_model.checkpoints.convert import Options
    from cosmos_sim.world_model.checkpoints.convert import convert as run
    from cosmos_sim.world_model.checkpoints.infer import Unseen

    stated: dict[str, Any] = {"rope_ratio": rope_ratio, "action_layout": action_layout, "control_every": control_every}
    stated = {name: value for name, value in stated.items() if value is not None}
    options = Options(
        dtype={"keep": None, "bf16": torch.bfloat16, "fp32": torch.float32}[dtype],
        which=weights,
        adapter=adapter,
        inner=inner_adapter,
        lora_alpha=lora_alpha,
        unseen=Unseen(**stated) if stated else None,
        keep_actions=keep_actions,
        base=base,
        controls=controls or None,
        max_shard=round(max_shard_gb * 1e9),
    )
    with tqdm(unit="B", unit_scale=True, dynamic_ncols=True, disable=None) as bar:

        def watch(nbytes: int, total: int) -> None:
            bar.total = total
            bar.update(nbytes)

        done = run(source, destination, to=to, options=options, overwrite=overwrite, watch=watch)
    print(f"{done.kind}: {done.tensors} tensors, {done.nbytes / 1e9:.3g} GB, in {str(done.path)!r}")
