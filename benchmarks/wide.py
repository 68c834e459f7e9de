"""Files whose features have large indices: peak memory and user time of whole processes, beside Vowpal Wabbit's.

Two files: 20,000 rows with 20 of 10 million features each, and 400,000 rows with two of 5 million. Labels are of a
model by which a feature counts for or against, plus noise; the generator and its seed are fixed. What a process takes
is what `wait4` reports. Our user time is that above a run of the same command on one row; Vowpal Wabbit has `-b 24`.

A penalty costs time, as features that do not occur for a while have to catch up: measured at 24 bits.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.harness import Figure, Row, installed, size
from benchmarks.training import train

TITLE = "Large indices: memory and user time of whole processes"
VOWPAL_WABBIT = """
import sys
from vowpalwabbit import Workspace
workspace = Workspace(f"-d {sys.argv[1]} --loss_function logistic -b 24 --quiet")
workspace.run_parser()
workspace.finish()
"""
MEASURED = """
import os, subprocess, sys
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(os.waitstatus_to_exitcode(status), usage.ru_utime, usage.ru_maxrss)
"""
MEMORY_BAR, TIME_BAR, PENALTY_BAR = 2.0, 0.5, 1.3


@dataclass(frozen=True)
class Wide:
    """A file: rows, features of each, and how many there could be."""

    rows: int
    each: int
    features: int

    def __str__(self) -> str:
        return f"{self.rows:,} rows × {self.each} of {self.features / 1e6:g} million features"

    def write(self, path: Path) -> None:
        """As svmlight, and as Vowpal Wabbit's text."""
        rng = np.random.default_rng(1)
        ids = np.sort(rng.integers(1, self.features, (self.rows, self.each)), axis=1)
        labels = np.where(ids % 3 == 0, 1, -1).sum(axis=1) + rng.normal(0, 1, self.rows) > 0
        with path.with_suffix(".svmlight").open("w") as ours, path.with_suffix(".vw").open("w") as theirs:
            for label, row in zip(labels, ids.tolist(), strict=True):
                entries = " ".join(f"{index}:1" for index in dict.fromkeys(row))
                ours.write(f"{label:d} {entries}\n")
                theirs.write(f"{1 if label else -1} | {entries}\n")


FILES = Wide(20_000, 20, 10_000_000), Wide(400_000, 2, 5_000_000)


def measure(quick: bool) -> Iterator[Row]:
    """Both files, ours and theirs in turn."""
    rounds = 1 if quick else 5
    with tempfile.TemporaryDirectory() as name:
        for wide in (Wide(50, 3, 1_000_000),) if quick else FILES:
            wide.write(path := Path(name) / f"{wide.rows}.svmlight")
            (one := Path(name) / "one.svmlight").write_text(path.read_text().splitlines()[0] + "\n")
            yield from of_file(str(wide), path, one, rounds)
            if wide.each > 2:
                yield of_penalty(f"{wide} with --bits 24 --l2 1e-6", path, rounds)


def of_file(what: str, path: Path, one: Path, rounds: int) -> Iterator[Row]:
    commands = {"ours": train(path, ()), "one row": train(one, ())}
    if installed("vowpalwabbit"):
        commands["vw"] = [sys.executable, "-c", VOWPAL_WABBIT, str(path.with_suffix(".vw"))]
    runs = in_turn(commands, rounds)
    ours, base, theirs = runs["ours"], runs["one row"], runs.get("vw")
    above = Figure.of([a.user - b.user for a, b in zip(ours, base, strict=True)])
    memory = size(Figure.of([run.memory for run in ours]).median)
    if theirs is None:
        yield Row(f"{what}: peak memory", memory, "vowpalwabbit is not installed", bar=MEMORY_BAR, at_most=True)
    else:
        ratio = Figure.of([a.memory / b.memory for a, b in zip(ours, theirs, strict=True)])
        peer = f"Vowpal Wabbit: {size(Figure.of([run.memory for run in theirs]).median)}"
        yield Row(f"{what}: peak memory", memory, peer, ratio, bar=MEMORY_BAR, at_most=True)
    user = {key: f"{Figure.of([run.user for run in own]).median:.2f} s" for key, own in runs.items()}
    peers = f"one row: {user['one row']}" + (f"; Vowpal Wabbit: {user['vw']}" if theirs else "")
    yield Row(f"{what}: user time above one row", user["ours"], peers, above, "s", TIME_BAR, at_most=True)


def of_penalty(what: str, path: Path, rounds: int) -> Row:
    """--l2 and not, at 24 bits."""
    runs = in_turn({key: train(path, ("--bits", "24", *own)) for key, own in PENALTY.items()}, rounds)
    ratio = Figure.of([a.user / b.user for a, b in zip(runs["with"], runs["without"], strict=True)])
    ours, theirs = (f"{Figure.of([run.user for run in runs[key]]).median:.2f} s" for key in PENALTY)
    return Row(f"{what}: user time", ours, f"without: {theirs}", ratio, bar=PENALTY_BAR, at_most=True)


PENALTY = {"with": ("--l2", "1e-6"), "without": ()}


@dataclass(frozen=True)
class Run:
    """User seconds and peak bytes of a process."""

    user: float
    memory: int


def in_turn(commands: dict[str, list[str]], rounds: int) -> dict[str, list[Run]]:
    """Runs of each command, several rounds after one to warm up."""
    runs: dict[str, list[Run]] = {key: [] for key in commands}
    for turn in range(rounds + 1):
        for key, command in commands.items():
            found = run(command)
            runs[key] += [found] if turn else []
    return runs


def run(command: list[str]) -> Run:
    """A process, started by a small one: a child's peak begins with its parent's size."""
    starter = [sys.executable, "-S", "-c", MEASURED, *command]
    done = subprocess.run(starter, capture_output=True, text=True, check=True)
    code, user, memory = done.stdout.split()
    if int(code):
        raise RuntimeError(f"{' '.join(command)} failed: {done.stderr}")
    return Run(float(user), 1024 * int(memory))
