"""`import surefoot` loads NumPy and nothing heavier; the rest is imported when it is first needed."""

import json
import os
import subprocess
import sys

import pytest

HEAVY = {"jax", "matplotlib", "numba", "optax", "pandas", "rich", "scipy", "sklearn", "torch", "typer"}


def modules_after(statement: str) -> set[str]:
    """The top-level modules of a new interpreter after the statement."""
    code = f"import json, sys\n{statement}\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in json.loads(done.stdout)}


def test_import_is_light():
    loaded = modules_after("import surefoot")
    assert "surefoot" in loaded
    assert not loaded & HEAVY


def test_rules_and_schedules_are_light():
    loaded = modules_after("import surefoot; surefoot.rules.adagrad; surefoot.schedules.polynomial")
    assert not loaded & HEAVY


def test_the_learner_is_light():
    """Estimators are for scikit-learn's users; the command line does without it."""
    loaded = modules_after("import surefoot; surefoot.learn; import surefoot.learn.learner")
    assert not loaded & HEAVY


TRAIN = """
import sys

import pytest
from surefoot.cli import run
assert run(["train", sys.argv[1], "--model", sys.argv[2], "--lr", "0.5", "-q"]) == 0
assert run(["predict", sys.argv[2], sys.argv[1], "--out", sys.argv[3], "-q"]) == 0
print(*sorted({"numba", "scipy", "sklearn", "rich", "pyarrow"} & set(sys.modules)))
"""


def test_training_does_not_import_the_compiler(tmp_path):
    """Once its kernels are compiled."""
    data = tmp_path / "data.svm"
    data.write_text("1 1:0.5 3:2\n-1 2:1\n1 3:1.5\n")
    command = [sys.executable, "-c", TRAIN, data, tmp_path / "model.safetensors", tmp_path / "predictions"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    for _ in range(2):
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert done.stdout == "\n"


def test_jax_and_torch_do_without_each_other():
    """And without the compiler."""
    pytest.importorskip("jax", reason="JAX is not installed")
    assert not modules_after("import surefoot; surefoot.optax") & {"numba", "sklearn", "torch"}
    pytest.importorskip("torch", reason="torch is not installed")
    assert not modules_after("import surefoot; surefoot.optim") & {"jax", "optax"}


def test_without_jax_the_error_says_what_to_install():
    code = "import sys; sys.modules['jax'] = None; import surefoot; surefoot.optax"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert "surefoot.optax needs JAX and optax" in done.stderr
    assert 'run pip install "surefoot[jax]"' in done.stderr
