"""`python -m benchmarks --quick` measures every topic; no time is asserted."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOPICS = ["dense", "rows", "optim", "learner", "reading", "training", "airfoil", "start", "memory", "one_row"]


def benchmarks(*arguments: str, module: str = "benchmarks") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_quick_run_measures_every_topic(tmp_path):
    file = tmp_path / "figures.json"
    done = benchmarks("--quick", "--json", str(file))
    assert done.returncode == 0, done.stderr
    data = json.loads(file.read_text(encoding="utf-8"))
    assert list(data["results"]) == TOPICS
    assert data["machine"]["numpy"] in done.stdout
    rows = [row for measured in data["results"].values() for row in measured]
    for row in rows:
        # A row without a figure says what is missing.
        assert (row["figure"] is None) == (row["verdict"] == "missing")
        assert row["figure"] or "not installed" in row["peer"] or "Linux" in row["peer"]
        assert row["figure"] is None or row["figure"]["low"] <= row["figure"]["median"] <= row["figure"]["high"]


@pytest.mark.parametrize("arguments", [("dance",), ("--page", "docs/benchmarks.md", "--quick")])
def test_wrong_arguments_are_reported_in_one_sentence(arguments):
    done = benchmarks(*arguments)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("python -m benchmarks: error:")


@pytest.mark.slow
def test_quick_run_on_a_gpu_or_interpreted(tmp_path):
    pytest.importorskip("triton", reason="triton is not installed")
    file = tmp_path / "figures.json"
    done = benchmarks("small", "sparse", "--quick", "--json", str(file), module="benchmarks.gpu")
    assert done.returncode == 0, done.stderr
    results = json.loads(file.read_text(encoding="utf-8"))["results"]
    assert list(results) == ["small", "sparse"]
    assert all(row["figure"] or row["peer"] == "needs a CUDA GPU" for rows in results.values() for row in rows)


def test_a_row_that_fails_on_a_gpu_or_comes_too_late_says_so():
    gpu = pytest.importorskip("benchmarks.gpu")

    def fail():
        raise RuntimeError("an illegal access\nand more")

    row = gpu.measured(gpu.Case("a row", fail), deadline=math.inf)
    assert (row.what, row.verdict, row.peer) == ("a row", "missing", "failed: RuntimeError: an illegal access")
    assert gpu.measured(gpu.Case("a row", fail), deadline=0.0).peer.startswith("not measured: 7.5 minutes were over")


@pytest.mark.slow
def test_the_regret_stays_within_its_bound():
    done = benchmarks("regret", "--quick")
    assert done.returncode == 0, done.stderr
    assert "regret" in done.stdout
    assert "VIOLATED" not in done.stdout


@pytest.mark.slow
def test_the_written_model_is_measured_on_held_out_rows(tmp_path):
    file = tmp_path / "figures.json"
    done = benchmarks("held_out", "--quick", "--json", str(file))
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text(encoding="utf-8"))["results"]["held_out"]
    assert {row["what"].split()[0] for row in rows} == {"progressive", "held-out"}
    assert all(float(row["ours"]) > 0 for row in rows if row["ours"])


@pytest.mark.slow
def test_large_indices_are_measured(tmp_path):
    file = tmp_path / "figures.json"
    done = benchmarks("wide", "--quick", "--json", str(file))
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text(encoding="utf-8"))["results"]["wide"]
    assert [row["unit"] for row in rows] == ["×", "s", "×"]
    assert rows[-1]["figure"]["median"] > 0


@pytest.mark.slow
def test_rates_are_compared_on_every_task_whose_data_is_there(tmp_path):
    file = tmp_path / "figures.json"
    done = benchmarks("rates", "--quick", "--json", str(file))
    assert done.returncode == 0, done.stderr
    rows = json.loads(file.read_text(encoding="utf-8"))["results"]["rates"]
    assert all(row["figure"]["median"] > 0 for row in rows if row["figure"])
    assert all("not" in row["peer"] for row in rows if row["verdict"] == "missing")
    assert sum('lr="auto"' in row["what"] for row in rows if row["figure"]) >= 4
