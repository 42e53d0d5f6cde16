"""How a long video that is generated chunk after chunk decays."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import batched

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from cosmos_sim.metrics.quality import Quality


def rnds(*, truth: Sequence[float], estimate: Sequence[float]) -> tuple[float, ...]:
    """Relative normalised score of each chunk, ``(D[i] / D_truth[i]) / (D[1] / D_truth[1])``: it begins at 1.

    Equation 5 of the Cosmos-Predict2.5 paper, where the score D is DOVER's; any :class:`Quality` does. A video that
    does not decay stays at 1, however good it is.

    Raises:
        ValueError: unequally many chunks, none, or a score that is not above 0 and finite.
    """
    if len(truth) != len(estimate) or not truth:
        raise ValueError(f"truth and estimate must have equally many chunks, got {len(truth)} and {len(estimate)}")
    for name, scores in (("truth", truth), ("estimate", estimate)):
        for chunk, score in enumerate(scores):
            if not (np.isfinite(score) and score > 0):
                raise ValueError(f"scores must be above 0 and finite, got {score} for chunk {chunk} of {name}")
    ratios = [ours / theirs for ours, theirs in zip(estimate, truth, strict=True)]
    return tuple(ratio / ratios[0] for ratio in ratios)


def chunk_scores(frames: Iterable[UInt8[ndarray, "h w 3"]], quality: Quality, *, chunk: int) -> Iterator[float]:
    """The quality of every ``chunk`` frames of a video, of which no more are held at once; a shorter rest counts too.

    Raises:
        ValueError: a chunk of less than 1 frame.
    """
    if chunk < 1:
        raise ValueError(f"a chunk must be of 1 frame or more, got {chunk}")
    return (quality(np.stack(part)) for part in batched(frames, chunk))
