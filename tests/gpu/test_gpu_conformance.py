"""The GPU engine against the reference, for every rule, granularity and type; without a GPU, interpreted by Triton.

Bit for bit, but for float64 rates that several coordinates share and for norms: their squares are summed up in another
order, also on a GPU, where the order is the same in every run.
"""

import ast
import inspect
import itertools
from typing import NamedTuple

import numpy as np
import pytest
from support.covering import covering, marked
from support.numerics import assert_close
from support.on_gpu import DEVICE, dense, gpu, sparse, torch
from support.on_gpu import interpreted as interpreted
from support.powers import POWERS
from support.table import CONCRETE, DTYPES, LENGTHS, gradients, granularities, laziness, parameters, touches

from surefoot import ops
from surefoot.engines.cpu import numba_ops
from surefoot.engines.cpu.multi_tensor import Storage
from surefoot.engines.gpu.compiling import RUN, translated

pytestmark = pytest.mark.usefixtures("interpreted")

SHAPES = ((1,), (31,), (), (5, 7), (0,))
MORE_SHAPES = (*((n,) for n in LENGTHS), (0, 3), (2, 3, 4), (2, gpu.BLOCK + 5), (33, 2))
"""Stepped together: several blocks, the last one short, and tensors without coordinates among them."""


TYPES = (*DTYPES, "bfloat16", "float16")


class Case(NamedTuple):
    name: str
    granularity: str
    dtype: str

    def __str__(self) -> str:
        return "-".join(self)


CASES = [
    Case(name, granularity, dtype)
    for name, c in CONCRETE.items()
    for granularity in granularities(c, "row", "tensor")
    for dtype in TYPES
]
# How a rule is computed depends on its granularity, and how numbers are stored on their type alone.
FAST = covering(CASES, apart=[(0, 2)])
EACH_RULE = {case.name: case for case in FAST}.values()
SPARSE = [case for case in FAST if case.name == "adagrad" or case.dtype in ("bfloat16", "float16") or case in EACH_RULE]
"""Every rule once, one of them with every granularity, and every type: dense gradients meet the others' too."""


def dense_of(shapes, dtype: str, steps: int):
    """(parameters, their gradients step by step)."""
    grads = zip(*(gradients(shape, dtype, steps) for shape in shapes), strict=True)
    return [parameters(shape, dtype) for shape in shapes], map(list, grads)


@pytest.mark.sampled(24)
@pytest.mark.parametrize("case", marked(CASES, FAST))
def test_dense_gradients(case):
    c = CONCRETE[case.name]
    dense(c, *dense_of(SHAPES, case.dtype, 2), granularity=case.granularity, **c.other_settings())


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
def test_dense_gradients_of_all_shapes(granularity):
    dense(CONCRETE["adagrad"], *dense_of(MORE_SHAPES, "float32", 2), granularity=granularity)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_whole_powers(dtype):
    dense(POWERS, *dense_of(SHAPES, dtype, 2))


@pytest.mark.sampled(8)
@pytest.mark.parametrize("case", marked(CASES, SPARSE))
def test_sparse_gradients(case):
    c = CONCRETE[case.name]
    settings = c.other_settings() | {"granularity": case.granularity}
    lazy = laziness(c, **settings)
    sparse(c, parameters((4, 5), case.dtype), touches((4, 5), case.dtype, 3), lazy=lazy, **settings)


@pytest.mark.parametrize("shape", [(1, 1), (9, 1), (6, 33), (5, 2, 3), (7, gpu.WIDEST + 2)])
@pytest.mark.parametrize("granularity", ["coordinate", "row"])
def test_sparse_gradients_of_all_shapes(shape, granularity):
    sparse(CONCRETE["adagrad"], parameters(shape, "float32"), touches(shape, "float32", 2), granularity=granularity)


@pytest.mark.parametrize("width", [3, 33])
def test_many_duplicates_are_summed_in_order_of_occurrence(width):
    """Runs that hold one multiple of RUN, by position, or two, or more; the last one ends with the gradient."""
    rng, sizes = np.random.default_rng(0), (1, RUN - 2, 2, RUN - 1, RUN + 1, 2 * RUN, RUN - 1, 3 * RUN + 5)
    for part in (rng.permutation(np.repeat(np.arange(len(sizes)), sizes)), np.zeros(RUN + 1, np.int64)):
        values = rng.normal(size=(len(part), width)).astype(np.float32)
        sparse(CONCRETE["sgd"], parameters((len(sizes), width), "float32"), [(part, values)])


@pytest.mark.parametrize("granularity", ["coordinate", "tensor"])
def test_norms_of_many_duplicates(granularity):
    rng = np.random.default_rng(0)
    ids, values = np.repeat([0, 1], [2 * RUN, 3]), rng.normal(size=(2 * RUN + 3, 5)).astype(np.float32)
    settings = {"granularity": granularity, "clip_norm": 0.7}
    sparse(CONCRETE["adagrad"], parameters((2, 5), "float32"), [(ids, values)], lazy="touched", **settings)


