"""Arguments: torch's by name, order and default; those beyond torch's, per group, do what an engine's Step does."""

import collections
import copy
import inspect
import io
import math

import numpy as np
import pytest
from support.optimizers import (
    CLASSES,
    OWN,
    RULES,
    SHARED,
    as_array,
    assert_tensors_close,
    assert_tensors_identical,
    by_hand,
    clones,
    coo,
    optim,
    parameters,
    stepped,
    torch,
)

from surefoot import ops, rules
from surefoot.rules import RuleError, positive, scale

EACH = pytest.mark.parametrize("name", CLASSES)
LR = 0.1
RATES = dict.fromkeys(CLASSES, LR) | {"Adadelta": 10.0}
"""Far enough from 0 that every step shows."""
STEPS = 4
SHAPE = (5, 3)


def dense_gradients(dtype=torch.float32, seed: int = 1):
    return [gradient.detach() for gradient in parameters(*STEPS * [SHAPE], dtype=dtype, seed=seed)]


def sparse_gradients(dtype=torch.float32):
    """Each has rows without a gradient, and one row twice."""
    ids = [[0, 2, 0], [2, 3, 2], [4, 4, 0], [1, 0, 1]]
    return [coo([some], g[:3].clone(), SHAPE) for some, g in zip(ids, dense_gradients(dtype), strict=True)]


# torch's arguments


@pytest.mark.parametrize("name", SHARED)
def test_arguments_are_those_of_torch(name):
    """The same names, in the same order, with the same defaults, by position or by name alike."""

    def arguments(cls):
        every = inspect.signature(cls).parameters.values()
        return [(p.name, p.default, p.kind) for p in every if p.kind is not p.VAR_KEYWORD]

    assert arguments(getattr(optim, name)) == arguments(getattr(torch.optim, name))


@pytest.mark.parametrize("name", SHARED)
def test_defaults_are_those_of_torch(name):
    """Also where they are kept: a group that torch made, and its checkpoint, says the same here."""
    ours = getattr(optim, name)(parameters((2,)))
    theirs = getattr(torch.optim, name)(parameters((2,)))
    assert ours.defaults == theirs.defaults
    assert ours.param_groups[0].keys() == theirs.param_groups[0].keys()


@pytest.mark.parametrize(
    "settings", [{"fused": True, "differentiable": True}, {"fused": True, "foreach": True}], ids=str
)
@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam", "AdamW"])
def test_hints_that_contradict_each_other(name, settings):
    for library in (optim, torch.optim):
        with pytest.raises(RuntimeError, match="fused"):
            getattr(library, name)(parameters((2,)), **settings)


@EACH
def test_types_of_numbers(name):
    """Whole numbers and NumPy's are numbers."""
    start, gradients = parameters(SHAPE, dtype=torch.float64)[0], dense_gradients(torch.float64)
    results = []
    for lr in (0.5, np.float64(0.5), np.float32(0.5), torch.tensor(0.5), torch.tensor([0.5])):
        (mine,) = clones([start])
        results.append(stepped(getattr(optim, name)([mine], lr=lr), mine, gradients))
    for found in results[1:]:
        assert_tensors_identical(found, results[0])


# Beyond torch's


# keyword: (value, what Step takes for it, the classes that take it, the gradients, the parameters' type)
ROOTED = ("Adagrad", "RMSprop", "Adam", "AdamW", "NAdam", "RAdam", "Yogi")
SCALED = (*ROOTED, "Adadelta", "FTRL")
PROXIMAL = (*ROOTED, "SGD", "Adadelta")
BEYOND = {
    "eps_root": (0.5, 0.5, ROOTED, dense_gradients(), torch.float32),
    "granularity=row": ("row", "row", SCALED, dense_gradients(), torch.float32),
    "granularity=tensor": ("tensor", "tensor", SCALED, dense_gradients(), torch.float32),
    "state_dtype": (torch.bfloat16, "bfloat16", SCALED, dense_gradients(), torch.float32),
    "decoupled_weight_decay": (0.5, 0.5, PROXIMAL, dense_gradients(), torch.float32),
    "weight_decay": (0.5, 0.5, tuple(set(CLASSES) - {"AdamW"}), dense_gradients(), torch.float32),
    "maximize": (True, True, CLASSES, dense_gradients(), torch.float32),
    "l1": (0.05, 0.05, CLASSES, dense_gradients(), torch.float32),
    "l2": (0.5, 0.5, CLASSES, dense_gradients(), torch.float32),
    "stochastic_rounding": (3, 3, CLASSES, dense_gradients(torch.bfloat16), torch.bfloat16),
    "lazy": ("touched", "touched", ("Adadelta",), sparse_gradients(), torch.float32),
}
CASES = [
    pytest.param(key.split("=")[0], *case[:2], name, *case[3:], id=f"{key} {name}")
    for key, case in BEYOND.items()
    for name in sorted(case[2])
]


