"""What the tests of surefoot.optim share: torch's classes with their options, parameters to step, tensors as arrays."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from support.numerics import assert_close, assert_identical
from surefoot import rules
from surefoot.engines import Step

torch = pytest.importorskip("torch", reason="torch is not installed")
optim = pytest.importorskip("surefoot.optim")

OPTIONS: dict[str, list[list[dict[str, Any]]]] = {
    "SGD": [
        [{}, {"momentum": 0.9}, {"momentum": 0.9, "dampening": 0.5}, {"momentum": 0.9, "nesterov": True}],
        [{}, {"weight_decay": 0.1}],
        [{}, {"maximize": True}],
    ],
    "Adagrad": [
        [{}, {"lr_decay": 0.1}],
        [{}, {"initial_accumulator_value": 0.3}],
        [{}, {"lr": 0.3, "eps": 1e-3}],
        [{}, {"weight_decay": 0.1}],
        [{}, {"maximize": True}],
    ],
    "RMSprop": [
        [{}, {"momentum": 0.9}],
        [{}, {"centered": True}],
        [{}, {"alpha": 0.8, "eps": 1e-3, "lr": 0.03}],
        [{}, {"weight_decay": 0.1}],
        [{}, {"maximize": True}],
    ],
    "Adadelta": [
        [{}, {"rho": 0.8, "eps": 1e-3, "lr": 0.5}],
        [{}, {"weight_decay": 0.1}],
        [{}, {"maximize": True}],
    ],
    "Adam": [
        [{}, {"amsgrad": True}],
        [{}, {"betas": (0.8, 0.95), "eps": 1e-4, "lr": 0.01}],
        [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
        [{}, {"maximize": True}],
    ],
    "AdamW": [
        [{}, {"amsgrad": True}],
        [{}, {"betas": (0.8, 0.95), "eps": 1e-4, "lr": 0.01}],
        [{}, {"weight_decay": 0.5}, {"weight_decay": 0.0}],
        [{}, {"maximize": True}],
    ],
    "NAdam": [
        [{}, {"betas": (0.8, 0.95), "eps": 1e-4, "lr": 0.01, "momentum_decay": 0.1}],
        [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
        [{}, {"maximize": True}],
    ],
    "RAdam": [
        [{}, {"betas": (0.8, 0.95), "eps": 1e-4, "lr": 0.01}],
        [{}, {"weight_decay": 0.1}, {"weight_decay": 0.1, "decoupled_weight_decay": True}],
        [{}, {"maximize": True}],
    ],
    "Adamax": [
        [{}, {"betas": (0.8, 0.95), "eps": 1e-4, "lr": 0.01}],
        [{}, {"weight_decay": 0.1}],
        [{}, {"maximize": True}],
    ],
}
"""The classes that torch has too, and their options, whose combinations are stepped in lockstep with torch's."""

SHARED = tuple(OPTIONS)
CLASSES = (*SHARED, "Yogi", "FTRL")
OWN = {
    name
    for name, kind in vars(optim).items()
    if isinstance(kind, type) and issubclass(kind, torch.optim.Optimizer) and kind.__module__.startswith("surefoot.")
}
"""All classes of optimizers that are not torch's own."""
ENGINES = dict.fromkeys(CLASSES, "reference") | {"SGD": None, "Adagrad": None}
"""Where a test asks little of the engine, kernels are compiled for two classes, not for eleven: one takes seconds."""


def combinations(name: str) -> Iterator[dict[str, Any]]:
    """Every combination of a class's options."""
    for chosen in itertools.product(*OPTIONS[name]):
        yield {key: value for option in chosen for key, value in option.items()}


def described(options: dict[str, Any]) -> str:
    return " ".join(f"{key}={value}" for key, value in options.items()) or "defaults"


def all_on(name: str) -> dict[str, Any]:
    """The last choice of each of a class's options."""
    return {key: value for choices in OPTIONS[name] for key, value in choices[-1].items()}


