"""Input that does not fit: an error that names parameter, value found and expectation; nothing changed, bit for bit."""

import contextlib
import copy
import inspect
import itertools
import math
import re

import pytest
from support.covering import covering, unpacked
from support.optimizers import (
    CLASSES,
    ENGINES,
    assert_states_identical,
    assert_tensors_identical,
    coo,
    optim,
    parameters,
    torch,
)

from surefoot.engines import NonFiniteError

EACH = pytest.mark.parametrize("name", CLASSES)
SHAPE = (6, 3)
NAMES = ("linear.weight", "embedding.weight")
WITH_MEMORY = {
    "SGD": {"momentum": 0.9},
    "Adagrad": {},
    "RMSprop": {"centered": True, "momentum": 0.9},
    "Adadelta": {},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "NAdam": {},
    "RAdam": {},
    "Adamax": {},
    "Yogi": {},
    "FTRL": {},
}


def started(name="Adagrad", dtype=torch.float32, **settings):
    """(optimizer, two named parameters) after a step, so that there is something to spoil."""
    some = parameters((2, 2), SHAPE, dtype=dtype)
    optimizer = getattr(optim, name)(zip(NAMES, some, strict=True), **({"engine": ENGINES[name]} | settings))
    ones(some)
    optimizer.step()
    return optimizer, some


def ones(some):
    for parameter in some:
        parameter.grad = torch.ones_like(parameter)


@contextlib.contextmanager
def rejected(optimizer, some, *patterns, error=ValueError):
    """Fails unless the block raises an error that names all this, and leaves parameters, state and groups unchanged."""
    before = [parameter.detach().clone() for parameter in some]
    memory = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(error) as caught:
        yield
    message = str(caught.value)
    for pattern in patterns:
        assert re.search(pattern, message), f"{pattern!r} is not in {message!r}"
    for parameter, old in zip(some, before, strict=True):
        assert_tensors_identical(parameter.detach(), old)
    assert_states_identical(optimizer.state_dict(), memory)


# Hyperparameters

NUMBERS = {
    "lr": "learning rate",
    "weight_decay": "weight_decay",
    "momentum": "momentum",
    "dampening": "dampening",
    "lr_decay": "lr_decay",
    "initial_accumulator_value": "initial_accumulator_value",
    "eps": "epsilon",
    "eps_root": "eps_root",
    "alpha": "alpha",
    "rho": "rho",
    "momentum_decay": "momentum_decay",
    "beta": "beta",
    "l1": "l1",
    "l2": "l2",
    "decoupled_weight_decay": "decoupled_weight_decay",
}
WRONG_NUMBERS = (-0.5, math.nan, math.inf, "0.1", None)
FRACTIONS = ("momentum", "dampening", "alpha", "rho")
WRONG_CHOICES = {
    "granularity": ("column", "coordinate, row, tensor"),
    "lazy": ("never", "exact, touched"),
    "nonfinite": ("ignore", "raise, skip, propagate"),
    "engine": ("cuda", "cpu, gpu, reference, torch"),
    "state_dtype": (torch.int32, "float64, float32, float16, bfloat16"),
    "stochastic_rounding": (0.5, "a whole number"),
}


def takes(name, key):
    """Whether the class takes the keyword."""
    known = inspect.signature(getattr(optim, name)).parameters
    beyond = key in ("l1", "l2", "decoupled_weight_decay", "eps_root")
    return key in known or (beyond and not (key == "eps_root" and name in ("SGD", "FTRL", "Adamax")))


def wrong():
    """(class, settings, what torch calls them)"""
    for name in CLASSES:
        for key, called in NUMBERS.items():
            values = WRONG_NUMBERS + ((1.5,) if key in FRACTIONS else ())
            for value in values if takes(name, key) else ():
                yield name, {key: value}, called
        for value in (*WRONG_NUMBERS, 1.0) if takes(name, "betas") else ():
            yield name, {"betas": (value, 0.9)}, "beta parameter at index 0"
            yield name, {"betas": (0.9, value)}, "beta parameter at index 1"


