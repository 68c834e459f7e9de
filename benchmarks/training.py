"""Training from the shell: whole processes, from svmlight text to a written model, compared with Vowpal Wabbit.

The file has 200,000 bags of words with 142 distinct ones each; the long one has it ten times. Both are read from the
system's cache, by kernels compiled before. Vowpal Wabbit reads its own text of the same examples.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.harness import Figure, Row, Times, installed, size, times_as_fast
from benchmarks.zipf import Zipf

TITLE = "Training from the shell, whole processes"
SUREFOOT = (sys.executable, "-m", "surefoot")
VOWPAL_WABBIT = """
import sys
from vowpalwabbit import Workspace
workspace = Workspace(f"-d {sys.argv[1]} --loss_function logistic -f {sys.argv[2]} --quiet")
workspace.run_parser()
workspace.finish()
"""
MEASURED = """
import resource, subprocess, sys, time
begin = time.perf_counter()
subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, check=True)
print(time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
REPEATS = 10
MODES = {"fixed": ("--lr", "0.1"), "auto": ()}
BARS = {("fixed", 1): 1.0, ("auto", 1): None, ("fixed", REPEATS): 3.0, ("auto", REPEATS): 2.0}
MEMORY = 300e6


def measure(quick: bool) -> Iterator[Row]:
    """The time of --help and of a small file; then one file and ten times that."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder / "one", 100 if quick else 200_000)
        head = (folder / "one.svmlight").read_bytes().splitlines(keepends=True)[:1000]
        (folder / "small.svmlight").write_bytes(b"".join(head))
        rounds = 1 if quick else 7
        figures, _ = runs([*SUREFOOT, "--help"], rounds)
        yield Row("surefoot --help", str(figures), "", Figure.of(figures.seconds), unit="s", bar=0.3, at_most=True)
        figures, _ = runs(train(folder / "small.svmlight", ()), rounds)
        yield Row("surefoot train, 1,000 rows", str(figures), "", Figure.of(figures.seconds), "s", 1.5, at_most=True)
        yield from compared(folder, "one", 1, 1 if quick else 5)
        if not quick:
            for form in ("svmlight", "vw"):
                once = (folder / f"one.{form}").read_bytes()
                with (folder / f"ten.{form}").open("wb") as file:
                    for _ in range(REPEATS):
                        file.write(once)
            yield from compared(folder, "ten", REPEATS, 3)


def write(path: Path, rows: int) -> None:
    for form in ("svmlight", "vw"):
        Zipf(rows).write(path.with_suffix(f".{form}"), form)


def train(path: Path, options: Sequence[str]) -> list[str]:
    return [*SUREFOOT, "train", str(path), "--model", str(path.with_suffix(".safetensors")), *options, "--quiet"]


def compared(folder: Path, name: str, repeats: int, rounds: int) -> Iterator[Row]:
    """Both modes and Vowpal Wabbit in turn, and the memory they take; several rounds after one to warm up."""
    path = folder / f"{name}.svmlight"
    commands = {mode: train(path, options) for mode, options in MODES.items()}
    if installed("vowpalwabbit"):
        theirs = [sys.executable, "-c", VOWPAL_WABBIT, str(folder / f"{name}.vw"), str(folder / "vw.model")]
        commands["vw"] = theirs
    seconds: dict[str, list[float]] = {key: [] for key in commands}
    memory: dict[str, int] = {}
    for turn in range(rounds + (rounds > 1)):
        for key, command in commands.items():
            taken, memory[key] = process(command)
            if turn or rounds == 1:
                seconds[key].append(taken)
    times = {key: Times(tuple(values)) for key, values in seconds.items()}
    for mode in MODES:
        what, bar = f"{size(path.stat().st_size)} of svmlight text to a model, {mode} rate", BARS[mode, repeats]
        if "vw" in times:
            ratio = times_as_fast(times[mode], times["vw"])
            yield Row(what, str(times[mode]), f"Vowpal Wabbit: {times['vw']}", ratio, bar=bar)
        else:
            yield Row(what, str(times[mode]), "vowpalwabbit is not installed", bar=bar)
        model = path.with_suffix(".safetensors").stat().st_size
        peak = Figure.of([memory[mode] / 1e6])
        limit = (MEMORY + model) / 1e6
        yield Row(f"{what}: peak memory", size(memory[mode]), f"the model: {size(model)}", peak, "MB", limit, True)


def runs(command: list[str], rounds: int) -> tuple[Times, int]:
    results = [process(command) for _ in range(rounds + (rounds > 1))][-rounds:]
    return Times(tuple(seconds for seconds, _ in results)), max(memory for _, memory in results)


def process(command: list[str]) -> tuple[float, int]:
    """Seconds and peak memory of a process, started by a small one: a child's peak begins with its parent's size."""
    done = subprocess.run([sys.executable, "-S", "-c", MEASURED, *command], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
    seconds, memory = done.stdout.split()
    return float(seconds), 1024 * int(memory)
