import numpy as np
import pytest

from cosmos_sim.metrics.confusion import Confusion, confusion


def test_counts_by_hand():
    truth = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], dtype=bool)
    verdict = np.array([[1, 0, 1, 1], [0, 0, 1, 0]], dtype=bool)
    table = confusion(truth=truth, verdict=verdict)
    assert table == Confusion(true_positive=2, false_positive=2, false_negative=1, true_negative=3)
    assert table.total == 8
    assert table.accuracy == 5 / 8
    assert table.recall == 2 / 3
    assert table.specificity == 3 / 5
    assert table.precision == 1 / 2
    assert table.balanced_accuracy == pytest.approx((2 / 3 + 3 / 5) / 2)


def test_an_empty_class_has_no_share():
    table = confusion(truth=np.zeros(3, dtype=bool), verdict=np.zeros(3, dtype=bool))
    assert table.recall is None
    assert table.balanced_accuracy is None
    assert table.precision is None
    assert table.specificity == 1.0


def test_tables_add():
    assert Confusion(1, 2, 3, 4) + Confusion(10, 20, 30, 40) == Confusion(11, 22, 33, 44)


def test_bad_input_is_named():
    with pytest.raises(ValueError, match=r"\(2,\) and \(3,\)"):
        confusion(truth=np.zeros(2, dtype=bool), verdict=np.zeros(3, dtype=bool))
    with pytest.raises(ValueError, match="float64"):
        confusion(truth=np.zeros(2, dtype=bool), verdict=np.zeros(2))
