"""Settings that change while rows are behind: each row ends where dense steps would have put it."""

import copy
import math

import pytest
from support.optimizers import assert_tensors_close, assert_tensors_identical, coo, optim, parameters, torch

from surefoot import ops
from surefoot.rules import RuleError, nonnegative, rule, scale

ROWS = (0, 1, 0, 0, 2, 0, 1, 0, 2, 0)
CHANGES = {
    "l2 off": ("SGD", {"l2": 1.0}, {"l2": 0.0}),
    "l2 off and on again": ("Adagrad", {"l2": 1.0}, {"l2": 0.0}, {"l2": 0.5}),
    "l1 off": ("Adagrad", {"l1": 0.01}, {"l1": 0.0}),
    "decay off": ("SGD", {"decoupled_weight_decay": 0.5}, {"decoupled_weight_decay": 0.0}),
    "decay off, by the reference": (
        "Adagrad",
        {"decoupled_weight_decay": 0.5, "engine": "reference"},
        {"decoupled_weight_decay": 0.0},
    ),
    "decay of more than all": (
        "SGD",
        {"decoupled_weight_decay": 15.0},
    ),
    "momentum off": ("SGD", {"momentum": 0.9}, {"momentum": 0.0}),
    "momentum on": ("SGD", {"l2": 0.3}, {"momentum": 0.5, "l2": 0.0}),
    "nesterov on": ("SGD", {"momentum": 0.9}, {"nesterov": True}),
    "another engine": (
        "SGD",
        {"momentum": 0.9},
        {"engine": "torch", "lazy": "touched"},
        {"lazy": "exact", "engine": None},
    ),
    "lr of FTRL": ("FTRL", {}, {"lr": 0.01}, {"lr": 0.5}),
    "lr of FTRL and of a dense step": ("FTRL", {"l1": 0.01}, {"lr": 0.02}),
}


def trained(own, case, sparse, dense_at=None):
    name, settings, *changes = CHANGES[case]
    optimizer = getattr(optim, name)([("table", own)], **({"lr": 0.1} | settings))
    for step, row in enumerate(ROWS):
        if step in (3, 6) and changes:
            change = changes[min(step // 3, len(changes)) - 1] if step == 3 or len(changes) > 1 else {}
            optimizer.change(**change)
        gradient = coo([[row]], torch.ones(1, 2), own.shape)
        # The torch engine leaves rows alone, so dense steps stand for it in both.
        dense = not sparse or step == dense_at or optimizer.param_groups[0].get("engine") == "torch"
        own.grad = gradient.to_dense() if dense else gradient
        optimizer.step()
    optimizer.settle()
    return optimizer


@pytest.mark.sampled(4)
@pytest.mark.parametrize("dense_at", [None, 4])
@pytest.mark.parametrize("case", CHANGES)
def test_sparse_steps_are_dense_steps(case, dense_at):
    (mine,), (theirs,) = parameters((3, 2)), parameters((3, 2))
    found, expected = trained(mine, case, True, dense_at), trained(theirs, case, False)
    assert_tensors_close(mine.detach(), theirs.detach(), "torch float32", case)
    for key, value in expected.state[theirs].items():
        assert_tensors_close(found.state[mine][key], value, "torch float32", key)


SCHEDULES = {
    "steps": lambda o: torch.optim.lr_scheduler.StepLR(o, 20, 0.1),
    "warm restarts": lambda o: torch.optim.lr_scheduler.CosineAnnealingWarmRestarts(o, 20, eta_min=1e-4),
    "one cycle": lambda o: torch.optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=100, cycle_momentum=False),
    "warm-up from nearly 0": lambda o: torch.optim.lr_scheduler.LinearLR(o, 1e-8, total_iters=3),
    "warm-up from 0": lambda o: torch.optim.lr_scheduler.LambdaLR(o, lambda t: min(1.0, t / 5)),
    "down to 0": lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 80),
}


