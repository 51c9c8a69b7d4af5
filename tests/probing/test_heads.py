"""Linear heads see the training part, their strength the validation part, and neither sees the test part."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is an optional dependency")
from chemscale.probing.heads import USUAL, fit_heads

PARTS = np.repeat([0, 1, 2], [60, 20, 20])


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).normal(size=(100, 8))


def labels_of(features, kind):
    values = features[:, :2] + np.random.default_rng(1).normal(size=(100, 2))
    return values if kind == "regression" else (values > 0).astype(float)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_labels_of_the_test_part_change_nothing(features, kind):
    labels = labels_of(features, kind)
    other = labels.copy()
    other[PARTS == 2] = 1 - other[PARTS == 2]
    pairs = zip(*(fit_heads(features, each, PARTS, kind) for each in (labels, other)), strict=True)
    for one, two in pairs:
        np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize("kind", ["regression", "classification"])
def test_a_task_without_labels_to_choose_by_has_the_usual_strength(features, kind):
    labels = labels_of(features, kind)
    labels[PARTS == 1, 1] = np.nan
    _, strengths = fit_heads(features, labels, PARTS, kind)
    assert strengths[1] == USUAL


def test_a_task_of_one_class_in_training_is_predicted_by_nothing(features):
    labels = labels_of(features, "classification")
    labels[PARTS == 0, 0] = 1.0
    predictions, strengths = fit_heads(features, labels, PARTS, "classification")
    assert strengths[0] is None
    assert np.isnan(predictions[:, 0]).all()
    assert np.isfinite(predictions[:, 1]).all()
