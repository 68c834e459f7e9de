"""What happens to optimizers in scripts: copies, memory that moves, forks, schedules, scaled gradients."""

import copy
import gc
import io
import math
import multiprocessing
import pickle
import warnings
import weakref
from collections import defaultdict

import pytest
from support.optimizers import (
    CLASSES,
    ENGINES,
    SHARED,
    all_on,
    assert_states_identical,
    assert_tensors_close,
    assert_tensors_identical,
    clones,
    coo,
    numbers,
    optim,
    parameters,
    stepped,
    torch,
)
from torch.optim import lr_scheduler, swa_utils
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

from surefoot import ops, rules
from surefoot.engines import NonFiniteError
from surefoot.rules import positive, scale

EACH = pytest.mark.parametrize("name", CLASSES)
SHAPES = ((4, 3), (5,), ())
SOME = {
    "SGD": {"momentum": 0.9},
    "Adagrad": {},
    "RMSprop": {"centered": True},
    "Adadelta": {},
    "Adam": {"amsgrad": True},
    "AdamW": {},
    "NAdam": {},
    "RAdam": {},
    "Adamax": {},
    "Yogi": {},
    "FTRL": {"l1": 0.01},
}
"""Settings with which each class has memory."""


@rules.rule(slots={"total": scale()}, hyper={"lr": positive(0.1), "eps": positive(1e-3)})
def own_rule(x, g, g2, total, lr, eps):
    """As a user would write it."""
    total = total + g2
    return lr / (ops.sqrt(total) + eps), g, total


def gradients(some, t: int):
    source = torch.Generator().manual_seed(t)
    return [torch.randn(p.shape, dtype=p.dtype, generator=source) for p in some]


def go(optimizer, some, *ts):
    """Steps along the gradients with these numbers."""
    for t in ts:
        for parameter, gradient in zip(some, gradients(some, t), strict=True):
            parameter.grad = gradient
        optimizer.step()


def started(name, engine=None):
    """(optimizer, its parameters) after some steps."""
    some = parameters(*SHAPES, dtype=torch.float64)
    optimizer = getattr(optim, name)(some, engine=engine, **SOME[name])
    go(optimizer, some, 0, 1, 2)
    return optimizer, some


def assert_alike(found, expected):
    for one, other in zip(found, expected, strict=True):
        assert_tensors_identical(one.detach(), other.detach())


def owned(optimizer):
    return [parameter for group in optimizer.param_groups for parameter in group["params"]]


# Copies and pickles


def deep(optimizer):
    return copy.deepcopy(optimizer)


def pickled(optimizer):
    return pickle.loads(pickle.dumps(optimizer))


