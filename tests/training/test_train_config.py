"""Options are checked where they are set, and configs compared field by field."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from cosmos_sim.training import TrainConfig
from cosmos_sim.training.config import difference, plain


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("steps", 0), ("lr", -1.0), ("lr", float("nan")), ("weight_decay", -0.1), ("betas", (0.9, 1.0)), ("warmup", -1),
        ("decay", "cosin"), ("final_lr", 1.5), ("grad_clip", 0.0), ("ema", 1.0), ("ema_kind", "powr"),
        ("start_lr", 0.0), ("start_lr", 1.01), ("decay_steps", 0), ("cooldown", -1), ("cooldown", 9901), ("eps", 0.0),
        ("lr", 0.0), ("wandb", " "), ("accumulate", 0), ("keep", 0), ("autocast", "fp16"), ("threads", 0),
        ("prefetch", -1), ("sample_fps", 0.0),
    ],
)  # fmt: skip
def test_a_bad_option_is_named_with_its_value(field, value):
    with pytest.raises(ValueError, match=field) as error:
        TrainConfig(**{field: value})
    assert repr(value) in str(error.value)


def test_the_width_of_a_power_average_is_checked():
    TrainConfig(ema=0.1, ema_kind="power")
    with pytest.raises(ValueError, match=r"ema must be in \(0, 0\.288\).*0\.999"):
        TrainConfig(ema_kind="power")


def test_plain_weights_are_not_exported_twice():
    with pytest.raises(ValueError, match="export_plain must be False with ema=0, which exports these weights"):
        TrainConfig(ema=0.0, export_plain=True)


@dataclass(frozen=True)
class Inner:
    sizes: tuple[int, ...] = (1, 2)
    path: Path = Path("a/b")


@dataclass(frozen=True)
class Outer:
    inner: Inner
    table: dict[str, float | None]


def test_plain_and_difference():
    config = plain(Outer(Inner(), {"x": 1.5, "y": None}))
    assert config == {"inner": {"sizes": [1, 2], "path": "a/b"}, "table": {"x": 1.5, "y": None}}
    assert difference(config, plain(Outer(Inner(), {"x": 1.5, "y": None}))) is None
    assert difference(config, plain(Outer(Inner((1, 3)), {"x": 1.5, "y": None}))) == ("inner.sizes", [1, 2], [1, 3])
    assert difference(config, plain(Outer(Inner(), {"x": 1.5, "y": None, "z": 2.0}))) == ("table.z", None, 2.0)
    with pytest.raises(ValueError, match="plain values only, not ndarray"):
        plain(Outer(Inner(), {"x": np.zeros(2)}))
