"""In lockstep with torch.optim, parameters and memory, in float64."""

import inspect

import numpy as np
import pytest
from support.numerics import assert_close

from surefoot.engines import Step

torch = pytest.importorskip("torch", reason="torch is not installed")

STEPS = 60
SHAPE = (4, 3)

# (rule, its settings, torch's optimizer, torch's settings, our slot: torch's)
PAIRS = {
    "sgd": ("sgd", {"lr": 0.1}, "SGD", {"lr": 0.1}, {}),
    "sgd with weight decay": ("sgd", {"lr": 0.1, "weight_decay": 0.2}, "SGD", {"lr": 0.1, "weight_decay": 0.2}, {}),
    "sgd uphill": (
        "sgd",
        {"lr": 0.1, "maximize": True, "weight_decay": 0.2},
        "SGD",
        {"lr": 0.1, "maximize": True, "weight_decay": 0.2},
        {},
    ),
    "momentum": (
        "momentum",
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.3},
        "SGD",
        {"lr": 0.05, "momentum": 0.8, "dampening": 0.3},
        {"velocity": "momentum_buffer"},
    ),
    "nesterov": (
        "momentum",
        {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
        "SGD",
        {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.1},
        {"velocity": "momentum_buffer"},
    ),
    "adagrad": ("adagrad", {}, "Adagrad", {}, {"total": "sum"}),
    "adagrad, all settings": (
        "adagrad",
        {"lr": 0.3, "lr_decay": 0.05, "initial_accumulator_value": 0.2, "weight_decay": 0.1, "eps": 0.01},
        "Adagrad",
        {"lr": 0.3, "lr_decay": 0.05, "initial_accumulator_value": 0.2, "weight_decay": 0.1, "eps": 0.01},
        {"total": "sum"},
    ),
    "rmsprop": ("rmsprop", {}, "RMSprop", {}, {"square": "square_avg"}),
    "rmsprop, centered": (
        "rmsprop",
        {"gamma": 0.8, "eps": 0.01, "centered": True},
        "RMSprop",
        {"alpha": 0.8, "eps": 0.01, "centered": True},
        {"square": "square_avg", "mean": "grad_avg"},
    ),
    "rmsprop with momentum": (
        "rmsprop",
        {"gamma": 0.8, "eps": 0.01, "momentum": 0.7, "weight_decay": 0.1},
        "RMSprop",
        {"alpha": 0.8, "eps": 0.01, "momentum": 0.7, "weight_decay": 0.1},
        {"square": "square_avg", "velocity": "momentum_buffer"},
    ),
    "rmsprop, centered, with momentum": (
        "rmsprop",
        {"gamma": 0.8, "eps": 0.01, "momentum": 0.7, "centered": True},
        "RMSprop",
        {"alpha": 0.8, "eps": 0.01, "momentum": 0.7, "centered": True},
        {"square": "square_avg", "mean": "grad_avg", "velocity": "momentum_buffer"},
    ),
    "adadelta": (
        "adadelta",
        {"lr": 0.7, "rho": 0.8, "eps_root": 1e-3, "weight_decay": 0.1},
        "Adadelta",
        {"lr": 0.7, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1},
        {"square": "square_avg", "change": "acc_delta"},
    ),
    "adam": ("adam", {}, "Adam", {}, {"velocity": "exp_avg", "square": "exp_avg_sq"}),
    "adam, all settings": (
        "adam",
        {"lr": 0.05, "beta1": 0.7, "beta2": 0.9, "eps": 0.01, "weight_decay": 0.1, "maximize": True},
        "Adam",
        {"lr": 0.05, "betas": (0.7, 0.9), "eps": 0.01, "weight_decay": 0.1, "maximize": True},
        {"velocity": "exp_avg", "square": "exp_avg_sq"},
    ),
    "amsgrad": (
        "adam",
        {"lr": 0.05, "beta1": 0.7, "beta2": 0.9, "eps": 0.01, "amsgrad": True},
        "Adam",
        {"lr": 0.05, "betas": (0.7, 0.9), "eps": 0.01, "amsgrad": True},
        {"velocity": "exp_avg", "square": "exp_avg_sq", "largest": "max_exp_avg_sq"},
    ),
    "adamw": ("adamw", {}, "AdamW", {}, {"velocity": "exp_avg", "square": "exp_avg_sq"}),
    "adamw, all settings": (
        "adamw",
        {"lr": 0.05, "beta1": 0.7, "beta2": 0.9, "eps": 0.01, "decoupled_weight_decay": 0.3, "amsgrad": True},
        "AdamW",
        {"lr": 0.05, "betas": (0.7, 0.9), "eps": 0.01, "weight_decay": 0.3, "amsgrad": True},
        {"velocity": "exp_avg", "square": "exp_avg_sq", "largest": "max_exp_avg_sq"},
    ),
    "nadam": ("nadam", {}, "NAdam", {}, {"velocity": "exp_avg", "square": "exp_avg_sq"}),
    "nadam, all settings": (
        "nadam",
        {"lr": 0.05, "beta1": 0.7, "beta2": 0.9, "eps": 0.01, "momentum_decay": 0.1, "weight_decay": 0.1},
        "NAdam",
        {"lr": 0.05, "betas": (0.7, 0.9), "eps": 0.01, "momentum_decay": 0.1, "weight_decay": 0.1},
        {"velocity": "exp_avg", "square": "exp_avg_sq"},
    ),
    "adamax": ("adamax", {}, "Adamax", {}, {"velocity": "exp_avg", "largest": "exp_inf"}),
    "adamax, all settings": (
        "adamax",
        {"lr": 0.05, "beta1": 0.7, "beta2": 0.9, "eps": 0.01, "weight_decay": 0.1, "maximize": True},
        "Adamax",
        {"lr": 0.05, "betas": (0.7, 0.9), "eps": 0.01, "weight_decay": 0.1, "maximize": True},
        {"velocity": "exp_avg", "largest": "exp_inf"},
    ),
    "radam": ("radam", {}, "RAdam", {}, {"velocity": "exp_avg", "square": "exp_avg_sq"}),
    "radam, all settings": (
        "radam",
        {"lr": 0.05, "beta1": 0.7, "beta2": 0.9, "eps": 0.01, "decoupled_weight_decay": 0.1, "maximize": True},
        "RAdam",
        {
            "lr": 0.05,
            "betas": (0.7, 0.9),
            "eps": 0.01,
            "weight_decay": 0.1,
            "decoupled_weight_decay": True,
            "maximize": True,
        },
        {"velocity": "exp_avg", "square": "exp_avg_sq"},
    ),
}


