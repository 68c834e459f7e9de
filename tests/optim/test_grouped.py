"""One optimizer with a rule for each group takes the steps of separate optimizers, bit by bit, in all that it does."""

import copy
import io
import math
import pickle

import pytest
from support.optimizers import OWN, assert_tensors_identical, clones, coo, optim, parameters, torch

from surefoot import rules
from surefoot.engines import NonFiniteError
from surefoot.optim.kinds import kind_of, obstacle_of
from surefoot.rules import RuleError, positive

ENGINE = {"engine": "reference"}
"""No kernels are compiled where a test is about who steps what."""
SETTINGS = {"lr": 0.1, "lazy": "touched"} | ENGINE
NAMES = list(rules.REGISTRY)
TORCHS = {
    name: {"lr": 0.01}
    for name in (
        "SGD",
        "Adagrad",
        "RMSprop",
        "Adam",
        "AdamW",
        "NAdam",
        "RAdam",
        "Adamax",
        "ASGD",
        "Rprop",
        "Adafactor",
        "Muon",
    )
}
SHAPES = ((4, 3), (3, 2), (5, 2), (2, 2))


def alone(rule, params, **settings):
    """What a user would write for one rule: Surefoot's class of that name, or else the rule."""
    if not isinstance(rule, str):
        return rule(params, **settings)
    kinds = {name.lower(): getattr(optim, name) for name in OWN}
    return kinds[rule](params, **settings) if rule in kinds else optim.RuleOptimizer(params, rule, **settings)


def gradients(shapes, t):
    """Sparse for the first of a group, dense for the others."""
    dense = [g.detach() for g in parameters(*shapes, seed=10 + t)]
    return [coo([[t % 3, 1, t % 3]], g[:3], g.shape) if k % 2 == 0 else g for k, g in enumerate(dense)]


def squares(tensors):
    return torch.stack([tensor.square().sum() for tensor in tensors]).sum()


def train(optimizers, params, steps, dense=False):
    for t in steps:
        for p, g in zip(params, gradients([p.shape for p in params], t), strict=True):
            p.grad = g.to_dense() if dense else g
        for optimizer in optimizers:
            optimizer.step()


def pair(first, second, one, other, dense=False):
    """Three steps of two groups, and of two optimizers."""
    params = parameters(*SHAPES)
    twins = clones(params)
    grouped = optim.Grouped(
        [{"params": params[:2], "rule": first, **one}, {"params": params[2:], "rule": second, **other}]
    )
    others = [alone(first, twins[:2], **one), alone(second, twins[2:], **other)]
    train([grouped], params, range(3), dense)
    train(others, twins, range(3), dense)
    for found, expected in zip(params, twins, strict=True):
        assert_tensors_identical(found, expected, f"{first} and {second}")
    theirs = {id(p): other.state[q] for other in others for p, q in zip(params, twins, strict=True) if q in other.state}
    for p in params:
        for key, value in theirs.get(id(p), {}).items():
            if torch.is_tensor(value):
                assert_tensors_identical(grouped.state[p][key], value, f"{first} and {second}, {key}")
    return grouped


@pytest.mark.parametrize("first", NAMES)
def test_groups_equal_separate_optimizers_for_all_pairs_of_rules(first):
    for second in NAMES[NAMES.index(first) :]:
        grouped = pair(first, second, SETTINGS, SETTINGS | {"lr": 0.02})
        assert [group["rule"] for group in grouped.param_groups] == [first, second]


@pytest.mark.parametrize("name", TORCHS)
def test_torchs_classes_step_their_groups_themselves(name):
    grouped = pair(getattr(torch.optim, name), "adagrad", TORCHS[name], SETTINGS, dense=True)
    assert type(next(iter(grouped.parts.values()))) is getattr(torch.optim, name)


def test_compiled_groups_of_one_rule_are_stepped_together():
    """Groups of the same rule with other settings belong to one optimizer inside."""
    params = parameters(*SHAPES)
    grouped = optim.Grouped([{"params": [p], "rule": "adagrad", "lr": 0.1 * (1 + k)} for k, p in enumerate(params)])
    twins = clones(params)
    other = optim.Adagrad([{"params": [p], "lr": 0.1 * (1 + k)} for k, p in enumerate(twins)])
    for optimizer, some in ((grouped, params), (other, twins)):
        train([optimizer], some, range(4))
    assert list(grouped.parts) == ["adagrad"]
    assert len(grouped.parts["adagrad"].param_groups) == len(params)
    for found, expected in zip(params, twins, strict=True):
        assert_tensors_identical(found, expected)


