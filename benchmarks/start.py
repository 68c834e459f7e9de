"""What a user waits for before the first step: the import, the first call of a kernel compiled earlier, `--help`.

Every reading is a process of its own. Time to import is what it adds to Python with NumPy, so imports of NumPy alone are
timed in turn; a first call is timed in its process, once the engine is imported.
"""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.harness import Figure, Row, Times, duration

TITLE = "Starting up"

ENGINE = """
import time
import numpy as np
import surefoot.engines.cpu
from surefoot.engines import Step, order
rng = np.random.default_rng(0)
step = Step("adagrad")
def draw(*shape):
    return rng.standard_normal(shape, dtype=np.float32)
"""
FIRST_CALLS = {
    "dense": "x, g = draw(1000), draw(1000); call = lambda: step.dense(x, g, state)",
    "rows": "x, ids, values = draw(100, 8), np.arange(50), draw(50, 8); call = lambda: step.rows(x, ids, values, state)",
    "linear": "x, X, y, who = draw(6), draw(100, 5), draw(100), order(100, rng); "
    "call = lambda: step.linear(X, y, who, x, state, batch_size=10)",
}
TIMED = """
state = step.init(x)
begin = time.perf_counter()
call()
print(time.perf_counter() - begin)
"""


def measure(quick: bool) -> Iterator[Row]:
    """The import, the command line's help, and first calls of the three drivers."""
    rounds = 2 if quick else 15
    yield added("import surefoot", "import numpy, surefoot", rounds, bar=0.15)
    cli = importlib.util.find_spec("surefoot.cli")
    if cli is None or cli.origin is None:
        yield Row("surefoot --help", "", "the command line is not there")
    else:
        yield added(
            "surefoot --help", "import sys; from surefoot.cli import main; sys.argv[1:] = ['--help']; main()", rounds
        )
    for driver, setting in FIRST_CALLS.items():
        if not quick or driver == "dense":
            yield first_call(driver, ENGINE + setting + TIMED, rounds)


def added(what: str, statement: str, rounds: int, bar: float | None = None) -> Row:
    """What a statement takes longer than importing NumPy, process by process."""
    bare, whole = [], []
    run(statement)  # bytecode is compiled and files are read once before
    for _ in range(rounds):
        bare.append(run("import numpy"))
        whole.append(run(statement))
    figure = Figure.of([b - a for a, b in zip(bare, whole, strict=True)])
    return Row(
        f"{what}, over Python with NumPy",
        str(Times(tuple(whole))),
        f"Python with NumPy: {Times(tuple(bare))}",
        figure,
        unit="s",
        bar=bar,
        at_most=True,
    )


def run(statement: str) -> float:
    """The seconds of a process that runs the statement."""
    begin = time.perf_counter()
    subprocess.run([sys.executable, "-c", statement], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def first_call(driver: str, code: str, rounds: int) -> Row:
    """The first call in a new process; the process before it has compiled the kernel, if none had."""
    seconds = [
        float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)
        for _ in range(rounds + 1)
    ]
    times = Times(tuple(seconds[1:]))
    return Row(
        f"First call of {driver} (adagrad), compiled by an earlier process",
        str(times),
        f"in the process before these: {duration(seconds[0])}",
        Figure.of(times.seconds),
        unit="s",
        bar=0.05,
        at_most=True,
    )