@pytest.fixture(autouse=True)
def scalars_in_float64():
    """torch's NAdam keeps its product of μ in the default type."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(default)


@pytest.mark.parametrize("name", PAIRS)
def test_lockstep(name):
    rule, settings, optimizer, theirs, slots = PAIRS[name]
    rng = np.random.default_rng(0)
    x = rng.normal(size=SHAPE)
    parameter = torch.nn.Parameter(torch.tensor(x))
    step = Step(rule, engine="reference", convention="pytorch", **settings)
    state, torchs = step.init(x), getattr(torch.optim, optimizer)([parameter], **theirs)
    for t in range(STEPS):
        g = rng.normal(size=SHAPE) * 10.0 ** rng.uniform(-3, 1, SHAPE)
        g[rng.random(SHAPE) < 0.2] = 0
        step.dense(x, g, state)
        parameter.grad = torch.tensor(g)
        torchs.step()
        assert_close(x, parameter.detach().numpy(), "float64", f"{name}, step {t + 1}")
    assert set(state.slots) == set(slots)
    for ours, their in slots.items():
        assert_close(state.slots[ours], torchs.state[parameter][their].numpy(), "float64", f"{name}, {ours}")


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")
@pytest.mark.parametrize("rule, optimizer", [("adagrad", "Adagrad"), ("sgd", "SGD"), ("adam", "SparseAdam")])
def test_sparse_gradients(rule, optimizer):
    """With duplicates, which torch sums too. SparseAdam takes ε into the root's correction, so ε is next to nothing."""
    rng = np.random.default_rng(1)
    x = rng.normal(size=(9, 3))
    parameter = torch.nn.Parameter(torch.tensor(x))
    settings = {"lr": 0.1} | ({"eps": 1e-150} if rule == "adam" else {})
    step = Step(rule, engine="reference", convention="pytorch", lazy="touched", **settings)
    state, torchs = step.init(x), getattr(torch.optim, optimizer)([parameter], **settings)
    for t in range(STEPS):
        ids, values = rng.integers(0, 9, 5), rng.normal(size=(5, 3))
        step.rows(x, ids, values, state)
        parameter.grad = torch.sparse_coo_tensor(torch.tensor(ids[None]), torch.tensor(values), (9, 3))
        torchs.step()
        assert_close(x, parameter.detach().numpy(), "float64", f"{rule}, step {t + 1}")


