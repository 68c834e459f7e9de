"""Section 3: the PyTorch optimizers of `surefoot.optim`, as a user steps them, on a tensor.

Each takes the same gradients as its formula, computed without the library, and as torch.optim's class of the same name
with the same arguments, and has to end every step where both end. The problem is that of `rule_traces`, with all of its
coordinates. What is held against the formula is the whole path from the arguments of the class to the parameter: names,
defaults, conventions. In float32 both follow given gradients, and may be apart as far as `float32` allows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from surefoot.lab.published import float32, formulas
from surefoot.lab.published.rows import ROWS, Finding, Row, Skipped, signed
from surefoot.lab.published.rule_traces import START, Gradient, gradient, largest, slope, wave

SECTION = "3 traces"
STEPS, LONG = 50, 1_000
ROUNDING = 1e-9


@dataclass(frozen=True)
class Optimizer:
    """A class of surefoot.optim, and what it is held against.

    Args:
        name: of the class.
        settings: the arguments of each trace.
        formula: a name of formulas.FORMULAS.
        documented: where PyTorch documents other defaults than the formula has, by the formula's names.
        names: the formula's names of arguments, where they differ; those of the members of a tuple.
        from_origin: whether parameters start from 0, the center of the rule, and the problem is moved instead.
        in_torch: whether torch.optim has the class.
        apart: how far torch.optim's class may end from ours.
        published, texts, note: as of a row.
    """

    name: str
    settings: tuple[dict[str, Any], ...]
    formula: str
    documented: Mapping[str, Any] = field(default_factory=dict)
    names: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    from_origin: bool = False
    in_torch: bool = True
    apart: float = ROUNDING
    published: str = ""
    texts: Mapping[str, str] = field(default_factory=dict)
    note: str = ""

    @property
    def id(self) -> str:
        return f"optim-{self.name.lower()}"

    @property
    def origin(self) -> np.ndarray:
        """Where the parameters have their 0."""
        return START if self.from_origin else np.zeros(START.shape)


BETAS = {"betas": ("beta1", "beta2")}
OPTIMIZERS = (
    Optimizer(
        "SGD",
        (
            {"lr": 0.1},
            {"lr": 0.1, "momentum": 0.5},
            {"lr": 0.1, "momentum": 0.5, "dampening": 0.3},
            {"lr": 0.1, "momentum": 0.5, "nesterov": True},
            {"lr": 0.1, "weight_decay": 0.1},
        ),
        "momentum",
        {"momentum": 0.0},
    ),
    Optimizer(
        "Adagrad",
        (
            {"lr": 0.4},
            {"lr": 0.4, "initial_accumulator_value": 0.1},
            {"lr": 0.4, "eps": 1e-8},
            {"lr": 0.4, "eps": 0.1},
            {"lr": 0.4, "lr_decay": 0.1},
            {"lr": 0.4, "weight_decay": 0.1},
        ),
        "adagrad",
        formulas.FRAMEWORK["adagrad"],
        published="x ← x − η g/(√s + ε), ε = 1e-8 (PyTorch: 1e-10); initial_accumulator_value = 0.1",
        texts={"guide": ""},
    ),
    Optimizer(
        "RMSprop",
        (
            {"lr": 0.1},
            {"lr": 0.1, "alpha": 0.9},
            {"lr": 0.1, "alpha": 0.9, "eps": 0.1},
            {"lr": 0.1, "alpha": 0.9, "momentum": 0.5},
            {"lr": 0.1, "weight_decay": 0.1},
            {"lr": 0.1, "alpha": 0.9, "centered": True, "eps": 0.1},
        ),
        "rmsprop",
        formulas.FRAMEWORK["rmsprop"] | {"gamma": 0.99},
        {"alpha": "gamma"},
    ),
    Optimizer(
        "Adadelta",
        ({}, {"lr": 0.5}, {"rho": 0.5}, {"weight_decay": 0.1}, {"eps": 0.1}),
        "adadelta",
        formulas.FRAMEWORK["adadelta"],
        {"eps": "eps_root"},
    ),
    Optimizer(
        "Adam",
        (
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.5, 0.8)},
            {"lr": 0.1, "betas": (0.5, 0.8), "amsgrad": True},
            {"lr": 0.1, "eps": 0.1},
            {"lr": 0.1, "weight_decay": 0.1},
            {"lr": 0.1, "maximize": True},
        ),
        "adam",
        formulas.FRAMEWORK["adam"],
        BETAS,
    ),
    Optimizer(
        "AdamW",
        ({"lr": 0.1}, {"lr": 0.1, "weight_decay": 0.5}, {"lr": 0.1, "betas": (0.5, 0.8), "eps": 0.1}),
        "adamw",
        formulas.FRAMEWORK["adam"],
        BETAS | {"weight_decay": "decoupled_weight_decay"},
    ),
    Optimizer(
        "NAdam",
        (
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.5, 0.8)},
            {"lr": 0.1, "momentum_decay": 1.0},
            {"lr": 0.1, "weight_decay": 0.1},
            {"lr": 0.1, "eps": 0.1},
        ),
        "nadam",
        names=BETAS,
        apart=1e-6,
        note="torch.optim keeps the product of momenta in float32, and may end 1e-6 away",
    ),
    Optimizer(
        "RAdam",
        ({"lr": 0.1}, {"lr": 0.1, "betas": (0.5, 0.9)}, {"lr": 0.1, "weight_decay": 0.1}, {"lr": 0.1, "eps": 0.1}),
        "radam",
        {"threshold": 5.0, "uncorrected_eps": True},
        BETAS,
    ),
    Optimizer(
        "Adamax",
        ({"lr": 0.1}, {"lr": 0.1, "betas": (0.5, 0.8)}, {"lr": 0.1, "weight_decay": 0.1}, {"lr": 0.1, "eps": 0.1}),
        "adamax",
        names=BETAS,
    ),
    Optimizer(
        "Yogi",
        (
            {"lr": 0.1},
            {"lr": 0.1, "betas": (0.5, 0.8)},
            {"lr": 0.1, "initial_accumulator_value": 0.1},
            {"lr": 0.1, "eps": 0.1},
        ),
        "yogi",
        names=BETAS,
        in_torch=False,
    ),
    Optimizer(
        "FTRL",
        (
            {"lr": 0.4},
            {"lr": 0.4, "beta": 0.1},
            {"lr": 0.4, "l1": 0.1},
            {"lr": 0.4, "l2": 0.1},
            {"lr": 0.4, "initial_accumulator_value": 0.1},
        ),
        "ftrl",
        from_origin=True,
        in_torch=False,
    ),
)
"""torch.optim's optimizers that the texts use, and those that it lacks."""


