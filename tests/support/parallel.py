"""What one process and several are compared on: a small recommender, its batches, the optimizers, and how to launch."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoint
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_model_state_dict,
    set_optimizer_state_dict,
)
from torch.nn import functional as F

from surefoot import optim

STEPS = range(4)
FIRST_HALF, SECOND_HALF = STEPS[:2], STEPS[2:]
PROCESSES = 2
PATIENCE = 120
"""Seconds after which processes are taken to wait for each other forever."""
RUN_AND_EXIT = Path(__file__).with_name("run_and_exit.py")

OPTIMIZERS: dict[str, tuple[str, dict[str, Any]]] = {
    "SGD": ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "Adagrad": ("Adagrad", {"lr": 0.1, "lr_decay": 0.1}),
    "Adagrad, rows": ("Adagrad", {"lr": 0.1, "granularity": "row", "l1": 0.01}),
    "RMSprop": ("RMSprop", {"lr": 0.01}),
    "Adam": ("Adam", {"lr": 0.1, "lazy": "touched"}),
    "FTRL": ("FTRL", {"lr": 0.1, "l1": 0.01}),
    "dual averaging": ("RuleOptimizer", {"rule": "dual_averaging", "lr": 0.1}),
    "grouped": ("Grouped", {}),
}
GROUPS: dict[str, dict[str, Any]] = {
    "table": {"rule": "adagrad", "lr": 0.1, "granularity": "row", "decoupled_weight_decay": 0.1},
    "norm": {"rule": "momentum", "lr": 0.1, "momentum": 0.9},
    "": {"rule": torch.optim.AdamW, "lr": 0.01},
}
"""Of the optimizer whose groups have a rule each, by how the names of the parameters begin."""

LAYOUTS = {"nested": ("dense", "sparse"), "flat": ("dense",), "full": ("dense",)}
"""Of checkpoints: memory by parameter, or all entries side by side, in files of each process; or all in one file.

With each, the kinds of gradients that its models have."""

Trained = dict[tuple[str, str], tuple[nn.Module, Any]]
"""Models and their optimizers, by the name of the optimizer and the kind of the gradients."""


class Recommender(nn.Module):
    """An embedding and a dense head; neither 7 rows nor a single one can be split evenly between two processes."""

    def __init__(self, sparse: bool = False):
        super().__init__()
        source = torch.Generator().manual_seed(0)
        self.table = nn.Embedding(7, 4, sparse=sparse, dtype=torch.float64)
        self.norm = nn.LayerNorm(4, dtype=torch.float64)
        self.hidden, self.score = nn.Linear(4, 6, dtype=torch.float64), nn.Linear(6, 1, dtype=torch.float64)
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=0.5, generator=source)

    def forward(self, ids: Tensor) -> Tensor:
        return self.score(torch.tanh(self.hidden(self.norm(self.table(ids)))))


def batch(step: int, part: int) -> tuple[Tensor, Tensor]:
    """What one of the processes sees in a step: rows of the table, some of them twice, and targets."""
    source = torch.Generator().manual_seed(PROCESSES * step + part)
    return torch.randint(7, (4,), generator=source), torch.randn(4, 1, generator=source, dtype=torch.float64)


def loss(model: nn.Module, step: int, part: int) -> Tensor:
    ids, targets = batch(step, part)
    return F.mse_loss(model(ids), targets)


def make(name: str, parameters: Iterable) -> Any:
    kind, settings = OPTIMIZERS[name]
    if kind == "Grouped":
        parameters = grouped(list(parameters))
    return getattr(optim, kind)(parameters, **settings)


def grouped(named: list[tuple[str, nn.Parameter]]) -> list[dict[str, Any]]:
    groups = [settings | {"params": []} for settings in GROUPS.values()]
    for name, parameter in named:
        begins = [name.removeprefix("module.").startswith(start) for start in GROUPS]
        groups[begins.index(True)]["params"].append((name, parameter))
    return groups


def train_alone(model: nn.Module, optimizer: torch.optim.Optimizer, steps: Iterable[int] = STEPS) -> None:
    """Steps along the mean of the gradients that the processes would have: which the others are compared with."""
    parameters = list(model.parameters())
    for step in steps:
        parts = [torch.autograd.grad(loss(model, step, part), parameters) for part in range(PROCESSES)]
        for parameter, *gradients in zip(parameters, *parts, strict=True):
            gradients = [g.coalesce() if g.is_sparse else g for g in gradients]
            parameter.grad = sum(gradients[1:], gradients[0]) / PROCESSES
        optimizer.step()


def train(model: nn.Module, optimizer: torch.optim.Optimizer, rank: int, steps: Iterable[int] = STEPS) -> None:
    """Steps one of the processes; whatever wraps the model brings the gradients together."""
    for step in steps:
        optimizer.zero_grad()
        loss(model, step, rank).backward()
        optimizer.step()


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, wherever its parts are; every process has to ask."""
    tensor = tensor.detach()
    return getattr(tensor, "full_tensor", tensor.clone)()


