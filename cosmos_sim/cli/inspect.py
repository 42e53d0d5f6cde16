"""``cosmos-sim inspect``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any


def inspect(
    *,
    world: str = "lift",
    data: Path | None = None,
    episodes: int = 20,
    all_episodes: bool = False,
    horizons: tuple[int, ...] = (1, 12, 50),
    stride: int = 24,
    starts: int = 8,
    twin: bool = True,
    device: str | None = None,
    sampling_steps: int | None = None,
    out: Path | None = None,
) -> None:
    """Measure a learned world: its frames beside recorded episodes, and whether its arm does as told.

    Args:
        world: A shipped world's name, a folder or a hub id.
        data: A LeRobot dataset to imagine again; without one only the six directions are commanded.
        episodes: How many of its episodes, at most.
        all_episodes: Not only those held out from training; for a dataset that the world was not trained on.
        horizons: Numbers of actions after which frames are compared.
        stride: Steps between the beginnings of windows.
        starts: Start frames that the six directions are commanded from.
        twin: Command them in the simulator too.
        device: cpu, cuda, ...; a GPU where there is one by default.
        sampling_steps: Evaluations of the world's transformer a frame; the world's own by default.
        out: A JSON file for the figures.
    """
    from cosmos_sim.data.lerobot import dataset_info, read_episodes
    from cosmos_sim.data.split import held_out
    from cosmos_sim.evaluation.counterfactual import counterfactual
    from cosmos_sim.evaluation.inspection import counterfactual_text, open_loop_text
    from cosmos_sim.evaluation.open_loop import open_loop
    from cosmos_sim.evaluation.report import strict_json, write_whole
    from cosmos_sim.evaluation.sides import load_world, twin_task

    for name, value in (("episodes", episodes), ("starts", starts)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if data is None and all_episodes:
        raise ValueError("all_episodes=True would be ignored: no data given")
    model, _ = load_world(world, device=device, sampling_steps=sampling_steps)
    found: dict[str, Any] = {"format": "cosmos-sim inspection 1", "world": world, "data": data and str(data)}
    if data is not None:
        count = dataset_info(data).episodes
        chosen = (tuple(range(count)) if all_episodes else held_out(count))[:episodes]
        if not chosen:
            raise ValueError(f"{str(data)!r} has {count} episode(s), none held out: use all_episodes")
        seen = list(read_episodes(data, chosen, tuple(model.spec.cameras)))
        result = open_loop(model, seen, horizons=horizons, stride=stride)
        print(open_loop_text(result), end="\n\n")
        found["episodes"] = list(chosen)
        found["open_loop"] = asdict(result)
    if model.starts is not None:
        first = model.starts.select(range(min(starts, len(model.starts))))
        six = counterfactual(model, first, twin=twin_task(model.spec.task) if twin else None)
        print(counterfactual_text(six))
        found["counterfactual"] = asdict(six)
    if out is not None:
        write_whole(out, strict_json(found))
