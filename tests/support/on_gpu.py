"""What the tests of the GPU engine share: the GPU where there is one, else Triton's interpreter, on small sizes."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from support.numerics import assert_close, assert_identical
from support.table import Concrete
from surefoot.engines import Step
from surefoot.engines.cpu.multi_tensor import Storage
from surefoot.engines.numerics import decode, storage_of

torch = pytest.importorskip("torch", reason="torch is not installed")
triton = pytest.importorskip("triton", reason="triton is not installed")
interpreter: Any = pytest.importorskip("triton.runtime.interpreter")
gpu: Any = pytest.importorskip("surefoot.engines.gpu")

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def interpreted(monkeypatch):
    """Kernels are interpreted where there is no GPU."""
    monkeypatch.setattr(triton.knobs.runtime, "interpret", DEVICE.type == "cpu")
    monkeypatch.setattr("triton.runtime.interpreter._patch_lang", patched_once(interpreter._patch_lang))
    with np.errstate(all="ignore"):  # the interpreter computes with NumPy
        yield


def patched_once(patch: Callable) -> Callable:
    """Triton's interpreter patches its language in every call of every function; the outermost one would do."""
    active = []

    def call(function):
        if active:
            return None
        scope = patch(function)
        active.append(scope)
        restore = scope.restore

        def restore_once():
            active.clear()
            restore()

        scope.restore = restore_once
        return scope

    return call


def tensor_of(array: np.ndarray, dtype: str):
    """A copy on the device; bfloat16 is uint16 to NumPy."""
    tensor = torch.from_numpy(np.array(array, order="C"))
    return (tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor).to(DEVICE)


def array_of(tensor) -> np.ndarray:
    return (tensor.view(torch.uint16) if tensor.dtype is torch.bfloat16 else tensor).cpu().numpy()


class Mirror:
    """Parameters and state on the device and the reference's: both take the same steps and are compared."""

    def __init__(self, step: Step, arrays: list[np.ndarray]):
        self.step, self.arrays = step, arrays
        self.states = [step.init(x) for x in arrays]
        self.x_type = storage_of(arrays[0])
        self.slot_types = tuple(storage_of(slot) for slot in self.states[0].slots.values())
        self.tensors = [tensor_of(x, self.x_type) for x in arrays]
        self.slots = [
            [tensor_of(slot, kind) for slot, kind in zip(state.slots.values(), self.slot_types, strict=True)]
            for state in self.states
        ]
        self.storage = Storage(self.x_type, self.slot_types)
        self.counts = torch.zeros((2, len(arrays)), dtype=torch.int64, device=DEVICE)

    def compare(self, what: object, tolerance: str | None = None) -> None:
        """Bit for bit, unless a tolerance is named."""
        for k, (x, state) in enumerate(zip(self.arrays, self.states, strict=True)):
            pairs = [(self.tensors[k], x), *zip(self.slots[k], state.slots.values(), strict=True)]
            for name, (found, expected) in zip(("parameters", *state.slots), pairs, strict=True):
                if tolerance is None:
                    assert_identical(array_of(found), expected, f"{what}, {name}, {x.shape}")
                else:
                    assert_close(decode(array_of(found)), decode(expected), tolerance, f"{what}, {name}, {x.shape}")
            assert int(self.counts[0, k]) == state.skipped, f"{what}, coordinates left out, {x.shape}"


def dense(
    c: Concrete, arrays: list[np.ndarray], gradients: Iterable[list[np.ndarray]], what: object = "", /, **settings
):
    """Dense steps of all arrays together, in both engines; `gradients` is a list of the arrays' gradients per step."""
    mirror = Mirror(c.step(engine="reference", nonfinite=settings.pop("nonfinite", "skip"), **settings), arrays)
    shapes = [x.shape for x in arrays]
    many = gpu.MultiTensor(mirror.step, mirror.storage, shapes, DEVICE, mirror.counts, range(len(arrays)))
    for t, grads in enumerate(gradients, 1):
        for x, g, state in zip(mirror.arrays, grads, mirror.states, strict=True):
            mirror.step.dense(x, g, state)
        theirs = [tensor_of(g, mirror.x_type) for g in grads]
        parts = zip(mirror.tensors, theirs, mirror.slots, strict=True)
        addresses = [[part.data_ptr() for part in (x, g, *slots)] for x, g, slots in parts]
        many.run(np.array(addresses, np.int64), np.full(len(arrays), t))
    mirror.compare(what, tolerance_of(mirror.step, arrays[0]))
    return mirror


def tolerance_of(step: Step, x: np.ndarray) -> str | None:
    """None: bit for bit. Norms and shared rates are sums in another order: of float64, where float32 shows nothing."""
    summed = bool(step.measured) or step.shared
    return "float64" if summed and x.dtype == np.float64 else None


def flat(tensor, like):
    """As a table of rows, or where it holds one number for each, as a list."""
    return tensor.view(len(tensor), -1) if tensor.shape == like.shape else tensor.view(-1)


def sparse(
    c: Concrete, x: np.ndarray, parts: Iterable[tuple[np.ndarray, np.ndarray]], what: object = "", /, **settings
):
    """Sparse steps of one array in both engines; rows without a gradient catch up where the rule allows it."""
    mirror = Mirror(c.step(engine="reference", nonfinite=settings.pop("nonfinite", "skip"), **settings), [x])
    step, state = mirror.step, mirror.states[0]
    tensor = mirror.tensors[0]
    table = gpu.Table(flat(tensor, tensor), tuple(flat(slot, tensor) for slot in mirror.slots[0]), mirror.storage)
    numbers, lazy = gpu.Numbers(step, DEVICE), None
    for t, (ids, values) in enumerate(parts, 1):
        before = table_of(state)
        step.rows(x, ids, values, state)
        given = tensor_of(values, mirror.x_type)
        gradient = gpu.Gradient(torch.from_numpy(ids).to(DEVICE), given.view(len(given), table.x.shape[1]))
        if state.pending is not None:
            last = torch.full((len(x),), t - 1, device=DEVICE) if lazy is None else lazy.last
            # From the origin: by what acted in the step before.
            lazy = gpu.Lazy(last, before if len(before) and step.rule.from_origin else table_of(state))
        gpu.rows(step, table, gradient, numbers.at(np.array([t])), mirror.counts, 0, lazy)
    tolerance = tolerance_of(step, x)
    mirror.compare(what, tolerance)
    if state.pending is not None:
        assert lazy is not None
        assert_identical(lazy.last.cpu().numpy(), state.pending.last, f"{what}, last steps")
        history = table_of(state)
        step.settle(x, state)
        gpu.settle(step, table, state.t + 1, gpu.Lazy(lazy.last, history))
        mirror.compare(f"{what}, settled", tolerance)
        assert_identical(lazy.last.cpu().numpy(), state.pending.last, f"{what}, last steps, settled")
    return mirror


def table_of(state):
    """The steps that rows have yet to catch up on, as kernels take them."""
    entries = [] if state.pending is None else state.pending.entries
    return torch.tensor(entries, dtype=torch.float64, device=DEVICE)


__all__ = ["DEVICE", "dense", "gpu", "interpreted", "sparse", "torch", "triton"]
