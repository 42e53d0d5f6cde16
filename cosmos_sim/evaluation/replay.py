"""The same actions, carried out in the simulator: would they have done what the world imagined?"""

from collections.abc import Callable, Sequence

from cosmos_sim.evaluation.outcome import Outcome


def replays(task: str, outcomes: Sequence[Outcome], *, progress: Callable[[], None] | None = None) -> list[bool]:
    """For each imagined episode, whether its actions from its start solve the simulator's ``task``.

    Closed-loop runs on two sides part ways with the first difference a policy sees. A replay takes the policy out: with
    the same start and the same actions, a difference in verdict is the world's own, of its frames or of its success
    head. Nothing is rendered, so it costs little.
    """
    from cosmos_sim.envs.twin.env import CosmosTwin
    from cosmos_sim.envs.twin.simulation import Simulation
    from cosmos_sim.envs.twin.tasks import find_task

    twin, simulation = CosmosTwin(task), Simulation(find_task(task))
    verdicts = []
    try:
        for outcome in outcomes:
            twin.reset(seed=outcome.seed)
            simulation.restore(twin.save_state().simulation)
            success = False
            for action in outcome.action:
                simulation.step(action.astype(float))
                success = success or simulation.success
            verdicts.append(success)
            if progress is not None:
                progress()
    finally:
        twin.close()
    return verdicts
