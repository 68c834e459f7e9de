"""What a record claims of a loss is tried when it is defined, and again with the parameter that is used."""

import numpy as np
import pytest
from support.numerics import assert_close

import surefoot
from surefoot import losses, ops
from surefoot.cli import run
from surefoot.engines.examples import Examples
from surefoot.learn.learner import Learner
from surefoot.learn.settings import Settings
from surefoot.losses import Hyper, Loss, LossError, Parameter, positive

ANY = Hyper(1.0, (-np.inf, np.inf), "any number")


def expectile(prediction, y, tau):
    return 2.0 * ops.where(prediction < y, tau, 1.0) * (prediction - y)


def expectile_of_3(prediction, y, tau):
    """The derivative for the default alone."""
    return 2.0 * ops.where(prediction < y, 3.0, 1.0) * (prediction - y)


def expectile_value(p, y, tau):
    return np.where(p < y, tau, 1.0) * (p - y) ** 2


def log_cosh(prediction, y):
    z = ops.exp(-2.0 * ops.abs(prediction - y))
    return ops.where(prediction >= y, 1.0, -1.0) * (1.0 - z) / (1.0 + z)


def log_cosh_value(p, y):
    return np.log(np.cosh(p - y))


def wide_log_cosh(prediction, y, tau):
    z = ops.exp(-2.0 * ops.abs(prediction - y) / tau)
    return ops.where(prediction >= y, 1.0, -1.0) * (1.0 - z) / (1.0 + z)


def narrow_log_cosh(prediction, y, tau):
    """The derivative for the default, 1, alone."""
    z = ops.exp(-2.0 * ops.abs(prediction - y))
    return ops.where(prediction >= y, 1.0, -1.0) * (1.0 - z) / (1.0 + z)


def wide_log_cosh_value(p, y, tau):
    return tau * np.logaddexp(0.0, -2.0 * (p - y) / tau) + (p - y) - tau * np.log(2.0)


def huber_of_1(prediction, y, tau):
    """The derivative for the default alone."""
    return ops.minimum(ops.maximum(prediction - y, -1.0), 1.0)


def cauchy(prediction, y):
    residual = prediction - y
    return 2.0 * residual / (1.0 + residual * residual)


def cauchy_value(p, y):
    return np.log1p((p - y) ** 2)


def root(prediction, y, a):
    residual = prediction - y
    square = 1.0 + residual * residual
    return a * residual * ops.exp(ops.log(square) * (0.5 * a - 1.0))


def root_value(p, y, a):
    """(1 + r²)^(a/2), which is convex for a ≥ 1."""
    return (1.0 + (p - y) ** 2) ** (0.5 * a)


def linex(prediction, y, a):
    return a * (ops.exp(a * (prediction - y)) - 1.0)


def linex_value(p, y, a):
    return np.exp(a * (p - y)) - a * (p - y) - 1.0


def relative(prediction, y):
    return (prediction - y) * ops.abs(y)


def relative_value(p, y):
    return 0.5 * (p - y) ** 2 * np.abs(y)


TAU, SCALED = Parameter("tau", positive(3.0)), Parameter("tau", positive(1.0), scales=True)


def number(slope, value, **claims) -> Loss:
    return Loss(slope, value, **{"target": "number"} | claims)


def fault(define) -> str:
    with pytest.raises(LossError) as caught:
        define()
    return str(caught.value)


# Center and degree


def test_a_loss_without_a_degree_has_no_center():
    """Its minimizer depends on the unit of the targets, which dividing them by their spread would change."""
    assert number(log_cosh, log_cosh_value).center is None
    assert fault(lambda: number(log_cosh, log_cosh_value, center="median")) == (
        "log_cosh: center='median' is for a loss that is s^1 times as large in a unit s times smaller (degree=1): at 8 "
        "times prediction -4 and y = -1.3 it is 20.9069, expected 16.0909; leave out center"
    )


def test_a_degree_that_is_left_out_is_found():
    claims = {"parameter": TAU, "center": "mean"}
    message = fault(lambda: number(expectile, expectile_value, **claims))
    assert message.startswith("expectile: center='mean' is for a loss that is s^1 times as large in a unit s times")
    assert message.endswith("; give degree=2")
    assert number(expectile, expectile_value, degree=2, **claims).unit(3.0) == 9.0


def test_a_center_is_for_losses_of_the_residual():
    """This one has degree 3, but centred targets would have other weights."""
    message = fault(lambda: number(relative, relative_value, center="mean", degree=3))
    assert message.startswith(
        "relative: center='mean' is for a loss that depends on prediction − y only: at prediction"
    )
    assert message.endswith(" where both are larger by 3; leave out center")


def test_a_parameter_in_the_unit_of_the_targets_gives_a_degree():
    """The same loss, whose parameter is not scaled with the targets, has none."""
    assert number(wide_log_cosh, wide_log_cosh_value, center="median", parameter=SCALED).unit(3.0) == 3.0
    fixed = Parameter("tau", positive(1.0))
    message = fault(lambda: number(wide_log_cosh, wide_log_cosh_value, center="median", parameter=fixed))
    assert message.endswith("; leave out center")


