"""Linear models from streams of sparse examples: the learner, estimators with scikit-learn's interface, model files."""

import importlib
from typing import Any

_ESTIMATORS = ("LinearClassifier", "LinearRegressor")

__all__ = [*_ESTIMATORS]


def __getattr__(name: str) -> Any:
    """Loads the estimators when they are first needed, and scikit-learn with them."""
    if name in _ESTIMATORS:
        return getattr(importlib.import_module("surefoot.learn.linear"), name)
    raise AttributeError(f"module 'surefoot.learn' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
