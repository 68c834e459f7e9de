"""Every loss of the registry does what its record claims."""

import copy
import dataclasses
import math
import pickle

import numpy as np
import pytest
from support.numerics import assert_close

from surefoot import losses, ops
from surefoot.losses import Loss, LossError
from surefoot.losses.record import TARGETS

EACH = pytest.mark.parametrize("loss", losses.REGISTRY.values(), ids=losses.REGISTRY)
ONE_OUTPUT = pytest.mark.parametrize(
    "loss", [loss for loss in losses.REGISTRY.values() if not loss.joint], ids=lambda loss: loss.name
)
POINTS = np.linspace(-4.0, 4.0, 161) + 0.00317
"""Between the kinks, which lie at numbers with fewer decimals."""
H = 1e-5


def parameters(loss: Loss) -> list[float]:
    """The loss's own number: its default and another one."""
    return [loss.settings()] + ([0.37] if loss.parameter is not None else [])


def slopes(loss: Loss, predictions, y, parameter: float):
    y = np.full(np.shape(predictions), float(y))
    return ops.bind(loss.slope, ops.ARRAY_OPS, np.float64)(np.asarray(predictions), y, *loss.own(parameter))


def values(loss: Loss, predictions, y, parameter: float):
    return loss.values(predictions, np.full(np.shape(predictions), float(y)), parameter)


@ONE_OUTPUT
def test_the_slope_is_the_derivative_of_the_value(loss):
    for parameter in parameters(loss):
        for y in TARGETS[loss.target]:
            difference = values(loss, POINTS + H, y, parameter) - values(loss, POINTS - H, y, parameter)
            found = slopes(loss, POINTS, y, parameter)
            np.testing.assert_allclose(found, difference / (2 * H), rtol=1e-6, atol=1e-6)


@ONE_OUTPUT
def test_at_a_kink_the_slope_is_a_subgradient(loss):
    """Where the quotients to both sides differ, it lies between them; residuals and margins of 0 and ±1 are tried."""
    for y in TARGETS[loss.target]:
        own = loss.settings()
        at = np.array([0.0, -1.0, 1.0, y, y - own, y + own])
        here = values(loss, at, y, own)
        left = (here - values(loss, at - H, y, own)) / H
        right = (values(loss, at + H, y, own) - here) / H
        found = slopes(loss, at, y, own)
        margin = 4 * H * (1 + np.abs(found))
        assert (np.minimum(left, right) - margin <= found).all()
        assert (found <= np.maximum(left, right) + margin).all()


def test_a_joint_slope_is_the_derivative_by_each_output():
    """At the output's prediction less the log-sum-exp of the others, by a central difference."""
    rng = np.random.default_rng(0)
    p, y = rng.normal(size=(20, 4)) * 2, rng.integers(4, size=20)
    for loss in (loss for loss in losses.REGISTRY.values() if loss.joint):
        for c in range(4):
            e = H * np.eye(4)[c]
            difference = (loss.values(p + e, y) - loss.values(p - e, y)) / (2 * H)
            others = np.log(np.exp(np.delete(p, c, axis=1)).sum(axis=1))
            found = ops.bind(loss.slope, ops.ARRAY_OPS, np.float64)(p[:, c] - others, (y == c).astype(float))
            np.testing.assert_allclose(found, difference, rtol=1e-6, atol=1e-8)


@ONE_OUTPUT
def test_convex_losses_are_convex(loss):
    """Slopes never fall, and chords lie above the curve."""
    assert loss.convex
    for parameter in parameters(loss):
        for y in TARGETS[loss.target]:
            assert (np.diff(slopes(loss, POINTS, y, parameter)) >= -1e-12).all()
            v = values(loss, POINTS, y, parameter)
            assert (v[2:] + v[:-2] >= 2 * v[1:-1] - 1e-12).all()


@ONE_OUTPUT
def test_probabilities_lie_between_0_and_1_and_increase(loss):
    if loss.probability is None:
        with pytest.raises(LossError, match="does not predict probabilities"):
            loss.probabilities(POINTS[:, None])
        return
    found = loss.probabilities(np.append(POINTS, [-1e4, 1e4])[:, None])
    assert (found >= 0).all()
    assert (found <= 1).all()
    assert_close(found.sum(axis=1), np.ones(len(found)), "float64")
    assert (np.diff(found[:-2, 1]) >= 0).all()
    several = loss.probabilities(np.stack([POINTS, POINTS[::-1], np.zeros(len(POINTS))], axis=1))
    assert_close(several.sum(axis=1), np.ones(len(POINTS)), "float64")


@EACH
def test_a_probability_minimizes_the_expected_loss(loss):
    """Where y = 1 with the probability that a prediction stands for, no other prediction loses less on average."""
    if loss.probability is None or loss.joint:
        return
    inside = np.linspace(-0.95, 0.95, 39)
    share = loss.probabilities(inside[:, None])[:, 1]
    expected = share * slopes(loss, inside, 1, 0.0) + (1 - share) * slopes(loss, inside, 0, 0.0)
    np.testing.assert_allclose(expected, 0.0, atol=1e-12)


