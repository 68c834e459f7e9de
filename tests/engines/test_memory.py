"""What a step allocates: nothing in proportion to the parameters of a dense step, or to the table of a sparse one."""

import tracemalloc

import numpy as np
import pytest
from support.table import MEMORY

from surefoot.engines import Step

SIZE = 1 << 22  # 16 MB of float32
LITTLE = 1 << 20


def peak(call) -> int:
    """The bytes allocated while calling, at most, NumPy's included; after a first call, which may compile."""
    call()
    tracemalloc.start()
    try:
        call()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_measure_sees_numpys_memory():
    assert peak(lambda: np.ones(SIZE, np.float32)) >= 4 * SIZE


DENSE = {
    "coordinate": {},
    "row": {"granularity": "row"},
    "tensor": {"granularity": "tensor"},
    "around": {"l1": 1e-3, "weight_decay": 0.1, "clip_norm": 1.0, "clip_value": 1.0, "lazy": "touched"},
}


@pytest.mark.parametrize("settings", DENSE.values(), ids=DENSE)
@pytest.mark.parametrize("memory", ["contiguous", "with gaps", "columns first", "expanded gradient"])
def test_dense_steps(memory, settings):
    place = MEMORY.get(memory, MEMORY["contiguous"])
    x = place(np.ones((SIZE >> 6, 64), np.float32))
    g = np.broadcast_to(np.float32(0.5), x.shape) if memory == "expanded gradient" else x
    step = Step("adagrad", **settings)
    state = step.init(x)
    assert peak(lambda: step.dense(x, g, state)) < LITTLE


@pytest.mark.parametrize("shape", [(SIZE,), (1, SIZE), (2, SIZE >> 1)], ids=["vector", "row", "two rows"])
def test_dense_steps_of_long_noncontiguous_rows(shape):
    x = MEMORY["with gaps"](np.ones(shape, np.float32))
    step = Step("adagrad")
    state = step.init(x)
    assert peak(lambda: step.dense(x, x, state)) < LITTLE


ROWS = {
    "coordinate": {},
    "row": {"granularity": "row"},
    "tensor": {"granularity": "tensor"},
    "around": DENSE["around"],
    "catching up": {"l1": 1e-3},
    "averaging": {"average": True},
}


@pytest.mark.parametrize("settings", ROWS.values(), ids=ROWS)
def test_sparse_steps(settings):
    x, ids = np.ones((SIZE >> 6, 64), np.float32), np.arange(0, 2000, 7)
    values = np.ones((len(ids), 64), np.float32)
    step = Step("adagrad", **settings)
    state = step.init(x)
    assert peak(lambda: step.rows(x, ids, values, state)) < LITTLE


def test_sparse_steps_of_a_noncontiguous_table():
    x, ids = MEMORY["with gaps"](np.ones((SIZE >> 6, 64), np.float32)), np.arange(0, 2000, 7)
    values = np.ones((len(ids), 64), np.float32)
    step = Step("adagrad")
    state = step.init(x)
    assert peak(lambda: step.rows(x, ids, values, state)) < LITTLE


def test_dense_steps_with_averaging():
    x = np.ones((SIZE >> 6, 64), np.float32)
    step = Step("adagrad", average=True)
    state = step.init(x)
    assert peak(lambda: step.dense(x, x, state)) < LITTLE