@pytest.mark.parametrize("engine", ["cpu", "torch"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_ftrl_keeps_what_it_learned_under_any_schedule(schedule, engine):
    """The loss never rises far above its best, also from random weights."""
    inputs = torch.randn(64, 6, generator=torch.Generator().manual_seed(1))
    targets, weight = inputs.sum(1), torch.nn.Parameter(torch.linspace(-0.5, 0.5, 6))
    optimizer = optim.FTRL([weight], lr=0.1, engine=engine)
    scheduler, losses = SCHEDULES[schedule](optimizer), []
    for _ in range(80):
        optimizer.zero_grad()
        loss = (inputs @ weight - targets).square().mean()
        loss.backward()
        optimizer.step()
        scheduler.step()
        losses.append(loss.item())
    assert max(losses) <= losses[0]
    assert losses[-1] <= 1.01 * min(losses) < 0.5 * losses[0]


@pytest.mark.parametrize("settings", [{}, {"l1": 0.5, "l2": 0.1}, {"granularity": "row"}])
def test_ftrl_steps_from_where_parameters_are(settings):
    """A tiny gradient is a tiny step, from initial values and after they were changed by hand."""
    (p,) = parameters((20, 5))
    optimizer = optim.FTRL([p], lr=0.1, **settings)
    for _ in range(3):
        before, p.grad = p.detach().clone(), 1e-3 * torch.ones_like(p)
        optimizer.step()
        assert (p - before).norm() < 0.01 * before.norm()
        p.data += 1.0


def test_a_state_dict_of_changed_settings_can_be_loaded():
    (p,) = parameters((2, 1))
    optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
    for row in (0, 1, 0):
        p.grad = coo([[row]], [[1.0]], (2, 1))
        optimizer.step()
    optimizer.change(momentum=0.0)
    optimizer.load_state_dict(optimizer.state_dict())
    p.grad = coo([[1]], [[1.0]], (2, 1))
    optimizer.step()


def test_a_restart_equals_a_new_optimizer():
    settings = {"lr": 0.1, "momentum": 0.9, "dampening": 0.5}
    for again in (False, True):
        p = torch.nn.Parameter(torch.ones(1))
        optimizer = optim.SGD([p], **settings)
        p.grad = torch.ones(1)
        if again:
            optimizer.step()
            optimizer.restart()
            p.data.fill_(1.0)
        optimizer.step()
        assert p.item() == pytest.approx(0.9)


def test_adamw_with_coupled_decay_stays_coupled():
    optimizer = optim.AdamW(parameters((2,)), decoupled_weight_decay=False)
    assert copy.deepcopy(optimizer).param_groups[0]["decoupled_weight_decay"] is False
    optimizer.load_state_dict(torch.optim.Adam(parameters((2,))).state_dict())
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is False
    decoupled = optim.AdamW(parameters((2,)))
    decoupled.load_state_dict(torch.optim.Adam(parameters((2,))).state_dict())
    assert decoupled.param_groups[0]["decoupled_weight_decay"] is True


def test_groups_keep_settings_that_torch_checkpoints_lack():
    own = parameters((2,), (3,))
    theirs = torch.optim.Adagrad([{"params": [p], "lr": 0.5} for p in own])
    groups = [{"params": [own[0]], "decoupled_weight_decay": 0.5}, {"params": [own[1]], "engine": "reference"}]
    optimizer = optim.Adagrad(groups, nonfinite="skip")
    optimizer.load_state_dict(theirs.state_dict())
    first, second = optimizer.param_groups
    assert (first["lr"], first["decoupled_weight_decay"], first["nonfinite"]) == (0.5, 0.5, "skip")
    assert (second["lr"], second.get("decoupled_weight_decay", 0.0), second["engine"]) == (0.5, 0.0, "reference")


def test_counters_load_under_another_default_dtype():
    torch.set_default_dtype(torch.bfloat16)
    try:
        p = torch.nn.Parameter(torch.ones(3, 2, dtype=torch.float32))
        optimizer = optim.SGD([p], lr=0.1, momentum=0.9)
        for _ in range(2):
            p.grad = coo([[1]], torch.ones(1, 2, dtype=torch.float32), (3, 2))
            optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
    finally:
        torch.set_default_dtype(torch.float32)


def test_settings_by_hand_are_checked_and_not_ignored():
    (p,) = parameters((2,))
    optimizer = optim.Adagrad([("w", p)])
    p.grad = torch.ones(2)
    optimizer.step()
    optimizer.param_groups[0]["engine"] = "gpuu"
    with pytest.raises(ValueError, match="Invalid engine value: 'gpuu'; expected cpu"):
        optimizer.step()
    optimizer.param_groups[0]["engine"] = None
    optimizer.change(stochastic_rounding=0)
    with pytest.raises(
        ValueError, match=r"w: stochastic_rounding is for bfloat16 parameters; this one is torch.float32"
    ):
        optimizer.step()


@pytest.mark.parametrize("together", [True, False])
def test_a_schedule_that_fails_later_changes_nothing(together):
    """The group before it is not stepped either."""
    own = parameters((2,), (3,))
    schedules = [lambda t: 0.1, lambda t: 0.1 if t < 2 else math.nan]
    groups = [{"params": [p], "lr": lr} for p, lr in zip(own, schedules, strict=True)]
    optimizer = optim.Adagrad(groups, engine=None if together else "reference")
    for p in own:
        p.grad = torch.ones_like(p)
    optimizer.step()
    before = [p.detach().clone() for p in own]
    with pytest.raises(RuleError, match="nan"):
        optimizer.step()
    for p, kept in zip(own, before, strict=True):
        assert_tensors_identical(p.detach(), kept)
        assert optimizer.state[p]["step"] == 1


def test_unfrozen_parameters_are_stepped_in_backward_passes():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 1))
    model[0].requires_grad_(False)
    handle = optim.step_in_backward(model, optim.SGD, lr=0.1)
    assert not model[0].weight.requires_grad
    before = model[0].weight.detach().clone()
    model(torch.ones(1, 2)).sum().backward()
    assert_tensors_identical(model[0].weight.detach(), before)
    model[0].requires_grad_(True)
    model(torch.ones(1, 2)).sum().backward()
    assert model[0].weight.grad is None
    assert (model[0].weight != before).any()
    handle.remove()
    model(torch.ones(1, 2)).sum().backward()
    assert model[0].weight.grad is not None