# What is done around the rule, and how parameters and memory are stored

AROUND = {
    "everything": {
        "weight_decay": 0.05,
        "decoupled_weight_decay": 0.1,
        "l1": 0.01,
        "l2": 0.1,
        "clip_value": 2.0,
        "maximize": True,
    },
    "clip_norm": {"clip_norm": 0.7, "l1": 0.02},
    "clip_norm that is not reached": {"clip_norm": 1e9},
    "no ε": {"eps_root": 0.0, "l2": 0.3},
    "schedule": {"lr": lambda t: 0.5 / t, "l1": 0.01},
}


@pytest.mark.parametrize("options", AROUND.values(), ids=AROUND)
def test_modifiers_of_dense_gradients(options):
    dense(CONCRETE["adagrad"], *dense_of(SHAPES, "float32", 3), **options)


@pytest.mark.parametrize("granularity", ["row", "tensor"])
def test_norms_with_shared_rates(granularity):
    shapes = ((31,), (5, 7), (0,), (2, gpu.BLOCK + 5), (40, 33))
    dense(CONCRETE["adagrad"], *dense_of(shapes, "float32", 2), granularity=granularity, clip_norm=0.7)


@pytest.mark.parametrize("options", AROUND.values(), ids=AROUND)
def test_modifiers_of_sparse_gradients(options):
    lazy = laziness(CONCRETE["adagrad"], **options)
    sparse(CONCRETE["adagrad"], parameters((6, 5), "float32"), touches((6, 5), "float32", 5), lazy=lazy, **options)


@pytest.mark.parametrize("granularity", ["row", "tensor"])
def test_all_modifiers_around_shared_rates(granularity):
    options = {"granularity": granularity, "lazy": "touched", **AROUND["everything"]}
    dense(CONCRETE["adagrad"], *dense_of(SHAPES, "float32", 3), **options)
    sparse(CONCRETE["adagrad"], parameters((6, 5), "float32"), touches((6, 5), "float32", 3), **options)


STORAGE = {
    "bfloat16": ("bfloat16", {}),
    "bfloat16 rounded at random": ("bfloat16", {"stochastic_rounding": 7, "l1": 1e-3}),
    "bfloat16 memory": ("bfloat16", {"state_dtype": "bfloat16"}),
    "float16": ("float16", {}),
    "float16 memory": ("float32", {"state_dtype": "float16"}),
}


@pytest.mark.parametrize("dtype, settings", STORAGE.values(), ids=STORAGE)
def test_storage(dtype, settings):
    dense(CONCRETE["adam"], *dense_of(SHAPES, dtype, 2), **settings)
    settings = settings | {"granularity": "row"}
    dense(CONCRETE["adagrad"], *dense_of(SHAPES, dtype, 2), **settings)
    settings["lazy"] = laziness(CONCRETE["adagrad"], **settings)
    sparse(CONCRETE["adagrad"], parameters((6, 5), dtype), touches((6, 5), dtype, 3), **settings)


def test_rows_of_16_bits_that_catch_up_by_the_rules_own_closed_form():
    sparse(CONCRETE["momentum"], parameters((6, 5), "bfloat16"), touches((6, 5), "bfloat16", 6))


@pytest.mark.parametrize("policy", ["skip", "propagate"])
@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
def test_nonfinite_values(granularity, policy):
    rng = np.random.default_rng(3)
    # NaN equals nothing: where such values go through, only squares overflow.
    bad = np.float32([np.nan, np.inf, -np.inf, 1e30, -3e38] if policy == "skip" else [1e30, -3e38])
    settings = {"granularity": granularity, "nonfinite": policy}

    def spoil(values):
        return np.where(rng.random(values.shape) < 0.15, rng.choice(bad, values.shape), values)

    arrays, grads = dense_of(((6, 7), (gpu.BLOCK + 2,)), "float32", 2)
    spoilt = [list(map(spoil, of_step)) for of_step in grads]
    mirror = dense(CONCRETE["adagrad"], arrays, spoilt, **settings)
    assert (mirror.counts[0] > 0).all() == (policy == "skip")
    parts = [(ids, spoil(values)) for ids, values in touches((6, 7), "float32", 1)]
    sparse(CONCRETE["adagrad"], parameters((6, 7), "float32"), parts, **settings)


