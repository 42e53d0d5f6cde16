"""Who judges a dream: did it do what it was told, and could it have happened?

The two questions are those of DreamGen Bench (Jang et al., 2025, arXiv:2505.12705): instruction following and physics
alignment. Models that look at pictures answer them in :mod:`cosmos_sim.synthesis.judge_vlm`; where there is a twin, the
simulator does.
"""

import functools
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from jaxtyping import Float32, UInt8
from numpy import ndarray

from cosmos_sim.data.dreams import DreamStart
from cosmos_sim.data.images import stretch
from cosmos_sim.envs.twin.replay import replay
from cosmos_sim.envs.twin.tasks import find_task
from cosmos_sim.metrics.video import changed
from cosmos_sim.synthesis.scores import cycle_score
from cosmos_sim.synthesis.starts import LANGUAGE_TASK

if TYPE_CHECKING:
    from cosmos_sim.envs.twin.env import CosmosTwin

Videos = Mapping[str, UInt8[ndarray, "t h w 3"]]

_LONGEST = 10_000
"""Steps that a replay may have."""
_OTHER_START = 0.005
"""Share of pixels that differ by more than 64 levels, from which on two first frames do not show one moment. Video
encoding changes none so much; another start of Lift changes 1 to 8% of them."""


@dataclass(frozen=True)
class Judgement:
    """What a judge says of a dream. :class:`ValueError` for a score outside of [0, 1]."""

    following: float
    """How sure the judge is, 0 to 1, that the robot did what it was told (instruction following)."""
    physics: float
    """How far, 0 to 1, it could have happened (physics alignment)."""
    reason: str

    def __post_init__(self) -> None:
        for name, value in (("following", self.following), ("physics", self.physics)):
            if not 0 <= value <= 1:  # false for NaN too
                raise ValueError(f"{name} must lie between 0 and 1, got {value}")


class Judge(Protocol):
    """Judges one dream by its frames, the instruction, and whatever else it was made with."""

    def judge(self, frames: Videos, instruction: str, *, seed: int) -> Judgement:
        """``seed`` decides what a judge leaves to chance, if anything."""


@dataclass(frozen=True, eq=False)
class PredicateJudge:
    """The simulator as the judge of one dream, by what the dream's ``action`` does there.

    ``following`` is 1 if the actions solve the task of the instruction, by the simulator's own predicate at any moment,
    and 0 if not. ``physics`` is the share of the dream's change that the replay explains:

        ``max(0, 1 - sum |dream - replay|^2 / sum |dream - first frame|^2)``

    over all pixels of all cameras (1 minus the square of :func:`~cosmos_sim.synthesis.scores.cycle_score`): 1 for a
    dream that shows just what its actions do, 0 for one that is no nearer to it than its own first frame. A dream is
    thus held to account for its pseudo-actions too: those that were read wrong cost both scores.

    Args:
        action: the pseudo-actions, (t, 7); row ``k`` of the frames is seen before action ``k``.
        start: with the simulator's seed that the dream begins from.
        task: the simulator's task.

    Raises:
        ValueError: a start without a seed, or an unknown task.
    """

    action: Float32[ndarray, "t a"]
    start: DreamStart
    task: str = LANGUAGE_TASK

    def __post_init__(self) -> None:
        find_task(self.task)
        if self.start.seed is None:
            raise ValueError("the simulator judges dreams that begin from one of its seeds; this one has none")

    def judge(self, frames: Videos, instruction: str, *, seed: int = 0) -> Judgement:
        """See the class. Nothing is left to chance.

        Raises:
            ValueError: an instruction that the task does not know, cameras that it does not have, frames or actions
                that do not fit, or actions that are not finite.
        """
        from cosmos_sim.envs.twin.env import IMAGE_SIZE

        assert self.start.seed is not None
        told = told_to_twin(self.task, instruction)
        split = self.start.split
        done = replay(self.task, self.start.seed, self.action, instruction=told, split=split)
        twin = _twin(self.task, split)
        observation, _ = twin.reset(seed=self.start.seed, options=None if told is None else {"instruction": told})
        pictures = [observation["pixels"]]
        for action in np.clip(self.action, -1, 1).astype(np.float32):
            pictures.append(twin.step(action)[0]["pixels"])
        rows = _rows(frames, len(pictures))
        if unknown := sorted(set(frames) - set(pictures[0])):
            raise ValueError(f"the simulator has no camera {unknown[0]!r}, only {', '.join(pictures[0])}")
        shown = {camera: np.stack([picture[camera] for picture in pictures[:rows]]) for camera in frames}
        dream = {camera: stretch(video, (IMAGE_SIZE, IMAGE_SIZE)) for camera, video in frames.items()}
        apart = max(float(changed(dream[camera][0], shown[camera][0], levels=64).mean()) for camera in dream)
        if apart > _OTHER_START:
            warnings.warn(
                f"a dream of {instruction!r} begins unlike the simulator at seed {self.start.seed} "
                f"({apart:.1%} of the pixels): is it of this task and split, and from this instruction's start?",
                stacklevel=2,
            )
        physics = max(0.0, 1 - cycle_score(dream, shown) ** 2)
        outcome = "solve the task" if done.success else "do not solve the task"
        return Judgement(float(done.success), physics, f"in the simulator its {len(self.action)} actions {outcome}")


def told_to_twin(task: str, instruction: str) -> str | None:
    """What the simulator's ``task`` is told of ``instruction``: nothing where it always is the same.

    Raises:
        ValueError: the task does not know the instruction.
    """
    from cosmos_sim.envs.twin.instructions import parse_instruction

    spec = find_task(task)
    if spec.name == LANGUAGE_TASK:
        return parse_instruction(instruction).text
    if instruction.lower().strip().rstrip(".") != spec.description:
        raise ValueError(f"the simulator's task {spec.name!r} always is {spec.description!r}, not {instruction!r}")
    return None


@functools.cache
def _twin(task: str, split: str | None) -> "CosmosTwin":
    """A process keeps each simulator for the next dream."""
    from cosmos_sim.envs.twin.env import CosmosTwin

    options: dict[str, Any] = {} if split is None else {"split": split}
    return CosmosTwin(task, horizon=_LONGEST, terminate_on_success=False, **options)


def _rows(frames: Videos, observations: int) -> int:
    """How many frames each camera shows: one a moment before an action, or also the last."""
    lengths = {camera: len(video) for camera, video in frames.items()}
    rows = set(lengths.values())
    if len(rows) != 1 or not rows <= {observations - 1, observations} or observations < 3:
        raise ValueError(f"{observations - 1} actions go with as many frames, at least 2, or one more; got {lengths}")
    return rows.pop()
