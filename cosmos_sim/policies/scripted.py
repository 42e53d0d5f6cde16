"""Scripted experts for the twin's tasks, from able to hopeless, which make the data that worlds learn from."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32
from numpy import ndarray

from cosmos_sim.policies.scripted_motion import Habits, Hand, Script
from cosmos_sim.policies.scripted_tabletop import follow, play_about
from cosmos_sim.policies.scripted_tasks import ERRANDS, Errand, carry_out, play
from cosmos_sim.types import Observation

_Beginning = Callable[[Hand, str, bool], Script]
"""Hand, instruction, and whether it only plays, to the script of an episode."""

HABITS: dict[str, Habits] = {
    "expert": Habits(noise=0.05, aim=0.002, blunder=0.0, pace=(0.8, 1.0)),
    "noisy": Habits(noise=0.3, aim=0.007, blunder=0.08, pace=(0.5, 1.0)),
    "clumsy": Habits(noise=0.25, aim=0.011, blunder=0.5, pace=(0.5, 1.0)),
    "wrong": Habits(noise=0.12, aim=0.004, blunder=1.0, pace=(0.5, 1.0)),
    "random": Habits(noise=0.3, aim=0.0, blunder=0.0, pace=(0.3, 1.0)),
}

SKILLS = tuple(HABITS)
"""What each skill does.

- ``expert``: does the task, tries again after a miss, and when done holds, carries about, puts down or drops.
- ``noisy``: the same with an unsteady hand, inaccurate aim and varying pace; fails now and then.
- ``clumsy``: half of its attempts are blunders (those of ``wrong``), the others inaccurate.
- ``wrong``: only blunders: grasps beside or above the object, or with fingers already closed; lands on its edge,
  pushes it, lets go of it too soon, hesitates; takes the wrong cube, or puts the object in a wrong place.
- ``random``: has no purpose: drifts and visits points in the working volume and near the object, pushing and at times
  grasping it by chance, while the gripper opens and closes.
"""


class ScriptedPolicy:
    """Acts on the true state, ``info["state"]``, one action a step, in any number of episodes at once.

    On the tabletop it does what ``info["task"]`` says as its episode begins: a text for all, or one for each.

    It is a :class:`cosmos_sim.types.Policy`. Each array of ``info["state"]`` has the episodes as its first axis; a
    caller with a single environment adds that axis. Actions are float32 in [-1, 1].
    """

    def __init__(self, task: str, skill: str) -> None:
        self._begin = _known("task", task, _SCRIPTS)
        self._habits = _known("skill", skill, HABITS)
        self._plays = skill == "random"
        self._hands: list[Hand] = []
        self._scripts: list[Script | None] = []
        """Of each episode what it does; nothing yet before it has seen anything."""

    def reset(self, seeds: Sequence[int]) -> None:
        """Begin ``len(seeds)`` episodes; everything left to chance in one of them follows from its seed."""
        self._hands = [Hand(np.random.default_rng(int(seed)), self._habits) for seed in seeds]
        self._scripts = [None] * len(seeds)

    def act(self, observation: Observation, info: Mapping[str, Any]) -> Float32[ndarray, "b 1 7"]:
        """The next action of every episode.

        Raises:
            ValueError: when ``info["state"]`` is missing or of another size, or on the tabletop ``info["task"]`` is
                missing.
        """
        state = info.get("state")
        if state is None:
            raise ValueError("scripted experts read info['state'], the true state, which only the simulator twin gives")
        batch = len(state["eef_pos"])
        if np.ndim(state["eef_pos"]) != 2 or batch != len(self._hands):
            raise ValueError(
                f"info['state']['eef_pos'] must be (b, 3) with b = {len(self._hands)}, the number of seeds given to "
                f"reset, not {np.shape(state['eef_pos'])}"
            )
        actions = []
        for index, hand in enumerate(self._hands):
            hand.see({name: value[index] for name, value in state.items()})
            script = self._scripts[index]
            if script is None:
                script = self._scripts[index] = self._begin(hand, _instruction(info, index), self._plays)
            actions.append(next(script))
        return np.stack(actions)[:, None]


def scripted_policy(task: str, skill: str = "expert") -> ScriptedPolicy:
    """The scripted expert for ``task`` (``Lift``, ``Stack``, ``PickPlaceCan``, ``Tabletop``) with one of
    :data:`SKILLS`.
    """
    return ScriptedPolicy(task, skill)


def _always(errand: Errand) -> _Beginning:
    return lambda hand, instruction, plays: (play if plays else carry_out)(hand, errand)


def _as_told(hand: Hand, instruction: str, plays: bool) -> Script:
    if not instruction:
        raise ValueError("on the tabletop scripted experts do what info['task'] says, and there is no such thing")
    return (play_about if plays else follow)(hand, instruction)


_SCRIPTS: dict[str, _Beginning] = {name: _always(errand) for name, errand in ERRANDS.items()} | {"Tabletop": _as_told}


def _instruction(info: Mapping[str, Any], index: int) -> str:
    """The instruction of episode ``index``: ``info["task"]`` is one for all, or one of each."""
    task = info.get("task", "")
    return str(task if isinstance(task, str) else task[index])


def _known[T](kind: str, name: str, table: Mapping[str, T]) -> T:
    if name in table:
        return table[name]
    close = difflib.get_close_matches(str(name), table, n=1, cutoff=0.4)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise ValueError(f"Unknown {kind} {name!r}; there are {', '.join(table)}.{hint}")
