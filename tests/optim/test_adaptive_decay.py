"""Adaptive decay moves rows towards where they began when an epoch ends, as a plain loop does that knows its end."""

import copy
import math
import re

import pytest
from support.optimizers import assert_tensors_close, assert_tensors_identical, optim, torch

from surefoot import nn
from surefoot.modifiers import adaptive_decay
from surefoot.optim.epochs import Clock

ROWS, EXAMPLES, BATCH, STRENGTH = 40, 106, 16, 4.0
KINDS = {
    "Adagrad": {"lr": 0.1},
    "Adagrad by rows": {"lr": 0.1, "granularity": "row"},
    "Adagrad, l2": {"lr": 0.1, "l2": 0.03},
    "SGD": {"lr": 0.1, "momentum": 0.9, "lazy": "touched", "engine": "reference"},
    "Adam": {"lr": 0.01, "lazy": "touched", "engine": "reference"},
    "FTRL": {"lr": 0.1, "engine": "reference"},
}
SUMS = {"Adagrad": ["sum"], "SGD": ["momentum_buffer"], "Adam": ["exp_avg"], "FTRL": ["total", "dual"]}
"""What decays with the rows, by the names of state dicts."""


def examples(rows=ROWS, size=EXAMPLES, seed=0):
    """Ids of which a few are frequent and most are rare, and numbers to be predicted."""
    generator = torch.Generator().manual_seed(seed)
    ids = (rows * torch.rand(size, 2, generator=generator) ** 3).long()
    return ids, torch.randn(size, generator=generator)


def table_of(rows=ROWS, seed=0):
    torch.manual_seed(seed)
    return torch.nn.Embedding(rows, 3, sparse=True)


def batches(epochs, size=EXAMPLES, batch=BATCH):
    """(epoch, numbers of the examples) of each batch, shuffled again in each epoch."""
    generator = torch.Generator().manual_seed(1)
    for epoch in range(epochs):
        for part in torch.randperm(size, generator=generator).split(batch):
            yield epoch, part


def backward(table, optimizer, ids, target):
    optimizer.zero_grad()
    (table(ids).sum((1, 2)) - target).square().mean().backward()


def made(kind, table, **settings):
    return getattr(optim, re.split("[ ,]", kind)[0])(table.parameters(), **KINDS[kind], **settings)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_decay_as_in_a_plain_loop(kind):
    ids, target = examples()
    table, twin = table_of(), table_of()
    optimizer, plain = made(kind, table, adaptive_decay=STRENGTH), made(kind, twin)
    initial, began = twin.weight.detach().clone(), 0
    n = torch.bincount(ids.flatten(), minlength=ROWS).float()
    assert 0 < (n > STRENGTH).sum() < (n > 0).sum() < ROWS
    share = torch.where(n > 0, (1 - STRENGTH / n.clamp(min=1)).clamp(min=0), 1)[:, None]
    for epoch, part in batches(3):
        backward(table, optimizer, ids[part], target[part])
        backward(twin, plain, ids[part], target[part])
        if epoch > began:
            began = epoch
            plain.flush()
            # With the counts of the epoch that has ended: what its first batch adds comes afterwards.
            twin.weight.data.copy_(initial + share * (twin.weight.data - initial))
            for key in SUMS[type(plain).__name__]:
                plain.state[twin.weight][key].mul_(share)
        optimizer.step()
        plain.step()
    assert began == 2
    optimizer.flush()
    plain.flush()
    assert_tensors_close(table.weight, twin.weight, "torch float32")


def test_rows_of_one_example_begin_again_and_frequent_ones_stay():
    shares = [adaptive_decay.kept(n, 20.0) for n in (0.0, 1.0, 20.0, 40.0, 4000.0)]
    assert shares == [1.0, 0.0, 0.0, 0.5, 0.995]
    assert adaptive_decay.occurrences(1.0, 100.0) == pytest.approx(1.0, rel=0.01)
    assert adaptive_decay.occurrences(63.2, 100.0) == pytest.approx(100.0, rel=0.01)
    assert math.isfinite(adaptive_decay.occurrences(100.0, 100.0))
    # Of Bernoulli's errors, whose sizes are p and 1 − p.
    p = 0.05
    assert adaptive_decay.evenness(2 * p * (1 - p), p * (1 - p)) == pytest.approx(4 * p * (1 - p))
    assert adaptive_decay.evenness(3.0, 9.0) == 1.0


def epochs_noticed(table, optimizer):
    return Clock.of(optimizer.state[table.weight]).epochs