@pytest.mark.parametrize("granularity", ["coordinate", "row", "tensor"])
def test_memory_that_overflows(granularity):
    """Squares that are finite are not when they are added to what is there."""
    settings = {"granularity": granularity, "initial_accumulator_value": 3e38}
    shape, ids = (4, 5), np.array([1, 3])
    grads = np.ones(shape, np.float32)
    grads[1] = 1.5e19
    mirror = dense(CONCRETE["adagrad"], [parameters(shape, "float32")], [[grads]], **settings)
    assert mirror.counts[0, 0] == (20 if granularity == "tensor" else 5)
    sparse(CONCRETE["adagrad"], parameters(shape, "float32"), [(ids, grads[ids])], **settings)


def test_rows_out_of_range_are_counted_without_a_name():
    step = CONCRETE["adagrad"].step(engine="reference")
    x, total, counts = torch.ones(3, 2, device=DEVICE), torch.zeros(3, 2, device=DEVICE), torch.zeros(2, 1).long()
    counts = counts.to(DEVICE)
    ids = torch.tensor([3, 1, -1, 2**32 + 1, 1], device=DEVICE)
    table = gpu.Table(x, (total,), Storage("float32", ("float32",)))
    numbers = gpu.Numbers(step, DEVICE).at(np.array([1]))
    gpu.rows(step, table, gpu.Gradient(ids, torch.ones(5, 2, device=DEVICE)), numbers, counts)
    assert counts[:, 0].tolist() == [0, 3]
    assert total.tolist() == [[0.0, 0.0], [4.0, 4.0], [0.0, 0.0]]


@pytest.mark.parametrize("c", [c for c in CONCRETE.values() if c.base != "nadam"], ids=str)
def test_numbers_computed_on_the_device(c):
    """Where steps are counted there, or the learning rate is a tensor."""
    settings = {key: 0.5 if key == "dampening" else value for key, value in c.other_settings().items()}
    decay = {} if c.rule.from_origin else {"decoupled_weight_decay": 0.1}
    step = c.step(engine="reference", **settings, **decay)
    expected = [[*step.coefficients(t), *step.numbers(t)] for t in (1, 2, 9)]
    steps = torch.tensor([1.0, 2.0, 9.0], dtype=torch.float64, device=DEVICE)
    rate = torch.tensor(step.hyper["lr"], dtype=torch.float64, device=DEVICE)
    for lr, k in itertools.product((step.hyper["lr"], rate), (3, 1)):
        step.hyper["lr"] = lr
        rows = gpu.Numbers(step, DEVICE).at(steps[:k])[:, 1:].cpu().numpy()
        assert_close(
            np.where(np.isinf(rows), 0, rows), np.where(np.isinf(expected), 0, expected)[: len(rows)], "float64"
        )


def test_numbers_that_are_uploaded_ahead_are_those_of_each_step():
    """Also after a rate has changed, after a step back, and where parameters have taken different numbers of steps."""
    step = CONCRETE["adam"].step(engine="reference")
    numbers, alone = gpu.Numbers(step, DEVICE), [1, 2, 3, 4 + gpu.AHEAD, 5 + gpu.AHEAD, 2, 3]
    for turn, steps in enumerate([*([t] for t in alone), [3, 3], [4, 9]]):
        step.change_lr(0.1 if turn < 4 else 0.2)
        rows = numbers.at(np.array(steps))
        expected = [[*step.coefficients(t), *step.numbers(t)] for t in dict.fromkeys(steps)]
        assert rows[:, 1:].tolist() == expected
        assert (rows.data_ptr() - numbers.at(np.array([1])).data_ptr()) % 16 == 0


# One rule for all engines


@pytest.mark.parametrize("c", CONCRETE.values(), ids=CONCRETE)
def test_the_rule_is_written_once(c):
    """NumPy and Numba run the rule's own code; Triton a translation of it, which is that code once it is undone."""
    for function in [c.rule.function, *([c.rule.zero_grad_steps] if callable(c.rule.zero_grad_steps) else [])]:
        for namespace in (ops.ARRAY_OPS, numba_ops):
            assert ops.bind(function, namespace).__code__ is function.__code__
        undone = Undone().visit(ast.parse(inspect.getsource(translated(function, "float32"))))
        names = {}
        exec(f"from surefoot import ops\n{ast.unparse(undone)}", names)
        code = names[function.__name__].__code__
        assert code.co_code == function.__code__.co_code
        assert code.co_varnames == function.__code__.co_varnames
        assert code.co_names == function.__code__.co_names
        assert numbers_of(code) == numbers_of(function.__code__)


class Undone(ast.NodeTransformer):
    """Division and signs where the translation says ops.divide and ops.negative, numbers where it says tl.full."""

    def visit_Call(self, node):
        self.generic_visit(node)
        called = ast.unparse(node.func)
        if called == "ops.divide":
            return ast.BinOp(node.args[0], ast.Div(), node.args[1])
        if called == "ops.negative":
            return ast.UnaryOp(ast.USub(), node.args[0])
        return node.args[1] if called == "tl.full" else node


def numbers_of(code):
    return [constant for constant in code.co_consts if isinstance(constant, (int, float))]
