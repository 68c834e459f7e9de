"""Writes the state dicts of version 0.1 in this folder, with what that version made of them in a few more steps.

    git worktree add ../old c7e7d65 && PYTHONPATH=../old/src python tests/optim/checkpoints/write.py

Each file holds one optimizer in mid-training: its class and settings, the parameters, the state dict, the gradients
of the steps that follow, and the parameters after these. Later versions must load these files, not write them again.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

import surefoot
from surefoot import optim
from surefoot.engines import Step

VERSION = "0.1.0"
HERE = Path(__file__).parent
SHAPES = (5, 3), (4,), (2, 2, 2)
TABLE = ((6, 3),)
BEFORE, AFTER = 4, 3
BF16, HALF = torch.bfloat16, torch.float16

# name: (class, settings, parameters' type); those named "sparse …" have a table whose rows are touched now and then.
CASES: dict[str, tuple[str, dict[str, Any], torch.dtype]] = {
    "sgd": ("SGD", {"lr": 0.1, "weight_decay": 0.1}, torch.float32),
    "sgd-nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, torch.float32),
    "sgd-dampening-float64": ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}, torch.float64),
    "sgd-rounding": ("SGD", {"lr": 1e-3, "momentum": 0.9, "stochastic_rounding": 7}, BF16),
    "adagrad": ("Adagrad", {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.3, "l1": 0.01}, torch.float32),
    "adagrad-row": ("Adagrad", {"lr": 0.1, "granularity": "row", "decoupled_weight_decay": 0.1}, torch.float32),
    "adagrad-tensor": ("Adagrad", {"lr": 0.1, "granularity": "tensor"}, torch.float32),
    "adagrad-bfloat16": ("Adagrad", {"lr": 0.1, "state_dtype": BF16}, BF16),
    "adagrad-float16": ("Adagrad", {"lr": 0.1}, HALF),
    "adagrad-complex": ("Adagrad", {"lr": 0.1}, torch.complex64),
    "rmsprop-centered": ("RMSprop", {"lr": 0.01, "momentum": 0.9, "centered": True}, torch.float32),
    "rmsprop-row": ("RMSprop", {"lr": 0.01, "granularity": "row", "l2": 0.1}, torch.float32),
    "adadelta": ("Adadelta", {"rho": 0.8, "eps_root": 1e-7, "weight_decay": 0.1}, torch.float32),
    "adam-amsgrad": ("Adam", {"lr": 0.01, "amsgrad": True, "maximize": True}, torch.float32),
    "adam-decoupled": ("Adam", {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}, torch.float32),
    "adam-bfloat16": ("Adam", {"lr": 0.01, "state_dtype": BF16}, BF16),
    "adamw": ("AdamW", {"lr": 0.01, "betas": (0.8, 0.95)}, torch.float32),
    "nadam": ("NAdam", {"lr": 0.01, "momentum_decay": 0.1}, torch.float32),
    "yogi": ("Yogi", {"lr": 0.01, "initial_accumulator_value": 1e-6}, torch.float32),
    "ftrl": ("FTRL", {"lr": 0.1, "l1": 0.05, "l2": 0.1}, torch.float32),
    "ftrl-row": ("FTRL", {"lr": 0.1, "l1": 0.05, "granularity": "row"}, torch.float32),
    "ftrl-bfloat16": ("FTRL", {"lr": 0.1, "l1": 0.05}, BF16),
    "rule-dual-averaging": ("RuleOptimizer", {"rule": "dual_averaging", "l1": 0.01}, torch.float32),
    "rule-mean-adagrad": ("RuleOptimizer", {"rule": "mean_adagrad", "lr": 0.1}, torch.float32),
    "rule-visits": ("RuleOptimizer", {"rule": "visits", "lr": 0.1}, torch.float32),
    "rule-adamw-of-optax": ("RuleOptimizer", {"rule": "adamw", "convention": "optax", "lr": 0.1}, torch.float32),
    "sparse-sgd": ("SGD", {"lr": 0.1}, torch.float32),
    "sparse-sgd-momentum": ("SGD", {"lr": 0.1, "momentum": 0.9}, torch.float32),
    "sparse-sgd-nesterov": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}, torch.float32),
    "sparse-adagrad": ("Adagrad", {"lr": 0.1}, torch.float32),
    "sparse-adagrad-penalties": (
        "Adagrad",
        {"lr": 0.1, "l1": 0.01, "l2": 0.1, "decoupled_weight_decay": 0.1},
        torch.float32,
    ),
    "sparse-adagrad-row": ("Adagrad", {"lr": 0.1, "granularity": "row", "l1": 0.01}, torch.float32),
    "sparse-adagrad-touched": ("Adagrad", {"lr": 0.1, "l1": 0.01, "lazy": "touched"}, BF16),
    "sparse-rmsprop": ("RMSprop", {"lr": 0.01}, torch.float32),
    "sparse-rmsprop-momentum": ("RMSprop", {"lr": 0.01, "momentum": 0.9, "lazy": "touched"}, torch.float32),
    "sparse-adadelta": ("Adadelta", {}, torch.float32),
    "sparse-adam": ("Adam", {"lr": 0.01, "lazy": "touched"}, torch.float32),
    "sparse-adamw": ("AdamW", {"lr": 0.01, "lazy": "touched"}, torch.float32),
    "sparse-nadam": ("NAdam", {"lr": 0.01, "lazy": "touched"}, torch.float32),
    "sparse-yogi": ("Yogi", {"lr": 0.01, "lazy": "touched"}, torch.float32),
    "sparse-ftrl": ("FTRL", {"lr": 0.1, "l1": 0.05}, torch.float32),
    "sparse-rule-dual-averaging": ("RuleOptimizer", {"rule": "dual_averaging", "l1": 0.01}, torch.float32),
}
FROM_ORIGIN = ("ftrl", "dual-averaging")
"""Version 0.1 documented that these start at zero."""


def gradients(shapes, dtype: torch.dtype, sparse: bool, source: torch.Generator) -> Iterator[list]:
    """The gradients of the parameters at each step: (ids, values) of a table, or a tensor; now and then, none."""
    for t in range(BEFORE + AFTER):
        values = [torch.randn(shape, dtype=dtype, generator=source) for shape in shapes]
        if sparse:  # the last row is never touched
            ids = torch.tensor([[t % 3, (2 * t + 1) % 5, t % 3]])
            yield [(ids, value[:3].clone()) for value in values]
        else:
            yield [None if (t, k) == (2, 1) else value for k, value in enumerate(values)]


def set_gradients(parameters, given) -> None:
    for parameter, gradient in zip(parameters, given, strict=True):
        if isinstance(gradient, tuple):
            gradient = torch.sparse_coo_tensor(*gradient, parameter.shape, check_invariants=True)
        parameter.grad = gradient


def made(case: dict[str, Any], parameters) -> optim.RuleOptimizer:
    """An optimizer of a case's class and settings, its parameters in two groups with rates of their own."""
    settings = dict(case["settings"])
    groups = [{"params": parameters[:1]}, {"params": parameters[1:], "lr": 0.02}]
    return getattr(optim, case["class"])(groups[: len(parameters)], **settings)


