"""The texts' experiment on the airfoil data, for many seeds at once, in float64: the loop of their sections, in NumPy.

Weights from N(0, 0.01²) and a bias of 0, a fresh random order every epoch, mini-batches of it one after the other, the
gradient of ½(ŷ − y)² averaged over the mini-batch, and a formula for the step. All seeds are one array.

This module imports nothing of the library but the formulas, which an import contract checks.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from surefoot.lab.published.formulas import FORMULAS, FRAMEWORK, states_of


class Run(NamedTuple):
    """A run as the texts print it: formula and setting, losses after the last epoch, mini-batches and epochs."""

    formula: str
    setting: dict[str, float]
    losses: set[float]
    batch_size: int = 10
    epochs: int = 2


def concise(formula: str, setting: dict[str, float], losses: set[float]) -> Run:
    """One of the framework's own optimizers, as its documentation has it, for 4 epochs."""
    return Run(formula, setting | FRAMEWORK.get(formula, {}), losses, epochs=4)


RUNS = {
    "airfoil-gd": Run("sgd", {"lr": 1.0}, {0.244}, batch_size=1500, epochs=10),
    "airfoil-sgd": Run("sgd", {"lr": 0.005}, {0.244}, batch_size=1, epochs=5),
    "airfoil-sgd-100": Run("sgd", {"lr": 0.4}, {0.249}, batch_size=100),
    "airfoil-sgd-10": Run("sgd", {"lr": 0.05}, {0.245}),
    "airfoil-sgd-10-concise": concise("sgd", {"lr": 0.05}, {0.246}),
    "airfoil-momentum-0.5": Run("momentum", {"lr": 0.02, "momentum": 0.5}, {0.245}),
    "airfoil-momentum-0.9": Run("momentum", {"lr": 0.01, "momentum": 0.9}, {0.257}),
    "airfoil-momentum-0.9-small": Run("momentum", {"lr": 0.005, "momentum": 0.9}, {0.251}),
    "airfoil-momentum-0.9-small-concise": concise("momentum", {"lr": 0.005, "momentum": 0.9}, {0.243}),
    "airfoil-adagrad": Run("adagrad", {"lr": 0.1}, {0.242, 0.243}),
    "airfoil-adagrad-concise": concise("adagrad", {"lr": 0.1}, {0.242, 0.243, 0.244}),
    "airfoil-rmsprop": Run("rmsprop", {"lr": 0.01, "gamma": 0.9}, {0.247}),
    "airfoil-rmsprop-concise": concise("rmsprop", {"lr": 0.01, "gamma": 0.9}, {0.244}),
    "airfoil-adadelta": Run("adadelta", {"rho": 0.9}, {0.243}),
    "airfoil-adadelta-concise": concise("adadelta", {"rho": 0.9}, {0.243}),
    "airfoil-adam": Run("adam", {"lr": 0.01}, {0.245}),
    "airfoil-adam-concise": concise("adam", {"lr": 0.01}, {0.246}),
    "airfoil-yogi": Run("yogi", {"lr": 0.01}, {0.244}),
}
"""By the ids of rows. `airfoil.RUNS` has them for the library; both are written apart, so that a slip in one fails."""


@functools.lru_cache(maxsize=2)
def draws(seeds: int, examples: int, epochs: int) -> tuple[np.ndarray, np.ndarray]:
    """Initial weights, (seeds, 6), the last of which is the bias, and orders, (epochs, examples, seeds)."""
    weights, orders = np.zeros((seeds, 6)), np.empty((epochs, examples, seeds), np.int16)
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        weights[seed, :5] = rng.normal(0, 0.01, 5)
        for epoch in range(epochs):
            orders[epoch, :, seed] = rng.permutation(examples)
    return weights, orders


def descend(name: str, setting: Mapping[str, Any], X, y, start, orders, batch_size: int) -> np.ndarray:
    """The weights before the first epoch and after each, (epochs + 1, seeds, 6).

    Args:
        name: of the formula.
        setting: of the formula.
        X: examples, (examples, 5).
        y: targets, (examples,).
        start: initial weights, (seeds, 6).
        orders: of the examples, (epochs, examples, seeds), or of parts of epochs.
        batch_size: of a mini-batch.
    """
    A = np.column_stack([X, np.ones(len(X))]).astype(np.float64)
    y, formula, x = y.astype(np.float64), FORMULAS[name], start
    states, t, seen = states_of(formula), 0, [start]
    for order in orders:
        for first in range(0, len(order), batch_size):
            batch, t = order[first : first + batch_size], t + 1
            g = gradient(A, y, x, batch)
            x, *states = formula(t, x, g, *states, **setting)
        seen.append(x)
    return np.array(seen)


def gradient(A, y, x, batch):
    """Of the mean of ½(a·x − y)² over each seed's mini-batch, (seeds, 6)."""
    if len(batch) == len(A):
        return (x @ A.T - y) @ A / len(A)
    chosen = A[batch]
    wrong = np.einsum("bsf,sf->bs", chosen, x) - y[batch]
    return np.einsum("bs,bsf->sf", wrong, chosen) / len(batch)


def half_mean_squares(X, y, x) -> np.ndarray:
    """½ MSE on all examples, for weights (..., 6)."""
    wrong = x[..., :5] @ X.T.astype(np.float64) + x[..., 5:] - y
    return (wrong**2).mean(axis=-1) / 2