def wrong_once():
    """All values of each setting for the first class that takes it, and one for every class; the others are slow, as
    all classes share one check."""
    first = {}
    for name, settings, called in wrong():
        (key,) = settings
        fast = first.setdefault(key, name) == name or settings == {"lr": -0.5}
        yield pytest.param(name, settings, called, marks=() if fast else pytest.mark.slow)


@pytest.mark.parametrize("name, settings, called", list(wrong_once()), ids=str)
def test_numbers_out_of_bounds(name, settings, called):
    """To the class, and in a group that is added, which is then not added; in torch's words."""
    (value,) = settings.values()
    value = next(v for v in value if v != 0.9) if isinstance(value, tuple) else value
    expected = f"Invalid {called}.*: {re.escape(str(value))}; expected "
    with pytest.raises(ValueError, match=expected):
        getattr(optim, name)(parameters((2,)), **settings)
    optimizer, some = started(name)
    with rejected(optimizer, some, expected):
        optimizer.add_param_group({"params": [("late", parameters((2,))[0])], **settings})


CHOICES = [(name, key) for name in CLASSES for key in WRONG_CHOICES]


@pytest.mark.parametrize("name, key", unpacked(CHOICES, [case for case in CHOICES if {"Adagrad", "lazy"} & {*case}]))
def test_unknown_choices(name, key):
    value, expected = WRONG_CHOICES[key]
    expected = expected.replace("row, tensor", "row, tensor")
    with pytest.raises(ValueError, match=f"(?s){key}.*({expected}|{re.escape(str(value))})"):
        getattr(optim, name)(parameters((2,)), **{key: value})
    optimizer, some = started(name)
    with rejected(optimizer, some, key, expected):
        optimizer.add_param_group({"params": [("late", parameters((2,))[0])], key: value})


def test_changes_are_all_or_none():
    optimizer, some = started()
    optimizer.add_param_group({"params": [("late", parameters((2,))[0])], "lr": 0.5})
    with rejected(optimizer, some, "Invalid lr_decay value: -1"):
        optimizer.change(weight_decay=0.5, lr_decay=-1)
    with rejected(optimizer, some, "unexpected keyword argument 'betas'", error=TypeError):
        optimizer.change(lr=0.5, betas=(0.9, 0.99))


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
@EACH
def test_an_invalid_rate_from_a_schedule(name, value):
    """Written into the group, past all checks: found before the step."""
    optimizer, some = started(name)
    optimizer.param_groups[0]["lr"] = value
    before = [parameter.detach().clone() for parameter in some]
    with pytest.raises(ValueError, match=rf"lr must lie in .*, got {value}"):
        optimizer.step()
    for parameter, old in zip(some, before, strict=True):
        assert_tensors_identical(parameter.detach(), old)


# Checkpoints and memory written by hand


def slots_of(name):
    (parameter,) = parameters((2,))
    # While tests are collected nothing is compiled.
    optimizer = getattr(optim, name)([parameter], engine="reference", **WITH_MEMORY[name])
    ones([parameter])
    optimizer.step()
    return [key for key, value in optimizer.state[parameter].items() if value.shape]


SLOTS = [(name, key) for name in CLASSES for key in slots_of(name)]
ALONE = [("SGD", "momentum_buffer")]
"""Without them there is no state, which is not an error: it starts from scratch."""
SPOILT = {
    "another shape": (lambda value: value[:4], r"has shape \(4, 3\); expected a tensor of shape \(6, 3\)"),
    "one number": (lambda value: torch.tensor(1.0), r"has shape \(\); expected a tensor of shape \(6, 3\)"),
    "whole numbers": (lambda value: value.long(), r"is torch.int64; expected torch.float32"),
    "truth values": (lambda value: value > 0, r"is torch.bool; expected torch.float32"),
    "complex numbers": (lambda value: value.to(torch.complex64), r"is torch.complex64; expected torch.float32"),
    "a float": (lambda value: 1.0, r"has 1.0; expected a tensor of shape \(6, 3\)"),
}


SPOILT_SLOTS = [(*slot, spoilt, how) for slot in SLOTS for spoilt in SPOILT for how in ("loaded", "by hand")]


