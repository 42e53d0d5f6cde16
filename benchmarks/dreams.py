"""Dreams an hour, where their time goes, and the simulator's demonstrations an hour beside them.

    python benchmarks/dreams.py --threads 1                                 # the small world on one core
    python benchmarks/dreams.py --network predict2.5-2b --device cuda       # the 2B, random weights

A dream is imagined from one frame and a text, its actions are read off it (``--labeller``, else inverse dynamics of the
default sizes and random weights; eight draws), carried out in an action-conditioned world for the cycle's consistency
(``--world``, the shipped one of Lift) and replayed in the simulator. The small world is the shipped Transfer world
without its branches, or ``--model``: a packed one, or one that ``train world --instructed`` exported. The 2B makes
704x1280, and what reads it sees it as two cameras of the dataset's size. The peer is what dreams stand in for: as many
steps of the scripted expert in the simulator, every frame drawn.

All rows take turns, the first turn warms up, and each has its fastest turn. With ``--threads 1`` on a CPU the clock
counts this process alone, so that other programs do not matter. Prints its table and keeps it beside this file.
"""

import argparse
import resource
from collections.abc import Callable
from pathlib import Path

import torch
from clock import now
from log import Log
from provenance import provenance
from transfer import argument_parser, parsed
from transfer import world as open_transfer

from cosmos_sim.data.images import stretch
from cosmos_sim.data.pretrained import kind_of
from cosmos_sim.envs.twin.env import CosmosTwin
from cosmos_sim.envs.twin.replay import replay
from cosmos_sim.envs.worlds import load_world
from cosmos_sim.policies.scripted import scripted_policy
from cosmos_sim.synthesis.dreaming import Labeller
from cosmos_sim.synthesis.imagining import (
    Imagined,
    Imagines,
    PredictImaginer,
    WorldImaginer,
    find_imaginer,
    open_imaginer,
)
from cosmos_sim.synthesis.plan import SAMPLES
from cosmos_sim.synthesis.starts import Start
from cosmos_sim.world_model.inverse_dynamics import InverseDynamics, InverseDynamicsConfig, InverseDynamicsNet
from cosmos_sim.world_model.latent_actions import load_inverse_dynamics
from cosmos_sim.world_model.world import KIND

TASK = "Lift"
Work = Callable[[], object]


def main() -> None:
    parser = argument_parser(__doc__)
    parser.add_argument("--labeller", help="a trained reader in place of one of random weights")
    parser.add_argument("--world", default="lift", help="carries the actions out; '' for none")
    parser.add_argument("--frames", type=int, help="of a dream (default: 49, of the 2B a chunk)")
    arguments = parsed(parser)
    arguments.branches = 1  # which dreams do not use
    imaginer, what, device, frames = imagining(arguments)
    frames = arguments.frames or frames
    log = Log(arguments.out or Path(__file__).with_name(f"dreams_{arguments.network}_{device.type}.txt"))
    log(provenance(device))
    log(f"# {what}, {frames} frames")

    twin = CosmosTwin(TASK, horizon=frames - 1, terminate_on_success=False)
    first, info = twin.reset(seed=0)
    views = imaginer.cameras or tuple(first["pixels"])
    start = Start({camera: first["pixels"][camera] for camera in views}, first["agent_pos"])
    labeller = reader(arguments.labeller, views, twin, device=str(device))
    world = load_world(arguments.world, device=str(device)) if arguments.world else None

    def imagine() -> Imagined:
        return imaginer.imagine(start, info["task"], frames=frames, seed=0)

    dream = imagine()
    actions = labeller.read(dream.frames, dream.state, samples=SAMPLES).action

    def cycle() -> None:
        assert world is not None
        at = {camera: stretch(start.frames[camera][None], size) for camera, size in world.spec.cameras.items()}
        world.step(world.reset(at, first["agent_pos"][None], [0]), actions[None])

    dreaming: dict[str, Work] = {
        "imagine": imagine,
        "read actions": lambda: labeller.read(dream.frames, dream.state, samples=SAMPLES),
        **({"cycle": cycle} if world is not None else {}),
        "replay": lambda: replay(TASK, 0, actions),
    }
    best = fastest(dreaming | {"expert": lambda: demonstrate(twin)}, arguments.rounds, device)
    whole = sum(best[name] for name in dreaming)
    log(f"{'':24}{'seconds':>9}{'share':>8}{'an hour':>9}")
    for name in dreaming:
        log(f"{name:24}{best[name]:9.2f}{best[name] / whole:8.0%}")
    log(f"{'a dream':24}{whole:9.2f}{'':8}{3600 / whole:9.0f}")
    log(f"{'a demonstration':24}{best['expert']:9.2f}{'':8}{3600 / best['expert']:9.0f}")
    log(f"a dream takes {whole / best['expert']:.2f} times as long as a demonstration, both of {frames - 1} steps")
    if device.type == "cuda":
        log(f"peak memory: {torch.cuda.max_memory_reserved(device) / 2**30:.1f} GiB reserved")
    else:
        log(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


def imagining(arguments: argparse.Namespace) -> tuple[Imagines, str, torch.device, int]:
    """What imagines, what it is, where, and how many frames a dream of it has unless the command says."""
    if arguments.model and kind_of(find_imaginer(arguments.model)) == KIND:
        told = open_imaginer(arguments.model, device=arguments.device, steps=arguments.steps)
        assert isinstance(told, WorldImaginer)
        sizes = " and ".join(f"{height}x{width}" for height, width in told.world.spec.cameras.values())
        return told, f"{told.world.spec.task}, instructed: {sizes}", told.world.device, 49
    pipeline, what = open_transfer(arguments)
    height, width = pipeline.config.size
    steps = pipeline.sampling(arguments.steps).steps
    frames = 49 if arguments.network == "small" else pipeline.config.chunk
    imaginer = PredictImaginer(pipeline, steps=arguments.steps)
    return imaginer, f"{what}: {height}x{width}, {steps} steps", pipeline.device, frames


def reader(name: str | None, cameras: tuple[str, ...], twin: CosmosTwin, *, device: str) -> Labeller:
    """What reads the actions: trained, or of random weights, which change no time."""
    if name is not None:
        return load_inverse_dynamics(name, device=device)
    config = InverseDynamicsConfig(cameras, action_dim=twin.action_space.shape[0])
    return InverseDynamics(InverseDynamicsNet(config).to(device), figures={})


def demonstrate(twin: CosmosTwin) -> None:
    """One episode of the scripted expert, every frame of which is drawn."""
    policy = scripted_policy(TASK)
    policy.reset([1])
    observation, info = twin.reset(seed=1)
    ended = False
    while not ended:
        state = {name: value[None] for name, value in info["state"].items()}
        observation, _, terminated, truncated, info = twin.step(policy.act(observation, {"state": state})[0, 0])
        ended = terminated or truncated


def fastest(work: dict[str, Work], rounds: int, device: torch.device) -> dict[str, float]:
    """Seconds of each, the least of so many rounds after one that warms up."""
    best: dict[str, float] = {}
    for number in range(rounds + 1):
        for name, do in work.items():
            began = now(device)
            do()
            seconds = now(device) - began
            if number:
                best[name] = min(seconds, best.get(name, seconds))
    return best


if __name__ == "__main__":
    main()