def test_the_progressive_loss_is_that_of_the_targets_as_they_are():
    """Whatever they are divided by: of a loss that is accepted, and of predictions made before learning from each."""
    rng, n = np.random.default_rng(0), 200
    x = rng.normal(size=n)
    y = 100.0 * x + rng.exponential(20.0, size=n)
    loss = number(expectile, expectile_value, parameter=TAU, center="mean", degree=2)
    learner = Learner(Settings(loss=loss, lr=0.3, dtype="float64", engine="reference"))
    predictions = learner.learn(Examples(np.arange(n + 1), np.zeros(n, int), x, y, np.ones(n)))
    assert_close(learner.loss, loss.values(predictions[:, 0], y, 3.0).mean(), "float64")


# The parameter that is used


@pytest.mark.parametrize("parameter", [1e-9, 1e-3, 0.2, 5.0, 200.0, 1e9, 1e30])
def test_a_right_loss_is_accepted_with_a_parameter_of_any_size(parameter):
    for loss in (
        number(expectile, expectile_value, parameter=TAU, center="mean", degree=2),
        number(wide_log_cosh, wide_log_cosh_value, parameter=SCALED, center="median"),
        losses.huber,
        losses.epsilon_insensitive,
    ):
        assert loss.settings(parameter) == parameter


@pytest.mark.parametrize("parameter", [-30.0, -1e-6, 1e-6, 5.0, 200.0])
def test_a_value_that_overflows_is_not_a_wrong_slope(parameter):
    assert number(linex, linex_value, parameter=Parameter("a", ANY)).settings(parameter) == parameter


@pytest.mark.parametrize(
    "slope, value, claims, parameter",
    [
        (expectile_of_3, expectile_value, {"parameter": TAU}, 5.0),
        (expectile_of_3, expectile_value, {"parameter": TAU}, 3.01),
        (narrow_log_cosh, wide_log_cosh_value, {"parameter": SCALED}, 5.0),
        (narrow_log_cosh, wide_log_cosh_value, {"parameter": SCALED}, 1e-6),
        (huber_of_1, losses.huber.value, {"parameter": SCALED, "center": "median", "degree": 2}, 5.0),
        (huber_of_1, losses.huber.value, {"parameter": SCALED, "center": "median", "degree": 2}, 1e-6),
    ],
)
def test_a_slope_that_is_wrong_for_another_parameter_is_rejected(slope, value, claims, parameter):
    loss = number(slope, value, **claims)
    assert loss.settings() == claims["parameter"].hyper.default
    message = fault(lambda: loss.settings(parameter))
    begin = f"{loss.name}: the slope is not the derivative of the value with tau = {parameter:g}: at prediction"
    assert message.startswith(begin)
    for define in (
        lambda: Settings(loss=loss, parameter=parameter, lr=0.1),
        lambda: surefoot.LinearRegressor(loss, loss_parameter=parameter).fit([[1.0], [2.0]], [1.0, 2.0]),
    ):
        assert fault(define) == message


def test_the_command_line_rejects_a_slope_that_is_wrong_for_its_parameter(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "import numpy as np\n"
        "from surefoot import loss, ops\n"
        "from surefoot.losses import Parameter, positive\n"
        "@loss(value=lambda p, y, tau: np.where(p < y, tau, 1.0) * (p - y) ** 2, target='number',\n"
        "      parameter=Parameter('tau', positive(3.0)))\n"
        "def expectile(prediction, y, tau):\n"
        "    return 2.0 * ops.where(prediction < y, 3.0, 1.0) * (prediction - y)\n",
        encoding="utf-8",
    )
    (tmp_path / "rows.svm").write_text("1 1:0.5\n2 1:1\n", encoding="utf-8")
    command = [
        "train",
        "rows.svm",
        "--loss",
        "own.py:expectile",
        "--loss-parameter",
        "5",
        "--lr",
        "0.1",
        "--model",
        "m",
    ]
    assert run(command) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: expectile: the slope is not the derivative of the value with tau = 5: at prediction")
    assert err.count("\n") == 1
    assert not (tmp_path / "m").exists()


# Convexity


def test_a_loss_that_is_not_convex_says_so():
    assert fault(lambda: number(cauchy, cauchy_value)) == (
        "cauchy: the loss is not convex: at y = -1.3 its slope falls from -0.503744 at prediction -5 to -0.651387 at "
        '-4; give convex=False, and a number as lr, since "auto" averages models'
    )
    honest = number(cauchy, cauchy_value, convex=False)
    assert Settings(loss=honest, lr=0.1).loss is honest
    with pytest.raises(ValueError, match='"auto" averages models, which needs a convex loss; cauchy is not one'):
        Settings(loss=honest)


def test_convexity_is_tried_with_the_parameter_that_is_used():
    loss = number(root, root_value, parameter=Parameter("a", positive(1.5)))
    assert loss.settings(1.0) == 1.0
    assert fault(lambda: loss.settings(0.5)).startswith("root: the loss is not convex with a = 0.5: at y = ")
    honest = number(root, root_value, parameter=Parameter("a", positive(1.5)), convex=False)
    assert honest.settings(0.5) == 0.5