def saved_whole(optimizer):
    file = io.BytesIO()
    torch.save(optimizer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize("copied", [deep, pickled, saved_whole])
@EACH
def test_copies_continue_independently(name, copied):
    optimizer, some = started(name)
    other = copied(optimizer)
    mine, before = owned(other), [parameter.detach().clone() for parameter in some]
    assert_states_identical(other.state_dict(), optimizer.state_dict())
    go(other, mine, 3, 4)
    assert_alike(some, before)
    go(optimizer, some, 3, 4)
    assert_alike(mine, some)
    assert_states_identical(other.state_dict(), optimizer.state_dict())


@pytest.mark.parametrize("copied", [deep, pickled, saved_whole])
@pytest.mark.parametrize("rule", [own_rule, *rules.REGISTRY.values()], ids=lambda rule: rule.name)
def test_copies_of_any_rule(rule, copied):
    """A rule is copied as the object of that name in its module."""
    some = parameters(*SHAPES)
    optimizer = optim.RuleOptimizer(some, rule, engine="reference")
    go(optimizer, some, 0)
    other = copied(optimizer)
    assert other.rule is rule
    go(optimizer, some, 1)
    go(other, owned(other), 1)
    assert_alike(owned(other), some)


@pytest.mark.parametrize("copied", [deep, pickled])
@pytest.mark.parametrize("name, settings", [("SGD", {"momentum": 0.5}), ("RMSprop", {}), ("FTRL", {"l1": 0.01})])
def test_copies_with_rows_that_have_yet_to_catch_up(name, settings, copied):
    (some,) = parameters((6, 2), dtype=torch.float64)
    optimizer = getattr(optim, name)([some], **settings)
    steps = [coo([[0, 2]], torch.ones(2, 2).double(), (6, 2)), coo([[2, 3]], torch.ones(2, 2).double(), (6, 2))]
    for gradient in steps:
        some.grad = gradient
        optimizer.step()
    other = copied(optimizer)
    (mine,) = owned(other)
    for one, parameter in ((optimizer, some), (other, mine)):
        stepped(one, parameter, [steps[0]])
    assert_tensors_identical(mine.detach(), some.detach())


def test_a_checkpoint_with_rows_that_have_yet_to_catch_up():
    """What they have to catch up on is part of the state dict, also through a file."""
    whole, first = parameters((6, 2), dtype=torch.float64), parameters((6, 2), dtype=torch.float64)
    settings = {"lr": 0.1, "momentum": 0.9, "l2": 0.0}
    steps = [coo([[t % 6, (t + 2) % 6]], torch.full((2, 2), t + 1.0).double(), (6, 2)) for t in range(6)]
    expected = stepped(optim.SGD(whole, **settings), whole[0], steps)
    optimizer = optim.SGD(first, **settings)
    for gradient in steps[:3]:
        first[0].grad = gradient
        optimizer.step()
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    resumed = clones(first)
    later = optim.SGD(resumed, **settings)
    later.load_state_dict(torch.load(file, weights_only=True))
    assert_tensors_close(stepped(later, resumed[0], steps[3:]), expected, "lazy")


def test_models_with_sparse_gradients_are_copied():
    """The hook that merges their gradients is not copied, but registered again."""
    table = torch.nn.Embedding(5, 2, sparse=True)
    table(torch.tensor([1, 1])).sum().backward()
    optimizer = optim.Adagrad(table.parameters())
    optimizer.step()
    for other in (copy.deepcopy(table), pickle.loads(pickle.dumps(table))):
        other(torch.tensor([2])).sum().backward()
        optim.Adagrad(other.parameters()).step()


def test_parameters_are_freed():
    """Nothing outlives the optimizer and its parameters."""
    optimizer, some = started("Adagrad")
    alive = [weakref.ref(some[0]), weakref.ref(optimizer)]
    del optimizer, some
    gc.collect()
    assert [reference() for reference in alive] == [None, None]


# Memory that moves


def move_storage(parameter):
    parameter.data = parameter.data.clone()


def move_twice(parameter):
    parameter.data = parameter.data.clone()
    parameter.data = parameter.data.clone()


def transpose(parameter):
    """Columns first, and rows first again."""
    if parameter.ndim == 2 and parameter.is_contiguous():
        parameter.data = parameter.data.t().contiguous().t()
    else:
        parameter.data = parameter.data.clone(memory_format=torch.contiguous_format)


def move_memory(parameter, state):
    for key, value in state.items():
        state[key] = value.clone()


@pytest.mark.parametrize("move", [move_storage, move_twice, transpose])
@EACH
def test_parameters_that_are_reallocated(name, move):
    """Their storage is looked up again; nothing is written to the old one."""
    optimizer, some = started(name, engine=ENGINES[name])
    other, still = started(name, engine=ENGINES[name])
    for t in range(3, 6):
        old = [parameter.data for parameter in some]
        before = [data.clone() for data in old]
        for parameter in some:
            move(parameter)
        moved = [parameter.data_ptr() != data.data_ptr() for parameter, data in zip(some, old, strict=True)]
        assert any(moved)
        go(optimizer, some, t)
        go(other, still, t)
        for data, value, away in zip(old, before, moved, strict=True):
            if away:
                assert_tensors_identical(data, value)
    assert_alike(some, still)


@EACH
def test_memory_that_is_reallocated(name):
    optimizer, some = started(name)
    other, still = started(name)
    for t in range(3, 6):
        for parameter in some:
            move_memory(parameter, optimizer.state[parameter])
        go(optimizer, some, t)
        go(other, still, t)
    assert_alike(some, still)
    assert_states_identical(optimizer.state_dict(), other.state_dict())


@EACH
def test_gradients_that_move_or_stay(name):
    """The same gradient tensor with new values; another one; one with another layout."""
    optimizer, some = started(name, engine=ENGINES[name])
    other, still = started(name, engine=ENGINES[name])
    for t in range(3, 9):
        for parameter, gradient in zip(some, gradients(some, t), strict=True):
            if t % 3 == 0:
                parameter.grad.copy_(gradient)
            else:
                parameter.grad = gradient.t().contiguous().t() if t % 3 == 1 and gradient.ndim == 2 else gradient
        optimizer.step()
        go(other, still, t)
    assert_alike(some, still)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@EACH
def test_a_model_of_another_type(name, dtype):
    """After .to(dtype) the state is converted to the dtype that the new parameters need, and training continues."""
    module = torch.nn.Linear(3, 2, dtype=torch.float32)
    optimizer = getattr(optim, name)(module.parameters(), **SOME[name], engine=ENGINES[name])
    for parameter in module.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    module.to(dtype)
    reference = clones(module.parameters())
    resumed = getattr(optim, name)(reference, **SOME[name], engine=ENGINES[name])
    resumed.load_state_dict(optimizer.state_dict())
    for parameter in [*module.parameters(), *reference]:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    resumed.step()
    assert_alike(module.parameters(), reference)
    assert_states_identical(optimizer.state_dict(), resumed.state_dict())


@pytest.mark.parametrize("of", ["parameter", "gradient"])
def test_another_type_at_the_same_address(of):
    """The dtype of the state is checked even if address and shape are the same."""
    place = torch.zeros(2, 8, dtype=torch.float64)
    parameter = torch.nn.Parameter(place[0].view(torch.float32)[:8].fill_(1.0))
    optimizer = optim.SGD([parameter], lr=0.5)
    parameter.grad = place[1].view(torch.float32)[:8].fill_(1.0)
    optimizer.step()
    assert (parameter == 0.5).all()
    if of == "gradient":
        parameter.grad.data = place[1].fill_(1.0)
        with pytest.raises(ValueError, match=r"the gradient is torch.float64 of shape \(8,\); expected torch.float32"):
            optimizer.step()
        assert (parameter == 0.5).all()
        return
    parameter.data = place[0].fill_(1.0)
    parameter.grad = torch.ones(8, dtype=torch.float64)
    optimizer.step()
    assert (place[0] == 0.5).all()


def test_a_shorter_gradient_at_the_same_address():
    place = torch.ones(8)
    parameter = torch.nn.Parameter(torch.ones(8))
    optimizer = optim.SGD([parameter], lr=0.5)
    parameter.grad = place
    optimizer.step()
    parameter.grad.data = place[:4]
    with pytest.raises(ValueError, match=r"the gradient is torch.float32 of shape \(4,\); expected .*shape \(8,\)"):
        optimizer.step()


# State changed by hand


def clear(optimizer):
    optimizer.state.clear()


def replace(optimizer):
    optimizer.state = defaultdict(dict)


def forget_one(optimizer):
    del optimizer.state[owned(optimizer)[0]]


@pytest.mark.parametrize("lose", [clear, replace, forget_one])
@EACH
def test_lost_memory_starts_from_scratch(name, lose):
    optimizer, some = started(name)
    lose(optimizer)
    fresh = clones(some)
    other = getattr(optim, name)(fresh, **SOME[name])
    go(optimizer, some, 3, 4)
    go(other, fresh, 3, 4)
    count = 1 if lose is forget_one else len(some)
    assert_alike(some[:count], fresh[:count])


@pytest.mark.parametrize("name", [name for name in CLASSES if name != "SGD"])
def test_memory_written_by_hand_is_used(name):
    """In place or by assignment, the step counter included."""
    optimizer, some = started(name)
    other, still = started(name)
    for parameter, twin in zip(some, still, strict=True):
        for key, value in other.state[twin].items():
            optimizer.state[parameter][key] = value * 2 + 1
            value.mul_(2).add_(1)
    go(optimizer, some, 3, 4)
    go(other, still, 3, 4)
    assert_alike(some, still)
    assert int(optimizer.state_dict()["state"][0]["step"]) == 9


@pytest.mark.parametrize("engine", [None, "reference", "torch"])
def test_a_step_counter_set_by_hand(engine):
    """The rest of the state is unchanged."""
    some, still = parameters(*SHAPES), parameters(*SHAPES)
    runs = (optim.Adam(some, engine=engine), some), (optim.Adam(still, engine=engine), still)
    for optimizer, mine in runs:
        go(optimizer, mine, 0, 1)
    for parameter, twin in zip(some, still, strict=True):
        runs[0][0].state[parameter]["step"] = torch.tensor(100.0)
        runs[1][0].state[twin]["step"].fill_(100.0)
    for optimizer, mine in runs:
        go(optimizer, mine, 2, 3)
    assert_alike(some, still)
    assert all(state["step"] == 102 for state in runs[0][0].state.values())


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", SHARED)
def test_state_taken_over_from_a_torch_optimizer(name):
    """By assignment, without a checkpoint."""
    some = parameters(*SHAPES, dtype=torch.float64)
    theirs = getattr(torch.optim, name)(some, **all_on(name))
    go(theirs, some, 0, 1)
    still = clones(some)
    ours = getattr(optim, name)(still, **all_on(name))
    for parameter, twin in zip(some, still, strict=True):
        ours.state[twin] = copy.deepcopy(theirs.state[parameter])
    go(theirs, some, 2, 3)
    go(ours, still, 2, 3)
    for found, expected in zip(still, some, strict=True):
        assert_tensors_close(found, expected, "torch float32")


# Groups


@EACH
def test_groups_added_later(name):
    early, late = parameters((3,), (2, 2), dtype=torch.float64)
    optimizer = getattr(optim, name)([early], **SOME[name])
    go(optimizer, [early], 0, 1)
    optimizer.add_param_group({"params": [late], "lr": 0.5})
    go(optimizer, [early, late], 2, 3)
    alone = [clones(parameters((3,), dtype=torch.float64))[0], parameters((3,), (2, 2), dtype=torch.float64)[1]]
    one, other = (getattr(optim, name)([parameter], **SOME[name]) for parameter in alone)
    other.param_groups[0]["lr"] = 0.5
    go(one, alone[:1], 0, 1)
    for t in (2, 3):
        for optimizer_, parameter, gradient in zip((one, other), alone, gradients([early, late], t), strict=True):
            parameter.grad = gradient
            optimizer_.step()
    assert_alike([early, late], alone)


def take_one_out(optimizer):
    return optimizer.param_groups[0]["params"].pop(0)


def take_a_group_out(optimizer):
    return optimizer.param_groups.pop(0)["params"][0]


def another_list(optimizer):
    group = optimizer.param_groups[0]
    gone, *group["params"] = group["params"]
    return gone


@pytest.mark.parametrize("take", [take_one_out, take_a_group_out, another_list])
@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_removed_parameters_are_unchanged(name, take):
    some = parameters((3,), (4,), (5,), dtype=torch.float64)
    groups = [{"params": [some[0]]}, {"params": some[1:]}] if take is take_a_group_out else some
    optimizer = getattr(optim, name)(groups, lr=0.1)
    go(optimizer, some, 0, 1)
    gone = take(optimizer)
    before, others = gone.detach().clone(), [p.detach().clone() for p in some if p is not gone]
    go(optimizer, some, 2)
    assert_tensors_identical(gone.detach(), before)
    for parameter, old in zip((p for p in some if p is not gone), others, strict=True):
        assert (parameter != old).all()


def test_a_parameter_that_replaces_another():
    old, new = parameters((3,), (3,))
    optimizer = optim.Adagrad([old])
    go(optimizer, [old], 0)
    optimizer.param_groups[0]["params"][0] = new
    before = old.detach().clone()
    go(optimizer, [old, new], 1)
    assert_tensors_identical(old.detach(), before)
    (expected,) = clones(parameters((3,), (3,))[1:])
    other = optim.Adagrad([expected])
    expected.grad = new.grad
    other.step()
    assert_tensors_identical(new.detach(), expected.detach())


def test_groups_in_another_order():
    some = parameters((3,), (4,), dtype=torch.float64)
    still = clones(some)
    optimizers = [
        optim.Adagrad([{"params": [p], "lr": lr} for p, lr in zip(ps, (0.1, 0.2), strict=True)]) for ps in (some, still)
    ]
    for t in range(4):
        optimizers[0].param_groups.reverse()
        go(optimizers[0], some, t)
        go(optimizers[1], still, t)
    assert_alike(some, still)


# Processes


def step_and_send(optimizer, some, connection):
    go(optimizer, some, 3)
    connection.send([numbers(parameter) for parameter in some])


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_step_in_a_forked_process():
    """Threads do not survive a fork; the child makes its own."""
    big = torch.nn.Parameter(torch.zeros(1 << 19))
    small = parameters(*SHAPES)
    optimizer = optim.Adagrad([big, *small], lr=0.1)
    go(optimizer, [big, *small], 0)
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    process = context.Process(target=step_and_send, args=(optimizer, [big, *small], there))
    process.start()
    assert here.poll(60), "the child is stuck"
    found = here.recv()
    process.join(60)
    go(optimizer, [big, *small], 3)
    for theirs, parameter in zip(found, [big, *small], strict=True):
        assert (theirs == numbers(parameter)).all()


def test_shared_memory():
    """State in shared memory stays there, and changes by another process take effect."""
    some = parameters(*SHAPES)
    optimizer = optim.Adagrad(some)
    for parameter in some:
        parameter.data.share_memory_()
    optimizer.share_memory()
    go(optimizer, some, 0, 1)
    for parameter in some:
        assert all(value.is_shared() for value in optimizer.state[parameter].values())
        assert parameter.is_shared()


# Autograd


@pytest.mark.parametrize("gradient", ["dense", "sparse"])
@EACH
def test_a_second_backward_after_a_step_is_detected(name, gradient):
    (weight,) = parameters((3, 2))
    optimizer = getattr(optim, name)([weight], lazy="touched", engine=ENGINES[name])
    loss = (weight**3).sum()
    loss.backward(retain_graph=True)
    if gradient == "sparse":
        weight.grad = weight.grad.to_sparse(1)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@EACH
def test_steps_do_not_record_a_graph(name):
    optimizer, some = started(name)
    assert all(parameter.is_leaf and parameter.requires_grad for parameter in some)
    assert not any(value.requires_grad for state in optimizer.state.values() for value in state.values())


def test_inference_mode():
    optimizer, some = started("Adagrad")
    other, still = started("Adagrad")
    with torch.inference_mode():
        optimizer.step()
    other.step()
    assert_alike(some, still)


# Schedules


STEADY = tuple(getattr(library, name) for library in (optim, torch.optim) for name in ("Adagrad", "Adadelta", "NAdam"))
"""They have no momentum to change; NAdam's product of momenta is here a function of the present one."""
SCHEDULES = {
    "LambdaLR": lambda o: lr_scheduler.LambdaLR(o, lambda t: 0.9**t),
    "MultiplicativeLR": lambda o: lr_scheduler.MultiplicativeLR(o, lambda t: 0.9),
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2),
    "MultiStepLR": lambda o: lr_scheduler.MultiStepLR(o, [2, 4]),
    "ConstantLR": lambda o: lr_scheduler.ConstantLR(o, total_iters=3),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, total_iters=4),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.8),
    "SequentialLR": lambda o: lr_scheduler.SequentialLR(
        o, [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.5)], [3]
    ),
    "PolynomialLR": lambda o: lr_scheduler.PolynomialLR(o, total_iters=4),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 5),
    "ChainedScheduler": lambda o: lr_scheduler.ChainedScheduler(
        [lr_scheduler.ConstantLR(o), lr_scheduler.ExponentialLR(o, 0.5)]
    ),
    "CosineAnnealingWarmRestarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 3),
    "CyclicLR": lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.1, step_size_up=2, cycle_momentum="momentum" in o.defaults),
    "OneCycleLR": lambda o: lr_scheduler.OneCycleLR(
        o,
        0.1,
        total_steps=8,
        cycle_momentum="momentum_decay" not in o.defaults and bool({"momentum", "betas"} & o.defaults.keys()),
    ),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=1),
    "SWALR": lambda o: swa_utils.SWALR(o, 0.01, anneal_epochs=3),
}
"""Every schedule of torch; CyclicLR and OneCycleLR change the momentum too."""


