"""Compiled kernels are kept on disk: nothing recompiles, except what changed. And threads after a fork."""

import importlib.util
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grimp
import numpy as np
import pytest

import surefoot
from surefoot.engines import Step
from surefoot.engines.cpu.specialize import sources

# Notes which kernels are compiled, and not found in the cache.
REPORT = """
from surefoot.native import cache

compiled, write = set(), cache.write
def noted(name, types, code):
    compiled.add(name.rpartition("__")[0])
    write(name, types, code)
cache.write = noted
"""
STEPS = """
import numpy as np
from surefoot.engines import Step

x = np.ones((6, 3), np.float32)
for rule in (first, second):
    step = Step(rule)
    step.dense(x, np.ones_like(x), step.init(x))
step = Step(first)
step.rows(x, np.array([1]), np.ones((1, 3), np.float32), step.init(x))
print(sorted(name for name in compiled if "__" in name))
"""


def run(code: str, cache: Path, folder: Path) -> str:
    """What a new process prints that runs the code, with kernels cached in the folder named."""
    environment = os.environ | {"NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": os.pathsep.join([str(folder), *sys.path])}
    command = [sys.executable, "-W", "error", "-c", REPORT + code]
    result = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    return result.stdout


def files(cache: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in cache.rglob("*.kernel")}


OWN_RULE = """
from surefoot import ops
from surefoot.rules import positive, rule, scale

@rule(slots={{"total": scale()}}, hyper={{"lr": positive(0.1)}}, lazy_exact=True)
def {name}(x, g, g2, total, lr):
    total = total + {factor} * g2
    return lr / (ops.sqrt(total) + 1e-6), g, total
"""


@pytest.fixture
def own_rules(tmp_path):
    """A folder with two rules of one's own, a file each; write(name, factor) changes one."""

    def write(name, factor="1.0"):
        (tmp_path / f"module_{name}.py").write_text(OWN_RULE.format(name=name, factor=factor))

    write("first")
    write("second")
    return tmp_path, write


@pytest.mark.slow
def test_nothing_recompiles_except_what_changed(own_rules, tmp_path):
    folder, write = own_rules
    cache = tmp_path / "cache"
    code = "from module_first import first\nfrom module_second import second\n" + STEPS
    names = [name.split("__")[:2] for name in eval(run(code, cache, folder))]
    assert names == [["dense", "first"], ["dense", "second"], ["rows", "first"], ["sort", "sgd"]]
    kept = files(cache)

    # A second process compiles nothing and writes nothing.
    assert run(code, cache, folder) == "[]\n"
    assert files(cache) == kept

    # A rule that changed is compiled, and no other.
    write("first", "2.0")
    names = [name.split("__")[:2] for name in eval(run(code, cache, folder))]
    assert names == [["dense", "first"], ["rows", "first"]]
    now = files(cache)
    assert {path: now[path] for path in kept} == kept

    # A file that changed, but not in what its rule computes, changes nothing; and what was, is still there.
    module = folder / "module_second.py"
    module.write_text("# a comment\n" + module.read_text())
    write("first")
    assert run(code, cache, folder) == "[]\n"
    assert files(cache) == now


def test_a_change_of_the_engine_is_detected(tmp_path):
    """Numba itself looks at the driver's file only; the arithmetic around a rule is in another."""
    package = tmp_path / "src" / "surefoot"
    shutil.copytree(Path(surefoot.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__"))
    code = """
import numpy as np, surefoot
from surefoot.engines import Step
x = np.ones(3)
step = Step("sgd", l1=0.1, lr=1.0)
step.dense(x, np.zeros(3), step.init(x))
print(x[0], surefoot.__file__)
"""
    assert run(code, tmp_path / "cache", package.parent) == f"0.9 {package / '__init__.py'}\n"
    modifiers = package / "modifiers" / "proximal.py"
    changed = modifiers.read_text().replace(
        "threshold = ops.where(l1 > 0.0, rate * l1, 0.0)", "threshold = 2.0 * rate * l1"
    )
    assert changed != modifiers.read_text()
    modifiers.write_text(changed)
    assert run(code, tmp_path / "cache", package.parent).startswith("0.8 ")


def test_every_module_that_kernels_are_made_of_is_in_their_names():
    """`kind` and `numerics` are there by what they say of a kernel."""
    graph = grimp.build_graph("surefoot", cache_dir=None)
    made_of = {name for name in graph.find_upstream_modules("surefoot.engines.cpu.compiling") if ".engines." in name}
    made_of -= {f"surefoot.engines.{name}" for name in ("cpu.kind", "numerics", "settings")}
    files = {Path(importlib.util.find_spec(name).origin) for name in made_of | {"surefoot.ops"}}
    assert files <= set(sources())


def test_the_first_step_after_a_fork():
    """Threads do not survive a fork: the child makes a pool of its own, and comes to the same bits."""
    g = np.full(1 << 19, 0.5, np.float32)
    step, x = Step("adagrad", threads=2), np.ones(1 << 19, np.float32)
    state = step.init(x)
    step.dense(x, g, state)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            step.dense(x, g, state)
            os.write(writer, x[[0, -1]].tobytes())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        found = pipe.read()
    assert os.waitpid(child, 0)[1] == 0
    step.dense(x, g, state)
    assert found == x[[0, -1]].tobytes()


def test_user_threads_can_step_at_the_same_time():
    """Two threads, each with its own parameters, share the pool."""

    def work(seed):
        rng = np.random.default_rng(seed)
        x, step = rng.standard_normal(1 << 19, np.float32), Step("adagrad", threads=3)
        state = step.init(x)
        for _ in range(3):
            step.dense(x, x.copy(), state)
        return x

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(work, range(4)))
    for seed, x in enumerate(together):
        np.testing.assert_array_equal(x, work(seed))
