"""``cosmos-sim evaluate``."""

from functools import partial
from pathlib import Path
from typing import Literal

from cosmos_sim.envs.rollout import Progress


def evaluate(
    *,
    policies: tuple[str, ...] = (),
    world: tuple[str, ...] = ("lift",),
    truth: Literal["twin", "none"] = "none",
    episodes: int | None = None,
    seeds: tuple[int, ...] | None = None,
    split: str | None = None,
    out: Path = Path("report"),
    horizon: int | None = None,
    device: str | None = None,
    sampling_steps: int | None = None,
    batch: int = 16,
    trust: str = "auto",
    min_trust: float | None = None,
) -> None:
    """Evaluate policies in closed loop inside a learned world, and beside the simulator.

    Prints rates, agreement and speed, and writes OUT/report.json and OUT/report.html. A command that was stopped
    continues: episodes that are done are kept in OUT/episodes.

    Args:
        policies: Shipped names, folders, hub ids or lerobot:PATH; all shipped policies by default.
        world: Learned worlds: shipped names, folders or hub ids.
        truth: twin also runs the policies from the same starts in the simulator, and reports agreement.
        episodes: How many of the world's start frames to begin from; 10 by default.
        seeds: The start frames to begin from, by the seed that made them, in place of EPISODES.
        split: Of the simulator's Tabletop: where start frames, made anew, and instructions are from, such as
            unseen_objects; needs the truth of the twin.
        out: Folder for the report.
        horizon: Steps after which an episode is cut; the world's own by default.
        device: cpu, cuda, ...; a GPU where there is one by default.
        sampling_steps: Evaluations of the world's transformer a frame; the world's own by default.
        batch: Imagined episodes at once.
        trust: Inverse dynamics that judge whether imagined frames follow the actions: a folder, name or hub id; auto
            takes those in the world's folder, if there are any; none does without.
        min_trust: A success counts only where trust was not below this for 4 frames in a row, in the part of the
            report that takes trust into account; 0.3 by default. Episodes stay the same.
    """
    from cosmos_sim.data.pretrained import shipped
    from cosmos_sim.envs.starts import starts_from_twin
    from cosmos_sim.envs.trust import TrustRule
    from cosmos_sim.envs.twin.tasks import find_task
    from cosmos_sim.evaluation.evaluate import Study, run_study
    from cosmos_sim.evaluation.replay import replays
    from cosmos_sim.evaluation.sides import (
        contenders,
        load_world,
        start_seeds,
        task_text,
        trust_folder,
        twin_side,
        world_side,
    )
    from cosmos_sim.evaluation.table import text_report

    if batch < 1:
        raise ValueError(f"batch must be at least 1, got {batch}")
    if horizon is not None and horizon < 1:
        raise ValueError(f"horizon must be at least 1 step, got {horizon}")
    names = policies or tuple(shipped("policy"))
    loaded = {name: load_world(name, device=device, sampling_steps=sampling_steps) for name in world}
    if not loaded:
        raise ValueError("there is no world to evaluate in")
    worlds = {name: found for name, (found, _) in loaded.items()}
    first = next(iter(worlds.values()))
    for name, found in worlds.items():
        if found.spec.task != first.spec.task:
            raise ValueError(
                f"worlds of different tasks: {world[0]!r} {first.spec.task!r}, {name!r} {found.spec.task!r}"
            )
    judges = {name: trust_folder(trust, found) for name, found in worlds.items()}
    rule = None
    if any(judges.values()):
        rule = TrustRule() if min_trust is None else TrustRule(min_trust)
    elif min_trust is not None:
        raise ValueError(f"min_trust={min_trust} would be ignored: no world has calibrated inverse dynamics")
    steps = first.spec.horizon if horizon is None else horizon
    task = find_task(first.spec.task).name if truth == "twin" else None
    begin = start_seeds(worlds, episodes=episodes, seeds=seeds)
    if split is not None and task is None:
        raise ValueError(f"split={split!r} would be ignored without truth='twin'")
    starts = None if split is None or task is None else starts_from_twin(task, begin, split=split)
    study = Study(
        contenders=contenders(names, device=first.device.type),
        worlds=[
            world_side(
                name, found, content, horizon=steps, width=batch, twin_starts=starts, split=split, trust=judges[name]
            )
            for name, (found, content) in loaded.items()
        ],
        truth=None if task is None else twin_side(task, horizon=steps, split=split),
        seeds=begin,
        task=task_text(first.spec.task),
        horizon=steps,
        replay=None if task is None else partial(replays, task, split=split, cache=out / "replays.json"),
        trust=rule,
    )
    settings = {
        "policies": list(names),
        "world": list(world),
        "truth": truth,
        "split": split,
        "horizon": steps,
        "device": str(first.device),
        "precision": str(first.dtype).removeprefix("torch."),
        "sampling steps": len(first.times) - 1,
        "batch": batch,
        "trust": trust,
        "min_trust": None if rule is None else rule.minimum,
    }
    try:
        with _Bars() as bars:
            report = run_study(study, out, settings=settings, watch=bars)
    except KeyboardInterrupt:
        print(f"\nstopped; what is done is kept in {out / 'episodes'}, and the same command goes on from there")
        raise
    print(text_report(report))
    print(f"\nreport: {out / 'report.html'}\ndata:   {out / 'report.json'}")


class _Bars:
    """A progress bar for each policy on each side."""

    def __init__(self) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._bar: tqdm | None = None

    def __enter__(self) -> "_Bars":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, side: str, policy: str, progress: Progress) -> None:
        if progress.steps == 0:
            self.__exit__()
            self._bar = None
            if progress.episodes:
                label = f"{policy} in {side}"
                self._bar = self._tqdm(total=progress.episodes, desc=label, unit="episode", dynamic_ncols=True)
            return
        if self._bar is not None:
            rate = progress.steps / max(progress.env_seconds + progress.policy_seconds, 1e-9)
            self._bar.set_postfix_str(f"{rate:.1f} steps/s", refresh=False)
            self._bar.update(progress.finished - self._bar.n)