@pytest.mark.parametrize("name, key, spoilt, how", unpacked(SPOILT_SLOTS, covering(SPOILT_SLOTS)))
def test_memory_that_does_not_fit(name, key, spoilt, how):
    optimizer, some = started(name, **WITH_MEMORY[name])
    spoil, expected = SPOILT[spoilt]
    if how == "loaded":
        state = copy.deepcopy(optimizer.state_dict())
        state["state"][1][key] = spoil(state["state"][1][key])
        with rejected(optimizer, some, f"^embedding.weight: '{key}' {expected}"):
            optimizer.load_state_dict(state)
        return
    ones(some)
    memory = optimizer.state[some[1]]
    memory[key] = spoil(memory[key])
    before, kept = some[0].detach().clone(), copy.deepcopy(optimizer.state[some[0]])
    with pytest.raises(ValueError, match=f"^embedding.weight: '{key}' {expected}"):
        optimizer.step()
    assert_tensors_identical(some[0].detach(), before)
    for slot, value in kept.items():
        assert_tensors_identical(optimizer.state[some[0]][slot], value)


@pytest.mark.parametrize("how", ["loaded", "by hand"])
@pytest.mark.parametrize(
    "name, key", [*(case for case in SLOTS if case not in ALONE), ("Adagrad", "step"), ("Adam", "step")]
)
def test_memory_with_a_key_missing(name, key, how):
    optimizer, some = started(name, **WITH_MEMORY[name])
    message = rf"^embedding.weight: the memory has (?!.*\b{key}\b.*;).*; expected .*{key}"
    if how == "loaded":
        state = copy.deepcopy(optimizer.state_dict())
        del state["state"][1][key]
        with rejected(optimizer, some, message):
            optimizer.load_state_dict(state)
        return
    ones(some)
    del optimizer.state[some[1]][key]
    before = some[0].detach().clone()
    with pytest.raises(ValueError, match=message):
        optimizer.step()
    assert_tensors_identical(some[0].detach(), before)


@EACH
def test_what_wrappers_keep_in_the_state_stays(name):
    """As in torch, whatever it is: slow weights, or a note."""
    optimizer, some = started(name, **WITH_MEMORY[name])
    state = copy.deepcopy(optimizer.state_dict())
    state["state"][1] |= {"slow_weights": torch.full(SHAPE, 7.0), "note": "mine"}
    optimizer.load_state_dict(state)
    ones(some)
    optimizer.step()
    kept = optimizer.state_dict()["state"][1]
    assert_tensors_identical(kept["slow_weights"], torch.full(SHAPE, 7.0))
    assert kept["note"] == "mine"
    optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))


LEFT_OUT = {
    "fewer rows": ("last", lambda last: last[:2], r"'last' has shape \(2,\); expected a tensor of shape \(6,\)"),
    "not whole": ("last", lambda last: last.float(), r"'last' is torch.float32; expected torch.int64"),
    "too late": ("last", lambda last: last + 9, r"'last', a row was stepped in step 10; expected 0 … 1, of 'step'"),
    "too early": ("last", lambda last: last - 9, r"'last', a row was stepped in step -9; expected 0 … 1, of 'step'"),
    "columns": ("history", lambda history: history[:, 1:], r"'history' has shape \(1, 6\); .* of shape \(1, 7\)"),
    "no history": ("history", lambda _: None, "the memory has step, sum, last; expected step, sum, last, history"),
    "no last": ("last", lambda _: None, "the memory has step, sum, history; expected step, sum, last, history"),
    "no step": ("step", lambda _: None, "the memory has sum, last, history; expected step, sum, last, history"),
}


@pytest.mark.parametrize("case", LEFT_OUT)
def test_checkpoints_of_rows_that_are_behind_that_do_not_fit(case):
    """A kernel would read at their indices, or past their end."""
    key, spoil, expected = LEFT_OUT[case]
    parameter = torch.nn.Parameter(torch.ones(SHAPE))
    optimizer = optim.Adagrad([("embedding.weight", parameter)], l1=0.1)
    parameter.grad = coo([[1]], torch.ones(1, 3), SHAPE)
    optimizer.step()
    state = copy.deepcopy(optimizer.state_dict())
    state["state"][0][key] = spoil(state["state"][0][key])
    with rejected(optimizer, [parameter], f"^embedding.weight: .*{expected}"):
        optimizer.load_state_dict(state)


