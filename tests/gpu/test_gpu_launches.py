"""Launches as on a GPU, through Triton's own launcher, to a driver that only records them: what changes from step
to step must not recompile a kernel."""

import types

import numpy as np
import pytest
from support.on_gpu import gpu, torch, triton
from support.table import CONCRETE

from surefoot.engines.cpu.multi_tensor import Storage
from surefoot.engines.gpu import compiling

DEVICE = torch.device("cpu")


class Driver:
    """An H100 that runs nothing."""

    def __init__(self):
        self.launched: list[str] = []
        self.loaded: list[str] = []
        self.utils = types.SimpleNamespace(load_binary=self.load, get_device_properties=self.properties)

    def load(self, name, kernel, shared, device):
        self.loaded.append(name)
        return 0, name, 0, 0, 1024

    def properties(self, device):
        return {"max_shared_mem": 232_448}

    def launcher_cls(self, source, metadata):
        return lambda x, y, z, stream, function, *arguments: self.launched.append(function)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device):
        return 0

    def get_current_target(self):
        return triton.backends.compiler.GPUTarget("cuda", 90, 32)


@pytest.fixture
def driver(monkeypatch, tmp_path):
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(triton.knobs.runtime, "interpret", False)
    active = Driver()
    monkeypatch.setattr(triton.runtime.driver, "_active", active)
    for kept in (compiling.made, compiling.namespace):
        kept.cache_clear()
    yield active
    for kept in (compiling.made, compiling.namespace):
        kept.cache_clear()  # what was loaded there would run nothing on a GPU


def test_dense_steps_are_compiled_once(driver):
    step = CONCRETE["adam"].step(engine="reference")
    counts = torch.zeros((2, 2), dtype=torch.int64)
    many = gpu.MultiTensor(step, Storage("float32", ("float32", "float32")), [(33,), (1000,)], DEVICE, counts, range(2))
    tensors = [[torch.zeros(size) for _ in range(4)] for size in (33, 1000)]
    addresses = np.array([[tensor.data_ptr() for tensor in row] for row in tensors])
    addresses -= addresses % 16
    for steps in ([1, 1], [2, 2], [16, 16], [17, 18], [18, 19]):
        many.run(addresses, np.array(steps))
    assert driver.launched == ["dense"] * 5
    assert driver.loaded == ["dense"]


@pytest.mark.slow
def test_sparse_steps_are_compiled_once(driver):
    step = CONCRETE["sgd"].step(engine="reference", l1=0.1)
    table = gpu.Table(torch.zeros(50, 16), (), Storage("float32", ()))
    counts, last = torch.zeros((2, 3), dtype=torch.int64), torch.zeros(50, dtype=torch.int64)
    numbers = gpu.Numbers(step, DEVICE)
    for t, size in enumerate((1, 2, 16, 33, 48), 1):
        gradient = gpu.Gradient(torch.zeros(size, dtype=torch.int64), torch.zeros(size, 16))
        acting = numbers.at(np.array([t]))
        gpu.rows(step, table, gradient, acting, counts, t % 3, gpu.Lazy(last, acting.repeat(t, 1)))
    assert driver.launched == ["rows"] * 5
    assert driver.loaded == ["rows"]
