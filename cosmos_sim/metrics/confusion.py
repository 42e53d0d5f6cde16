"""A yes-or-no verdict against the truth."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool
from numpy import ndarray


@dataclass(frozen=True)
class Confusion:
    """How often a verdict was right and how it was wrong. Shares over an empty class are ``None``."""

    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def total(self) -> int:
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    @property
    def right(self) -> int:
        """Verdicts that are right."""
        return self.true_positive + self.true_negative

    @property
    def accuracy(self) -> float | None:
        """Share of verdicts that are right."""
        return _share(self.right, self.total)

    @property
    def recall(self) -> float | None:
        """Share of true successes that were called successes."""
        return _share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def specificity(self) -> float | None:
        """Share of true failures that were called failures."""
        return _share(self.true_negative, self.true_negative + self.false_positive)

    @property
    def precision(self) -> float | None:
        """Share of called successes that were true."""
        return _share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def balanced_accuracy(self) -> float | None:
        """Mean of recall and specificity: one half for a verdict that ignores what it sees, however rare success is."""
        if self.recall is None or self.specificity is None:
            return None
        return (self.recall + self.specificity) / 2

    def __add__(self, other: "Confusion") -> "Confusion":
        return Confusion(
            self.true_positive + other.true_positive,
            self.false_positive + other.false_positive,
            self.false_negative + other.false_negative,
            self.true_negative + other.true_negative,
        )


def confusion(*, truth: Bool[ndarray, "*shape"], verdict: Bool[ndarray, "*shape"]) -> Confusion:
    """Count the four outcomes of ``verdict`` against ``truth``, element by element.

    Raises:
        ValueError: for unequal shapes or arrays that are not boolean.
    """
    truth, verdict = np.asarray(truth), np.asarray(verdict)
    if truth.shape != verdict.shape:
        raise ValueError(f"truth and verdict must have one shape, got {truth.shape} and {verdict.shape}")
    for name, array in (("truth", truth), ("verdict", verdict)):
        if array.dtype != np.bool_:
            raise ValueError(f"{name} must be boolean, got {array.dtype}: threshold probabilities first")
    return Confusion(
        true_positive=int(np.sum(truth & verdict)),
        false_positive=int(np.sum(~truth & verdict)),
        false_negative=int(np.sum(truth & ~verdict)),
        true_negative=int(np.sum(~truth & ~verdict)),
    )


def _share(part: int, whole: int) -> float | None:
    return None if whole == 0 else part / whole
