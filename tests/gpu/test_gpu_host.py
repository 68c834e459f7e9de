"""What the host does in each step on a GPU: nothing that an earlier step has done already."""

from typing import Any

import numpy as np
import pytest
from support.gpu_twins import assert_same, parameters, some_gradients, sparse_gradient, step_both, twins
from support.on_gpu import DEVICE, gpu, torch
from support.on_gpu import interpreted as interpreted
from support.table import CONCRETE
from torch.utils._python_dispatch import TorchDispatchMode

from surefoot import optim
from surefoot.engines.cpu.multi_tensor import Storage
from surefoot.optim.backends import fused

pytestmark = pytest.mark.usefixtures("interpreted")


@pytest.fixture
def uploads(monkeypatch):
    """The arrays that are copied to the device."""
    seen, upload = [], gpu.upload

    def counting(array, device):
        seen.append(array)
        return upload(array, device)

    monkeypatch.setattr(gpu, "upload", counting)
    return seen


def groups_of(optimizer) -> list[Any]:
    return list(optimizer._known.fused[0].fused.values())


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
@pytest.mark.parametrize("kind", [optim.Adagrad, optim.Adam])
def test_a_missing_gradient_changes_a_number_of_the_table_and_nothing_else(kind, granularity):
    made = twins(kind, granularity=granularity)
    step_both(made, some_gradients(0))
    before = groups_of(made[0][1])
    for step, missing in enumerate(({0}, {1, 3}, set(), {0, 1, 2, 3}, {2}), 1):
        gradients = [None if k in missing else g for k, g in enumerate(some_gradients(step))]
        versions = [p._version for p in made[0][0]]
        step_both(made, gradients)
        stepped = {k for k, p in enumerate(made[0][0]) if p._version > versions[k]}
        assert stepped == {0, 1, 2, 3} - missing
    assert_same(made)
    assert groups_of(made[0][1]) == before


def test_missing_gradients_where_steps_are_counted_on_the_device():
    own, others = parameters(), parameters()
    optimizer = optim.Adam(own, engine="gpu", capturable=True)
    reference = optim.Adam([p.data.cpu().requires_grad_() for p in others], engine="reference")
    made = [(own, optimizer), (reference.param_groups[0]["params"], reference)]
    for step, missing in enumerate((set(), {1}, {0, 2})):
        step_both(made, [None if k in missing else g for k, g in enumerate(some_gradients(step))])
    assert_same(made)


def test_a_parameter_that_is_stepped_alone_keeps_what_steps_it(uploads):
    own = parameters()
    optimizer = optim.Adam(own, engine="gpu")
    made = [(own, optimizer), twins(optim.Adam)[1]]
    for step in range(4):
        for (some, stepping), copy in zip(made, (lambda g: g.to(DEVICE), lambda g: g), strict=True):
            for index, (p, gradient) in enumerate(zip(some, some_gradients(step), strict=True)):
                if p.grad is None:
                    p.grad = copy(gradient)
                p.grad.copy_(gradient)
                stepping.step_one(0, index)
        if step == 2:
            uploads.clear()
    assert_same(made)
    assert uploads == []


def test_the_numbers_of_a_table_are_uploaded_ahead(uploads):
    made = twins(optim.Adam, shapes=((6, 3),), lazy="touched")
    for step in range(6):
        step_both(made, [sparse_gradient(step)])
    assert_same(made)
    assert [len(array) for array in uploads] == [1, gpu.AHEAD]


class Operations(TorchDispatchMode):
    """Counts what is launched on the device, but for views and new memory."""

    def __init__(self):
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        name = function.name().partition("::")[2].partition(".")[0]
        if name not in ("detach", "empty", "view", "select", "slice", "expand", "reshape", "_reshape_alias", "alias"):
            self.seen.append(name)
        return function(*arguments, **(keywords or {}))