def test_a_rule_is_named_in_several_ways():
    def halved(x, g, g2, lr):
        return lr / 2, g

    own = rules.Rule(halved, hyper={"lr": positive(0.1)})
    named = ["adagrad", rules.adagrad, optim.Adagrad, "torch.optim.Adagrad", torch.optim.Adagrad, own, "visits"]
    params = parameters(*[(2,)] * len(named))
    grouped = optim.Grouped([{"params": [p], "rule": rule} for p, rule in zip(params, named, strict=True)])
    expected = ["adagrad"] * 3 + ["torch.optim.Adagrad"] * 2 + ["halved", "visits"]
    assert [group["rule"] for group in grouped.param_groups] == expected


def test_what_has_a_name_is_found_by_it():
    """A class of torch for which there is a rule of the same name keeps its own name."""
    public = [kind for kind in vars(torch.optim).values() if isinstance(kind, type)]
    every = [kind_of(rule) for rule in NAMES] + [kind_of(kind) for kind in public if obstacle_of(kind) is None]
    assert len(every) > len(NAMES) + len(TORCHS)
    assert {kind.name: kind for kind in every} == {kind.name: kind_of(kind.name) for kind in every}
    assert len({kind.name for kind in every}) == len(every)


# As torch's optimizers


def both(**settings):
    """A grouped optimizer of three kinds, and its parameters with names."""
    named = [(f"p{k}", p) for k, p in enumerate(parameters(*SHAPES))]
    groups = [
        {"params": named[:1], "rule": "adagrad", "lr": 0.1, "granularity": "row"} | ENGINE,
        {"params": named[1:3], "rule": torch.optim.AdamW, "lr": 0.01},
        {"params": named[3:], "rule": "momentum", "lr": 0.05, "momentum": 0.9} | ENGINE,
    ]
    return optim.Grouped(groups, **settings), [p for _, p in named]


def twin():
    """Another one of the same groups, whose parameters are zero."""
    optimizer, params = both()
    for p in params:
        p.data.zero_()
    return optimizer, params


def schedule(optimizer):
    return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 0.5**t)


def test_one_scheduler_for_all():
    optimizer, params = both()
    scheduler = schedule(optimizer)
    train([optimizer, scheduler], params, range(2), dense=True)
    assert [group["lr"] for group in optimizer.param_groups] == [0.025, 0.0025, 0.0125]
    assert optimizer.parts["torch.optim.AdamW"].param_groups[0]["lr"] == 0.0025


def test_state_dicts_resume_with_the_same_bits():
    (first, params), (second, others) = both(), twin()
    train([first], params, range(2), dense=True)
    file = io.BytesIO()
    torch.save(first.state_dict(), file)
    file.seek(0)
    second.load_state_dict(torch.load(file, weights_only=True))
    for p, q in zip(params, others, strict=True):
        q.data.copy_(p)
    for optimizer, some in ((first, params), (second, others)):
        train([optimizer], some, range(2, 4), dense=True)
    for found, expected in zip(others, params, strict=True):
        assert_tensors_identical(found, expected)


def deep(optimizer):
    return copy.deepcopy(optimizer)


def pickled(optimizer):
    return pickle.loads(pickle.dumps(optimizer))


@pytest.mark.parametrize("steps", [0, 2])
@pytest.mark.parametrize("copied", [deep, pickled])
def test_copies_continue_independently(copied, steps):
    optimizer, params = both(max_grad_norm=1.0)
    train([optimizer], params, range(steps), dense=True)
    other = copied(optimizer)
    owned = [p for group in other.param_groups for p in group["params"]]
    for some, its in ((optimizer, params), (other, owned)):
        train([some], its, range(2, 4), dense=True)
    for found, expected in zip(owned, params, strict=True):
        assert found is not expected
        assert_tensors_identical(found, expected)


