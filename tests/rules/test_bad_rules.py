"""A rule that some engine could not run is rejected when it is defined, with its name and the fault."""

import functools
import math
from math import sqrt

import numpy as np
import pytest

from surefoot import ops
from surefoot.rules import Hyper, Rule, RuleError, direction, positive, rule, scale

LR = {"lr": positive(0.1)}
SCALE = 2.0


def fine(x, g, g2, total, lr):
    total = total + g2
    return lr / ops.sqrt(total), g, total


def too_few(x, g, g2, total, lr):
    return lr, g


def too_many(x, g, g2, total, lr):
    return lr, g, total, total


def one_value(x, g, g2, total, lr):
    return lr * g


def nothing(x, g, g2, total, lr):
    total = total + g2


def from_math(x, g, g2, total, lr):
    return lr / math.sqrt(g2), g, total


def from_numpy(x, g, g2, total, lr):
    return lr / np.sqrt(g2), g, total


def imported_by_name(x, g, g2, total, lr):
    return lr / sqrt(g2), g, total


def built_in(x, g, g2, total, lr):
    return lr, abs(g), total


def unknown_operation(x, g, g2, total, lr):
    return lr, ops.tanh(g), total


def constant_outside(x, g, g2, total, lr):
    return lr * SCALE, g, total


def branch(x, g, g2, total, lr):
    if g > 0:
        return lr, g, total
    return lr, -g, total


def conditional(x, g, g2, total, lr):
    return lr, (g if g > 0 else -g), total


def either(x, g, g2, total, lr):
    return lr, ops.where(g > 0 and x > 0, g, -g), total


def loop(x, g, g2, total, lr):
    for _ in (1, 2):
        g = g / 2
    return lr, g, total


def power_operator(x, g, g2, total, lr):
    return lr, g**2, total


def power_in_place(x, g, g2, total, lr):
    g **= 2
    return lr, g, total


def imports(x, g, g2, total, lr):
    import math

    return lr / math.pi, g, total


def inner_function(x, g, g2, total, lr):
    return (lambda rate: rate)(lr), g, total


def raises(x, g, g2, total, lr):
    raise ValueError


def scale_from_gradient(x, g, g2, total, lr):
    return lr, g, total + g * g


def scale_from_parameters(x, g, g2, total, lr):
    return lr, g, total + 0.0 * x


def truth_value(x, g, g2, total, lr):
    return lr, g > 0, total


def wrong_order(g, x, g2, total, lr):
    return lr, g, total


def misses_slot(x, g, g2, lr):
    return lr, g


def unknown_argument(x, g, g2, total, lr, momentum):
    return lr, g, total


def starred(*numbers):
    return numbers


def closure():
    factor = 2.0

    def enclosed(x, g, g2, total, lr):
        return factor * lr, g, total

    return enclosed


FUNCTIONS = [
    (too_few, r"returns 2 values; expected 3 \(rate, direction, total\)"),
    (too_many, r"returns 4 values; expected 3 \(rate, direction, total\)"),
    (one_value, r"returns one value; expected 3"),
    (nothing, r"returns one value; expected 3"),
    (from_math, r"uses math\.sqrt; a rule may use arithmetic, comparisons and ops\.sqrt"),
    (from_numpy, r"uses np\.sqrt; a rule may use"),
    (imported_by_name, r"uses sqrt; a rule may use"),
    (built_in, r"uses abs; a rule may use"),
    (unknown_operation, r"uses ops\.tanh; a rule may use"),
    (constant_outside, r"uses SCALE; a rule may use"),
    (branch, r"branches on a value; use ops\.where"),
    (conditional, r"branches on a value; use ops\.where"),
    (either, r"branches on a value; use ops\.where"),
    (loop, r"loops, imports, inner functions and raise are not possible"),
    (imports, r"loops, imports, inner functions and raise are not possible"),
    (inner_function, r"loops, imports, inner functions and raise are not possible"),
    (raises, r"uses ValueError; a rule may use"),
    (power_operator, r"uses \*\*"),
    (power_in_place, r"uses \*\*"),
    (
        scale_from_gradient,
        r"the scale slot 'total' depends on x or g; feed it from g2 alone, or declare it with direction",
    ),
    (scale_from_parameters, r"the scale slot 'total' depends on x or g"),
    (truth_value, r"the direction is bool where all inputs are float32"),
    (wrong_order, r"must take \(x, g, g2, total, …\), got \(g, x, g2, total, lr\)"),
    (misses_slot, r"must take \(x, g, g2, total, …\), got \(x, g, g2, lr\)"),
    (unknown_argument, r"takes 'momentum', which is neither slot nor hyperparameter"),
    (starred, r"must take \(x, g, g2, total, …\), got \(numbers\)"),
    (closure(), r"uses factor of an enclosing function; make it a hyperparameter"),
]


@pytest.mark.parametrize("function, message", FUNCTIONS, ids=lambda value: getattr(value, "__name__", None))
def test_functions(function, message):
    with pytest.raises(RuleError, match=rf"^{function.__name__}: .*{message}"):
        Rule(function, slots={"total": scale()}, hyper=LR)


