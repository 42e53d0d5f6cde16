"""Steps a second of the learned world and of the simulator, in turn, in the same run.

    python benchmarks/env_step.py            # prints each figure and their ratio
    python benchmarks/env_step.py --batch 16 # the world's vector form, too

Both get the same random actions from the same start and show both cameras at every step. A round of one and
a round of the other alternate, so that a machine that slows down slows both.
"""

import argparse
import os
import time

import gymnasium
import numpy as np
import torch

import cosmos_sim


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="steps of a round, at most the horizon")
    parser.add_argument("--batch", type=int, default=16, help="worlds in the vector form; 0 leaves it out")
    arguments = parser.parse_args()

    world = gymnasium.make("CosmosWorld-v0", success_frames=10**6)
    twin = gymnasium.make("CosmosTwin-v0", terminate_on_success=False)
    sides = {"CosmosWorld-v0": world, "CosmosTwin-v0": twin}
    if arguments.batch:
        sides[f"CosmosWorld-v0 x {arguments.batch}"] = gymnasium.make_vec(
            "CosmosWorld-v0",
            num_envs=arguments.batch,
            vectorization_mode="vector_entry_point",
            success_frames=10**6,
        )
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(arguments.rounds + 1):
        for name, env in sides.items():
            speeds[name].append(steps_per_second(env, arguments.steps))
    print(f"cosmos-sim {cosmos_sim.__version__}, torch {torch.__version__}, {os.cpu_count()} cores, "
          f"{torch.get_num_threads()} threads, CUDA: {torch.cuda.is_available()}")  # fmt: skip
    medians = {name: float(np.median(values[1:])) for name, values in speeds.items()}
    for name, values in speeds.items():
        print(f"{name:22s} {medians[name]:7.1f} steps/s   ({min(values[1:]):.1f} to {max(values[1:]):.1f})")
    print(f"world / twin           {medians['CosmosWorld-v0'] / medians['CosmosTwin-v0']:7.2f}")


def steps_per_second(env: gymnasium.Env | gymnasium.vector.VectorEnv, steps: int) -> float:
    """Of all environments together, resets left out."""
    env.reset(seed=0)
    env.action_space.seed(0)
    actions = [env.action_space.sample() for _ in range(steps)]
    began = time.perf_counter()
    for action in actions:
        env.step(action)
    return steps * getattr(env, "num_envs", 1) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