def measure(optimizer: Optimizer, settings: tuple[Mapping[str, Any], ...] | None = None) -> Finding:
    """The class against its formula and torch.optim's class, over all steps, with each of the settings."""
    try:
        import torch

        from surefoot import optim
    except ImportError:
        raise Skipped('optimizers step tensors of PyTorch; run pip install "surefoot[torch]"') from None
    kind, tried = getattr(optim, optimizer.name), settings or optimizer.settings
    apart, from_torch, rounded, ends = 0.0, 0.0, 0.0, []
    for published, arguments in zip(optimizer.settings, tried, strict=True):
        ours = stepped(kind, arguments, optimizer.origin)
        apart = max(apart, largest(ours - walk_formula(optimizer, published)))
        if optimizer.in_torch:
            theirs = stepped(getattr(torch.optim, optimizer.name), arguments, optimizer.origin)
            from_torch = max(from_torch, largest(ours - theirs))
        rounded = max(rounded, in_float32(optimizer, kind, arguments, published))
        ends.append(ours[-1, 0, :2])
    long = stepped(kind, tried[-1], optimizer.origin, LONG)
    apart = max(apart, largest(long - walk_formula(optimizer, optimizer.settings[-1], LONG)))
    shown = "; ".join(f"({signed(x1)}, {signed(x2)})" for x1, x2 in ends)
    text = f"{shown}: within {apart:.0e} of the formula"
    text += f", within {from_torch:.0e} of torch.optim.{optimizer.name}" * optimizer.in_torch
    text += f", at every step, of the last setting {LONG:,}; float32 within {rounded:.2f} of the bound of its rounding"
    passed = apart <= ROUNDING and from_torch <= optimizer.apart and rounded <= 1
    return Finding(text, passed, {"from_formula": apart, "from_torch": from_torch, "float32": rounded})


