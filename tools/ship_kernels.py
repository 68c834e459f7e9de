"""Compiles the kernels that come with the package (see `surefoot.native.shipped`): those of a first use.

`make run` does so when it installs the package; run it before a wheel is built.
"""

import functools
import os
import random
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

FORMATS = {
    "svmlight": (lambda row: f"{row[0]} 1:{row[1]} {row[2]}:1\n", []),
    "csv": (lambda row: f"{row[0]},{row[1]},c{row[2]}\n", ["--target", "label"]),
    "vw": (lambda row: f"{row[0]} |f a:{row[1]} w{row[2]}\n", []),
}
"""A line of each format, and options to read it with."""
ROWS = 2000


def ship(folder: Path) -> None:
    """Replaces what is in a folder by kernels that are compiled now."""
    from surefoot.native import codegen, shipped

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    with tempfile.TemporaryDirectory() as temporary:
        os.environ["NUMBA_CACHE_DIR"] = temporary
        shipped.FOLDER = folder
        codegen.shipping = functools.partial(shipped.write, folder)
        learn(Path(temporary))
        learn_at_fewer_rates()
        step()


def learn(folder: Path) -> None:
    """Trains on files, in which a number tells the label of some rows, and predicts."""
    from surefoot.cli import run

    rng = random.Random(0)
    rows = [(rng.random(), rng.randrange(2, 50), rng.random()) for _ in range(ROWS)]
    for name, (line, options) in FORMATS.items():
        file, model = folder / f"data.{name}", folder / "model.safetensors"
        with file.open("w") as text:
            text.write("label,x,c\n" if name == "csv" else "")
            text.writelines(line((int(x > 0.5 if noise < 0.5 else noise > 0.6), f"{x:.3f}", k)) for x, k, noise in rows)
        for rate in ([], ["--lr", "0.1"]):
            run([*map(str, ["train", file, "--model", model, *options, *rate]), "--quiet"])
        run([*map(str, ["predict", model, file, "--out", folder / "predictions"]), "--quiet"])


def learn_at_fewer_rates() -> None:
    """Further passes drop rates that do badly, and each number of rates has a kernel; of several classes, one."""
    from surefoot.engines.examples import Examples
    from surefoot.learn.learner import WIDTHS, Learner
    from surefoot.learn.settings import Settings

    example = Examples(np.array([0, 1]), np.array([0]), np.ones(1), np.ones(1), np.ones(1))
    for outputs in (1, 3):
        for width in WIDTHS:
            learner = Learner(Settings(outputs=outputs))
            rates = learner.rates[:width]
            steps = learner.settings.steps(rates, 1.0, 1.0)
            learner.bank.choose(range(width), steps, [rate.implicit for rate in rates])
            learner.bank.learn(example)


def step() -> None:
    """Steps of the most used optimizers, along dense and sparse gradients."""
    import torch

    from surefoot import optim

    for kind in (optim.Adagrad, optim.Adam, optim.AdamW, optim.SGD):
        dense, table = torch.nn.Parameter(torch.zeros(8)), torch.nn.Parameter(torch.zeros(8, 4))
        dense.grad = torch.ones(8)
        ids, values = torch.tensor([[0, 1]]), torch.ones(2, 4)
        table.grad = torch.sparse_coo_tensor(ids, values, table.shape, check_invariants=True)
        kind([dense], lr=0.1).step()
        if kind is optim.Adagrad:
            kind([table], lr=0.1).step()


if __name__ == "__main__":
    ship(Path(sys.argv[1]) if sys.argv[1:] else Path(__file__).parents[1] / "src/surefoot/native/shipped")
