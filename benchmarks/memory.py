"""Memory that a step takes beyond its arguments: must not grow with the parameters, nor with the table.

Each row comes from a process of its own: at a tenth of the size and then at all of it, after a first step, the peak of
what Python and NumPy allocate (tracemalloc) or of resident memory (kernels allocate outside Python), whichever is
higher. The growth from one size to the other, in percent of what the parameters grow, is held to the bar.
"""

import json
import re
import subprocess
import sys
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from benchmarks.harness import Figure, Row, installed, size
from surefoot.engines import Step

TITLE = "Memory beyond parameters, gradient and state"
BAR = 1.0
SPARSE_BAR = 200.0
"""Percent of the bytes of a sparse gradient's values that a step may take in addition."""

WIDTH = 64
COUNT = 81_920
ROOT = Path(__file__).parents[1]
FORGET = Path("/proc/self/clear_refs")
DENSE = (
    ("adagrad", {}),
    ("adam", {}),
    ("adagrad", {"granularity": "row"}),
    ("adagrad", {"granularity": "tensor"}),
    ("adagrad", {"clip_norm": 1.0, "weight_decay": 0.01, "l1": 1e-6}),
)
ROWS = (("adagrad", {}), ("adagrad", {"granularity": "row"}), ("adagrad", {"l1": 1e-6}), ("momentum", {}))


def measure(quick: bool) -> Iterator[Row]:
    """A dense step at 50 million coordinates, and a step of 81,920 ids on a table of a million rows."""
    coordinates, table = (1_000_000, 20_000) if quick else (50_000_000, 1_000_000)
    for rule, settings in DENSE[:1] if quick else DENSE:
        yield row("Dense step", "dense_extra", rule, settings, coordinates, 4 * coordinates)
    for rule, settings in ROWS[:1] if quick else ROWS:
        yield row("Rows step of 81,920 ids", "rows_extra", rule, settings, table, 4 * WIDTH * table)

    yield optimizer_row(table)


def optimizer_row(table: int) -> Row:
    """A sparse step of a PyTorch optimizer, compared with the bytes of the gradient's values."""
    what = f"optim.Adagrad, 81,920 ids, {size(4 * WIDTH * table)} of parameters"
    if not FORGET.exists() or not installed("torch"):
        return Row(what, "", "torch is not installed, or this is not Linux", unit="%", bar=SPARSE_BAR, at_most=True)
    (peak_bytes,) = in_new_process(f"[optimizer_extra({table})]")
    values = 4 * WIDTH * COUNT
    share = 100 * peak_bytes / values
    ours, theirs = f"{size(peak_bytes)} at its peak", f"the gradient's values: {size(values)}"
    return Row(what, ours, theirs, Figure(share, share, share), unit="%", bar=SPARSE_BAR, at_most=True)


def row(what: str, extra: str, rule: str, settings: dict, units: int, bytes_: int) -> Row:
    """Calls the function `extra` of this module in a new process, for a tenth of the units and for all of them."""
    with_settings = ", ".join(f"{key}={value}" for key, value in settings.items())
    what = f"{what}, {rule}({with_settings}), {size(bytes_)} of parameters"
    if not FORGET.exists():
        return Row(what, "", "the peak of resident memory can be had on Linux only", unit="%", bar=BAR, at_most=True)
    small, large = in_new_process(f"[{extra}({rule!r}, {settings!r}, count) for count in ({units // 10}, {units})]")
    growth = 100 * (large - small) / (0.9 * bytes_)
    return Row(
        what,
        f"{size(large)} at its peak",
        f"with a tenth of the parameters: {size(small)}",
        Figure(growth, growth, growth),
        unit="%",
        bar=BAR,
        at_most=True,
    )


def in_new_process(expression: str) -> list[int]:
    code = f"from benchmarks.memory import *; print({expression})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout)


def dense_extra(rule: str, settings: dict, coordinates: int) -> int:
    rng, shape = np.random.default_rng(0), (coordinates // WIDTH, WIDTH)
    x, g = rng.standard_normal(shape, dtype=np.float32), rng.standard_normal(shape, dtype=np.float32)
    step = Step(rule, **settings)
    state = step.init(x)
    return peak(lambda: step.dense(x, g, state))


def rows_extra(rule: str, settings: dict, table: int) -> int:
    rng = np.random.default_rng(0)
    x, values = rng.standard_normal((table, WIDTH), dtype=np.float32), rng.standard_normal((COUNT, WIDTH), np.float32)
    ids = rng.integers(table, size=COUNT)
    step = Step(rule, **settings)
    state = step.init(x)
    return peak(lambda: step.rows(x, ids, values, state))


def optimizer_extra(table: int) -> int:
    torch, optim = installed("torch"), installed("surefoot.optim")
    parameter = torch.nn.Parameter(torch.randn(table, WIDTH))
    ids, values = torch.randint(table, (1, COUNT)), torch.randn(COUNT, WIDTH)
    parameter.grad = torch.sparse_coo_tensor(ids, values, parameter.shape, check_invariants=False)
    return peak(optim.Adagrad([parameter]).step)


def peak(call: Callable[[], object]) -> int:
    """The most bytes that a call holds beyond what was held before."""
    call()
    tracemalloc.start()
    call()
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    FORGET.write_text("5")  # from here on, the peak of resident memory is counted from scratch
    before = status("VmRSS")
    call()
    return max(allocated, status("VmHWM") - before)


def status(field: str) -> int:
    """Bytes, from what Linux tells of this process."""
    text = Path("/proc/self/status").read_text()
    return 1024 * int(re.findall(rf"{field}:\s+(\d+) kB", text)[0])