def test_all_schedules_are_tested():
    known = {name for name, value in vars(lr_scheduler).items() if isinstance(value, type) and not name.startswith("_")}
    schedules = {name for name in known if issubclass(getattr(lr_scheduler, name), lr_scheduler.LRScheduler)}
    assert schedules - {"LRScheduler"} == set(SCHEDULES) - {"SWALR"}


@pytest.mark.sampled(40)
@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("name", SHARED)
def test_schedules(name, schedule):
    """In lockstep with torch's optimizer under the same schedule."""
    ours, theirs = parameters(*SHAPES, dtype=torch.float64), parameters(*SHAPES, dtype=torch.float64)
    runs = []
    for library, some in ((optim, ours), (torch.optim, theirs)):
        optimizer = getattr(library, name)(some, lr=0.1, **SOME[name])
        runs.append((optimizer, some, SCHEDULES[schedule](optimizer)))
    for t in range(8):
        for optimizer, some, scheduler in runs:
            go(optimizer, some, t)
            scheduler.step(*([1.0] if schedule == "ReduceLROnPlateau" else []))
    for found, expected in zip(ours, theirs, strict=True):
        assert_tensors_close(found, expected, "torch float32")
    # Such groups make other optimizers, and checkpoints of them are loaded.
    again = getattr(optim, name)(clones(ours))
    again.load_state_dict(runs[0][0].state_dict())
    getattr(optim, name)(runs[0][0].param_groups)