def test_groups_in_another_order_are_not_loaded():
    optimizer, params = both()
    train([optimizer], params, range(1), dense=True)
    state = optimizer.state_dict()
    a, b, c = parameters((4, 3), (3, 2), (5, 2))
    d = parameters((2, 2))[0]
    swapped = optim.Grouped(
        [
            {"params": [("p3", d)], "rule": "momentum"},
            {"params": [("p1", b), ("p2", c)], "rule": "adamw"},
            {"params": [("p0", a)], "rule": "adagrad"},
        ]
    )
    with pytest.raises(ValueError, match="group 0: the state dict has the rule 'adagrad', the optimizer 'momentum'"):
        swapped.load_state_dict(state)
    assert not swapped.state


def test_parameters_in_another_order_are_not_loaded():
    a, b = parameters((2,), (2,))
    first = optim.Grouped([{"params": [("a", a), ("b", b)], "rule": "adagrad"}])
    second = optim.Grouped([{"params": [("b", b), ("a", a)], "rule": "adagrad"}])
    with pytest.raises(ValueError, match="b: the state dict has 'a' in its place"):
        second.load_state_dict(first.state_dict())
    wrapped = optim.Grouped([{"params": [("module.a", a), ("module.b", b)], "rule": "adagrad"}])
    wrapped.load_state_dict(first.state_dict())


def test_groups_added_later():
    optimizer, params = both()
    train([optimizer], params, range(1), dense=True)
    new, twin = parameters((3,)), parameters((3,))
    optimizer.add_param_group({"params": [("new", new[0])], "rule": "rmsprop", "lr": 0.1} | ENGINE)
    other = optim.RMSprop(twin, lr=0.1, **ENGINE)
    for t in range(2):
        new[0].grad = twin[0].grad = torch.ones(3) * (t + 1)
        optimizer.step()
        other.step()
    assert_tensors_identical(new[0], twin[0])
    with pytest.raises(ValueError, match="more than one parameter group"):
        optimizer.add_param_group({"params": [("again", new[0])], "rule": "sgd"})
    assert len(optimizer.param_groups) == 4


def test_closures_hooks_and_cleared_gradients():
    from torch.optim.optimizer import register_optimizer_step_post_hook

    optimizer, params = both()
    seen = []
    optimizer.register_step_pre_hook(lambda *_: seen.append("before"))
    optimizer.register_step_post_hook(lambda *_: seen.append("after"))
    everywhere = register_optimizer_step_post_hook(lambda *_: seen.append("everywhere"))

    def closure():
        optimizer.zero_grad()
        loss = squares(params)
        loss.backward()
        return loss.detach()

    try:
        before = float(optimizer.step(closure))
    finally:
        everywhere.remove()
    assert seen == ["before", "after", "everywhere"]
    assert float(closure()) < before
    optimizer.zero_grad()
    assert all(p.grad is None for p in params)


def test_scaled_gradients():
    """GradScaler skips the step where a gradient is infinite, and unscales the others."""
    (scaled, params), (plain, twins) = both(), both()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for t in range(3):
        bad = t == 1
        loss = squares([p * (math.inf if bad and k == 2 else 1.0) for k, p in enumerate(params)])
        scaled.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(scaled)
        scaler.update()
        if not bad:
            plain.zero_grad()
            squares(twins).backward()
            plain.step()
    assert scaler.get_scale() == 2.0
    for found, expected in zip(params, twins, strict=True):
        assert_tensors_identical(found, expected)


@pytest.mark.filterwarnings("ignore")
def test_a_compiled_training_step_equals_the_eager_one():
    results = []
    for compiled in (False, True):
        optimizer, params = both()

        def train(scale, optimizer=optimizer, params=params):
            optimizer.zero_grad()
            squares([scale * p for p in params]).backward()
            optimizer.step()

        step = torch.compile(train, backend="eager") if compiled else train
        for k in range(2):
            step(torch.tensor(1.0 + k))
        results.append(params)
    for found, expected in zip(*results, strict=True):
        assert_tensors_identical(found, expected)