def in_float32(optimizer: Optimizer, kind: Any, arguments: Mapping[str, Any], published: Mapping[str, Any]) -> float:
    """How far the class gets from its formula along given gradients, in shares of the bound of rounding."""
    import torch

    start = START - optimizer.origin
    parameter = torch.nn.Parameter(torch.tensor(start, dtype=torch.float32))
    stepper, seen = kind([parameter], **arguments), []
    for sparse in float32.gradients(STEPS):
        parameter.grad = torch.tensor(float32.whole(sparse), dtype=torch.float32)
        stepper.step()
        seen.append(parameter.detach().numpy().astype(np.float64))

    def along(size: bool) -> np.ndarray:
        def of(t: int, x: np.ndarray) -> np.ndarray:
            ids, values = float32.gradients(STEPS)[t - 1]
            return float32.whole((ids, abs(values) if size else values))

        return np.array(list(formula_along(optimizer, published, of, range(1, STEPS + 1))))

    path = along(False)
    return float32.share(np.array(seen), path, along(True), start)


def stepped(kind: Any, arguments: Mapping[str, Any], origin: np.ndarray, steps: int = STEPS) -> np.ndarray:
    """Where a parameter of float64 is after each step of an optimizer of that class; long ones chase the minimum."""
    import torch

    parameter = torch.nn.Parameter(torch.tensor(START - origin, dtype=torch.float64))
    optimizer, seen = kind([parameter], **arguments), []
    for t in range(1, steps + 1):
        g = slope(t, parameter.detach().numpy() + origin)
        parameter.grad = torch.from_numpy(g + wave(t) if steps > STEPS else g)
        optimizer.step()
        seen.append(parameter.detach().numpy() + origin)
    return np.array(seen)


def walk_formula(optimizer: Optimizer, arguments: Mapping[str, Any], steps: int = STEPS) -> np.ndarray:
    """Where the formula is after each step on the problem."""
    origin = optimizer.origin

    def of(t: int, x: np.ndarray) -> np.ndarray:
        g = gradient(t, x + origin)
        return g + wave(t) if steps > STEPS else g

    return np.array(list(formula_along(optimizer, arguments, of, range(1, steps + 1)))) + origin


def formula_along(
    optimizer: Optimizer, arguments: Mapping[str, Any], of: Gradient, steps: Iterable[int]
) -> Iterator[np.ndarray]:
    """The formula along gradients; coupled decay and ascent change them before any rule sees them."""
    given = dict(arguments)
    decay = 0.0 if "weight_decay" in optimizer.names else given.pop("weight_decay", 0.0)
    sign = -1.0 if given.pop("maximize", False) else 1.0
    setting = {**optimizer.documented, **dict(renamed(optimizer.names, given))}
    start = START - optimizer.origin
    return formulas.walk(optimizer.formula, start, lambda t, x: sign * of(t, x) + decay * x, steps, setting)


def renamed(names: Mapping[str, str | tuple[str, ...]], arguments: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Arguments under the formula's names.

    >>> dict(renamed({"betas": ("beta1", "beta2"), "alpha": "gamma"}, {"betas": (0.9, 0.99), "alpha": 0.5, "lr": 1.0}))
    {'beta1': 0.9, 'beta2': 0.99, 'gamma': 0.5, 'lr': 1.0}
    """
    for key, value in arguments.items():
        name = names.get(key, key)
        yield from zip(name, value, strict=True) if isinstance(name, tuple) else [(name, value)]


def claim_of(optimizer: Optimizer) -> str:
    """The class, and the arguments of all traces."""
    shown = "; ".join(", ".join(f"{key} = {value}" for key, value in one.items()) for one in optimizer.settings)
    where = "on a tensor, 0.1x₁² + 2x₂² from (−5, −2), x₂ with a gradient at every third step, and ten more coordinates"
    return f"surefoot.optim.{optimizer.name} ({optimizer.formula}) {where}, {STEPS} steps; {shown.lstrip('; ')}"


for one in OPTIMIZERS:
    torchs = f", and torch.optim.{one.name} with the same arguments" if one.in_torch else ""
    ROWS[one.id] = Row(
        one.id,
        SECTION,
        claim_of(one),
        one.published,
        functools.partial(measure, one),
        one.texts,
        ours=f"the formula, computed without the library{torchs}; in float32 the formula but for rounding",
        note=one.note,
    )