def test_the_valid_rule_passes():
    assert Rule(fine, slots={"total": scale()}, hyper=LR)(0.0, 3.0, 9.0, 16.0, 0.1) == (0.02, 3.0, 25.0)


def leaks(x, g, g2, total, lr):
    return lr, g, total + ops.where(g2 > 0.0, 1.0, 0.0)


def test_literals_do_not_make_float32_wider():
    """where(…, 1.0, 0.0) would be float64 to NumPy; bound, the literals have the type of the arithmetic."""
    made = Rule(leaks, slots={"total": scale()}, hyper=LR)
    result = made.bound(dtype=np.float32)(*np.ones((4, 3), np.float32), np.float32(0.1))
    assert [np.asarray(value).dtype for value in result] == [np.float32] * 3


def test_wider_results_are_rejected():
    """The quotient of two truth values is float64."""
    with pytest.raises(RuleError, match=r"^widened: the direction is float64 where all inputs are float32"):

        @rule(slots={"total": direction()}, hyper=LR)
        def widened(x, g, g2, total, lr):
            return lr, (g > 0.0) / (g == g), total


class Callable:
    def __call__(self, x, g, g2, total, lr):
        return lr, g, total


@pytest.mark.parametrize("function", [Callable(), functools.partial(fine)], ids=["object", "partial"])
def test_objects_that_are_not_functions(function):
    with pytest.raises(RuleError, match=r"mine: expected a plain Python function, got"):
        Rule(function, slots={"total": scale()}, hyper=LR, name="mine")


@pytest.mark.parametrize(
    "hyper, message",
    [
        ({"eps": positive(1e-8)}, "the hyperparameter 'lr' is missing; every rule has a learning rate"),
        ({"lr": positive()}, r"hyperparameter 'lr' has no default; expected one, as in positive\(0\.1\)"),
        (
            {"lr": 0.1},
            r"hyperparameter 'lr' is 0\.1, without bounds; expected a default with bounds, such as positive\(0\.1\)",
        ),
        ({"lr": Hyper(0.1)}, r"hyperparameter 'lr' has no bounds; expected them, as in positive\(0\.1\)"),
        ({"lr": positive(-0.1)}, r"the default -0\.1 of 'lr' lies outside its bounds \(0, inf\)"),
        ({"lr": positive(math.nan)}, r"the default nan of 'lr' lies outside its bounds"),
        ({"lr": positive(math.inf)}, r"the default inf of 'lr' lies outside its bounds"),
    ],
)
def test_hyperparameters(hyper, message):
    with pytest.raises(RuleError, match=f"^fine: {message}"):
        Rule(fine, slots={"total": scale()}, hyper=hyper)


@pytest.mark.parametrize(
    "slots, message",
    [
        ({"total": 0.0}, r"slot 'total' is 0\.0; expected scale\(\) or direction\(\)"),
        ({"total": scale("start")}, r"slot 'total' starts from 'start', which is not a hyperparameter"),
        ({"sum": scale()}, r"must take \(x, g, g2, sum, …\), got \(x, g, g2, total, lr\)"),
    ],
)
def test_slots(slots, message):
    with pytest.raises(RuleError, match=f"^fine: .*{message}"):
        Rule(fine, slots=slots, hyper=LR)


@pytest.mark.parametrize(
    "coefficients, message",
    [
        (lambda t, lr: (lr, t), r"coefficients returned 2 numbers, but the function takes 1 after its slots \(lr\)"),
        (lambda t, lr: (), r"coefficients returned 0 numbers, but the function takes 1"),
        (lambda t, lr: 1 / 0, r"coefficients cannot be computed at t = 1: division by zero"),
        (lambda t, lr: lr, r"coefficients cannot be computed at t = 1"),
        (lambda t, rate: (rate,), r"coefficients cannot be computed at t = 1: .*unexpected keyword argument 'lr'"),
    ],
)
def test_coefficients(coefficients, message):
    with pytest.raises(RuleError, match=f"^fine: .*{message}"):
        Rule(fine, slots={"total": scale()}, hyper=LR, coefficients=coefficients)


def test_the_closed_form_for_zero_gradient_steps_is_checked_too():
    def zero_grad_steps(x, k, total, lr):
        return math.floor(x), total

    with pytest.raises(RuleError, match=r"^fine: uses math\.floor"):
        Rule(fine, slots={"total": scale()}, hyper=LR, zero_grad_steps=zero_grad_steps)


def test_a_closed_form_that_returns_too_little():
    with pytest.raises(RuleError, match=r"^fine: .*zero_grad_steps"):
        Rule(fine, slots={"total": scale()}, hyper=LR, zero_grad_steps=lambda x, k, total, lr: (x,))


def test_a_decorated_variant_is_checked_too():
    base = Rule(fine, slots={"total": scale()}, hyper=LR | {"fast": positive(1.0)})
    with pytest.raises(RuleError, match=r"^fine\[fast\]: the function returns 2 values; expected 3"):
        base.when("fast")(too_few)
