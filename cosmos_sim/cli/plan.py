"""``cosmos-sim plan``."""

from pathlib import Path
from typing import Literal


def plan(
    *,
    preset: str = "predict2.5-2b",
    gpus: int = 1,
    gpu: str = "h100",
    resolution: str = "720p",
    frames: int = 93,
    batch: int = 1,
    accumulate: int = 1,
    replicate: int | None = None,
    shard: int | None = None,
    context: int | None = None,
    checkpointing: Literal["none", "selective", "attention", "full"] | None = None,
    compile: bool = True,
    tokens: float | None = None,
    json: Path | None = None,
) -> None:
    """Plan the training of a large network: memory by part, arithmetic, communication, MFU, days; and what would fit.

    Nothing is trained or loaded. Degrees and the level of checkpointing that are not given are chosen: the fastest that
    fits. Where what was asked for does not fit, the nearest that does is planned, too.

    Args:
        preset: The network: predict2.5-2b, predict2.5-2b-paper, predict2.5-14b or predict2.5-2b-action.
        gpus: How many there are; eight make a server.
        gpu: Which: h100, h200, b200 or a100.
        resolution: 256p, 480p, 720p or HEIGHT,WIDTH in pixels.
        frames: Of a video, 1 plus a multiple of 4; 1 for images.
        batch: Samples that a context group (a GPU, without one) computes at once.
        accumulate: Such batches in a step.
        replicate: Copies of the sharded model.
        shard: Context groups (GPUs, without them) that a copy is sharded over; at most as many as blocks.
        context: GPUs that share the tokens of a video; the heads divide by it.
        checkpointing: What each block keeps: everything, products and attention, attention alone, or its input.
        compile: Whether blocks are compiled.
        tokens: A budget, such as 1e12, to tell the days of.
        json: A file for all figures.
    """
    from json import dumps

    from cosmos_sim.data.files import new_file
    from cosmos_sim.world_model.dit import preset as network
    from cosmos_sim.world_model.plan import Asked, advise
    from cosmos_sim.world_model.plan_text import advice_text, plain
    from cosmos_sim.world_model.plan_workload import Workload
    from cosmos_sim.world_model.plan_workload import resolution as size

    if tokens is not None and not tokens >= 1:
        raise ValueError(f"tokens must be at least 1, not {tokens}")
    workload = Workload(network(preset), size(resolution), frames, batch, accumulate)
    asked = Asked(replicate, shard, context, checkpointing)
    advice = advise(workload, asked, gpus=gpus, device=gpu, compiled=compile)
    print(advice_text(advice, name=preset, tokens=tokens))
    if json is not None:
        with new_file(json) as partial:
            partial.write_text(dumps(plain(advice, name=preset, tokens=tokens), indent=2) + "\n")
