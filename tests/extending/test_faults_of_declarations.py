"""What is wrong with the declaration of a rule or a modifier is reported when it is declared, in one sentence."""

import numpy as np
import pytest

from surefoot.engines import Step
from surefoot.modifiers import ModifierError, modifier
from surefoot.records.hyper import nonnegative
from surefoot.records.statistic import Statistic
from surefoot.rules import RuleError, maximum, mean, rule, scalar, scale, total
from surefoot.rules import nonnegative as rate

HYPER = {"lr": rate(0.1)}
SETTINGS = {"amount": nonnegative(0.0)}


def itself(g):
    return g


def of_later(later):
    return later


def of_parameter(x):
    return x * x


STATISTICS = {
    "not a function": ({"a": total(3, "tensor")}, "is 3; expected total, mean or maximum of a function"),
    "no statistic": ({"a": itself}, "expected total, mean or maximum of a function"),
    "no extent": ({"a": total(itself, "rows")}, "is over 'rows'; expected one of row, column, tensor, group"),
    "each coordinate": ({"a": total(itself, "coordinate")}, "is over 'coordinate'"),
    "no reduction": ({"a": Statistic(itself, "row", "median")}, "is a 'median'; expected one of sum, mean, maximum"),
    "a later one": ({"a": total(of_later, "row"), "later": total(itself, "row")}, "takes 'later'; it may take"),
}


@pytest.mark.parametrize("statistics, fault", STATISTICS.values(), ids=STATISTICS)
def test_statistics(statistics, fault):
    with pytest.raises(RuleError, match="mine: ") as caught:

        @rule(hyper=HYPER, statistics=statistics)
        def mine(x, g, g2, lr):
            return lr, g

    assert fault in str(caught.value)
    with pytest.raises(ModifierError, match="own: ") as caught:

        @modifier(stage="gradient", settings=SETTINGS, statistics=statistics)
        def own(g, amount):
            return g + amount

    assert fault in str(caught.value)


@pytest.mark.parametrize("name", ["x", "g2", "square", "rate", "two words"])
def test_names_of_a_rules_statistics(name):
    with pytest.raises(RuleError, match=f"the name of statistic '{name}' is reserved, or not one"):

        @rule(hyper=HYPER, statistics={name: total(itself, "tensor")})
        def mine(x, g, g2, lr):
            return lr, g


def test_a_slot_of_rows_that_only_a_granularity_would_fit():
    with pytest.raises(RuleError, match="slot 'sum' depends on x or g; feed it from g2 or statistics over the row"):

        @rule(hyper=HYPER, slots={"sum": scale(over="row")})
        def mine(x, g, g2, sum, lr):
            return lr, g, sum + g2


def test_what_coefficients_may_use():
    def coefficients(t, lr):
        return (np.sqrt(t) * lr,)

    with pytest.raises(RuleError, match=r"mine: uses np\.sqrt; coefficients may use arithmetic"):

        @rule(hyper=HYPER, coefficients=coefficients)
        def mine(x, g, g2, lr):
            return lr, g


MODIFIERS = {
    "a reserved setting": ({"settings": {"engine": nonnegative(0.0)}}, "'engine' is one of every step's settings"),
    "a value's name": ({"settings": {"g": nonnegative(0.0)}}, "'g' stands for a value of the step"),
    "a closed form": ({"zero_grad": "decays"}, "zero_grad must be 'nothing', 'shrinks' or None, got 'decays'"),
    "an unknown one": ({"zero_grad": "shrinks"}, "the closed form of zero_grad='shrinks' is of keep, l1, l2"),
    "too many numbers": ({"numbers": lambda t, lr, amount: (amount, t)}, "a trial failed: zip() argument 2 is longer"),
    "a number": ({"numbers": lambda t, lr, amount: amount}, "a trial failed: 'float' object is not iterable"),
    "a row's statistic": (
        {"numbers": lambda t, lr, amount, a: (amount,), "statistics": {"a": mean(itself, "row")}},
        "numbers takes the statistic 'a', which is over a row",
    ),
}


@pytest.mark.parametrize("changes, fault", MODIFIERS.values(), ids=MODIFIERS)
def test_modifiers(changes, fault):
    with pytest.raises(ModifierError) as caught:

        @modifier(**{"stage": "gradient", "settings": SETTINGS} | changes)
        def own(g, amount):
            return g + amount

    assert fault in str(caught.value)


def test_a_branch_in_a_modifier():
    with pytest.raises(ModifierError, match=r"own: a trial failed: branches on a value; use ops\.where"):

        @modifier(stage="gradient", settings=SETTINGS)
        def own(g, amount):
            return amount if g > amount else g


def test_two_modifiers_whose_statistics_have_names_that_join_alike():
    from surefoot import modifiers

    @modifier(stage="gradient", settings={"one": nonnegative(0.0)}, statistics={"b_c": total(itself, "tensor")})
    def a(g, b_c, one):
        return g + one * b_c

    @modifier(stage="gradient", settings={"two": nonnegative(0.0)}, statistics={"c": maximum(itself, "tensor")})
    def a_b(g, c, two):
        return g + two * c

    for each in (a, a_b):
        modifiers.register(each)
    try:
        found = []
        for engine in ("cpu", "reference"):
            step, x = Step("sgd", lr=1.0, engine=engine, one=0.5, two=2.0), np.zeros((2, 2))
            step.dense(x, np.arange(4.0).reshape(2, 2), step.init(x))
            found.append(x)
        g = np.arange(4.0).reshape(2, 2)
        g = g + 0.5 * g.sum()
        np.testing.assert_array_equal(found[0], -(g + 2 * g.max()))
        np.testing.assert_array_equal(found[0], found[1])
    finally:
        for each in (a, a_b):
            del modifiers.REGISTRY[each.name]


def seen_by_coefficients(t, lr, sum):
    return (lr / (1.0 + sum),)


@rule(
    hyper=HYPER,
    slots={"sum": scalar()},
    statistics={"squares": total(of_parameter, "tensor")},
    coefficients=seen_by_coefficients,
    lazy_exact=True,
)
def sees(x, g, g2, sum, squares, lr):
    return lr, g, sum + squares


@pytest.mark.parametrize("engine", ["cpu", "reference"])
def test_rows_do_not_wait_where_their_parameters_enter_a_statistic(engine):
    step, x = Step(sees, engine=engine), np.ones((3, 2))
    with pytest.raises(ValueError, match="the statistic 'squares' depends on rows without a gradient"):
        step.rows(x, np.array([1]), np.ones((1, 2)), step.init(x))
    touched = Step(sees, engine=engine, lazy="touched")
    touched.rows(x, np.array([1]), np.ones((1, 2)), touched.init(x))
    assert (x[[0, 2]] == 1).all()
