"""Compilation is reported once; loading from disk is not compilation."""

import os
import subprocess
import sys

CODE = """
from surefoot.data.stream import Hashing
from surefoot.native import compilation

with compilation(lambda: print("begun"), lambda seconds: print("ended", 0 < seconds < 600)):
    for name in ("a", "b"):
        Hashing().index(name)
"""


def test_reported_the_first_time_only(tmp_path):
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "NUMBA_CACHE_DIR": str(tmp_path)}
    runs = [subprocess.run([sys.executable, "-c", CODE], env=env, capture_output=True, text=True) for _ in range(2)]
    assert [run.stdout for run in runs] == ["begun\nended True\n", ""]
