"""Kills trainings at random moments and resumes them; the models must have the same bits as an uninterrupted one.

Not part of the tests: python tests/learn/killed.py FILE [TIMES]. Arguments after -- go to surefoot train.
"""

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from surefoot.learn import storage


def main(file: str, times: int, options: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        whole = Path(folder) / "whole.safetensors"
        began = time.perf_counter()
        subprocess.run(command(file, whole, options), check=True)
        seconds = time.perf_counter() - began
        for number in range(times):
            model, checkpoints = Path(folder) / f"{number}.safetensors", Path(folder) / f"checkpoints{number}"
            kills = 0
            while True:
                # Seldom the same checkpoint twice: each run gets further than the one before, or is left to end.
                wait = random.uniform(0.2, 1.2) * seconds * (1 + kills / 4)
                how = [*options, "--checkpoint", str(checkpoints), "--every", "0.05s", "--resume"]
                process = subprocess.Popen(command(file, model, how))
                try:
                    process.wait(wait)
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    kills += 1
            same = difference(whole, model)
            found = "the same bits" if same is None else f"DIFFERENT: {same}"
            sys.stdout.write(f"run {number + 1}: killed {kills} times, {found}\n")
            if same is not None:
                sys.exit(1)


def command(file: str, model: Path, options: list[str]) -> list[str]:
    return [sys.executable, "-m", "surefoot", "train", file, "--model", str(model), "--quiet", *options]


def difference(one: Path, other: Path) -> str | None:
    """What differs between two models."""
    if one.read_bytes() == other.read_bytes():
        return None
    (arrays, facts), (others, their_facts) = storage.read(one, "model"), storage.read(other, "model")
    if facts != their_facts:
        return "facts"
    different = [name for name in arrays if arrays[name].tobytes() != others[name].tobytes()]
    return ", ".join(different) or "bytes"


if __name__ == "__main__":
    own = sys.argv[1 : sys.argv.index("--")] if "--" in sys.argv else sys.argv[1:]
    rest = sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else []
    main(own[0], int(own[1]) if len(own) > 1 else 20, rest)