def test_epochs_end_without_a_smaller_batch_where_no_row_is_new_any_more():
    ids, target = examples(rows=2000, size=1024)
    table = table_of(2000)
    optimizer, seen = optim.Adagrad(table.parameters(), lr=0.1, adaptive_decay="auto"), []
    for _, part in batches(3, size=1024):
        backward(table, optimizer, ids[part], target[part])
        optimizer.step()
        seen.append(epochs_noticed(table, optimizer))
    # Of 64 steps an epoch, the first ends a few steps later than it does.
    assert [seen[k] for k in (63, 70, 120, 140, 180)] == [0, 1, 1, 2, 2]


def test_epochs_end_where_gradients_have_each_row_once():
    ids, target = examples(rows=400, size=1000)
    table = nn.Embedding(400, 3, sparse=True)
    optimizer, seen = optim.Adagrad(table.parameters(), lr=0.1, adaptive_decay="auto"), []
    for _, part in batches(4, size=1000, batch=60):  # of 16 and 40 examples
        backward(table, optimizer, ids[part], target[part])
        optimizer.step()
        seen.append(epochs_noticed(table, optimizer))
    assert [seen[k] for k in (15, 16, 32, 33, 49, 50, 66, 67)] == [0, 1, 1, 2, 2, 3, 3, 4]
    clock = Clock.of(optimizer.state[table.weight])
    n = adaptive_decay.occurrences(optimizer.state[table.weight]["decay_visits"].numpy() / 4, clock.steps / 4)
    counts = torch.bincount(ids.flatten(), minlength=400).numpy()
    often = (counts > 30) & (counts < 80)  # in most batches, not in all
    assert n[often].sum() == pytest.approx(counts[often].sum(), rel=0.2)


def test_a_stream_of_new_examples_never_decays():
    table, twin = table_of(5000), table_of(5000)
    optimizer, plain = (optim.Adagrad(t.parameters(), lr=0.1) for t in (table, twin))
    optimizer.change(adaptive_decay="auto")
    for day in range(4):
        ids, target = examples(rows=5000, size=250, seed=day)
        for _, part in batches(1, size=250):  # files whose last batches are smaller
            for one, its in ((table, optimizer), (twin, plain)):
                backward(one, its, ids[part], target[part])
                its.step()
    assert torch.equal(table.weight, twin.weight)


@pytest.mark.parametrize(
    "first, smallest, rows, seed", [([64, 64, 60], 60, 500, 5), ([], 1, 5000, 12), ([], 1, 500, 4)]
)
def test_a_stream_in_batches_of_varying_size_never_decays(first, smallest, rows, seed):
    generator = torch.Generator().manual_seed(seed)
    share = 1.0 / torch.arange(1, rows + 1)
    table, twin = table_of(rows), table_of(rows)
    optimizer, plain = (optim.Adagrad(t.parameters(), lr=0.1) for t in (table, twin))
    optimizer.change(adaptive_decay="auto")
    for size in first + torch.randint(smallest, 65, (50,), generator=generator).tolist():
        ids = torch.multinomial(share, size, True, generator=generator)[:, None]
        for one, its in ((table, optimizer), (twin, plain)):
            backward(one, its, ids, torch.ones(size))
            its.step()
    assert torch.equal(table.weight, twin.weight)


def test_rows_out_of_range_are_named_when_an_epoch_has_ended():
    table = table_of()
    optimizer = optim.Adagrad([("table", table.weight)], lr=0.1, adaptive_decay=STRENGTH)
    ids, target = examples()
    for _, part in batches(1):
        backward(table, optimizer, ids[part], target[part])
        optimizer.step()
    wrong = torch.tensor([[3, ROWS]])
    table.weight.grad = torch.sparse_coo_tensor(wrong, torch.ones(2, 3), (ROWS, 3), check_invariants=False)
    with pytest.raises(ValueError, match=f"table: the gradient names row {ROWS}"):
        optimizer.step()


def test_a_step_that_cannot_be_taken_changes_nothing_when_an_epoch_has_ended():
    table = table_of()
    optimizer = optim.Adagrad([("table", table.weight)], lr=0.1, adaptive_decay=STRENGTH)
    ids, target = examples()
    for _, part in batches(1):
        backward(table, optimizer, ids[part], target[part])
        optimizer.step()
    backward(table, optimizer, ids, target)
    before, clock = table.weight.detach().clone(), optimizer.state[table.weight]["decay_clock"].clone()
    optimizer.change(weight_decay=0.1)
    with pytest.raises(ValueError, match=r"^table: lazy updates are not exact"):
        optimizer.step()
    assert_tensors_identical(table.weight, before)
    optimizer.change(weight_decay=0.0)
    optimizer.step()
    assert [clock[-1], optimizer.state[table.weight]["decay_clock"][-1]] == [1, 0]


