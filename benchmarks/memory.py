"""Memory that a step takes beyond its arguments: must not grow with the parameters, nor with the table.

Each figure comes from a process of its own, after a first step: the peak of what Python and NumPy allocate
(tracemalloc), or the peak of resident memory (kernels allocate beside Python), whichever is higher, at one size and at a
tenth of it. The growth from one to the other, in percent of what the parameters grow, is held to the bar.
"""

import multiprocessing
import re
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.harness import Figure, Row, size
from surefoot.engines import Step

TITLE = "Memory beyond parameters, gradient and state"
BAR = 1.0
WIDTH = 64
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
        yield row("Dense step", dense_extra, rule, settings, coordinates, 4 * coordinates)
    for rule, settings in ROWS[:1] if quick else ROWS:
        yield row("Rows step of 81,920 ids", rows_extra, rule, settings, table, 4 * WIDTH * table)


def row(what: str, extra: Callable[..., int | None], rule: str, settings: dict, units: int, bytes_: int) -> Row:
    with_settings = ", ".join(f"{key}={value}" for key, value in settings.items())
    what = f"{what}, {rule}({with_settings}), {size(bytes_)} of parameters"
    large, small = (in_new_process(extra, rule, settings, count) for count in (units, units // 10))
    if large is None or small is None:
        return Row(what, "", "resident memory can be read on Linux only", unit="%", bar=BAR, at_most=True)
    growth = 100 * max(large - small, 0) / (0.9 * bytes_)
    return Row(
        what,
        f"{size(large)} more at its peak",
        f"at a tenth of the parameters: {size(small)}",
        Figure(growth, growth, growth),
        unit="%",
        bar=BAR,
        at_most=True,
    )


def in_new_process(function: Callable[..., int | None], *arguments) -> int | None:
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def dense_extra(rule: str, settings: dict, coordinates: int) -> int | None:
    rng, shape = np.random.default_rng(0), (coordinates // WIDTH, WIDTH)
    x, g = rng.standard_normal(shape, dtype=np.float32), rng.standard_normal(shape, dtype=np.float32)
    step = Step(rule, **settings)
    state = step.init(x)
    return peak(lambda: step.dense(x, g, state))


def rows_extra(rule: str, settings: dict, table: int) -> int | None:
    rng, count = np.random.default_rng(0), 81_920
    x, values = rng.standard_normal((table, WIDTH), dtype=np.float32), rng.standard_normal((count, WIDTH), np.float32)
    ids = rng.integers(table, size=count)
    step = Step(rule, **settings)
    state = step.init(x)
    return peak(lambda: step.rows(x, ids, values, state))


def peak(call: Callable[[], object]) -> int | None:
    """The most bytes that a call holds beyond what was held before; None where that cannot be known."""
    call()
    tracemalloc.start()
    call()
    allocated = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    forget = Path("/proc/self/clear_refs")
    if not forget.exists():
        return None
    forget.write_text("5")  # the peak of resident memory is what it is now
    before = status("VmRSS")
    call()
    return max(allocated, status("VmHWM") - before)


def status(field: str) -> int:
    found = re.search(rf"{field}:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return 1024 * int(found[1]) if found else 0