def write(name: str, kind: str, settings: dict[str, Any], dtype: torch.dtype) -> None:
    source = torch.Generator().manual_seed(sum(name.encode()))
    sparse = name.startswith("sparse")
    shapes = TABLE if sparse else SHAPES
    origin = any(part in name for part in FROM_ORIGIN)
    start = [torch.randn(shape, dtype=dtype, generator=source) * (not origin) for shape in shapes]
    parameters = [torch.nn.Parameter(x) for x in start]
    case: dict[str, Any] = {"version": VERSION, "class": kind, "settings": settings}
    optimizer = made(case, parameters)
    given = list(gradients(shapes, dtype, sparse, source))
    for gradient in given[:BEFORE]:
        set_gradients(parameters, gradient)
        optimizer.step()
    case["state_dict"] = optimizer.state_dict()
    case["parameters"] = [p.detach().clone() for p in parameters]
    torch.save(case | {"gradients": given[BEFORE:]}, HERE / f"{name}.pt")
    case = torch.load(HERE / f"{name}.pt", weights_only=True)
    torch.save(case | {"expected": resumed(case)}, HERE / f"{name}.pt")


def resumed(case: dict[str, Any]) -> list[torch.Tensor]:
    """The parameters after the checkpoint was loaded and the steps that follow were taken."""
    parameters = [torch.nn.Parameter(x.clone()) for x in case["parameters"]]
    optimizer = made(case, parameters)
    optimizer.load_state_dict(case["state_dict"])
    for gradient in case["gradients"]:
        set_gradients(parameters, gradient)
        optimizer.step()
    optimizer.settle()
    return [parameter.detach() for parameter in parameters]


if __name__ == "__main__":
    if surefoot.__version__ != VERSION or not hasattr(Step, "linear"):  # which the next version did without
        raise SystemExit(f"{surefoot.__file__} is not version {VERSION}, which wrote these files")
    for name, case in CASES.items():
        write(name, *case)