@pytest.mark.parametrize("flat", [False, True])
def test_distributed_state_dicts(flat):
    """Of a fresh optimizer, which shows its state, into a fresh one; names take the place of numbers."""
    state_dict = pytest.importorskip("torch.distributed.checkpoint.state_dict")
    options = state_dict.StateDictOptions(flatten_optimizer_state_dict=flat)

    def made():
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Embedding(5, 4), torch.nn.LayerNorm(4), torch.nn.Linear(4, 2))
        wanted = {torch.nn.Embedding: "adagrad", "2.*": "muon", "*": {"rule": torch.optim.AdamW}}
        return model, optim.Grouped(optim.groups(model, wanted))

    def steps(model, optimizer, count):
        for t in range(count):
            optimizer.zero_grad()
            model(torch.tensor([t, 1])).square().sum().backward()
            optimizer.step()

    model, optimizer = made()
    steps(model, optimizer, 2)
    saved = copy.deepcopy(state_dict.get_optimizer_state_dict(model, optimizer, options=options))
    other, fresh = made()
    shown = state_dict.get_optimizer_state_dict(other, fresh, options=options)
    assert shown.keys() == saved.keys()
    if not flat:
        assert {name: value.keys() for name, value in shown["state"].items()} == {
            name: value.keys() for name, value in saved["state"].items()
        }
    other.load_state_dict(model.state_dict())
    state_dict.set_optimizer_state_dict(other, fresh, saved, options=options)
    for some in ((model, optimizer), (other, fresh)):
        steps(*some, 2)
    for found, expected in zip(other.parameters(), model.parameters(), strict=True):
        assert_tensors_identical(found, expected)


def test_asking_for_the_state_changes_nothing():
    state_dict = pytest.importorskip("torch.distributed.checkpoint.state_dict")
    results = []
    for asked in (False, True):
        torch.manual_seed(0)
        model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Linear(2, 1))
        optimizer = optim.Grouped(
            optim.groups(model, {"0.*": "adagrad", "1.weight": torch.optim.Adagrad, "*": {"rule": torch.optim.AdamW}})
        )
        if asked:
            state_dict.get_optimizer_state_dict(model, optimizer)
        model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        results.append(list(model.parameters()))
    for found, expected in zip(*results, strict=True):
        assert_tensors_identical(found, expected)


def test_steps_in_the_backward_pass():
    (first, params), (second, twins) = both(), both()
    first.param_groups[1]["params"], second.param_groups[1]["params"] = [], []
    handle = optim.step_in_backward([params[0], params[3]], first)
    squares(params).backward()
    squares(twins).backward()
    second.step()
    handle.remove()
    for found, expected in zip(params, twins, strict=True):
        assert_tensors_identical(found, expected)


# Errors


def test_all_gradients_are_checked_before_anything_is_changed():
    optimizer, params = both()
    before = clones(params)
    for p in params:
        p.grad = torch.ones_like(p)
    params[3].grad = params[3].grad.to_sparse()
    optimizer.param_groups[2]["weight_decay"] = 0.1
    with pytest.raises(ValueError, match="p3: lazy updates are not exact"):
        optimizer.step()
    for found, expected in zip(params, before, strict=True):
        assert_tensors_identical(found, expected)


def test_coordinates_that_are_not_finite_are_named_after_all_steps():
    optimizer, params = both()
    before = clones(params)
    for p in params:
        p.grad = torch.ones_like(p)
    params[0].grad[0, 0] = math.nan
    with pytest.raises(NonFiniteError, match="p0: "):
        optimizer.step()
    assert all(not torch.equal(p, q) for p, q in zip(params, before, strict=True))


def test_groups_are_called_by_their_numbers_in_the_whole():
    params = parameters((2,), (2,))
    optimizer = optim.Grouped(
        [{"params": params[:1], "rule": "sgd"}, {"params": params[1:], "rule": "adagrad"} | ENGINE]
    )
    params[1].grad = torch.full((2,), math.inf)
    with pytest.raises(NonFiniteError, match="parameter 0 of group 1"):
        optimizer.step()


