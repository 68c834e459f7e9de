"""scikit-learn's own tests of SGDClassifier and SGDRegressor, run on our estimators as far as names have counterparts.

The tests are imported from the installed scikit-learn and find our estimators under the names of theirs, see
`support.as_sgd`. WITHOUT says of each test that fails why it has no counterpart; every other one passes.
"""

import fnmatch
import inspect
import itertools
import types
import warnings
from typing import Any

import pytest
import sklearn
from sklearn import linear_model
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.fixes import parse_version
from support import as_sgd

from surefoot.data.stream import DataWarning

if parse_version(sklearn.__version__) < parse_version("1.9"):
    pytest.skip("the table is of the tests of scikit-learn 1.9", allow_module_level=True)
theirs = pytest.importorskip("sklearn.linear_model.tests.test_sgd", reason="scikit-learn comes without its tests")

SKIPPED = {
    "*OneClass*": "there are no machines of one class",
    "*oneclass*": "there are no machines of one class",
    "*one_class*": "there are no machines of one class",
    "*ocsvm*": "there are no machines of one class",
    "*_for_all_backends*": "fit does not use joblib",
}
"""Tests of what there is not at all, by patterns of their names and arguments."""

NO_START = "fit takes no weights to start from; warm_start continues from the last ones, with the same penalties"
RATE = "learning_rate: plain SGD at rates that depend on the progress, or passive-aggressive, is not there"
LATE = "average: the mean of all steps, from the first on; a number is rejected"
PRIVATE = "looks at private attributes, or at the code of SGD"
NO_REGRESSION = "classifiers have losses for classes only"
PROXIMAL = "the penalty is a proximal step after that of the loss, in float32; theirs is part of the step, in float64"
WITHOUT = {
    "test_warm_start*": NO_START,
    "test_provide_coef*": NO_START,
    "test_set_*": NO_START,
    "test_sgd_multiclass_with_init_coef*": NO_START,
    "test_adaptive_longer_than_constant*": RATE,
    "test_partial_fit_equal_fit*-adaptive-*": RATE,
    "test_learning_rate_PA_raises*": RATE,
    "test_late_onset_averaging*": LATE,
    "test_partial_fit_multiclass_average*": LATE,
    "test_plain_has_no_average_attr*": PRIVATE,
    "test_validation_mask_correctly_subsets": PRIVATE,
    "test_loss_function_epsilon*": PRIVATE,
    "test_average_binary_computed_correctly*": NO_REGRESSION,
    "test_sgd_multiclass_average*": NO_REGRESSION,
    "test_regression_losses*": NO_REGRESSION,
    "test_average_sparse*": PROXIMAL,
    "test_sgd_averaged_*": PROXIMAL,
    "test_sgd_l1-*": "AdaGrad ends within 0.4 % of the minimum, with −0.0004 for one of four zeros",
    "test_balanced_weight*": "asks for an F1 of more than 0.96 on iris, which the minimum of the objective has not",
    "test_loss_hinge": "where the loss has a kink, its slope is 0 here and −1 there; and the perceptron is not there",
    "test_loss_squared_epsilon_insensitive": "that loss is not there",
    "test_multi_thread_multi_class_and_early_stopping": "stops by the loss, which falls on after the accuracy is 1",
    "test_partial_fit_weight_class_balanced*": "is an AttributeError: there is no partial_fit then, as hasattr says",
    "test_sgd_early_stopping_with_partial_fit*": "is an AttributeError: there is no partial_fit then, as hasattr says",
    "test_power_t_limits*": "a deprecation of scikit-learn's own",
    "test_sgd_failing_penalty_validation*": "there is no l1_ratio: l1 and l2 are given",
    "test_sgd_dtype_match-float32-*": "coef_ is float64 for all data: a mean of several models",
    "test_sgd_proba-SparseSGDClassifier": "two classes have a probability of exactly 0; the test means the second",
    "test_sgd_random_state*": "a single epoch does not claim to converge, so there is no ConvergenceWarning",
    "test_validation_set_not_used_for_training*": "the validation part finds the number of epochs, then all rows train",
}
"""Why the others that fail do, by the same patterns."""


def kinds(expected, match=None):
    return pytest.raises(expected)


def warned(expected, match=None):
    return pytest.warns(expected)


# Errors and warnings are of the same types as theirs, and have words of their own.
OURS = as_sgd.CLASSES | {
    "linear_model": types.SimpleNamespace(ElasticNet=linear_model.ElasticNet, **as_sgd.CLASSES),
    "sgd_fast": as_sgd.LOSSES,
    "pytest": types.SimpleNamespace(raises=kinds, warns=warned),
}
FIXTURES = {"global_random_seed": 42}


def cases():
    """(name, arguments) of each test."""
    for name, test in inspect.getmembers(theirs, inspect.isfunction):
        if not name.startswith("test_"):
            continue
        marks = [mark.args for mark in getattr(test, "pytestmark", []) if mark.name == "parametrize"]
        sets = [[named(names, given) for given in values] for names, values in marks]
        for chosen in itertools.product(*sets):
            yield name, {key: value for part in chosen for key, value in part.items()}


def named(names, values) -> dict[str, Any]:
    names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
    return dict(zip(names, values if len(names) > 1 else (values,), strict=True))


def shown(value: Any) -> str:
    return getattr(value, "__name__", str(value)).removeprefix("_")


def marked(name: str, arguments: dict[str, Any]):
    title = "-".join([name, *map(shown, arguments.values())])
    marks = [pytest.mark.skip(reason=SKIPPED[pattern]) for pattern in SKIPPED if fnmatch.fnmatch(title, pattern)]
    marks += [pytest.mark.xfail(reason=WITHOUT[pattern]) for pattern in WITHOUT if fnmatch.fnmatch(title, pattern)]
    return pytest.param(name, arguments, id=title, marks=marks)


CASES = [marked(*case) for case in cases()]


@pytest.mark.slow
@pytest.mark.parametrize("name, arguments", CASES)
def test_of_scikit_learn(name, arguments, monkeypatch):
    for other, own in OURS.items():
        monkeypatch.setattr(theirs, other, own)
    given = {key: OURS.get(shown(value), value) for key, value in arguments.items()}
    needed = inspect.signature(getattr(theirs, name)).parameters
    given |= {key: value for key, value in (FIXTURES | {"monkeypatch": monkeypatch}).items() if key in needed}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", DataWarning)  # of labels that are sorted
        getattr(theirs, name)(**given)


def test_every_line_of_the_table_is_of_a_test_that_there_is():
    titles = [case.id for case in CASES]
    assert [pattern for pattern in SKIPPED | WITHOUT if not fnmatch.filter(titles, pattern)] == []
