"""``cosmos-sim inspect``."""

from dataclasses import asdict
from pathlib import Path
from typing import Any


def inspect(
    *,
    world: str = "lift",
    data: Path | None = None,
    episodes: int = 100,
    all_episodes: bool = False,
    horizons: tuple[int, ...] = (12, 50),
    stride: int = 24,
    min_path: float = 0.05,
    reader: str | None = None,
    starts: int = 8,
    twin: bool = True,
    device: str | None = None,
    sampling_steps: int | None = None,
    out: Path | None = None,
) -> None:
    """Measure a learned world: its frames beside recorded episodes, its success head, and whether its arm does as told.

    Args:
        world: A shipped world's name, a folder or a hub id.
        data: A LeRobot dataset to imagine again; without one only the six directions are commanded. The first three
            values of its state are taken to be the hand's position in metres.
        episodes: How many of its episodes, at most.
        all_episodes: Not only those held out from training; for a dataset that the world was not trained on.
        horizons: Numbers of actions after which frames are compared.
        stride: Steps between the beginnings of windows.
        min_path: Metres that the hand must have moved within a window by the horizon for the window to count; 0 counts
            all windows.
        reader: A pose reader (``cosmos-sim train reader``), which finds the hand in frames.
        starts: Start frames that the six directions are commanded from.
        twin: Command them in the simulator too.
        device: cpu, cuda, ...; a GPU where there is one by default.
        sampling_steps: Evaluations of the world's transformer a frame; the world's own by default.
        out: A JSON file for the figures.
    """
    from tqdm import tqdm

    from cosmos_sim.data.lerobot import dataset_info, read_episodes
    from cosmos_sim.data.origins import held_out_of
    from cosmos_sim.envs.twin.tasks import find_task
    from cosmos_sim.evaluation.counterfactual import counterfactual
    from cosmos_sim.evaluation.inspection import counterfactual_text, open_loop_text, reader_text, success_text
    from cosmos_sim.evaluation.open_loop import open_loop
    from cosmos_sim.evaluation.pose_reader import PoseReader
    from cosmos_sim.evaluation.report import strict_json, write_whole
    from cosmos_sim.evaluation.sides import load_world
    from cosmos_sim.evaluation.success_head import on_real_frames

    for name, value in (("episodes", episodes), ("starts", starts)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if data is None and all_episodes:
        raise ValueError("all_episodes=True would be ignored: no data given")
    if data is None and reader is not None and not twin:
        raise ValueError(f"reader={reader!r} would be ignored: no data given, and no simulator")
    model, _ = load_world(world, device=device, sampling_steps=sampling_steps)
    eye = None if reader is None else PoseReader.from_pretrained(reader, device=model.device)
    found: dict[str, Any] = {
        "format": "cosmos-sim inspection 2",
        "world": world,
        "data": data and str(data),
        "reader": eye and {"name": reader, **eye.figures},
    }
    if eye is not None:
        print(reader_text(eye.figures), end="\n\n")
    if data is not None:
        info = dataset_info(data)
        count = info.episodes
        chosen = (tuple(range(count)) if all_episodes else held_out_of(info.path, count))[:episodes]
        if not chosen:
            raise ValueError(f"{str(data)!r} has {count} episode(s), none held out: use all_episodes")
        cameras = tuple(model.spec.cameras)
        seen = tqdm(read_episodes(data, chosen, cameras), "imagining", len(chosen), unit="episode", leave=False)
        result = open_loop(model, seen, horizons=horizons, stride=stride, min_path=min_path, reader=eye)
        print(open_loop_text(result), end="\n\n")
        again = tqdm(read_episodes(data, chosen, cameras), "judging", len(chosen), unit="episode", leave=False)
        real = on_real_frames(model, again)
        if real is not None or result.success is not None:
            print(success_text(real, result.success), end="\n\n")
        found |= {
            "episodes": list(chosen),
            "stride": stride,
            "open_loop": {k: v for k, v in asdict(result).items() if k != "success"},
            "success_on_real_frames": real and real.figures(),
            "success_on_imagined_frames": result.success and result.success.figures(),
        }
    if model.starts is not None:
        first = model.starts.select(range(min(starts, len(model.starts))))
        task = find_task(model.spec.task).name if twin else None
        six = counterfactual(model, first, twin=task, reader=eye if twin else None)
        print(counterfactual_text(six))
        found["counterfactual"] = asdict(six)
    if out is not None:
        write_whole(out, strict_json(found))