@pytest.mark.parametrize("name", ["SGD", "Adagrad"])
def test_averaged_models(name):
    """Stochastic weight averaging copies a model that is being trained."""
    model, twin = torch.nn.Linear(3, 2), torch.nn.Linear(3, 2)
    twin.load_state_dict(model.state_dict())
    averages = []
    for library, module in ((optim, model), (torch.optim, twin)):
        optimizer, average = getattr(library, name)(module.parameters(), lr=0.1), swa_utils.AveragedModel(module)
        schedule = swa_utils.SWALR(optimizer, swa_lr=0.05)
        for t in range(6):
            go(optimizer, list(module.parameters()), t)
            average.update_parameters(module)
            schedule.step()
        averages.append(average)
    for found, expected in zip(*(average.parameters() for average in averages), strict=True):
        assert_tensors_close(found, expected, "torch float32")


# Scaled gradients


@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam"])
def test_scaled_gradients(name):
    """GradScaler: infinite gradients skip the step and lower the scale; others are unscaled."""
    ours, theirs = parameters(*SHAPES), parameters(*SHAPES)
    for library, some in ((optim, ours), (torch.optim, theirs)):
        optimizer, scaler = getattr(library, name)(some, lr=0.1), torch.amp.GradScaler("cpu", init_scale=4.0)
        for t in range(5):
            optimizer.zero_grad()
            loss = sum(
                (parameter * gradient).sum() for parameter, gradient in zip(some, gradients(some, t), strict=True)
            )
            scaler.scale(loss * (math.inf if t == 2 else 1.0)).backward()
            scaler.step(optimizer)
            scaler.update()
        assert scaler.get_scale() == 2.0
    for found, expected in zip(ours, theirs, strict=True):
        assert_tensors_close(found, expected, "torch float32")