@pytest.mark.sampled(50)
@pytest.mark.parametrize("keyword, value, hand, name, gradients, dtype", CASES)
def test_each_group_has_its_own_settings(keyword, value, hand, name, gradients, dtype):
    """A group with the keyword is stepped as by hand, the other group as without it."""
    gradients = gradients * 2 if name == "RAdam" else gradients  # whose first five steps are those of momentum
    with_it, without = parameters(SHAPE, SHAPE, dtype=dtype)
    without.data = with_it.detach().clone()
    start = with_it.detach().clone()
    groups = [{"params": [with_it], keyword: value}, {"params": [without]}]
    # Two classes show that the fast engine is asked for the same.
    engine = {} if name in ("Adagrad", "SGD") else {"engine": "reference"}
    optimizer = getattr(optim, name)(groups, lr=RATES[name], **engine)
    for gradient in gradients:
        with_it.grad, without.grad = gradient, gradient.clone()
        optimizer.step()
    optimizer.settle()
    rule = "sgd" if name == "SGD" else RULES[name]
    expected, state = by_hand(rule, start, gradients, lr=RATES[name], **{keyword: hand})
    plain, _ = by_hand(rule, start, gradients, lr=RATES[name])
    assert_tensors_identical(with_it.detach(), expected, f"with {keyword}")
    assert_tensors_identical(without.detach(), plain, f"without {keyword}")
    assert not torch.equal(expected, plain)
    memory = {key: value for key, value in optimizer.state[with_it].items() if key not in ("step", "mu_product")}
    for found, slot in zip(memory.values(), state.slots.values(), strict=True):
        np.testing.assert_array_equal(as_array(found), slot)


def test_lazy_is_per_group():
    """The velocity of rows without a gradient decays, or is unchanged."""
    start, gradients = parameters(SHAPE, dtype=torch.float64)[0].detach(), sparse_gradients(torch.float64)
    for lazy in ("exact", "touched"):
        exact, other = (torch.nn.Parameter(start.clone()) for _ in range(2))
        groups = [{"params": [exact], "lazy": lazy}, {"params": [other]}]
        optimizer = optim.SGD(groups, lr=LR, momentum=0.5)
        for gradient in gradients:
            exact.grad = other.grad = gradient
            optimizer.step()
        optimizer.settle()
        for found, how in ((exact, lazy), (other, "exact")):
            expected, _ = by_hand("momentum", start, gradients, lr=LR, momentum=0.5, lazy=how)
            assert_tensors_identical(found.detach(), expected, how)


@pytest.mark.parametrize("nonfinite", ["raise", "skip", "propagate"])
def test_nonfinite_is_per_group(nonfinite):
    start, gradient = parameters(SHAPE)[0].detach(), dense_gradients()[0]
    gradient[1, 2] = math.nan
    one, other = (torch.nn.Parameter(start.clone()) for _ in range(2))
    optimizer = optim.Adagrad([{"params": [one], "nonfinite": nonfinite}, {"params": [other], "nonfinite": "skip"}], LR)
    one.grad = other.grad = gradient
    if nonfinite == "raise":
        with pytest.raises(ArithmeticError, match="parameter 0 of group 0: 1 of 15 coordinates"):
            optimizer.step()
    else:
        optimizer.step()
    expected, _ = by_hand("adagrad", start, [gradient], lr=LR, nonfinite="skip")
    assert_tensors_identical(other.detach(), expected)
    where = torch.isnan(gradient)
    if nonfinite == "propagate":
        assert one[where].isnan().all()
        assert optimizer.state[one]["sum"][where].isnan().all()
    else:
        assert_tensors_identical(one.detach(), expected)
        assert (optimizer.state[one]["sum"][where] == 0).all()
    assert_tensors_identical(one[~where].detach(), expected[~where])


