"""Tables with sparse gradients are stepped in one call, with the same bits as one by one."""

import pytest
from support.covering import marked
from support.optimizers import (
    assert_states_identical,
    assert_tensors_identical,
    clones,
    coo,
    optim,
    parameters,
    torch,
)

from surefoot import threads
from surefoot.engines import NonFiniteError
from surefoot.optim.backends.cpu import FusedTables

SHAPES = ((1, 1), (5, 3), (300, 16), (4096, 2, 35), (2**11 + 1, 64), (3,))
COUNTS = ((1, 7, 200, 900, 0, 2), (3, 0, 1000, 40, 600, 0), (0, 0, 0, 0, 0, 0), (2, 20, 3, 900, 5000, 4))
"""How many ids each table's gradient names in each step."""
CASES = {
    "Adagrad": ("Adagrad", {}),
    "Adagrad, by row": ("Adagrad", {"granularity": "row"}),
    "Adagrad, float64": ("Adagrad", {"dtype": torch.float64, "state_dtype": torch.float32}),
    "Adagrad, complex64": ("Adagrad", {"dtype": torch.complex64}),
    "Adagrad, bfloat16": ("Adagrad", {"dtype": torch.bfloat16, "stochastic_rounding": 7}),
    "Adagrad, float16, by row": ("Adagrad", {"dtype": torch.float16, "granularity": "row"}),
    "Adagrad, float16 with float64": ("Adagrad", {"dtype": torch.float16, "state_dtype": torch.float64}),
    "SGD": ("SGD", {"weight_decay": 0.1, "maximize": True, "lazy": "touched"}),
    "Adam": ("Adam", {"lazy": "touched", "decoupled_weight_decay": 0.1}),
    "Adagrad, decoupled decay": ("Adagrad", {"decoupled_weight_decay": 0.1}),
    "Adagrad, penalties, by row, float16": (
        "Adagrad",
        {"l1": 0.01, "l2": 0.1, "granularity": "row", "dtype": torch.float16},
    ),
    "SGD, decoupled decay": ("SGD", {"decoupled_weight_decay": 0.1}),
    "SGD, momentum": ("SGD", {"momentum": 0.9}),
    "FTRL": ("FTRL", {}),
    "Adam, by row": ("Adam", {"lazy": "touched", "granularity": "row"}),
}
FAST = CASES.keys() - {name for name in CASES if "float16" in name and "bfloat16" not in name}


def gradients(step, dtype, shapes=SHAPES):
    source = torch.Generator().manual_seed(step)
    for shape, count in zip(shapes, COUNTS[step % len(COUNTS)], strict=False):
        # Few ids often, and some in order.
        ids = (shape[0] * torch.rand(1, count, generator=source) ** 3).long()
        ids = ids.sort().values if step == 3 else ids
        yield coo(ids, torch.randn(count, *shape[1:], dtype=dtype, generator=source), shape)


def trained(tables, name, leave_out=(), **settings):
    settings.pop("dtype", None)
    optimizer = getattr(optim, name)(tables, lr=0.1, **settings)
    for step in range(4):
        for k, (table, gradient) in enumerate(zip(tables, gradients(step, tables[0].dtype), strict=True)):
            table.grad = None if (k, step) in leave_out else gradient
        optimizer.step()
    return optimizer


def assert_alike(found, expected, tables, others):
    for k, (mine, theirs) in enumerate(zip(tables, others, strict=True)):
        assert_tensors_identical(mine, theirs, f"table {k}")
    found, expected = found.state_dict(), expected.state_dict()
    found["param_groups"] = expected["param_groups"]
    assert_states_identical(found, expected)


@pytest.fixture
def calls(monkeypatch):
    """How many tables each call stepped."""
    seen, run = [], FusedTables.run

    def counting(together, amp=None):
        seen.append(len(together.memories))
        return run(together, amp)

    monkeypatch.setattr(FusedTables, "run", counting)
    return seen


@pytest.mark.parametrize("case", marked(CASES, FAST))
def test_the_bits_of_the_reference(case, calls):
    name, settings = CASES[case]
    tables = parameters(*SHAPES, dtype=settings.get("dtype"))
    others = clones(tables)
    found = trained(tables, name, **settings)
    assert calls == [len(SHAPES)] * 4
    expected = trained(others, name, engine="reference", **settings)
    assert calls == [len(SHAPES)] * 4, "the reference takes no part"
    assert_alike(found, expected, tables, others)


@pytest.mark.parametrize("granularity", ["coordinate", "row"])
@pytest.mark.parametrize("count", [2, 3, 5])
def test_threads_make_no_difference(count, granularity, parts_of_steps, monkeypatch):
    monkeypatch.setattr(threads, "SMALLEST", 1)
    results = []
    for limit in (1, count):
        monkeypatch.setattr(threads, "_limit", limit)
        parts_of_steps.clear()
        tables = parameters(*SHAPES)
        results.append((trained(tables, "Adagrad", granularity=granularity), tables))
        assert (max(parts_of_steps) > 1) == (limit > 1)
    assert_alike(results[0][0], results[1][0], results[0][1], results[1][1])