def without(key):
    return lambda state: state.pop(key)


def with_groups_setting(**settings):
    return lambda state: state["param_groups"][0].update(settings)


GROUPS = {
    "two groups": (lambda s: s["param_groups"].append(s["param_groups"][0]), r"\[2, 2\] parameters; expected \[2\]"),
    "one parameter": (lambda s: s["param_groups"][0]["params"].pop(), r"groups of \[1\] parameters; expected \[2\]"),
    "a rate below 0": (with_groups_setting(lr=-1.0), "Invalid learning rate: -1.0; expected"),
    "not a number": (with_groups_setting(eps=math.nan), "Invalid epsilon value: nan; expected"),
    "an unknown engine": (with_groups_setting(engine="cuda"), "Invalid engine value: 'cuda'; expected"),
    "no groups": (without("param_groups"), r"no 'param_groups', only \['state'\]; expected that of an optimizer"),
    "no state": (without("state"), r"no 'state', only \['param_groups'\]; expected that of an optimizer"),
}


@pytest.mark.parametrize("case", GROUPS)
def test_checkpoints_that_do_not_fit(case):
    optimizer, some = started()
    state = copy.deepcopy(optimizer.state_dict())
    spoil, expected = GROUPS[case]
    spoil(state)
    with rejected(optimizer, some, expected):
        optimizer.load_state_dict(state)


@pytest.mark.parametrize("of", [name for name in CLASSES if name != "Adagrad"])
def test_a_checkpoint_of_another_class(of):
    optimizer, some = started()
    other, _ = started(of, **WITH_MEMORY[of])
    with rejected(optimizer, some, "^linear.weight: the memory has .*; expected step, sum"):
        optimizer.load_state_dict(other.state_dict())


def test_hooks_survive_a_checkpoint_that_does_not_fit():
    optimizer, some = started()
    calls, state = [], copy.deepcopy(optimizer.state_dict())
    optimizer.register_load_state_dict_pre_hook(lambda *_: calls.append("before"))
    optimizer.register_load_state_dict_post_hook(lambda *_: calls.append("after"))
    broken = copy.deepcopy(state)
    broken["state"][0]["sum"] = torch.ones(1)
    with rejected(optimizer, some, "^linear.weight: 'sum'"):
        optimizer.load_state_dict(broken)
    optimizer.load_state_dict(state)
    assert calls == ["before", "before", "after"]


# Gradients


def unchecked(ids, size=SHAPE, columns=3, dtype=torch.float32):
    """A sparse gradient as a faulty kernel may make it."""
    ids = torch.tensor(ids)
    values = torch.ones(ids.shape[1], *([columns] if ids.shape[0] == 1 else []), dtype=dtype)
    return torch.sparse_coo_tensor(ids, values, size, check_invariants=False)


def resized(size):
    gradient = coo([[0, 2]], torch.ones(2, size[1]), SHAPE if size[1] == 3 else (6, size[1]))
    return gradient.sparse_resize_(size, 1, 1)


def put(parameter, gradient):
    """Past the checks of the .grad setter, as hooks and distributed wrappers may do."""
    parameter.grad = coo([[0]], torch.ones(1, *SHAPE[1:]), SHAPE)
    parameter.grad.data = gradient


GRADIENTS = {
    "a row too far": (unchecked([[1, 6]]), r"names row 6; expected 0 … 5"),
    "a row far too far": (unchecked([[1, 2**40]]), rf"names row {2**40}; expected 0 … 5"),
    "a row below 0": (unchecked([[-1, 2]]), r"names row -1; expected 0 … 5"),
    "a column too far": (unchecked([[1, 2], [0, 3]]), r"names .*3; expected 0 … 2"),
    "a column below 0": (unchecked([[1, 2], [0, -1]]), r"names .*-1; expected 0 … 2"),
    "more rows": (resized((8, 3)), r"torch.float32 of shape \(8, 3\); expected torch.float32 of shape \(6, 3\)"),
    "more columns": (resized((6, 4)), r"of shape \(6, 4\); expected torch.float32 of shape \(6, 3\)"),
    "another type": (unchecked([[1]], dtype=torch.float64), r"torch.float64 of .*; expected torch.float32"),
    "no sparse dimension": (
        torch.sparse_coo_tensor(torch.zeros(0, 2).long(), torch.ones(2, *SHAPE), SHAPE, check_invariants=True),
        r"no sparse dimension; expected at least one",
    ),
}


