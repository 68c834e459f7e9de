"""Linear models from streams of sparse examples: the learner, estimators with scikit-learn's interface, model files."""

import importlib
from typing import Any

__all__ = ["LinearClassifier", "LinearRegressor"]


def __getattr__(name: str) -> Any:
    """Loads the estimators when they are first needed: scikit-learn takes its time."""
    if name in __all__:
        return getattr(importlib.import_module("surefoot.learn.linear"), name)
    raise AttributeError(f"module 'surefoot.learn' has no attribute {name!r}")