def test_scaled_sparse_gradients():
    table, dense = torch.nn.Embedding(6, 2, sparse=True), torch.nn.Embedding(6, 2)
    dense.load_state_dict(table.state_dict())
    for module in (table, dense):
        optimizer, scaler = optim.Adagrad(module.parameters(), lr=0.1), torch.amp.GradScaler("cpu", init_scale=4.0)
        for t in range(4):
            optimizer.zero_grad()
            loss = module(torch.tensor([t, t, 5])).square().sum() * (math.inf if t == 2 else 1.0)
            scaler.scale(loss).backward()
            scaler.unscale_(optimizer)
            optim.clip_grad_norm_(module.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
    assert_tensors_close(table.weight, dense.weight, "torch float32")


# Steps within the backward pass


def network():
    torch.manual_seed(0)
    table = torch.nn.Embedding(7, 4, sparse=True)
    return torch.nn.Sequential(table, torch.nn.Linear(4, 3), torch.nn.Tanh(), torch.nn.Linear(3, 1)).double()


@pytest.mark.parametrize("name", CLASSES)
def test_step_in_backward(name):
    """The same as steps afterwards, and no gradient is left."""
    settings, ids = SOME[name] | {"lazy": "touched", "engine": ENGINES[name]}, torch.tensor([1, 4, 4, 0])
    inside, after = network(), network()
    optimizer = getattr(optim, name)(inside.parameters(), **settings)
    other = getattr(optim, name)(after.parameters(), **settings)
    with optim.step_in_backward(inside, optimizer):
        for t in range(3):
            (inside(ids + t % 2) ** 2).sum().backward()
            assert all(parameter.grad is None for parameter in inside.parameters())
    for t in range(3):
        other.zero_grad()
        (after(ids + t % 2) ** 2).sum().backward()
        other.step()
    assert_alike(inside.parameters(), after.parameters())
    assert_states_identical(optimizer.state_dict(), other.state_dict())
    (inside(ids) ** 2).sum().backward()
    assert all(parameter.grad is not None for parameter in inside.parameters())


def test_step_in_backward_with_a_schedule_and_several_groups():
    some = parameters((3,), (4,))
    optimizer = optim.SGD([{"params": [some[0]], "lr": 0.5}, {"params": [some[1]]}], lr=0.25)
    schedule = lr_scheduler.ExponentialLR(optimizer, 0.5)
    before = [parameter.detach().clone() for parameter in some]
    handle = optim.step_in_backward(some, optimizer)
    for _ in range(2):
        sum(parameter.sum() for parameter in some).backward()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch counts calls of step(), of which there are none
            schedule.step()
    handle.remove()
    for parameter, old, lr in zip(some, before, (0.5, 0.25), strict=True):
        assert_tensors_close(parameter.detach(), old - 1.5 * lr, "torch float32")


def test_step_in_backward_says_which_gradient_is_not_finite():
    some = parameters((3,), (4,))
    with (
        optim.step_in_backward(some, optim.SGD),
        pytest.raises(NonFiniteError, match="parameter 1 of group 0: 4 of 4 coordinates"),
    ):
        (some[1] * math.nan).sum().backward()


def test_step_in_backward_requires_an_optimizer_of_all_parameters():
    some = parameters((3,), (4,))
    with pytest.raises(ValueError, match=r"does not have 1 of 2 parameters \(of shapes \(4,\)\)"):
        optim.step_in_backward(some, optim.SGD(some[:1]))
    with pytest.raises(TypeError, match=r"pass settings \(lr\) with an optimizer class"):
        optim.step_in_backward(some, optim.SGD(some), lr=0.1)


def test_tensors_are_compared_one_by_one_where_torch_cannot_compare_them_at_once():
    from surefoot.optim.backends import fused

    tensors = [torch.zeros(2, 3), torch.zeros(4)]
    for checks in (fused.alike(tensors), fused.Alike(*tensors)):
        assert checks.check(torch.ones(2, 3), torch.ones(4))
        negated = torch.zeros(2, 3)._neg_view()
        for other in (torch.zeros(3, 2), torch.zeros(2, 3).double(), torch.zeros(3, 2).T, negated):
            assert not checks.check(other, tensors[1])


@pytest.mark.parametrize("engine", [None, "reference"])
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_a_restart_without_memory_counts_steps_from_zero(engine, sparse):
    """SGD keeps only the step number, which its schedule needs."""
    parameter = torch.nn.Parameter(torch.zeros(2, 1))
    optimizer = optim.SGD([parameter], lr=lambda t: 1 / t, engine=engine)
    parameter.grad = torch.ones(2, 1).to_sparse(1) if sparse else torch.ones(2, 1)
    seen = []
    for step in range(4):
        if step == 2:
            optimizer.restart()
        optimizer.step()
        seen.append(parameter[0].item())
    assert seen == [-1.0, -1.5, -2.5, -3.0]


@pytest.mark.parametrize(
    "register",
    [
        lambda optimizer: optimizer.register_step_pre_hook,
        lambda optimizer: optimizer.register_step_post_hook,
        lambda _: register_optimizer_step_pre_hook,
        lambda _: register_optimizer_step_post_hook,
    ],
)
def test_a_single_hook_is_called(register):
    optimizer = optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    calls = []
    handle = register(optimizer)(lambda *_: calls.append(1))
    optimizer.step()
    handle.remove()
    optimizer.step()
    assert calls == [1]


def test_steps_appear_in_a_profiler():
    optimizer = optim.SGD([torch.nn.Parameter(torch.zeros(2))], lr=0.1)
    optimizer.step()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profiler:
        optimizer.step()
    assert "Optimizer.step#SGD.step" in [event.name for event in profiler.events()]


@pytest.mark.parametrize("sparse_next", [True, False])
def test_a_torch_checkpoint_with_sparse_momentum(sparse_next):
    """torch's SGD makes its buffer of the first gradient: a sparse one, of rows that come twice."""
    own = parameters((4, 2))
    theirs = clones(own)
    peer = torch.optim.SGD(theirs, lr=0.1, momentum=0.9)
    theirs[0].grad = coo([[1, 1, 3]], torch.ones(3, 2), (4, 2))
    peer.step()
    assert peer.state[theirs[0]]["momentum_buffer"].layout is torch.sparse_coo
    own[0].data.copy_(theirs[0].data)
    optimizer = optim.SGD(own, lr=0.1, momentum=0.9)
    optimizer.load_state_dict(peer.state_dict())
    gradient = coo([[3, 0]], torch.ones(2, 2), (4, 2))
    own[0].grad = gradient if sparse_next else gradient.to_dense()
    theirs[0].grad = gradient
    optimizer.step(), peer.step()
    optimizer.settle()
    assert_tensors_close(own[0].detach(), theirs[0].detach(), "torch float32")
    optimizer.state[own[0]]["momentum_buffer"] = optimizer.state[own[0]]["momentum_buffer"].to_sparse()
    theirs[0].grad, own[0].grad = gradient, gradient.to_dense()
    optimizer.step(), peer.step()
    assert_tensors_close(own[0].detach(), theirs[0].detach(), "torch float32")


@pytest.mark.parametrize("engine", [None, "reference", "torch"])
@pytest.mark.parametrize("name, sparse", [("SGD", False), ("Adagrad", False), ("Adagrad", True), ("Adam", False)])
def test_replaced_parameters_are_freed(name, sparse, engine):
    """As when points are added during training: the old parameter is freed at once, its state in the next step."""
    gc.freeze()  # what other tests have left takes a second to look through
    gone = []
    kept, parameter = parameters((2,), (4, 3))
    settings = {"momentum": 0.9} if name == "SGD" else {}
    optimizer = getattr(optim, name)([kept, parameter], lr=0.1, engine=engine, **settings)
    for _ in range(3):
        kept.grad = torch.ones_like(kept)
        parameter.grad = coo([[0, 2]], torch.ones(2, 3), tuple(parameter.shape)) if sparse else parameter.detach()
        optimizer.step()
        state = optimizer.state.pop(parameter)
        old, old_state = weakref.ref(parameter), [weakref.ref(value) for value in state.values()]
        longer = torch.nn.Parameter(torch.cat([parameter.detach(), torch.ones(1, 3)]))
        moved = {key: torch.cat([value, value[:1]]) if value.ndim else value.clone() for key, value in state.items()}
        optimizer.state[longer] = moved
        optimizer.param_groups[0]["params"] = [kept, longer]
        parameter = longer
        del state, longer
        gc.collect()
        assert old() is None
        gone += old_state
    before = parameter.detach().clone()
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    gc.collect()
    assert (parameter != before).all()
    assert not any(reference() is not None for reference in gone)


def test_parameters_are_swapped_as_with_torchs_optimizers():
    """torch.utils.swap_tensors refuses tensors that are weakly referenced; modules of fully_shard convert by it."""
    (parameter,) = parameters((3,))
    optimizer = optim.Adagrad([parameter], lr=0.1)
    for dtype in (torch.float32, torch.float64):
        parameter.grad = torch.ones(3, dtype=dtype)
        optimizer.step()
        torch.utils.swap_tensors(parameter, torch.nn.Parameter(parameter.detach().double()))
    assert optimizer.state[parameter]["step"] == 2


def test_an_optimizer_keeps_no_parameters_alive_in_its_state_after_a_copy():
    (parameter,) = parameters((3,))
    optimizer = optim.Adam([parameter])
    parameter.grad = torch.ones(3)
    optimizer.step()
    copied = copy.deepcopy(optimizer)
    gone = weakref.ref(parameter)
    del optimizer, parameter
    gc.collect()
    assert gone() is None
    (own,) = copied.param_groups[0]["params"]
    own.grad = torch.ones(3)
    copied.step()
    assert copied.state[own]["step"] == 2


def test_an_optimizer_and_its_state_are_freed_at_once():
    """Without the garbage collector, which may be long in coming."""
    parameter = torch.nn.Parameter(torch.zeros(3))
    optimizer = optim.Adagrad([parameter])
    parameter.grad = torch.ones(3)
    optimizer.step()
    left = weakref.ref(optimizer), weakref.ref(optimizer.state[parameter]["sum"])
    gc.disable()
    try:
        del optimizer
        assert [reference() for reference in left] == [None, None]
    finally:
        gc.enable()


WAYS = {"dense": {}, "touched": {"lazy": "touched"}, "waiting": {"decoupled_weight_decay": 0.1}}


@pytest.mark.sampled(8)
@pytest.mark.parametrize(
    "name, way", [(name, way) for name in CLASSES for way in WAYS if way != "waiting" or name in ("SGD", "Adagrad")]
)
def test_the_default_device_changes_nothing(name, way):
    """That of the parameters counts, also for what is counted, merged, clipped, copied and loaded."""
    found = []
    for device in ("cpu", "meta"):
        (p,) = parameters((4, 3))
        gradient = coo([[1, 3, 1]], torch.ones(3, 3), (4, 3)) if way != "dense" else torch.ones(4, 3)
        with torch.device(device):
            optimizer = getattr(optim, name)([p], lr=0.1, **WAYS[way])
            for _ in range(2):
                p.grad = gradient.clone()
                optim.clip_grad_norm_([p], 0.5)
                optimizer.step()
                optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
            optimizer.flush()
        state = optimizer.state_dict()["state"]
        assert {value.device.type for tensors in state.values() for value in tensors.values()} <= {"cpu"}
        found.append(p.detach())
    assert_tensors_identical(*found)


STARTED = {"SGD": {"momentum": 0.9, "dampening": 0.5}}


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)], ids=["number", "tensor"])
@EACH
def test_asking_for_the_state_changes_nothing(name, lr):
    """torch.distributed.checkpoint takes a step at rate 0, with gradients of 0, where there is no state yet."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    found = []
    for asks in (False, True):
        model = torch.nn.Linear(3, 2)
        torch.nn.init.ones_(model.weight)
        optimizer = getattr(optim, name)(model.parameters(), lr=lr, **STARTED.get(name, {}))
        if asks:
            state = get_optimizer_state_dict(model, optimizer)["state"]
            assert set(state) == {"weight", "bias"}
        torch.nn.init.zeros_(model.bias)
        for step in range(3):
            for p in model.parameters():
                p.grad = torch.full_like(p, step + 1.0)
            optimizer.step()
        found.append(model.state_dict())
    for key in found[0]:
        assert_tensors_identical(found[0][key], found[1][key])


def test_a_first_step_at_rate_0_counts_where_there_is_a_gradient():
    """As at the beginning of a warm-up."""
    (ours,), (theirs,) = parameters((3,)), parameters((3,))
    for library, p in ((optim, ours), (torch.optim, theirs)):
        optimizer = library.Adam([p], lr=0.0)
        for step in range(3):
            optimizer.param_groups[0]["lr"] = 0.1 * step
            p.grad = torch.arange(3.0) - 1.0
            optimizer.step()
        assert int(optimizer.state[p]["step"]) == 3
    assert_tensors_close(ours, theirs, "torch float32")
