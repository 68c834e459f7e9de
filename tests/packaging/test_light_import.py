"""`import surefoot` loads NumPy and nothing heavier; the rest is imported when it is first needed."""

import json
import subprocess
import sys

HEAVY = {"matplotlib", "numba", "pandas", "rich", "scipy", "sklearn", "torch", "typer"}


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