def test_tables_without_a_gradient_in_some_steps():
    """They have taken different numbers of steps from then on."""
    left_out = {(1, 1), (3, 1), (2, 2)}
    for name, settings in (("Adam", {"lazy": "touched"}), ("Adagrad", {"lr_decay": 0.5})):
        tables = parameters(*SHAPES)
        others = clones(tables)
        found = trained(tables, name, left_out, **settings)
        assert_alike(found, trained(others, name, left_out, engine="reference", **settings), tables, others)


def test_dense_and_sparse_in_turn():
    table, other = parameters((300, 16)), parameters((300, 16))
    results = []
    for some, engine in ((table, None), (other, "reference")):
        optimizer = optim.Adagrad(some, lr=0.1, engine=engine)
        for step in range(6):
            sparse = next(gradients(step % 2, torch.float32, shapes=((300, 16),)))
            some[0].grad = sparse if step % 3 else sparse.to_dense()
            optimizer.step()
        results.append(optimizer)
    assert_alike(*results, table, other)


@pytest.mark.parametrize("wrong", [300, -1, 2**40])
def test_a_wrong_id_in_a_later_step(wrong, calls):
    tables = parameters((5, 3), (300, 16))
    optimizer = optim.Adagrad([("small", tables[0]), ("large", tables[1])], lr=0.1)
    for table, gradient in zip(tables, gradients(0, torch.float32, ((5, 3), (300, 16))), strict=True):
        table.grad = gradient
    optimizer.step()
    good, before = tables[1].grad, clones(tables)
    memory = [optimizer.state[table]["sum"].clone() for table in tables]
    tables[1].grad = torch.sparse_coo_tensor([[2, wrong]], torch.ones(2, 16), (300, 16), check_invariants=False)
    with pytest.raises(ValueError, match=rf"^large: the gradient names row {wrong}; expected 0 … 299$"):
        optimizer.step()
    for k, table in enumerate(tables):
        assert_tensors_identical(table, before[k])
        assert_tensors_identical(optimizer.state[table]["sum"], memory[k])
    tables[1].grad = good
    optimizer.step()
    assert [optimizer.state[table]["step"].item() for table in tables] == [2, 2]


@pytest.mark.parametrize("nonfinite", ["raise", "skip", "propagate"])
def test_nonfinite_values_are_counted_for_their_table(nonfinite):
    def stepped(engine):
        tables = parameters((5, 3), (300, 16), (7, 2))
        optimizer = optim.Adagrad(tables, lr=0.1, nonfinite=nonfinite, engine=engine)
        said = []
        for _ in range(3):
            for table in tables:
                table.grad = coo([[0, 2, 2]], torch.ones(3, *table.shape[1:]), tuple(table.shape))
            tables[1].grad._values()[1, 4:7] = float("nan")
            try:
                optimizer.step()
            except NonFiniteError as error:
                said.append(str(error))
        return tables, said, [memory.skipped for _, memory in optimizer.known()]

    (found, said, skipped), (expected, also_said, also_skipped) = stepped(None), stepped("reference")
    assert (said, skipped) == (also_said, also_skipped)
    assert skipped == ([0, 0, 0] if nonfinite == "propagate" else [0, 9, 0])
    for mine, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=0, equal_nan=True)


def test_a_frozen_table_with_a_gradient_set_by_hand():
    """A hook for its gradients cannot be registered; a gradient that is set by hand is used."""
    results = []
    for engine in (None, "reference"):
        (table,) = parameters((5, 3))
        table.requires_grad_(False)
        table.grad = coo([[0, 2, 2]], torch.ones(3, 3), (5, 3))
        optim.Adagrad([table], lr=0.1, engine=engine).step()
        results.append(table)
    assert_tensors_identical(*results)
    assert not torch.equal(results[0], *parameters((5, 3)))


@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_memory_truncated_in_place(sparse):
    (table,) = parameters((5, 3))
    optimizer = optim.Adagrad([("table", table)], lr=0.1)
    gradient = coo([[0, 2, 2]], torch.ones(3, 3), (5, 3))
    table.grad = gradient if sparse else gradient.to_dense()
    optimizer.step()
    optimizer.state[table]["sum"].data = optimizer.state[table]["sum"].data[:2]
    before = table.detach().clone()
    with pytest.raises(ValueError, match=r"^table: 'sum' has shape \(2, 3\); expected a tensor of shape \(5, 3\)"):
        optimizer.step()
    assert_tensors_identical(table.detach(), before)


def test_gradients_are_not_kept():
    tables = parameters(*SHAPES)
    optimizer = trained(tables, "Adagrad")
    (group,) = optimizer._known.fused[0].fused.values()
    assert group.sorted is None