@pytest.mark.parametrize("clip", ["clip_value", "clip_norm"])
def test_clipping(clip):
    """As torch's clip_grad_value_ and clip_grad_norm_; the latter adds 1e-6 to the norm, to which ours must be equal
    up to that."""
    rng = np.random.default_rng(2)
    x, g = rng.normal(size=SHAPE), rng.normal(size=SHAPE)
    parameter = torch.nn.Parameter(torch.tensor(x))
    parameter.grad = torch.tensor(g)
    before = x.copy()
    step = Step("sgd", engine="reference", lr=1.0, **{clip: 0.5})
    step.dense(x, g, step.init(x))
    if clip == "clip_value":
        torch.nn.utils.clip_grad_value_([parameter], 0.5)
        assert_close(before - x, parameter.grad.numpy(), "float64")
    else:
        torch.nn.utils.clip_grad_norm_([parameter], 0.5)
        norm = np.linalg.norm(g)
        assert_close(before - x, parameter.grad.numpy() * (norm + 1e-6) / norm, "float64")


# Our name: theirs.
NAMES = {
    "sgd": ("SGD", {"lr": "lr"}),
    "momentum": ("SGD", {"lr": "lr", "dampening": "dampening", "nesterov": "nesterov"}),
    "adagrad": (
        "Adagrad",
        {"lr": "lr", "lr_decay": "lr_decay", "eps": "eps", "initial_accumulator_value": "initial_accumulator_value"},
    ),
    "rmsprop": (
        "RMSprop",
        {"lr": "lr", "gamma": "alpha", "eps": "eps", "centered": "centered", "momentum": "momentum"},
    ),
    "adadelta": ("Adadelta", {"lr": "lr", "rho": "rho", "eps_root": "eps"}),
    "adam": ("Adam", {"lr": "lr", "beta1": 0, "beta2": 1, "eps": "eps", "amsgrad": "amsgrad"}),
    "adamw": ("AdamW", {"lr": "lr", "beta1": 0, "beta2": 1, "eps": "eps", "amsgrad": "amsgrad"}),
    "nadam": ("NAdam", {"lr": "lr", "beta1": 0, "beta2": 1, "eps": "eps", "momentum_decay": "momentum_decay"}),
    "adamax": ("Adamax", {"lr": "lr", "beta1": 0, "beta2": 1, "eps": "eps"}),
    "radam": ("RAdam", {"lr": "lr", "beta1": 0, "beta2": 1, "eps": "eps"}),
}


@pytest.mark.parametrize("rule", NAMES)
def test_the_convention_has_torchs_defaults(rule):
    optimizer, names = NAMES[rule]
    signature = inspect.signature(getattr(torch.optim, optimizer)).parameters
    theirs = {n: p.default for n, p in signature.items()}
    step = Step(rule, engine="reference", convention="pytorch")
    for ours, their in names.items():
        expected = theirs["betas"][their] if isinstance(their, int) else theirs[their]
        assert step.hyper[ours] == expected, ours
    if rule == "adamw":
        assert step.options["decoupled_weight_decay"] == theirs["weight_decay"]
