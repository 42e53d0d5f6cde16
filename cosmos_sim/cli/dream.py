"""``cosmos-sim dream``."""

from pathlib import Path
from typing import Literal


def dream(
    *,
    dataset: str,
    out: Path,
    model: str,
    labeller: str,
    instructions: Path | None = None,
    per_instruction: int = 5,
    frames: int = 49,
    starts: Literal["same", "any", "twin"] = "same",
    world: str | None = None,
    twin: str | None = None,
    limit: tuple[str, ...] = (),
    slack: float = 2.0,
    unfiltered: bool = False,
    with_seed: bool = False,
    cameras: tuple[str, ...] = (),
    guidance: float | None = None,
    steps: int | None = None,
    samples: int = 8,
    seed: int = 0,
    workers: int | None = None,
    ray: str | None = None,
    device: str = "auto",
) -> None:
    """Imagine episodes of what instructions say, read the actions off them, and keep those that hold together.

    As in DreamGen, but filtered: by how sure the actions could be read, how natural they are, whether a world that
    follows actions imagines the same under them, and, with a twin, whether they succeed in the simulator. OUT is a
    LeRobotDataset whose actions are marked as pseudo-actions in meta/dreams.jsonl; OUT/dreams.html shows each dream,
    its scores and why it was rejected. Stopped at any moment, the same command goes on.

    Args:
        dataset: The seed dataset: a LeRobotDataset's folder, the name of a recorded one, or a hub id.
        out: The folder of the new dataset, which must not exist yet.
        model: What imagines: a world that pack made (--bare will do), or a Cosmos-Predict2.5 checkpoint.
        labeller: What reads actions off videos: the folder that train idm or train latent-actions exported.
        instructions: A text file, one instruction a line; the seed dataset's own by default.
        per_instruction: Dreams of each instruction.
        frames: Of each dream.
        starts: Begin like episodes with the same instruction, like any episode, or afresh in the simulator (twin).
        world: An action-conditioned world, shipped name or folder, for the cycle's consistency and the states.
        twin: The simulator's task: replay every dream there and keep what really succeeds.
        limit: The worst score that a dream may have, as NAME=VALUE: deviation, jerk, saturation, cycle, failure, replay
            or duplicate. By default SLACK times what the seed dataset's real episodes have.
        slack: See limit.
        unfiltered: Put rejected dreams in as well; meta/dreams.jsonl says which they are.
        with_seed: Put the seed dataset's episodes in first.
        cameras: The cameras to imagine, which are all that dreams have; the dataset's by default.
        guidance: How strongly the instruction guides; the model's own by default.
        steps: Sampling steps; the model's own by default.
        samples: Draws of the actions, whose spread says how sure they are.
        seed: Of starts and noise.
        workers: Processes that dream; one for each GPU by default.
        ray: Dream on a Ray cluster: its address, auto, or local for one of this machine.
        device: cpu, cuda (all GPUs), cuda:0, ...
    """
    from dataclasses import replace

    from cosmos_sim.cli._pairs import pairs
    from cosmos_sim.cli._runner import find_runner
    from cosmos_sim.data.lerobot import dataset_info
    from cosmos_sim.envs.twin.instructions import parse_instruction
    from cosmos_sim.envs.twin.tasks import find_task
    from cosmos_sim.synthesis.dream import dream as run
    from cosmos_sim.synthesis.instructions import read_instructions
    from cosmos_sim.synthesis.opening import Opener, action_range, digests, find_limits
    from cosmos_sim.synthesis.plan import DreamConfig
    from cosmos_sim.synthesis.starts import LANGUAGE_TASK

    spoken = twin is not None and find_task(twin).name == LANGUAGE_TASK
    check = parse_instruction if spoken else None
    if instructions is not None:
        texts = read_instructions(instructions, check=check)
    else:
        texts = tuple(dict.fromkeys(text.strip() for text in dataset_info(dataset).episode_tasks if text.strip()))
        if not texts:
            raise ValueError(f"{dataset!r} has no task texts: give a file of instructions, and let starts be any")
    limits_given = {}
    for name, value in pairs(limit, "limit").items():
        try:
            limits_given[name] = float(value)
        except ValueError:
            raise ValueError(f"limit: {name}={value!r} is no number") from None
    config = DreamConfig(
        dataset,
        model,
        labeller,
        texts,
        per_instruction=per_instruction,
        frames=frames,
        starts=starts,
        world=world,
        twin=twin,
        cameras=cameras or None,
        seed=seed,
        guidance=guidance,
        steps=steps,
        samples=samples,
    )
    config = replace(config, weights=digests(config))
    runner, first = find_runner(workers, ray, device)
    usual = action_range(dataset)
    limits = find_limits(config, out.absolute(), usual, given=limits_given, slack=slack, device=first)
    made = run(
        config,
        out,
        opener=Opener(config, usual),
        runner=runner,
        limits=limits,
        usual=usual,
        unfiltered=unfiltered,
        with_seed=with_seed,
    )
    if made.new == 0:
        print(f"{str(out)!r} is complete already: nothing to do")
    reasons = ", ".join(f"{name} {count}" for name, count in sorted(made.faults.items(), key=lambda pair: -pair[1]))
    print(
        f"{made.accepted} of {made.dreams} dreams passed ({made.accepted / max(1, made.dreams):.0%}), "
        f"{len(made.failed)} could not be made; in {str(out)!r}"
    )
    if reasons:
        print(f"rejected by: {reasons}")
    print(f"look at {str(out / 'dreams.html')!r}")