# Rules of one's own


def test_names_reserved_by_optimizers_are_rejected():
    @rule(hyper={"lr": nonnegative(1.0), "weight_decay": nonnegative(0.5)})
    def decaying(x, g, g2, lr, weight_decay):
        return lr, g + weight_decay * x

    @rule(slots={"last": scale()}, hyper={"lr": nonnegative(1.0)})
    def remembering(x, g, g2, last, lr):
        return lr / ops.sqrt(last + g2), g, last + g2

    for made, words in (
        (decaying, "hyperparameter 'weight_decay' clashes with a reserved optimizer setting; rename it"),
        (remembering, "slot 'last' clashes with a reserved entry of state dicts; rename it"),
    ):
        with pytest.raises(RuleError, match=words):
            optim.RuleOptimizer(parameters((2,)), made)


def test_subclasses_have_the_defaults_of_the_rule():
    class Mine(optim.RuleOptimizer):
        def __init__(self, params, **settings):
            super().__init__(params, "adam", **settings)

    for settings in ({"lr": 0.1}, {}, {"convention": "textbook"}):
        mine = Mine(parameters((2,)), **settings).param_groups[0]
        theirs = optim.RuleOptimizer(parameters((2,)), "adam", **settings).param_groups[0]
        assert {**mine, "params": 0} == {**theirs, "params": 0}
    with pytest.raises(ValueError, match="nonsense"):
        Mine(parameters((2,)), convention="nonsense")


# Around the step


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["SGD", "Adagrad", "Adam"])
def test_a_compiled_training_step_equals_the_eager_one(name):
    results = []
    for compiled in (False, True):
        model = torch.nn.Linear(3, 1)
        for p in model.parameters():
            p.data.fill_(0.5)
        optimizer, seen = getattr(optim, name)(model.parameters(), lr=0.1), []
        optimizer.register_step_post_hook(lambda *_, seen=seen: seen.append(1))

        def train(x, model=model, optimizer=optimizer):
            optimizer.zero_grad()
            model(x).pow(2).sum().backward()
            optimizer.step()

        step = torch.compile(train, backend="eager") if compiled else train
        for k in range(3):
            step(torch.ones(2, 3) * (k + 1))
        assert len(seen) == 3
        results.append([p.detach() for p in model.parameters()])
    for found, expected in zip(*results, strict=True):
        assert_tensors_identical(found, expected)


@pytest.mark.parametrize("clip", ["norm", "value"])
def test_clipping_does_not_write_into_shared_gradients(clip):
    """A single row is merged by itself, and its values may be what came from above."""
    tables = [torch.nn.Embedding.from_pretrained(torch.zeros(4, 2), freeze=False, sparse=True) for _ in "ab"]
    ids, above = torch.tensor([1]), torch.tensor([[3.0, 4.0]])
    sum(table(ids) for table in tables).backward(above)
    own = [table.weight for table in tables]
    if clip == "norm":
        optim.clip_grad_norm_(own, 1.0)
        expected = torch.tensor([3.0, 4.0]) / 50**0.5
    else:
        optim.clip_grad_value_(own, 2.0)
        expected = torch.tensor([2.0, 2.0])
    assert above.tolist() == [[3.0, 4.0]]
    for p in own:
        assert_tensors_close(p.grad.to_dense()[1], expected, "torch float32")


def test_clipping_values_that_are_expanded():
    p = torch.nn.Parameter(torch.zeros(4, 2))
    p.grad = torch.sparse_coo_tensor(
        [[1]], torch.ones(1, 1).expand(1, 2), (4, 2), is_coalesced=True, check_invariants=False
    )
    optim.clip_grad_value_([p], 0.5)
    assert p.grad.to_dense()[1].tolist() == [0.5, 0.5]


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (2, 0), (3, 1)])
def test_the_torch_engine_accepts_all_shapes(shape, granularity):
    results = []
    for engine in ("torch", "reference"):
        own = parameters((2, 2), shape)
        optimizer = optim.Adagrad(own, granularity=granularity, engine=engine)
        for p in own:
            p.grad = torch.ones_like(p)
        optimizer.step()
        if shape and shape[0]:
            own[1].grad = coo(torch.empty(1, 0, dtype=torch.long), torch.empty(0, *shape[1:]), shape)
            optimizer.change(lazy="touched")
            optimizer.step()
        results.append([p.detach() for p in own])
    for found, expected in zip(*results, strict=True):
        assert_tensors_close(found, expected, "torch float32")