@pytest.mark.parametrize("engine", [None, "reference", "torch"])
@pytest.mark.parametrize("case", GRADIENTS)
def test_sparse_gradients_that_do_not_fit(case, engine):
    """The first parameter, whose gradient is all right, is not stepped either."""
    optimizer, some = started(engine=engine)
    gradient, expected = GRADIENTS[case]
    some[0].grad = torch.ones_like(some[0])
    put(some[1], gradient)
    with rejected(optimizer, some, f"^embedding.weight: the .*gradient .*{expected}"):
        optimizer.step()
    ones(some)
    optimizer.step()


POISON = {
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "square overflows": 1e25,
}


@pytest.mark.parametrize("engine", ["reference", "cpu", "torch"])
@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
@pytest.mark.parametrize("shape", [(2, 3), (4, 1), ()])
def test_overflowing_memory_is_unchanged(shape, granularity, engine):
    """Squares that are finite are not when they are added to what is there."""
    settings = {"granularity": granularity, "initial_accumulator_value": 3e38}
    (w,) = parameters(shape)
    optimizer = optim.Adagrad([("w", w)], engine=engine, **settings)
    before, w.grad = w.detach().clone(), torch.full(shape, 1.5e19)
    with pytest.raises(NonFiniteError, match=rf"^w: {w.numel()} of {w.numel()} coordinates"):
        optimizer.step()
    assert_tensors_identical(w.detach(), before)
    assert (optimizer.state[w]["sum"] == torch.tensor(3e38)).all()


POISONED = list(
    itertools.product(("SGD", "Adagrad", "Adam"), ("dense", "sparse", "alone"), POISON, ("raise", "skip", "propagate"))
)


@pytest.mark.parametrize("name, kind, poison, policy", unpacked(POISONED, covering(POISONED)))
def test_nonfinite_gradients(name, kind, poison, policy):
    """Such coordinates and their state are skipped and all others are stepped; or all values are propagated."""
    alone = kind == "alone" or (kind == "sparse" and name != "Adagrad")
    settings = {"nonfinite": policy, "lazy": "touched", "engine": "reference" if alone else None}
    optimizer, some = started(name, **settings)
    good, _ = started(name, **settings)
    twins = good.param_groups[0]["params"]
    ones([*some, *twins])
    some[1].grad[2, 1] = POISON[poison]
    if kind == "sparse":
        some[1].grad, twins[1].grad = some[1].grad.to_sparse(1), twins[1].grad.to_sparse(1)
    before = some[1].detach().clone()
    good.step()
    if policy == "raise":
        expected = r"^embedding.weight: 1 of 18 coordinates had a gradient, square or step .* not finite at step \d"
        with pytest.raises(NonFiniteError, match=expected):
            optimizer.step()
    else:
        optimizer.step()
    others = torch.ones(SHAPE, dtype=torch.bool)
    others[2, 1] = False
    assert_tensors_identical(some[0].detach(), twins[0].detach())
    assert_tensors_identical(some[1].detach()[others], twins[1].detach()[others])
    if policy == "propagate":
        assert name == "SGD" or not all(
            value[2, 1].isfinite() for value in optimizer.state[some[1]].values() if value.shape
        )
        return
    assert_tensors_identical(some[1].detach()[~others], before[~others])
    for value in optimizer.state[some[1]].values():
        assert value.isfinite().all()
    ones(some)
    optimizer.step()
    assert some[1][2, 1] != before[2, 1]


def test_skipped_coordinates_are_counted():
    optimizer, some = started(nonfinite="skip")
    for _ in range(3):
        ones(some)
        some[1].grad[2] = math.nan
        optimizer.step()
    assert [memory.skipped for _, memory in optimizer.known()] == [0, 9]


def test_all_nonfinite_parameters_are_named():
    optimizer, some = started()
    ones(some)
    some[0].grad[0] = some[1].grad[1] = math.inf
    with pytest.raises(
        NonFiniteError, match=r"linear.weight: 2 of 4, embedding.weight: 3 of 18 coordinates had a gradient"
    ):
        optimizer.step()