@pytest.mark.parametrize("kind, most", [(optim.SGD, 4), (optim.Adagrad, 4), (optim.RMSprop, 6), (optim.Adam, 15)])
def test_only_numbers_that_change_are_computed_on_the_device(kind, most, monkeypatch):
    """In addition to the kernel: the steps' numbers, what the rule computes of them, and their count."""
    monkeypatch.setattr(fused, "alike", lambda tensors: fused.Alike(*tensors))  # torch's sees the mode below
    monkeypatch.setattr(gpu.MultiTensor, "launch", lambda *arguments: None)
    own = parameters()
    hint = "fused" if kind in (optim.SGD, optim.Adagrad) else "capturable"
    optimizer = kind(own, lr=0.1, engine="gpu", **{hint: True})
    for p in own:
        p.grad = torch.ones_like(p)
    for _ in range(2):
        optimizer.step()
    with Operations() as operations:
        optimizer.step()
    assert len(operations.seen) <= most, operations.seen


def test_a_graph_copies_no_numbers_from_the_host(uploads, monkeypatch):
    """Which has another use for that memory when the graph is replayed; those on the device are kept for it."""
    step, t = CONCRETE["rmsprop"].step(engine="reference", lr=0.1), torch.tensor([3.0], dtype=torch.float64)
    numbers = gpu.Numbers(step, DEVICE)
    for rate, captures in ((0.1, False), (0.1, True), (0.3, True), (0.3, False), (0.3, True)):
        monkeypatch.setattr(gpu, "is_capturing", lambda captures=captures: captures)
        step.change_lr(rate)
        uploads.clear()
        row = numbers.at(t.to(DEVICE))
        assert row[0, 1:].tolist() == [*step.coefficients(3), *step.numbers(3)]
        assert not (uploads and captures)
    assert len(numbers.captured) == 2


def unaligned(parameter):
    """The same numbers, 4 bytes behind a multiple of 16."""
    room = torch.empty(parameter.numel() + 4, device=parameter.device)
    start = next(k for k in range(4) if room[k:].data_ptr() % 16 == 4)
    return room[start : start + parameter.numel()].view(parameter.shape).copy_(parameter)


def test_one_unaligned_parameter_does_not_slow_down_the_others():
    made = twins(shapes=((16,), (32,), (48,)))
    own = made[0][0]
    own[1].data = unaligned(own[1].data)
    for step in range(2):
        step_both(made, some_gradients(step, ((16,), (32,), (48,))))
    assert sorted((group.indices, group.many.aligned) for group in groups_of(made[0][1])) == [
        ([0, 2], True),
        ([1], False),
    ]
    # The same for a gradient that comes to lie otherwise, as those of DistributedDataParallel's buckets do.
    gradients = some_gradients(2, ((16,), (32,), (48,)))
    own[2].grad = unaligned(gradients[2].to(DEVICE))
    for (some, optimizer), last in zip(made, (own[2].grad, gradients[2]), strict=True):
        for p, gradient in zip(some, (*gradients[:2], last), strict=True):
            p.grad = gradient.to(p.device)
        optimizer.step()
    assert_same(made)
    assert sorted((group.indices, group.many.aligned) for group in groups_of(made[0][1])) == [
        ([0], True),
        ([1, 2], False),
    ]


def test_ids_out_of_range_do_not_keep_a_shared_slot_from_being_written():
    """The least of the ids is not a row: the next one writes what all rows share."""
    step = CONCRETE["adagrad"].step(engine="reference", granularity="tensor", lazy="touched")
    found = []
    for ids in ([-1, 1, 1], [1, 1]):
        x, total = torch.ones(3, 2, device=DEVICE), torch.zeros(1, 1, device=DEVICE)
        table = gpu.Table(x, (total.view(-1),), Storage("float32", ("float32",)))
        values = torch.ones(len(ids), 2, device=DEVICE)
        counts = torch.zeros(2, 1, dtype=torch.int64, device=DEVICE)
        gradient = gpu.Gradient(torch.tensor(ids, device=DEVICE), values)
        gpu.rows(step, table, gradient, gpu.Numbers(step, DEVICE).at(np.array([1])), counts)
        found.append((x.tolist(), total.item(), counts[1].item()))
    (rows, total, outside), (expected, also, _) = found
    assert (rows, total, outside) == (expected, also, 1)
    assert total > 0