def test_gradients_of_zeros_count_as_even():
    table = table_of()
    optimizer = optim.Adagrad(table.parameters(), lr=0.1, adaptive_decay="auto")
    for size in (0.0, 0.0, 1.0):
        optimizer.zero_grad()
        (size * table(torch.tensor([1, 2, 2]))).sum().backward()
        optimizer.step()
    assert optimizer.state[table.weight]["decay_evenness"] == 3.0


def test_all_tables_see_the_epoch_end_that_one_of_them_sees():
    large, small = table_of(2000), table_of(6, seed=1)
    optimizer = optim.Adagrad([large.weight, small.weight], lr=0.1, adaptive_decay="auto")
    ids, target = examples(rows=2000, size=1024)
    for _, part in batches(2, size=1024):
        optimizer.zero_grad()
        (large(ids[part]).sum((1, 2)) + small(ids[part, 0] % 6).sum(1) - target[part]).square().mean().backward()
        optimizer.step()
    assert epochs_noticed(large, optimizer) == epochs_noticed(small, optimizer) >= 1


@pytest.mark.parametrize("stop", [3, 7, 9])
def test_training_continues_from_a_state_dict(stop):
    ids, target = examples()
    table = table_of()
    optimizer = made("Adagrad", table, adaptive_decay="auto")
    for k, (_, part) in enumerate(batches(3)):
        if k == stop:
            saved, weights = copy.deepcopy(optimizer.state_dict()), table.weight.detach().clone()
        backward(table, optimizer, ids[part], target[part])
        optimizer.step()
    other = table_of(seed=5)
    other.load_state_dict({"weight": weights})
    again = made("Adagrad", other, adaptive_decay="auto")
    again.load_state_dict(saved)
    for k, (_, part) in enumerate(batches(3)):
        if k >= stop:
            backward(other, again, ids[part], target[part])
            again.step()
    assert torch.equal(table.weight, other.weight)
    saved["state"][0]["decay_visits"] = torch.zeros(3)
    with pytest.raises(ValueError, match="'decay_visits' has shape"):
        again.load_state_dict(saved)


def test_groups_grown_tables_and_new_values():
    ids, target = examples()
    table, head = table_of(), torch.nn.Linear(3, 1)
    model = torch.nn.ModuleList([table, head])
    wanted = {"0.*": {"rule": "adagrad", "lr": 0.1, "adaptive_decay": 1e9}, "*": {"rule": "sgd", "lr": 0.01}}
    optimizer = optim.Grouped(optim.groups(model, wanted))
    first = table.weight.detach().clone()
    for k, (epoch, part) in enumerate(batches(2)):
        optimizer.zero_grad()
        (head(table(ids[part]).sum(1)).squeeze(1) - target[part]).square().mean().backward()
        optimizer.step()
        if k == 1:
            optimizer.grow(table.weight, ROWS + 5, torch.nn.init.ones_)
            optimizer.reset(table.weight, 7.0, rows=[0], state=False)
        if epoch:
            break
    assert optimizer.state[table.weight]["decay_initial"].shape == (ROWS + 5, 3)
    moved = (table.weight.detach()[1:ROWS] != first[1:]).any(1)
    assert set((moved.nonzero().flatten() + 1).tolist()) <= set(ids[part].flatten().tolist())
    assert (table.weight.detach()[0] - 7).abs().max() < 0.5
    assert (table.weight.detach()[ROWS:] == 1).all()
    assert "decay_visits" not in optimizer.state[head.weight]


def test_it_is_off_by_default_and_wrong_values_are_rejected():
    table = table_of()
    optimizer = optim.Adagrad(table.parameters())
    backward(table, optimizer, *(part[:4] for part in examples()))
    optimizer.step()
    assert not any(key.startswith("decay") for key in optimizer.state[table.weight])
    for value in ("automatic", -1.0, math.inf, True):
        with pytest.raises(ValueError, match="Invalid adaptive_decay value"):
            optim.Adagrad(table.parameters(), adaptive_decay=value)
    with pytest.raises(ValueError, match="autograd does not see it"):
        optim.Adagrad(table.parameters(), adaptive_decay="auto", differentiable=True)
    with pytest.raises(ValueError, match="recomputes the parameters"):
        optim.RuleOptimizer(table.parameters(), "dual_averaging", adaptive_decay="auto")
    with pytest.raises(ValueError, match="to see where an epoch ends"):
        optim.step_in_backward(table, optim.Adagrad, adaptive_decay="auto")


def test_another_rule_goes_on_with_it():
    ids, target = examples()
    table = table_of()
    optimizer = made("Adagrad", table, adaptive_decay="auto")
    for k, (_, part) in enumerate(batches(2)):
        backward(table, optimizer, ids[part], target[part])
        optimizer.step()
        if k == 4:
            optimizer.to_rule("sgd", lr=0.1)
    assert epochs_noticed(table, optimizer) == 2
