"""The memory layout of parameters and gradients makes no difference: gaps, order, broadcasts."""

import itertools

import numpy as np
import pytest
from support.covering import covering, unpacked
from support.numerics import assert_identical, assert_same_memory
from support.table import CONCRETE, MEMORY, both, dense_run, gradients, laziness, parameters, rows_run, touches

from surefoot.engines import Step

GRANULARITIES = ("coordinate", "row", "tensor")
GAPS = [name for name in MEMORY if name != "contiguous"]
SETTINGS = ({}, {"clip_norm": 1.0, "weight_decay": 0.1})
gaps = pytest.mark.parametrize("memory", GAPS)
granularities = pytest.mark.parametrize("granularity", GRANULARITIES)
SHAPES = [(33,), (31, 3), (5, 6, 7)]
shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)
EVERY_ROW = list(itertools.product(GAPS, GRANULARITIES, SHAPES))
settings = pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "around"])


@pytest.mark.sampled(6)
@gaps
@granularities
@shapes
@settings
def test_dense(shape, granularity, memory, settings):
    """The same as the step of contiguous memory, which the table compares with the reference."""
    x, grads = parameters(shape, "float32"), gradients(shape, "float32", 3)
    spread = [MEMORY[memory](g) for g in grads]
    plain = both(CONCRETE["adagrad"], x, dense_run(grads), granularity=granularity, **settings)
    found = both(CONCRETE["adagrad"], x, dense_run(spread), memory=memory, granularity=granularity, **settings)
    assert_identical(*(result[0] for result in (found, plain)))
    assert_same_memory(*(result[1] for result in (found, plain)))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("memory, granularity, shape", unpacked(EVERY_ROW, covering(EVERY_ROW)))
def test_rows(memory, granularity, shape):
    x, parts = parameters(shape, "float32"), touches(shape, "float32", 3)
    spread = [(np.repeat(ids, 2)[::2], MEMORY[memory](values)) for ids, values in parts]
    plain = both(CONCRETE["adagrad"], x, rows_run(parts), granularity=granularity)
    found = both(CONCRETE["adagrad"], x, rows_run(spread), memory=memory, granularity=granularity)
    assert_identical(*(result[0] for result in (found, plain)))
    assert_same_memory(*(result[1] for result in (found, plain)))


@pytest.mark.sampled(4)
@granularities
@pytest.mark.parametrize("axis", [0, 1])
@settings
def test_expanded_gradients(axis, granularity, settings):
    """One number that stands for a whole axis, as torch's expand makes it."""
    x, narrow = parameters((9, 7), "float32"), gradients((1, 7) if axis == 0 else (9, 1), "float32", 3)
    expanded = [np.broadcast_to(g, x.shape) for g in narrow]
    assert expanded[0].strides[axis] == 0
    found = both(CONCRETE["adagrad"], x, dense_run(expanded), granularity=granularity, **settings)
    written_out = [g.copy() for g in expanded]
    plain = both(CONCRETE["adagrad"], x, dense_run(written_out), granularity=granularity, **settings)
    assert_identical(found[0], plain[0])
    assert_same_memory(found[1], plain[1])


def test_expanded_values_of_a_sparse_gradient():
    x, ids = parameters((9, 7), "float32"), np.array([3, 3, 1])
    values = np.broadcast_to(np.float32(0.5), (3, 7))
    both(CONCRETE["adagrad"], x, rows_run([(ids, values), (ids, values)]))


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", ["adagrad", "momentum"])
@pytest.mark.parametrize("memory", MEMORY)
def test_noncontiguous_memory_of_a_rule(name, memory):
    """A state may come from elsewhere: its slots may have gaps too."""
    c, x = CONCRETE[name], parameters((6, 5), "float32")
    grads, parts = gradients(x.shape, "float32", 2), touches(x.shape, "float32", 2)

    def run(step, x, state):
        state.slots = {slot: MEMORY[memory](values) for slot, values in state.slots.items()}
        dense_run(grads)(step, x, state)
        rows_run(parts)(step, x, state)

    both(c, x, run, memory, lazy="touched")


def test_a_gradient_that_cannot_be_written():
    g = gradients((6, 5), "float32", 1)[0]
    g.flags.writeable = False
    both(CONCRETE["adagrad"], parameters(g.shape, "float32"), dense_run([g]))


def test_parameters_as_their_own_gradient():
    """½‖x‖² has the gradient x."""
    both(CONCRETE["adagrad"], parameters((37,), "float32"), lambda step, x, state: step.dense(x, x, state))


@pytest.mark.sampled(1)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_only_the_given_part_of_a_larger_array_changes(granularity):
    whole = parameters((8, 8), "float32")
    before, part = whole.copy(), whole[2:5, 1::3]
    step = Step("adagrad", granularity=granularity, l1=0.01)
    state = step.init(part)
    step.dense(part, np.ones_like(part), state)
    changed = whole.view(np.uint32) != before.view(np.uint32)
    inside = np.zeros_like(changed)
    inside[2:5, 1::3] = True
    assert changed[inside].any()
    assert not changed[~inside].any()


def test_laziness_says_where_a_closed_form_exists():
    assert laziness(CONCRETE["momentum"]) == "exact"
    assert laziness(CONCRETE["adam"]) == "touched"
