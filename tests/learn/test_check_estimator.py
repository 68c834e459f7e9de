"""scikit-learn's own checks of estimators."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from surefoot import LinearClassifier, LinearRegressor

# All with the kernels of the default, or those of one lane: each other combination would take seconds to compile.
ESTIMATORS = [
    LinearClassifier(),
    LinearClassifier("softmax", early_stopping=True, validation_fraction=0.3),
    LinearClassifier("modified_huber", lr=0.1, class_weight="balanced", epochs=20),
    LinearRegressor(),
    LinearRegressor("huber", epochs=20),
    LinearRegressor("poisson", lr=0.1, epochs=20),
]
WEIGHTS = "an example of weight 2 is one step along twice the slope, the same example twice are two steps"


def expected_failed_checks(estimator) -> dict[str, str]:
    return {f"check_sample_weight_equivalence_on_{layout}_data": WEIGHTS for layout in ("dense", "sparse")}


@pytest.mark.sampled(130)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@parametrize_with_checks(ESTIMATORS, expected_failed_checks=expected_failed_checks)
def test_scikit_learns_estimator_checks(estimator, check):
    check(estimator)