def parameters(*shapes, dtype=None, seed: int = 0):
    """Parameters of these shapes, the same at every call."""
    source = torch.Generator().manual_seed(seed)
    return [torch.nn.Parameter(torch.randn(shape, dtype=dtype, generator=source)) for shape in shapes]


def clones(parameters):
    """Other parameters with the same values, laid out alike."""
    return [torch.nn.Parameter(parameter.detach().clone()) for parameter in parameters]


def numbers(tensor) -> np.ndarray:
    """A tensor as an array; complex numbers as pairs, types that NumPy lacks as float32."""
    tensor = tensor.detach()
    tensor = tensor.to_dense() if tensor.is_sparse else tensor
    tensor = torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
    return (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).resolve_neg().numpy()


def assert_tensors_close(found, expected, tolerance: str, what: str = "values"):
    """Fails unless shape and type are equal and all numbers agree within the named tolerance."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), f"{what}: {found.dtype} {found.shape}"
    assert_close(numbers(found), numbers(expected), tolerance, what)


def assert_tensors_identical(found, expected, what: str = "values"):
    """Fails unless shape, type and every bit agree."""
    assert (found.shape, found.dtype) == (expected.shape, expected.dtype), f"{what}: {found.dtype} {found.shape}"
    assert_identical(numbers(found), numbers(expected), what)


def assert_states_close(found, expected, tolerance: str, what: str = "state"):
    """Fails unless two state dicts hold the same keys, shapes, types and, within the tolerance, numbers."""
    assert found["state"].keys() == expected["state"].keys(), what
    for index, theirs in expected["state"].items():
        theirs = {key: value for key, value in theirs.items() if value is not None}
        ours = found["state"][index]
        assert ours.keys() == theirs.keys(), f"{what}, parameter {index}: {list(ours)}, expected {list(theirs)}"
        for key, value in theirs.items():
            assert_tensors_close(ours[key], value, tolerance, f"{what}, parameter {index}, {key}")


def assert_states_identical(found, expected, what: str = "state"):
    """Fails unless two state dicts have equal groups and the same memory, bit for bit."""
    assert found["param_groups"] == expected["param_groups"], what
    assert found["state"].keys() == expected["state"].keys(), what
    for index, theirs in expected["state"].items():
        assert found["state"][index].keys() == theirs.keys(), f"{what}, parameter {index}"
        for key, value in theirs.items():
            assert_tensors_identical(found["state"][index][key], value, f"{what}, parameter {index}, {key}")


RULES = {name: name.lower() for name in CLASSES} | {"SGD": "momentum"}
"""The rule of each class; SGD's without momentum is sgd."""


def as_array(tensor) -> np.ndarray:
    """A copy of a tensor as engines take it: bfloat16 as uint16, complex numbers as pairs."""
    tensor = tensor.detach().clone()
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()


def by_hand(rule, start, gradients, **settings):
    """What an engine's Step makes of a parameter, and the state after: dense or COO gradients, one after the other."""
    convention = "pytorch" if "pytorch" in rules.get(rule).conventions else None
    step = Step(rule, **({"engine": "reference", "convention": convention} | settings))
    x = as_array(start)
    state = step.init(x)
    for gradient in gradients:
        if gradient.is_sparse:
            step.rows(x, gradient._indices()[0].numpy(), as_array(gradient._values()), state)
        else:
            step.dense(x, as_array(gradient), state)
    step.settle(x, state)
    tensor = torch.from_numpy(x).view(start.dtype) if start.dtype == torch.bfloat16 else torch.from_numpy(x)
    return (torch.view_as_complex(tensor) if start.is_complex() else tensor), state


def stepped(optimizer, parameter, gradients):
    """The parameter after a step along each gradient."""
    for gradient in gradients:
        parameter.grad = gradient
        optimizer.step()
    optimizer.settle()
    return parameter.detach()


def coo(ids, values, size):
    """A sparse gradient."""
    return torch.sparse_coo_tensor(torch.as_tensor(ids), torch.as_tensor(values), size, check_invariants=True)
