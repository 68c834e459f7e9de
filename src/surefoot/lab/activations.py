"""What activations do to a network: units that are dead or saturated, and gradients that vanish layer by layer."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch

from surefoot.engines.numerics import decode
from surefoot.lab import gaps
from surefoot.lab.findings import Case
from surefoot.lab.motion import inputs_of
from surefoot.lab.remedies import Remedies, Remedy
from surefoot.lab.scales import LARGE
from surefoot.lab.verdicts import Verdict, listed, named

VANISHED, LAYERS = 1e-4, 4
"""How many times smaller the gradient of the first layer is than that of the last one, if activations take it away;
and how many layers it takes."""

RISES = 2.0
"""How many times larger than that of the next layer a gradient may be on the way."""

SATURATING = (torch.nn.Sigmoid, torch.nn.Tanh, torch.nn.Hardsigmoid, torch.nn.Hardtanh, torch.nn.Softsign)
"""Activations whose slope is near 0 away from 0, or at most 1/4."""

FLAT = 3e-3
"""The slope below which a unit is saturated, if half of a layer are: that of Tanh is as small at 4, Sigmoid's at 6."""

TRANSPARENT = (torch.nn.Dropout, torch.nn.Flatten, torch.nn.Identity)
"""What may stand between two layers besides an activation."""


def dead_units(cases: Sequence[Case], remedies: Remedies) -> Verdict | None:
    """The verdict on layers whose units never had a gradient, or have none now."""
    never, now = gaps.dead_layers(cases), gaps.dead_now(cases)
    if never:
        vectors = [bias for layer in never for bias in gaps.biases(layer, cases)]
        concerned = [case for case in cases if any(case is each for each in (*never, *vectors))]
        what = f"{units(never[0], never[0].marks.rows)} never had a gradient."
        if len(never) > 1:
            what = f"{listed(named(never))}: most units never had a gradient; of {what}"
        if all(gaps.is_output(layer, cases, remedies.model) for layer in never):
            remedy = Remedy("check that the loss depends on all outputs, or make fewer")
            return Verdict("never visited", "data", named(concerned), f"{what} Nothing follows them.", remedy)
        sizes = [size_of_dead(case, never[0]) for case in (*never, *vectors)]
        if max(sizes) <= LARGE and all(size_of_dead(layer, layer) > 0 for layer in never):
            leaky = remedies.other_activation(torch.nn.ReLU, torch.nn.LeakyReLU)
            return Verdict("dead units", "activation", named(concerned), what, leaky)
        return Verdict("dead units", "initial values", named(concerned), what, remedies.initial_values(never))
    if now:
        what = f"{listed(named(now))}: all gradients are 0, and those of other layers are not."
        return Verdict("dead units", "initial values", named(now), what, remedies.initial_values(now))
    return None


def is_dead(cases: Sequence[Case]) -> bool:
    """Whether nothing but biases can be learned, as a whole layer is dead."""
    return bool(gaps.dead_now(cases)) or any(layer.marks.rows.all() for layer in gaps.dead_layers(cases))


def units(layer: Case, marks: np.ndarray) -> str:
    """Which of a layer's units are marked, in a few words."""
    some = ", ".join(str(k * layer.view.every) for k in np.flatnonzero(marks)[:3])
    more = ", …" if np.count_nonzero(marks) > 3 else ""
    whole = layer.finding.shape[0]
    return f"{layer.finding.name}: {gaps.counted(marks, whole)} of {whole} units ({some}{more})"


def size_of(values: np.ndarray, layer: Case) -> float:
    """The root mean square of some of a layer's values, compared with 1/√inputs."""
    held = decode(values).astype(np.float64)
    return float(np.sqrt(np.mean(held**2))) * math.sqrt(inputs_of(layer.finding.shape))


