import numpy as np
import pytest
from sklearn import metrics as sklearn_metrics

from coppice.evaluation import metrics


def test_scores_equal_scikit_learn(scored):
    posteriors, targets, _, _ = scored
    predicted = posteriors.argmax(axis=1)
    assert metrics.accuracy(posteriors, targets) == sklearn_metrics.accuracy_score(targets, predicted)
    macro = sklearn_metrics.balanced_accuracy_score(targets, predicted)
    assert metrics.macro_accuracy(posteriors, targets) == pytest.approx(macro, rel=1e-14)
    loss = sklearn_metrics.log_loss(targets, posteriors, labels=range(4))
    assert metrics.log_loss(posteriors, targets) == pytest.approx(loss, rel=1e-12)
    confusion = sklearn_metrics.confusion_matrix(targets, predicted, labels=range(4))
    assert np.array_equal(metrics.confusion_matrix(posteriors, targets), confusion)


def test_a_hard_zero_costs_what_the_clip_says():
    loss = metrics.log_loss(np.array([[1.0, 0.0]]), np.array([1]))
    assert loss == pytest.approx(-np.log(1e-15), rel=1e-15) and round(loss, 1) == 34.5
    assert metrics.log_loss(np.array([[1.0, 0.0]]), np.array([0])) == 0


def test_log_loss_is_taken_in_float64():
    sharp = np.array([[1 - 1e-12, 1e-12]])
    assert metrics.log_loss(sharp, np.array([0])) == pytest.approx(1e-12, rel=1e-3)


def test_macro_accuracy_leaves_out_classes_without_a_clip():
    posteriors = np.eye(3)[[0, 0, 1]]
    assert metrics.macro_accuracy(posteriors, np.array([0, 0, 0])) == pytest.approx(2 / 3)
    assert metrics.macro_accuracy(posteriors, np.array([0, 1, 1])) == pytest.approx((1 + 0.5) / 2)


def test_rows_of_the_confusion_are_the_true_classes():
    matrix = metrics.confusion_matrix(np.eye(3)[[1, 1, 2]], np.array([0, 0, 2]))
    assert matrix.tolist() == [[0, 2, 0], [0, 0, 0], [0, 0, 1]]
