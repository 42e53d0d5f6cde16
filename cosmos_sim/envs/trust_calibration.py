"""From how far read actions are off to the probability that frames follow them: two numbers, fitted and kept."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float64
from numpy import ndarray
from scipy.optimize import minimize
from scipy.special import expit

from cosmos_sim.data.files import new_file
from cosmos_sim.data.pretrained import from_dict, to_json

FILE = "trust.json"
_FORMAT = "cosmos-sim trust 1"


@dataclass(frozen=True)
class TrustCalibration:
    """``p(the frames follow the actions) = 1 / (1 + exp(-(intercept + slope * error)))``, and how it was found."""

    intercept: float
    slope: float
    """Below zero: the more the actions that are read differ from those taken, the less the frames are believed."""
    samples: int = 4
    """Draws of the inverse dynamics whose mean is compared: the error depends on it."""
    figures: Mapping[str, float] = field(default_factory=dict)
    """Measured on episodes that it was not fitted on."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not np.isfinite(self.intercept) or not np.isfinite(self.slope) or self.slope >= 0:
            raise ValueError(
                f"trust must fall as the error grows: intercept and a slope below 0, got {self.intercept}, {self.slope}"
            )
        if self.samples < 1:
            raise ValueError(f"samples must be at least 1, got {self.samples}")

    @classmethod
    def fit(cls, errors: Float[ndarray, "n"], follows: Bool[ndarray, "n"], **rest: Any) -> "TrustCalibration":
        """The maximum of the likelihood of ``follows``, both answers weighing the same in total, whatever their number.

        The targets are Platt's (1999), ``(n + 1) / (n + 2)`` and ``1 / (m + 2)`` of ``n`` cases that follow and ``m``
        that do not, so that the slope stays finite where the error tells all of them apart.

        Raises:
            ValueError: cases of one answer only, or errors that do not grow where the frames do not follow.
        """
        errors, follows = np.asarray(errors, np.float64), np.asarray(follows)
        n, m = int(follows.sum()), int((~follows).sum())
        if not n or not m:
            raise ValueError(f"trust is calibrated on frames that follow and on others, got {n} and {m}")
        target = np.where(follows, (n + 1) / (n + 2), 1 / (m + 2))
        weight = np.where(follows, 0.5 / n, 0.5 / m)
        basis = np.stack([np.ones_like(errors), (errors - errors.mean()) / max(errors.std(), 1e-12)], axis=1)

        def loss(found: Float64[ndarray, "2"]) -> tuple[float, Float64[ndarray, "2"]]:
            logit = basis @ found
            value = weight @ (np.logaddexp(0, logit) - target * logit)
            return float(value), basis.T @ (weight * (expit(logit) - target))

        found = minimize(loss, np.zeros(2), jac=True, method="BFGS", options={"gtol": 1e-9}).x
        per_unit = found[1] / max(errors.std(), 1e-12)
        return cls(float(found[0] - per_unit * errors.mean()), float(per_unit), **rest)

    def probability(self, error: Float[ndarray, "*n"]) -> Float64[ndarray, "*n"]:
        """That frames with such an ``error`` follow their actions."""
        return expit(self.intercept + self.slope * np.asarray(error, np.float64))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write ``trust.json`` into the folder of the inverse dynamics; returns its path."""
        path = Path(folder) / FILE
        with new_file(path) as partial:
            partial.write_text(to_json({"format": _FORMAT, **asdict(self)}))
        return path

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> "TrustCalibration":
        """What :meth:`save` wrote. Raises a :class:`ValueError` that names the file if it is missing or damaged."""
        path = Path(folder) / FILE
        if not path.is_file():
            raise ValueError(f"{folder} holds no {FILE}: experiments/trust.py makes it")
        try:
            values = json.loads(path.read_text())
        except ValueError as error:  # also bytes that are no text
            raise ValueError(f"{path} is not valid JSON: {error}") from error
        if not isinstance(values, dict) or values.get("format") != _FORMAT:
            found = values.get("format") if isinstance(values, dict) else type(values).__name__
            raise ValueError(f"{path} has format {found!r}; this version reads {_FORMAT!r}")
        return from_dict(cls, {name: value for name, value in values.items() if name != "format"}, where=str(path))