def activated(model: torch.nn.Module | None) -> Iterator[tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]]:
    """The layers of Sequentials that a saturating activation follows, each with that and the next layer.

    >>> model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Tanh(), torch.nn.Linear(2, 1))
    >>> [(layer.out_features, between, after.out_features) for layer, between, after in activated(model)]
    [(2, Tanh(), 1)]
    """
    for whole in model.modules() if model is not None else ():
        if isinstance(whole, torch.nn.Sequential):
            parts = [part for part in whole if not isinstance(part, TRANSPARENT)]
            for layer, between, after in zip(parts, parts[1:], parts[2:], strict=False):
                if isinstance(between, SATURATING):
                    yield layer, between, after


def slopes(bias: Case, after: Sequence[Case]) -> np.ndarray:
    """About the slope of the activation behind each unit: what arrives there, compared with what is sent back.

    The gradient of a unit's bias is its weights in the next layer times the gradient of that, a sum of random signs,
    times the slope. Where a unit is saturated, the weights behind it have the gradient of the next layer's bias.

    Args:
        bias: of the units.
        after: the matrix of the next layer, and its bias.
    """
    arrives = np.abs(decode(bias.view.gradient[1]).astype(np.float64)).ravel()
    matrix, *others = after
    held, given = (
        decode(each).astype(np.float64).reshape(len(each), len(arrives), -1)
        for each in (matrix.view.x, matrix.view.gradient[1])
    )
    size = np.sqrt(np.mean(held**2, axis=(0, 2)))
    sent = max(np.sqrt(np.sum(given**2, axis=(0, 2))).max(), *(each.motion.gradient for each in others if each.motion))
    return np.divide(arrives, size * sent, out=np.full(len(size), np.inf), where=size * sent > 0)


class Saturated(NamedTuple):
    """A layer behind most of whose units an activation has hardly a slope.

    Attributes:
        own: its weights and its bias.
        what: a sentence about them.
        is_large: whether these are large compared with 1/√inputs.
        is_first: whether its inputs are not bounded by an activation in front.
    """

    own: list[Case]
    what: str
    is_large: bool
    is_first: bool


def saturated(cases: Sequence[Case], model: torch.nn.Module | None) -> Saturated | None:
    """The first layer of a Sequential most of whose units are saturated."""
    of: dict[int, list[Case]] = {}
    for case in cases:
        if case.motion is not None and case.is_warm and case.view.every == 1:
            of.setdefault(id(case.module), []).append(case)
    fed = set()
    for layer, between, following in activated(model):
        own, after = of.get(id(layer), []), of.get(id(following), [])
        fed.add(id(following))
        if [len(case.finding.shape) > 1 for case in (*own, *after)] == [True, False] * 2:
            flat = slopes(own[1], after) < FLAT
            if 2 * np.count_nonzero(flat) > len(flat):
                what = f"{units(own[0], flat)} are saturated: {type(between).__name__} has hardly a slope there."
                is_large = max(size_of(case.view.x, own[0]) for case in own) > LARGE
                return Saturated(own, what, is_large, id(layer) not in fed)
    return None


def size_of_dead(case: Case, layer: Case) -> float:
    """The size of what dead units have."""
    return size_of(case.view.x[case.marks.rows], layer)


def vanishing(cases: Sequence[Case], model: torch.nn.Module | None, remedies: Remedies) -> Verdict | None:
    """The verdict on a network whose gradients become smaller from layer to layer, up to the first."""
    kinds = Counter(type(part) for part in model.modules() if isinstance(part, SATURATING)) if model else Counter()
    matrices = [case for case in cases if len(case.finding.shape) > 1]
    norms = [case.finding.gradient_norm or 0.0 for case in matrices]
    if not kinds or len(norms) < LAYERS or not 0 < norms[0] < VANISHED * norms[-1]:
        return None
    if any(one > RISES * following for one, following in itertools.pairwise(norms)):
        return None
    kind = kinds.most_common(1)[0][0]
    faint = [case for case, norm in zip(matrices, norms, strict=True) if norm < math.sqrt(VANISHED) * norms[-1]]
    what = f"{listed(named(faint))}: gradients vanish, from {norms[-1]:.2g} in the last layer to {norms[0]:.2g}"
    remedy = remedies.other_activation(kind, torch.nn.SELU)
    return Verdict("stands still", "activation", named(faint), f"{what} in the first, behind {kind.__name__}.", remedy)