@EACH
def test_the_mean_minimizes_the_expected_loss(loss):
    """Of losses with a mean function: the slope at a prediction vanishes for its mean."""
    if loss.mean is None:
        return
    means = loss.means(POINTS)
    assert (np.diff(means) > 0).all()
    found = ops.bind(loss.slope, ops.ARRAY_OPS, np.float64)(POINTS, means)
    np.testing.assert_allclose(found, 0.0, atol=1e-9)


@EACH
def test_the_first_bias_is_the_best_constant(loss):
    if loss.initial is None:
        return
    y = np.array([0.0, 3.0, 1.0, 7.0])
    bias = loss.initial(y)
    total = ops.bind(loss.slope, ops.ARRAY_OPS, np.float64)(np.full(4, bias), y).sum()
    assert total == pytest.approx(0.0, abs=1e-9)
    assert math.isfinite(loss.initial(np.zeros(3)))


@EACH
def test_the_degree_is_how_the_loss_scales_with_the_unit(loss):
    if loss.center is None:
        return
    y, p, unit = np.array([-1.3, 0.4, 2.2]), np.array([0.5, -2.0, 2.3]), 8.0
    own = loss.settings()
    in_unit = own * unit if loss.parameter is not None and loss.parameter.scales else own
    assert loss.scaled(in_unit, unit) == own
    assert_close(loss.values(unit * p, unit * y, in_unit), loss.unit(unit) * loss.values(p, y, own), "float64")


@EACH
def test_what_is_reported_is_0_at_best(loss):
    """Twice the loss less the least one for deviances, and the whole loss of other metrics."""
    if loss.metric.least is None:
        return
    y = np.array([0.5, 1.0, 4.0])
    best = np.log(y)
    np.testing.assert_allclose(loss.reported(best[:, None], y), 0.0, atol=1e-12)
    assert (loss.reported(best[:, None] + 0.3, y) > 0).all()
    assert (loss.reported(best[:, None] - 0.3, y) > 0).all()


def test_reported_means_are_those_of_scikit_learn():
    from sklearn import metrics

    rng = np.random.default_rng(0)
    y, p = rng.poisson(2.0, 50).astype(float), rng.normal(size=50)
    for loss, expected in (
        (losses.squared, metrics.mean_squared_error(y, p)),
        (losses.poisson, metrics.mean_poisson_deviance(y, np.exp(p))),
        (losses.quantile, metrics.mean_pinball_loss(y, p, alpha=0.3)),
        (losses.logistic, metrics.log_loss(y > 1, 1 / (1 + np.exp(-p)))),
        (losses.hinge, metrics.hinge_loss(y > 1, p)),
    ):
        targets = (y > 1).astype(float) if loss.target == "class" else y
        assert loss.reported(p[:, None], targets, 0.3).mean() == pytest.approx(expected, rel=1e-9), loss.name
    assert losses.squared.metric.roots(4.0) == {"RMSE": 2.0}


@EACH
def test_parameters_keep_to_their_bounds(loss):
    if loss.parameter is None:
        assert loss.settings() == 0.0
        with pytest.raises(LossError, match="does not have one"):
            loss.settings(0.5)
        return
    low, high = loss.parameter.hyper.bounds
    assert loss.settings(0.5) == 0.5
    for wrong in (low - 1.0, high + 1.0, math.nan, "0.5"):
        with pytest.raises(LossError, match=f"{loss.parameter.name} must lie in"):
            loss.settings(wrong)


@EACH
def test_a_loss_is_one_object(loss):
    assert losses.get(loss.name) is loss
    assert losses.get(loss) is loss
    assert copy.deepcopy(loss) is loss
    assert pickle.loads(pickle.dumps(loss)) is loss
    assert loss.summary
    assert loss.formula
    assert loss.source


# Mutants: a record whose claims are false is rejected when it is defined


@EACH
@pytest.mark.parametrize("factor", [0.5, -1.0, 1.001])
def test_a_wrong_slope_is_rejected(loss, factor):
    """The value is another one, so that the slope is no longer its derivative."""

    def other(*arguments):
        return factor * loss.value(*arguments)

    taken = {2: lambda p, y: other(p, y), 3: lambda p, y, own: other(p, y, own)}
    with pytest.raises(LossError, match=f"^{loss.name}: the slope is not the derivative of the value: at prediction"):
        dataclasses.replace(loss, value=taken[2 if loss.parameter is None else 3])


def test_rates_are_not_averaged_by_a_loss_that_is_not_convex():
    from surefoot.learn.settings import Settings

    other = dataclasses.replace(losses.squared, convex=False)
    with pytest.raises(ValueError, match='"auto" averages models, which needs a convex loss; squared is not one'):
        Settings(loss=other)
    assert Settings(loss=other, lr=0.1).loss is other


@pytest.mark.parametrize("prediction", [-1e4, -800.0, 0.0, 800.0, 1e4])
@pytest.mark.parametrize("name", losses.REGISTRY)
def test_means_and_probabilities_of_far_predictions_underflow_in_silence(name, prediction):
    loss = losses.get(name)
    predictions = np.zeros((2, 3 if loss.joint else 1))
    predictions[:, 0] = prediction
    with np.errstate(all="raise"):
        assert np.isfinite(loss.means(predictions)).all()
        if loss.probability is not None:
            np.testing.assert_allclose(loss.probabilities(predictions).sum(axis=1), 1.0)
