"""A table, or some rows, begin again in mid-training: as if the rows had not been stepped before."""

import numpy as np
import pytest
from support.optimizers import assert_tensors_identical, clones, coo, optim, parameters, torch

SHAPE = (5, 2)
ROWS = [3, 1]
OTHERS = [0, 2, 4]
ENGINE = {"engine": "reference"}
NEW = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
CASES = {
    "SGD": {"momentum": 0.9},
    "Adagrad": {"initial_accumulator_value": 0.5},
    "rows": {"granularity": "row"},
    "RMSprop": {},
    "Adadelta": {},
    "Adam": {},
    "Yogi": {},
    "FTRL": {"l1": 0.01},
}


def made(case, p):
    return getattr(optim, "Adagrad" if case == "rows" else case)([("w", p)], **CASES[case], **ENGINE)


def gradient(t):
    return parameters(SHAPE, seed=t)[0].detach()


def dense_steps(optimizer, p, steps):
    for t in steps:
        p.grad = gradient(t)
        optimizer.step()


@pytest.mark.parametrize("case", CASES)
def test_rows_are_as_before_the_first_step_and_others_are_unchanged(case):
    (p,) = parameters(SHAPE)
    (q,) = clones([p])
    optimizer, other = made(case, p), made(case, q)
    for some, its in ((optimizer, p), (other, q)):
        dense_steps(some, its, range(3))
    optimizer.reset(p, NEW, ROWS)
    fresh = torch.nn.Parameter(p.detach().clone())
    begun = made(case, fresh)
    if not begun.state:
        begun._make_state()
    assert_tensors_identical(p[ROWS], NEW)
    assert_tensors_identical(p[OTHERS], q[OTHERS])
    for key, value in optimizer.state[p].items():
        if value.shape[:1] == p.shape[:1]:
            assert_tensors_identical(value[ROWS], begun.state[fresh][key][ROWS], key)
            assert_tensors_identical(value[OTHERS], other.state[q][key][OTHERS], key)
        else:
            assert_tensors_identical(value, other.state[q][key], key)


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("Adam", "Yogi")])
def test_rows_take_the_steps_of_a_table_that_begins_there(case):
    """Of rules that do not count steps: the corrections of Adam and Yogi are those of the table."""
    (p,) = parameters(SHAPE)
    optimizer = made(case, p)
    dense_steps(optimizer, p, range(3))
    optimizer.reset(p, NEW, ROWS)
    twin = torch.nn.Parameter(NEW.clone())
    begun = made(case, twin)
    for t in range(3, 6):
        p.grad = gradient(t)
        twin.grad = p.grad[ROWS]
        optimizer.step()
        begun.step()
    assert_tensors_identical(p[ROWS], twin)


@pytest.mark.parametrize("rows", [None, ROWS])
def test_waiting_rows_catch_up_first(rows):
    """Rows that are not reset are where dense steps would have put them."""
    results = []
    for sparse in (False, True):
        (p,) = parameters(SHAPE)
        optimizer = optim.Adagrad([p], lr=0.1, decoupled_weight_decay=0.5, **ENGINE)
        for t in range(3):
            p.grad = coo([[t]], gradient(t)[:1], SHAPE)
            p.grad = p.grad if sparse else p.grad.to_dense()
            optimizer.step()
        optimizer.reset(p, NEW[:1], rows)
        assert "last" not in optimizer.state[p]
        p.grad = coo([[4]], gradient(4)[:1], SHAPE)
        p.grad = p.grad if sparse else p.grad.to_dense()
        optimizer.step()
        optimizer.flush()
        results.append(p.detach())
    torch.testing.assert_close(*results)


def test_what_is_written():
    (p,) = parameters(SHAPE)
    optimizer = optim.Adagrad([p])
    for values, expected in (
        (torch.nn.init.zeros_, 0.0),
        (lambda t: torch.full_like(t, 3.0), 3.0),
        (2.0, 2.0),
        (torch.ones(2), 1.0),
    ):
        for rows in (None, [0], slice(1), torch.tensor([True, False, True, False, False])):
            optimizer.reset(p, values, rows)
            assert (p[[0]] == expected).all()
    before = clones([p])[0]
    optimizer.reset(p, rows=[1])
    optimizer.reset(p, 7.0, rows=[])
    assert torch.equal(p, before)


def test_the_state_may_be_carried_over():
    (p,) = parameters(SHAPE)
    optimizer = optim.Adagrad([p])
    dense_steps(optimizer, p, range(2))
    before = {key: value.clone() for key, value in optimizer.state[p].items()}
    optimizer.reset(p, torch.nn.init.ones_, state=False)
    assert (p == 1).all()
    for key, value in before.items():
        assert_tensors_identical(optimizer.state[p][key], value)


def test_tables_of_one_optimizer_for_many_rules():
    a, b = parameters(SHAPE, SHAPE)
    optimizer = optim.Grouped([{"params": [a], "rule": "adagrad"} | ENGINE, {"params": [b], "rule": torch.optim.AdamW}])
    for p in (a, b):
        p.grad = gradient(0)
    optimizer.step()
    optimizer.reset(a, 0.0, ROWS)
    assert optimizer.state[a]["sum"][ROWS].count_nonzero() == 0
    optimizer.reset(b, 0.0)
    assert b not in optimizer.state
    optimizer.reset(b, 1.0, ROWS, state=False)
    assert (b[ROWS] == 1).all()
    with pytest.raises(ValueError, match=r"torch.optim.AdamW keeps state of which not all is known to belong to rows"):
        optimizer.reset(b, 0.0, ROWS)


@pytest.mark.parametrize(
    "values, rows, message",
    [
        (0.0, [5], "w: there is no row 5; expected 0 … 4"),
        (0.0, [-1], "w: there is no row -1"),
        (0.0, [1, 1], "w: 1 rows are named twice"),
        (0.0, [0.5], "w: rows are torch.float32 of shape .1,."),
        (0.0, [True, False], "w: rows are torch.bool of shape .2,."),
        (0.0, "ab", "w: rows are 'ab'; expected whole numbers, a slice, or a mask of 5 rows"),
        (0.0, {1, 2}, "w: rows are {1, 2}; expected whole numbers"),
        ("x", [1], "w: the values are of type str; expected a tensor, a number or a function"),
        (torch.zeros(3, 2), [1], "w: the values have shape .3, 2.; expected .1, 2."),
        (torch.zeros(3), None, "w: the values have shape .3,.; expected .5, 2."),
    ],
    ids=str,
)
def test_what_cannot_be_reset(values, rows, message):
    (p,) = parameters(SHAPE)
    optimizer = optim.Adagrad([("w", p)])
    dense_steps(optimizer, p, range(1))
    before = clones([p])[0]
    with pytest.raises(ValueError, match=message):
        optimizer.reset(p, values, rows)
    assert torch.equal(p, before)
    with pytest.raises(ValueError, match="the optimizer does not have the parameter of shape"):
        optimizer.reset(torch.zeros(3))


@pytest.mark.parametrize("made", [lambda part: 0.0, lambda part: np.zeros(part.shape), lambda part: [[0.0, 0.0]]])
def test_what_a_function_returns_is_written(made):
    table = torch.nn.Parameter(torch.ones(3, 2))
    optim.Adagrad([table]).reset(table, made, rows=[1])
    assert table.tolist() == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0]]