def contents(model: nn.Module, state_dict: dict[str, Any]) -> dict[str, Tensor]:
    """Parameters and memory, by name."""
    named = [(name.removeprefix("module."), parameter) for name, parameter in model.named_parameters()]
    found = {name: whole(parameter) for name, parameter in named}
    for index, memory in state_dict["state"].items():
        found |= {f"{named[index][0]}, {key}": whole(value) for key, value in memory.items()}
    return found


def layout_options(layout: str) -> StateDictOptions:
    several = layout == "full" and dist.is_initialized()
    flat = layout == "flat"
    return StateDictOptions(flatten_optimizer_state_dict=flat, full_state_dict=several, broadcast_from_rank0=several)


def states(trained: Trained, layout: str) -> dict[str, Any]:
    found = {}
    for key, (model, optimizer) in trained.items():
        weights, memory = get_state_dict(model, optimizer, options=layout_options(layout))
        found[", ".join(key)] = {"model": weights, "optimizer": memory}
    return found


def save(folder: Path, trained: Trained, layout: str) -> None:
    """Saves models and memory, in however many processes."""
    saved = states(trained, layout)
    if layout != "full":
        checkpoint.save(saved, checkpoint_id=folder / layout)
    elif not dist.is_initialized() or dist.get_rank() == 0:
        torch.save(saved, folder / "full.pt")


def load(folder: Path, fresh: Trained, layout: str) -> None:
    """Loads what `save` saved, perhaps in another number of processes."""
    loaded = {", ".join(key): {"model": {}, "optimizer": {}} for key in fresh}
    if layout != "full":
        loaded = states(fresh, layout)
        checkpoint.load(loaded, checkpoint_id=folder / layout)
    elif not dist.is_initialized() or dist.get_rank() == 0:
        loaded = torch.load(folder / "full.pt", weights_only=True)
    for key, (model, optimizer) in fresh.items():
        name = ", ".join(key)
        set_model_state_dict(model, loaded[name]["model"], options=layout_options(layout))
        set_optimizer_state_dict(model, optimizer, loaded[name]["optimizer"], options=layout_options(layout))


@contextlib.contextmanager
def together() -> Iterator[int]:
    """In a launched script: its rank; a process that waits too long for the other fails."""
    dist.init_process_group("gloo", timeout=timedelta(seconds=PATIENCE))
    try:
        yield dist.get_rank()
        dist.barrier()  # neither exits while the other still waits for the last message
    finally:
        dist.destroy_process_group()


def message(run: Callable) -> str:
    """What an error says."""
    try:
        run()
    except (RuntimeError, ValueError) as error:
        return str(error)
    return "no error"


def launch(script: Path, *arguments: object) -> str:
    """Runs a script in two processes on this machine; fails with what they printed if they fail or never end.

    A thread of torch 2.13 frees the tensors of the last message after it has said that the message is there. If the
    interpreter is being finalized by then, the process is aborted, so the processes end without that.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={PROCESSES}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    if sys.platform == "linux":
        environment["GLOO_SOCKET_IFNAME"] = "lo"
    process = subprocess.Popen(
        [*command, str(RUN_AND_EXIT), str(script), *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = process.communicate(timeout=2 * PATIENCE)
    except subprocess.TimeoutExpired:
        process.terminate()  # which torchrun passes on; a kill would leave its processes behind
        output, _ = process.communicate()
        raise AssertionError(f"{script.name}: not done after {2 * PATIENCE} s; it printed:\n{output[-8000:]}") from None
    assert process.returncode == 0, f"{script.name} failed; it printed:\n{output[-8000:]}"
    return output