@pytest.mark.parametrize("engine", ["cpu", "reference", "torch", None])
@EACH
def test_every_engine_takes_the_same_step(name, engine):
    start, gradients = parameters(SHAPE, dtype=torch.float64)[0], dense_gradients(torch.float64)
    (mine,) = clones([start])
    found = stepped(getattr(optim, name)([mine], lr=LR, engine=engine), mine, gradients)
    expected, _ = by_hand("sgd" if name == "SGD" else RULES[name], start, gradients, lr=LR)
    if engine == "torch":
        assert_tensors_close(found, expected, "torch float32")
    else:
        assert_tensors_identical(found, expected)


def test_the_engine_is_per_group(monkeypatch):
    from surefoot.engines import reference

    calls = []
    dense = reference.dense
    monkeypatch.setattr(reference, "dense", lambda step, *rest: calls.append(step.rule.name) or dense(step, *rest))
    one, other = parameters(SHAPE, SHAPE)
    optimizer = optim.Adagrad([{"params": [one], "engine": "reference"}, {"params": [other]}])
    one.grad, other.grad = torch.ones(SHAPE), torch.ones(SHAPE)
    optimizer.step()
    assert calls == ["adagrad"]


def test_eps_root_is_added_to_adadeltas_own():
    start, gradients = parameters(SHAPE)[0], dense_gradients()
    (mine,) = clones([start])
    found = stepped(optim.Adadelta([mine], eps=0.25, eps_root=0.5), mine, gradients)
    assert_tensors_identical(found, by_hand("adadelta", start, gradients, eps_root=0.75)[0])


@pytest.mark.parametrize("name", ["Adam", "NAdam"])
def test_decoupled_weight_decay_by_flag_and_by_number(name):
    """True decouples weight_decay, as in torch; a number is applied in addition to it."""
    start, gradients = parameters(SHAPE)[0], dense_gradients()
    results = []
    for settings, hand in (
        ({"weight_decay": 0.5, "decoupled_weight_decay": True}, {"decoupled_weight_decay": 0.5}),
        ({"weight_decay": 0.5, "decoupled_weight_decay": False}, {"weight_decay": 0.5}),
        (
            {"weight_decay": 0.5, "decoupled_weight_decay": 0.25},
            {"weight_decay": 0.5, "decoupled_weight_decay": 0.25},
        ),
    ):
        (mine,) = clones([start])
        found = stepped(getattr(optim, name)([mine], LR, engine="reference", **settings), mine, gradients)
        assert_tensors_identical(found, by_hand(RULES[name], start, gradients, lr=LR, **hand)[0])
        results.append(found)
    assert not torch.equal(results[0], results[1])


@pytest.mark.parametrize("of_adam", ["AdamW", "Adam"])
def test_adamw_decouples_what_it_loads(of_adam):
    """As in torch, a checkpoint of Adam is resumed as one of AdamW."""
    ours, theirs = parameters(SHAPE), parameters(SHAPE)
    saved = getattr(torch.optim, of_adam)(parameters(SHAPE), weight_decay=0.5).state_dict()
    for library, mine in ((optim, ours), (torch.optim, theirs)):
        optimizer = library.AdamW(mine)
        optimizer.load_state_dict(saved)
        stepped_once(optimizer, mine[0])
    assert_tensors_close(ours[0], theirs[0], "torch float32")


def stepped_once(optimizer, parameter):
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()


# Settings that are rejected


