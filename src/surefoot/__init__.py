"""Surefoot: AdaGrad and its family of optimizers, that fit each step to the ground.

surefoot.rules       the update rules, one plain function each
surefoot.losses      what linear models minimize, a slope and a value each
surefoot.schedules   learning rates that change with time
surefoot.optim       the rules as PyTorch optimizers
surefoot.callbacks   these in Lightning, Transformers and Accelerate
surefoot.optax       the rules as gradient transformations of optax, for JAX
surefoot.engines     where a rule meets memory: dense, sparse rows, linear models
surefoot.learn       linear classifiers and regressions that learn from streams
surefoot.compare     race rules on the same data and order
surefoot.diagnose    what a torch optimizer does to each parameter
surefoot.trace       follow rules over a two-dimensional objective
"""

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "DataWarning": "surefoot.data.stream",
    "LinearClassifier": "surefoot.learn",
    "LinearRegressor": "surefoot.learn",
    "Loss": "surefoot.losses",
    "LossError": "surefoot.losses",
    "Monitor": "surefoot.lab",
    "Rule": "surefoot.rules",
    "RuleError": "surefoot.rules",
    "loss": "surefoot.losses",
    "rule": "surefoot.rules",
    "Step": "surefoot.engines",
    "compare": "surefoot.lab",
    "count_visits": "surefoot.lab",
    "diagnose": "surefoot.lab",
    "reproduce": "surefoot.lab",
    "trace": "surefoot.lab",
}
_ROOMS = ("callbacks", "data", "engines", "lab", "learn", "losses", "nn", "ops", "optax", "optim", "rules", "schedules")

__all__ = [*_HOMES, *_ROOMS, "__version__"]


def __getattr__(name: str) -> Any:
    """Loads each room when it is first needed, so that importing surefoot stays light."""
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    if name in _ROOMS:
        return importlib.import_module(f"surefoot.{name}")
    raise AttributeError(f"module 'surefoot' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
