"""Steps of rules that take whole arrays, in NumPy: what the engines of `Step` have for them."""

from __future__ import annotations

import inspect
from collections.abc import Mapping

import numpy as np

from surefoot.engines.arrays import Arrays
from surefoot.engines.numerics import decode, encode
from surefoot.engines.program import evaluate
from surefoot.engines.settings import Settings
from surefoot.engines.state import State
from surefoot.rules import RuleError
from surefoot.rules.matrix import MatrixRule


def dense(step: Settings, x: np.ndarray, g: np.ndarray, state: State, t: int, coefficients: tuple) -> int:
    """Steps all of x, or nothing where anything is not finite; returns how many coordinates were skipped."""
    slots, raw = {name: state.slots[name] for name in step.rule.slots}, decode(g)
    memory = {name: decode(slot) for name, slot in slots.items()}
    with np.errstate(all="ignore"):
        found = evaluate(step.program, Arrays(step, t, raw), decode(x), raw, memory, coefficients)
    old = [x, *slots.values()]
    # Copies, all of them before the first is overwritten: a rule may hand a slot on to the next one.
    new = [
        np.array(encode(np.asarray(a), b)) for a, b in zip([found.values["x"], *found.slots.values()], old, strict=True)
    ]
    finite = all(np.isfinite(each).all() for each in (raw, found.values["square"], *map(decode, new)))
    if not (finite or step.nonfinite == "propagate"):
        return x.size
    for stored, computed in zip(old, new, strict=True):
        stored[...] = computed
    return 0


def rates(step: Settings, x: np.ndarray, slots: Mapping[str, np.ndarray], coefficients: tuple) -> np.ndarray:
    """The effective learning rate of each coordinate.

    Raises:
        RuleError: the rule has none.
    """
    rule = step.rule
    assert isinstance(rule, MatrixRule)
    if rule.rates is None:
        raise RuleError(f"{rule.name}: the rule has no rate for each coordinate; give it one, as MatrixRule(rates=…)")
    known = {"x": x, **slots} | dict(zip(rule.coefficient_names, coefficients, strict=True))
    return rule.rates(*(known[name] for name in inspect.signature(rule.rates).parameters))