@EACH
def test_an_unknown_keyword(name):
    with pytest.raises(
        TypeError, match=f"{name} got an unexpected keyword argument 'weigth_decay'; it takes .*weight_dec"
    ):
        getattr(optim, name)(parameters((2,)), weigth_decay=0.1)


@pytest.mark.parametrize("key", ["weigth_decay", "weight_decy", "granularty", "maximise"])
def test_a_group_with_a_misspelt_setting(key):
    optimizer = optim.Adagrad(parameters((2,)))
    with pytest.raises(TypeError, match=f"Adagrad got an unexpected .*{key!r}"):
        optimizer.add_param_group({"params": parameters((3,)), key: 0.1})
    assert len(optimizer.param_groups) == 1


LABELS = (
    "rho",
    "gamma",
    "beta",
    "eta",
    "momentum_",
    "momentum_decay",
    "no_weight_decay",
    "lr_scale",
    "layer",
    "amsgrad_",
)


@pytest.mark.parametrize("key", LABELS)
@EACH
def test_groups_keep_the_callers_own_keys(name, key):
    """Wrappers hand on groups with settings of theirs, such as sharpness-aware minimization's rho."""
    (p,) = parameters((2,))
    if key in getattr(optim, name)(parameters((2,))).defaults:
        pytest.skip("a setting of this optimizer")
    optimizer = getattr(optim, name)([{"params": [p], key: 0.05}], lr=0.1)
    stepped_once(optimizer, p)
    assert optimizer.param_groups[0][key] == optimizer.state_dict()["param_groups"][0][key] == 0.05


class OtherList(collections.UserList):
    """What configuration libraries give for a list."""


@pytest.mark.parametrize("lr", [np.float64(0.25), np.float32(0.25), np.array(0.25)])
@pytest.mark.parametrize("betas", [[0.5, 0.75], np.array([0.5, 0.75]), OtherList([0.5, 0.75]), (np.float64(0.5), 0.75)])
@pytest.mark.parametrize("how", ["default", "group", "change"])
def test_settings_are_plain_numbers_and_tuples(lr, betas, how):
    """A state dict can then be loaded with weights_only, and what the caller does with the list changes nothing."""
    (p,) = parameters((2,))
    given = {"lr": lr, "betas": (betas := copy.copy(betas))}
    optimizer = optim.Adam([p], **given) if how == "default" else optim.Adam([{"params": [p], **given}])
    if how == "change":
        optimizer = optim.Adam([p])
        optimizer.change(**given)
    stepped_once(optimizer, p)
    group = optimizer.param_groups[0]
    assert (group["lr"], group["betas"]) == (0.25, (0.5, 0.75))
    assert {type(group["lr"]), *map(type, group["betas"])} == {float}
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    torch.load(file, weights_only=True)
    if isinstance(betas, (list, OtherList)):
        betas[0] = 0.0
        assert group["betas"] == (0.5, 0.75)


@pytest.mark.parametrize("betas", [np.array([0.5, 0.9]), [0.5, 0.9], OtherList([0.5, 0.9])])
def test_settings_of_any_kind_can_be_written_into_a_group(betas):
    ours, theirs = parameters((2,)), parameters((2,))
    for library, (p,) in ((optim, ours), (torch.optim, theirs)):
        optimizer = library.Adam([p], lr=0.1)
        stepped_once(optimizer, p)
        for _ in range(2):
            optimizer.param_groups[0]["betas"] = betas
            stepped_once(optimizer, p)
    assert_tensors_close(ours[0], theirs[0], "torch float32")


@pytest.mark.parametrize(
    "key, value, expected", [("rule", "adam", "surefoot.optim.Grouped"), ("convention", "keras", "it as an argument")]
)
def test_a_group_with_a_rule_of_its_own(key, value, expected):
    for make in (optim.Adagrad, lambda groups: optim.RuleOptimizer(groups, "sgd")):
        with pytest.raises(ValueError, match=f"{key}='{value}'; expected {expected}"):
            make([{"params": parameters((2,)), key: value}])
        optimizer = make(parameters((2,)))
        with pytest.raises(ValueError, match=expected):
            optimizer.add_param_group({"params": parameters((3,)), key: value})
        assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("value", [False, True])
