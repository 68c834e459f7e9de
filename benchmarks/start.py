"""What a user waits for before the first step: the import, `--help`, and the first calls of kernels.

Every reading is a process of its own. What a statement takes is its process's time over that of a bare one, the two
timed in turn. First calls are timed within a process that has imported the engine; their kernels were compiled
by the process before.
"""

import importlib.util
import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.harness import Figure, Row, Times

TITLE = "Starting up"
IMPORT_BAR = 0.15
FIRST_CALL_BAR = 0.05

HELP = "import sys; sys.argv = ['surefoot', '--help']; from surefoot.cli import main; main()"
SETTING = """
import time
import numpy as np
import surefoot.engines.cpu
from surefoot.engines import Step
from surefoot.engines.bank import ModelBank
from surefoot.engines.examples import Examples

def draw(*shape):
    return np.random.default_rng(0).standard_normal(shape, dtype=np.float32)

def seconds(rule):
    step = Step(rule)
    state = step.init(x)
    begin = time.perf_counter()
    call(step, state)
    return time.perf_counter() - begin
"""
DRIVERS = {
    "dense": """
x, g = draw(1000), draw(1000)
def call(step, state):
    step.dense(x, g, state)
""",
    "rows": """
x, values, ids = draw(100, 8), draw(50, 8), np.arange(50)
def call(step, state):
    step.rows(x, ids, values, state)
""",
    "linear": """
x, X, y = draw(6), draw(100, 5), draw(100)
rows = Examples(np.arange(101) * 5, np.tile(np.arange(5), 100), X.ravel(), y.astype(float), np.ones(100))
def call(step, state):
    ModelBank("linear", [step], loss="squared", features=5, batch_size=10).learn(rows)
""",
}
TIMED = "print(seconds('adagrad'), seconds('momentum'))"


def measure(quick: bool) -> Iterator[Row]:
    """The import, the command line's help, and first calls of the three drivers."""
    rounds = 1 if quick else 15
    yield added("import surefoot", "import numpy, surefoot", "import numpy", rounds, IMPORT_BAR)
    if quick:
        yield from first_calls("dense", rounds)
        return
    cli = importlib.util.find_spec("surefoot.cli")
    if cli is None or cli.origin is None:
        yield Row("surefoot --help", "", "there is no command line")
    else:
        yield added("surefoot --help", HELP, "pass", rounds)
    step = SETTING + DRIVERS["dense"] + "seconds('adagrad')"
    yield added("Import and first dense step, its kernel compiled earlier", step, "import numpy", rounds)
    for driver in DRIVERS:
        yield from first_calls(driver, rounds)


def added(what: str, statement: str, base: str, rounds: int, bar: float | None = None) -> Row:
    """What a statement takes over the base, another statement."""
    bare, whole = [], []
    process(statement)  # compiles bytecode, and kernels where there are any
    for _ in range(rounds):
        bare.append(process(base)[0])
        whole.append(process(statement)[0])
    figure = Figure.of([b - a for a, b in zip(bare, whole, strict=True)])
    reference = f"python -c '{base}': {Times(tuple(bare))}"
    return Row(what, str(Times(tuple(whole))), reference, figure, unit="s", bar=bar, at_most=True)


def process(statement: str) -> tuple[float, str]:
    """The seconds of a process that runs the statement, and what it printed."""
    begin = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", statement], check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - begin, done.stdout


def first_calls(driver: str, rounds: int) -> Iterator[Row]:
    """The first call in a process that has imported the engine, and then the first call for another rule."""
    code = SETTING + DRIVERS[driver] + TIMED
    process(code)
    readings = [tuple(map(float, process(code)[1].split())) for _ in range(rounds)]
    first, second = (Times(seconds) for seconds in zip(*readings, strict=True))
    for what, times in (("First call in a process", first), ("First call for another rule", second)):
        figure, reference = Figure.of(times.seconds), "compiled by an earlier process"
        yield Row(f"{what}, {driver}", str(times), reference, figure, unit="s", bar=FIRST_CALL_BAR, at_most=True)
