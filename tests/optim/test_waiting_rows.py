"""Checkpoints of rows that wait: what no row has yet to catch up on is not kept."""

import copy
import io
import pickle

import pytest
import torch

from surefoot import optim


def stepped(optimizer, table, ids, steps, rate=None):
    """The bytes of the checkpoint, and the entries of the history in it, after each step."""
    found = []
    for t in range(steps):
        if rate is not None:
            optimizer.param_groups[0]["lr"] = rate(t)
        rows = torch.tensor([ids(t)])
        values = torch.ones(rows.shape[1], table.shape[1])
        table.grad = torch.sparse_coo_tensor(rows, values, table.shape, check_invariants=True)
        optimizer.step()
        file, state = io.BytesIO(), optimizer.state_dict()
        torch.save(state, file)
        found.append((file.tell(), len(state["state"][0]["history"])))
    return found


def made(rows=50, **settings):
    table = torch.nn.Parameter(torch.ones(rows, 4))
    return optim.Adagrad([table], lr=0.1, **settings), table


@pytest.mark.parametrize("settings", [{"decoupled_weight_decay": 0.1}, {"l1": 0.01}], ids=str)
def test_the_size_is_constant_where_every_row_is_touched(settings):
    optimizer, table = made(**settings)
    found = stepped(optimizer, table, lambda t: list(range(50)), 60, lambda t: 0.1 / (t + 1))
    assert len(set(found)) == 1
    assert found[0][1] == 0


def test_an_entry_for_each_rate_since_the_oldest_row():
    optimizer, table = made(decoupled_weight_decay=0.1)
    everything, half = list(range(50)), list(range(25))
    found = stepped(optimizer, table, lambda t: everything if t % 7 == 0 else half, 50, lambda t: 0.1 / (t + 1))
    assert [entries for _, entries in found] == [t % 7 for t in range(50)]


def test_one_entry_where_settings_stay_the_same():
    optimizer, table = made(decoupled_weight_decay=0.1)
    found = stepped(optimizer, table, lambda t: [t % 10], 40)
    assert {entries for _, entries in found} == {1}


def test_a_history_that_is_never_looked_at_stays_short():
    """A state dict is not asked for in between; rows wait for at most seven steps."""
    optimizer, table = made(rows=8, decoupled_weight_decay=0.1)
    for t in range(500):
        optimizer.param_groups[0]["lr"] = 0.1 / (t + 1)
        table.grad = torch.sparse_coo_tensor([[t % 8]], torch.ones(1, 4), table.shape, check_invariants=True)
        optimizer.step()
    (memory,) = [memory for _, memory in optimizer.known()]
    assert len(memory.held.pending.entries) <= 64


@pytest.mark.parametrize("settings", [{"decoupled_weight_decay": 0.1}, {"l1": 0.01, "lr_decay": 0.1}], ids=str)
def test_what_is_dropped_is_not_missed(settings):
    """The same parameters as an optimizer whose history is never shortened by a state dict."""
    results = []
    for saves in (True, False):
        optimizer, table = made(**settings)
        generator = torch.Generator().manual_seed(0)
        for t in range(80):
            optimizer.param_groups[0]["lr"] = 0.1 / (t + 1)
            ids = torch.randint(0, 50, (1, 20), generator=generator)
            values = torch.randn(20, 4, generator=generator)
            table.grad = torch.sparse_coo_tensor(ids, values, table.shape, check_invariants=True)
            optimizer.step()
            if saves:
                optimizer.load_state_dict(optimizer.state_dict())
        optimizer.flush()
        results.append(table.detach())
    assert torch.equal(*results)


def momentum(seed=0):
    table = torch.nn.Parameter(torch.randn(20, 4, generator=torch.Generator().manual_seed(seed)))
    return optim.SGD([table], lr=0.1, momentum=0.9), table


def along(table, t):
    generator = torch.Generator().manual_seed(t)
    ids = torch.randint(0, 20, (1, 6), generator=generator)
    return torch.sparse_coo_tensor(ids, torch.randn(6, 4, generator=generator), table.shape, check_invariants=True)


@pytest.mark.parametrize("changes", [{"nesterov": True}, {"momentum": 0.5}, {"momentum": 0.0}], ids=str)
@pytest.mark.parametrize("interrupted", ["loaded", "copied", "pickled"])
def test_settings_that_change_after_an_interruption(interrupted, changes):
    """Rows catch up on the steps before by the settings of then."""
    results = []
    for how in ("not at all", interrupted):
        optimizer, table = momentum()
        for t in range(6):
            table.grad = along(table, t)
            optimizer.step()
        if how == "loaded":
            optimizer.load_state_dict(copy.deepcopy(optimizer.state_dict()))
        elif how == "copied":
            optimizer, table = copy.deepcopy((optimizer, table))
        elif how == "pickled":
            optimizer, table = pickle.loads(pickle.dumps((optimizer, table)))
        optimizer.change(**changes)
        for t in range(6, 9):
            table.grad = along(table, t)
            optimizer.step()
        optimizer.flush()
        results.append(table.detach())
    assert torch.equal(*results)