def test_stochastic_rounding_is_a_seed_and_not_a_switch(value):
    (p,) = parameters((2,), dtype=torch.bfloat16)
    with pytest.raises(ValueError, match=f"a seed, a whole number, or None for rounding to nearest, got {value}"):
        optim.SGD([p], stochastic_rounding=value)
    optimizer = optim.SGD([p], stochastic_rounding=3)
    with pytest.raises(ValueError, match="or None for rounding to nearest"):
        optimizer.change(stochastic_rounding=value)
    assert optimizer.param_groups[0]["stochastic_rounding"] == 3


@EACH
def test_a_group_with_a_label(name):
    """Keys that a script adds to a group stay there, as in torch."""
    label = {"name": "backbone", "layer": 3, "lr_scale": 0.5}
    optimizer = getattr(optim, name)([{"params": parameters((2,)), **label}])
    other = getattr(optim, name)(parameters((2,)))
    other.load_state_dict(optimizer.state_dict())
    for one in (optimizer, other):
        assert one.param_groups[0].items() >= label.items()


@pytest.mark.parametrize(
    "name, settings, message",
    [
        ("SGD", {"eps_root": 0.1}, "eps_root would change nothing"),
        ("FTRL", {"eps_root": 0.1}, "eps_root would change nothing"),
        ("SGD", {"granularity": "row"}, "granularity 'row' would change nothing"),
        ("RMSprop", {"granularity": "row", "centered": True}, "granularity 'row' would change nothing"),
        ("FTRL", {"decoupled_weight_decay": 0.1}, "recomputes the parameters from the origin"),
        ("SGD", {"nesterov": True}, "Nesterov momentum requires a momentum and zero dampening"),
        ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, "Nesterov momentum requires"),
        ("Adagrad", {"stochastic_rounding": 1}, "stochastic_rounding is for bfloat16 parameters"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_honoured(name, settings, message):
    (parameter,) = parameters((2, 3))
    with pytest.raises(ValueError, match=message):
        stepped(getattr(optim, name)([parameter], **settings), parameter, [torch.ones(2, 3)])


# Settings that change between steps


CHANGES = {"lr": (0.1, 0.05, 0.0, 0.2), "weight_decay": (0.0, 0.5, 0.1, 0.0), "eps": (1e-8, 0.1, 1.0, 0.0)}


@pytest.mark.sampled(12)
@pytest.mark.parametrize(
    "name, key", [(name, key) for name in SHARED for key in CHANGES if (name, key) != ("SGD", "eps")]
)
def test_a_changed_setting_applies_from_the_next_step(name, key):
    ours, theirs = parameters(SHAPE, dtype=torch.float64), parameters(SHAPE, dtype=torch.float64)
    pairs = (getattr(optim, name)(ours), ours[0]), (getattr(torch.optim, name)(theirs), theirs[0])
    for value, gradient in zip(CHANGES[key], dense_gradients(torch.float64), strict=True):
        for optimizer, parameter in pairs:
            optimizer.param_groups[0][key] = value
            parameter.grad = gradient
            optimizer.step()
    assert_tensors_close(ours[0], theirs[0], "torch float32")


def test_momentum_switched_on_and_off():
    """As in torch, the velocity is unchanged while there is no momentum."""
    ours, theirs = parameters(SHAPE, dtype=torch.float64), parameters(SHAPE, dtype=torch.float64)
    pairs = (optim.SGD(ours, LR), ours[0]), (torch.optim.SGD(theirs, LR), theirs[0])
    for momentum, gradient in zip((0.0, 0.9, 0.0, 0.5), dense_gradients(torch.float64), strict=True):
        for optimizer, parameter in pairs:
            optimizer.param_groups[0]["momentum"] = momentum
            parameter.grad = gradient
            optimizer.step()
        assert_tensors_close(ours[0], theirs[0], "float64")


def test_a_tensor_rate_that_changes_in_place():
    ours, lr = parameters(SHAPE), torch.tensor(0.5)
    optimizer, (start,) = optim.SGD(ours, lr), clones(ours)
    gradient = dense_gradients()[0]
    stepped(optimizer, ours[0], [gradient])
    lr.fill_(0.25)
    stepped(optimizer, ours[0], [gradient])
    expected, _ = by_hand("sgd", start, [gradient], lr=0.5)
    assert_tensors_identical(ours[0].detach(), by_hand("sgd", expected, [gradient], lr=0.25)[0])


# Any rule


@pytest.mark.parametrize("rule", rules.REGISTRY)
def test_every_rule_of_the_registry(rule):
    start, gradients = parameters(SHAPE)[0], dense_gradients()
    (mine,) = clones([start])
    optimizer = optim.RuleOptimizer([mine], rule, lr=0.25, engine="reference")
    found = stepped(optimizer, mine, gradients)
    expected, state = by_hand(rule, start, gradients, convention=None, lr=0.25)
    assert_tensors_identical(found, expected)
    assert optimizer.state[mine].keys() == {"step", *state.slots}
    assert optimizer.param_groups[0].items() >= (rules.get(rule).defaults | {"lr": 0.25}).items()


@rules.rule(
    slots={"total": scale("start")}, hyper={"lr": positive(0.1), "start": positive(0.5), "power": positive(0.25)}
)
def root(x, g, g2, total, lr, power):
    """AdaGrad with another root."""
    total = total + g2
    return lr / ops.exp(power * ops.log(total)), g, total


def test_a_custom_rule():
    """Compiled: its exponentials and logarithms round a little differently."""
    start, gradients = parameters(SHAPE, dtype=torch.float64)[0], dense_gradients(torch.float64)
    mine, other = clones([start, start])
    optimizer = optim.RuleOptimizer([{"params": [mine]}, {"params": [other], "power": 0.5, "lr": 0.3}], root)
    for gradient in gradients:
        mine.grad = other.grad = gradient
        optimizer.step()
    assert_tensors_close(mine.detach(), by_hand(root, start, gradients)[0], "float64")
    assert_tensors_close(other.detach(), by_hand(root, start, gradients, lr=0.3, power=0.5)[0], "float64")


def test_a_convention():
    optimizer = optim.RuleOptimizer(parameters((2,)), "adagrad", convention="keras")
    assert optimizer.param_groups[0].items() >= rules.get("adagrad").settings("keras").items()


def test_a_schedule_as_rate():
    start, gradients = parameters(SHAPE)[0], dense_gradients()
    (mine,) = clones([start])

    def schedule(t):
        return 0.5 / t

    found = stepped(optim.RuleOptimizer([mine], "sgd", lr=schedule), mine, gradients)
    assert_tensors_identical(found, by_hand("sgd", start, gradients, lr=schedule)[0])


@pytest.mark.parametrize(
    "rule, settings, error, message",
    [
        ("adagard", {}, RuleError, "did you mean 'adagrad'"),
        ("adagrad", {"beta1": 0.5}, RuleError, "there is no hyperparameter 'beta1'"),
        ("adagrad", {"lr": -1.0}, ValueError, "Invalid learning rate: -1.0"),
        ("adagrad", {"convention": "caffe"}, RuleError, "there is no convention 'caffe'"),
        (None, {}, RuleError, "there is no rule None"),
    ],
    ids=str,
)
def test_an_unknown_rule(rule, settings, error, message):
    with pytest.raises(error, match=message):
        optim.RuleOptimizer(parameters((2,)), rule, **settings)


def test_everything_of_torch_optim_is_here():
    public = {name for name in dir(torch.optim) if not name.startswith("_")}
    assert public <= set(optim.__all__)
    assert all(getattr(optim, name) is getattr(torch.optim, name) for name in public - OWN)
    from surefoot.optim.lr_scheduler import StepLR  # pyright: ignore[reportMissingImports]
    from surefoot.optim.swa_utils import SWALR  # pyright: ignore[reportMissingImports]

    assert (StepLR, SWALR) == (torch.optim.lr_scheduler.StepLR, torch.optim.swa_utils.SWALR)
