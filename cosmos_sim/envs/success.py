"""When an imagined task counts as solved: a probability for each frame, and a rule that must hold for a few frames."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray

from cosmos_sim.types import Prediction, RewardModel


@dataclass(frozen=True)
class SuccessRule:
    """Solved once the probability has been above ``threshold`` for ``frames`` consecutive frames.

    One frame above the threshold may be a flicker of the imagination; ``frames=1`` takes it at its word.
    """

    threshold: float = 0.5
    frames: int = 2

    def __post_init__(self) -> None:
        if not 0 <= self.threshold < 1:
            raise ValueError(f"success_threshold must lie in [0, 1), got {self.threshold}")
        if self.frames != int(self.frames) or self.frames < 1:
            raise ValueError(f"success_frames must be a whole number of frames, at least 1, got {self.frames}")

    def follow(
        self, streak: Int64[ndarray, "n"], probability: Float64[ndarray, "n t"], left: Int64[ndarray, "n"]
    ) -> "Followed":
        """Go through ``t`` frames in order, in each world until it is solved or its frames that are ``left`` are used.

        ``streak``: how many frames in a row, up to now, were above the threshold.
        """
        return in_a_row(streak, probability > self.threshold, left, wanted=self.frames)


@dataclass(frozen=True, eq=False)
class Followed:
    """Where ``n`` worlds stand after :func:`in_a_row`."""

    streak: Int64[ndarray, "n"]
    executed: Int64[ndarray, "n"]
    """Frames that belong to the episode: all, unless it ended among them."""
    met: Bool[ndarray, "n"]
    """Whether the rule held for as many frames as it must: the episode ended so."""


def in_a_row(
    streak: Int64[ndarray, "n"], holds: Bool[ndarray, "n t"], left: Int64[ndarray, "n"], *, wanted: int
) -> Followed:
    """Count, in each of ``n`` worlds, the frames in a row in which something ``holds``, until they are ``wanted`` many.

    ``streak``: how many they were up to now. ``left``: how many frames are looked at, at most.
    """
    executed = np.zeros_like(streak)
    met: ndarray = np.zeros(len(streak), dtype=bool)
    for frame in holds.T:
        going = ~met & (executed < left)
        streak = np.where(going, np.where(frame, streak + 1, 0), streak)
        executed = executed + going
        met = met | (going & (streak >= wanted))
    return Followed(streak, executed, met)


@dataclass(frozen=True)
class Judge:
    """The probability of success of imagined frames: from the world's own head, or from ``reward_model`` if given."""

    reward_model: RewardModel | None = None

    def __call__(self, prediction: Prediction, tasks: Sequence[str]) -> Float64[ndarray, "b t"]:
        """``tasks``: what is to be done in each of ``b`` worlds; a reward model is asked once for each text.

        Raises :class:`ValueError` if a reward model returns something other than probabilities, ``b t``.
        """
        if self.reward_model is None:
            assert prediction.success is not None, "a world without a success head is refused where it is loaded"
            return np.asarray(prediction.success, dtype=np.float64)
        judged = np.empty(prediction.proprioception.shape[:2])
        for task in dict.fromkeys(tasks):
            rows = [row for row, told in enumerate(tasks) if told == task]
            judged[rows] = self._asked(self.reward_model, prediction, rows, task)
        return judged

    def _asked(self, model: RewardModel, prediction: Prediction, rows: list[int], task: str) -> Float64[ndarray, "m t"]:
        frames = {camera: images[rows] for camera, images in prediction.frames.items()}
        proprioception = prediction.proprioception[rows]
        judged = np.asarray(model(frames, proprioception, task), dtype=np.float64)
        if judged.shape != (expected := proprioception.shape[:2]):
            raise ValueError(f"the reward model must return one value a frame, {expected}, got shape {judged.shape}")
        outside = judged[~((judged >= 0) & (judged <= 1))]
        if outside.size:
            raise ValueError(f"the reward model must return probabilities in [0, 1], got {outside[0]}")
        return judged