# Parameters


def on_meta():
    parameter = torch.nn.Parameter(torch.empty(SHAPE, device="meta"))
    parameter.grad = torch.empty(SHAPE, device="meta")
    return parameter


def whole():
    parameter = torch.nn.Parameter(torch.ones(SHAPE, dtype=torch.int64), requires_grad=False)
    parameter.grad = torch.ones(SHAPE, dtype=torch.int64)
    return parameter


def sparse(convert):
    def make():
        parameter = torch.nn.Parameter(convert(torch.ones(SHAPE)))
        parameter.grad = convert(torch.ones(SHAPE))
        return parameter

    return make


def expanded():
    parameter = torch.nn.Parameter(torch.ones(1, 3).expand(SHAPE))
    parameter.grad = torch.ones(SHAPE)
    return parameter


def conjugated():
    parameter = torch.nn.Parameter(torch.full(SHAPE, 1 + 1j).conj())
    parameter.grad = torch.full(SHAPE, 1 + 2j)
    return parameter


def negated():
    parameter = torch.nn.Parameter(torch._neg_view(torch.ones(SHAPE)))
    parameter.grad = torch.ones(SHAPE)
    return parameter


def in_8_bits():
    parameter = torch.nn.Parameter(torch.ones(SHAPE).to(torch.float8_e5m2), requires_grad=False)
    parameter.grad = parameter.detach().clone()
    return parameter


PARAMETERS = {
    "on the meta device": (on_meta, r"is on the device meta; expected memory, as after to_empty\(device='cpu'\)"),
    "whole numbers": (whole, r"is torch.int64; expected one of torch.float64, torch.float32"),
    "8 bits": (in_8_bits, r"is torch.float8_e5m2; expected one of torch.float64, torch.float32"),
    "COO": (sparse(torch.Tensor.to_sparse), r"has the layout torch.sparse_coo; expected a dense parameter"),
    "CSR": (sparse(torch.Tensor.to_sparse_csr), r"has the layout torch.sparse_csr; expected a dense parameter"),
    "expanded": (expanded, r"is expanded, of shape \(6, 3\) and strides \(0, 1\); expected memory of its own"),
    "conjugated": (conjugated, r"is a view that conjugates or negates .*; expected .* after resolve_conj"),
    "negated": (negated, r"is a view that conjugates or negates .*; expected .* after resolve_conj"),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta state:UserWarning")
@pytest.mark.parametrize("case", PARAMETERS)
@EACH
def test_unsupported_parameters(name, case):
    make, expected = PARAMETERS[case]
    (fine,) = parameters((2, 2))
    optimizer = getattr(optim, name)([("linear.weight", fine), ("odd.weight", make())])
    ones([fine])
    before = fine.detach().clone()
    with pytest.raises(ValueError, match=f"^odd.weight: {expected}"):
        optimizer.step()
    assert_tensors_identical(fine.detach(), before)
    assert not optimizer.state.get(fine, {}).get("step")


def test_parameters_materialized_from_the_meta_device():
    """As with deferred initialization: nothing is asked of a parameter before it is stepped."""
    module = torch.nn.Linear(3, 2, device="meta")
    optimizer = optim.Adagrad(module.parameters(), lr=0.5, initial_accumulator_value=0.25)
    real = [torch.nn.Parameter(torch.zeros(parameter.shape)) for parameter in module.parameters()]
    for group in optimizer.param_groups:
        group["params"] = real
    ones(real)
    optimizer.step()
    expected = -0.5 / math.sqrt(1.25)
    assert all(torch.allclose(parameter, torch.tensor(expected)) for parameter in real)


def test_memory_of_another_granularity():
    """Rows take their means, see test_grow.py; nothing makes one number for the tensor of them."""
    shared, _ = started(granularity="tensor")
    optimizer, some = started()
    state = optimizer.state_dict() | {"param_groups": shared.state_dict()["param_groups"]}
    expected = r"^linear.weight: 'sum' has shape \(2, 2\); expected a tensor of shape \(1, 1\)"
    with rejected(optimizer, some, expected):
        optimizer.load_state_dict(state)