@pytest.mark.parametrize(
    "group, error, message",
    [
        ({}, ValueError, 'has no "rule"'),
        ({"rule": "adagard"}, RuleError, "did you mean 'adagrad'"),
        ({"rule": 3}, RuleError, "a group's rule is 3; expected a rule, its name"),
        ({"rule": torch.optim.LBFGS}, RuleError, "computes the loss again"),
        ({"rule": optim.RuleOptimizer}, RuleError, "a class for any rule"),
        ({"rule": "torch.optim.Nothing"}, RuleError, "there is no torch.optim.Nothing"),
        ({"rule": "adagrad", "granularty": "row"}, TypeError, "did you mean 'granularity'"),
        ({"rule": torch.optim.Muon, "momentm": 0.5}, TypeError, "did you mean 'momentum'"),
        ({"rule": "adagrad", "lr": -1.0}, ValueError, "Invalid learning rate: -1.0"),
        ({"rule": torch.optim.AdamW, "lr": -1.0}, ValueError, "Invalid learning rate: -1.0"),
        ({"rule": torch.optim.Muon, "params": parameters((3,))}, ValueError, "only supports 2D"),
        ({"rule": "adagrad", "max_grad_norm": 0.0}, ValueError, "Invalid max_grad_norm value: 0.0"),
        ({"rule": "adagrad", "max_grad_norm": 2.0}, ValueError, "max_grad_norm 1 and 2"),
    ],
    ids=str,
)
def test_groups_that_cannot_be_honoured(group, error, message):
    optimizer, _ = both(max_grad_norm=1.0)
    with pytest.raises(error, match=message):
        optimizer.add_param_group({"params": parameters((2, 2))} | group)
    assert len(optimizer.param_groups) == 3


def test_two_rules_of_one_name():
    def same(x, g, g2, lr):
        return lr, g

    one, other = (rules.Rule(same, hyper={"lr": positive(0.1)}) for _ in range(2))
    a, b = parameters((2,), (2,))
    with pytest.raises(ValueError, match="two rules are called 'same'"):
        optim.Grouped([{"params": [a], "rule": one}, {"params": [b], "rule": other}])


def test_a_rule_that_is_exchanged_by_hand():
    optimizer, _ = both()
    optimizer.param_groups[0]["rule"] = "rmsprop"
    with pytest.raises(ValueError, match=r"group 0: the rule is 'rmsprop'; expected one of adagrad, torch.optim.AdamW"):
        optimizer.step()


def test_callers_keys_are_kept():
    p = parameters((2,))
    optimizer = optim.Grouped([{"params": p, "rule": "sgd", "name": "head", "no_weight_decay": True}])
    assert (optimizer.param_groups[0]["name"], optimizer.param_groups[0]["no_weight_decay"]) == ("head", True)


# Changes midway


def test_settings_change_where_a_rule_has_them():
    optimizer, _ = both()
    optimizer.change(lr=0.5)
    assert [group["lr"] for group in optimizer.param_groups] == [0.5] * 3
    optimizer.change(momentum=0.5)
    assert [group.get("momentum") for group in optimizer.param_groups] == [None, None, 0.5]
    for wrong, error, message in (
        ({"rho": 1.0}, TypeError, "no group's rule has the setting 'rho'"),
        ({"lr": -1.0}, ValueError, "Invalid learning rate"),
        ({"amsgrad": True, "lr": -1.0}, ValueError, "Invalid learning rate"),
    ):
        before = [dict(group) for group in optimizer.param_groups]
        with pytest.raises(error, match=message):
            optimizer.change(**wrong)
        assert [dict(group) for group in optimizer.param_groups] == before


@pytest.mark.parametrize("chosen", [None, [0], [1, 3]])
def test_a_restart_takes_the_first_step_again(chosen):
    optimizer, params = both()
    train([optimizer], params, range(2), dense=True)
    some = params if chosen is None else [params[k] for k in chosen]
    optimizer.restart(None if chosen is None else some)
    fresh, twins = both()
    for p, q in zip(params, twins, strict=True):
        q.data.copy_(p)
    train([optimizer], params, range(1), dense=True)
    train([fresh], twins, range(1), dense=True)
    for p, q in zip(params, twins, strict=True):
        same = chosen is None or any(p is one for one in some)
        assert torch.equal(p, q) == same


def test_rows_catch_up_in_all_groups():
    results = []
    for flushed in (False, True):
        params = parameters((4, 2), (4, 2))
        groups = [{"params": [p], "lr": 0.1, "decoupled_weight_decay": 0.5} | ENGINE for p in params]
        optimizer = optim.Grouped([groups[0] | {"rule": "adagrad"}, groups[1] | {"rule": "sgd"}])
        for t in range(3):
            for p in params:
                p.grad = coo([[t]], torch.ones(1, 2), (4, 2))
                p.grad = p.grad if flushed else p.grad.to_dense()
            optimizer.step()
        optimizer.flush()
        results.append(params)
    for found, expected in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
