"""The source texts' own training loop, written from its description: eager PyTorch, a mini-batch at a time.

`History` and `seconds_per_epoch` time it. What other times are compared with takes mini-batches as slices of a shuffled
copy; the texts' data loader, which collects examples one by one, is part of what `History` times. `descend` is for what
it learns, with the optimizers of torch.optim or of surefoot.optim.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from surefoot.lab.published.formulas import FORMULAS, states_of
from surefoot.lab.published.rows import clock


def seconds_per_epoch(rule: str, hyper: dict, X: np.ndarray, y: np.ndarray, batch_size: int, concise: bool = False):
    """The median of a few epochs; None where torch is not installed.

    Args:
        rule: the name of one of the family.
        hyper: its hyperparameters.
        X, y: examples and targets, float32.
        batch_size: examples in a mini-batch.
        concise: with the framework's own optimizer; without, as the texts write the rule.
    """
    try:
        import torch
    except ImportError:
        return None
    examples, targets = torch.from_numpy(X), torch.from_numpy(y).reshape(-1, 1)
    w = torch.normal(0, 0.01, (X.shape[1], 1)).requires_grad_()
    b = torch.zeros(1, requires_grad=True)
    update = framework(rule, hyper, [w, b]) if concise else from_scratch(rule, hyper, [w, b])
    repeats = 1 if batch_size == 1 else 3
    with one_thread():
        epoch(examples[: 2 * batch_size], targets, w, b, update, batch_size)
        return statistics.median(epoch(examples, targets, w, b, update, batch_size) for _ in range(repeats))


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch on one thread: a thread that waits for others computes, by its clock, and on a busy machine it waits.

    On batches as small as these, others have nothing to do.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def epoch(X, y, w, b, update, batch_size: int) -> float:
    """The seconds of one epoch: forward, backward and update, a mini-batch at a time."""
    import torch

    begin = clock()
    places = torch.randperm(len(X))
    for first in range(0, len(X), batch_size):
        batch = places[first : first + batch_size]
        half_mean_square(X[batch], y[batch], w, b).backward()
        update()
    return clock() - begin


def half_mean_square(X, y, w, b):
    return ((X @ w + b - y) ** 2 / 2).mean()


OPTIMIZERS = {
    "sgd": "SGD",
    "momentum": "SGD",
    "adagrad": "Adagrad",
    "rmsprop": "RMSprop",
    "adadelta": "Adadelta",
    "adam": "Adam",
}


def framework(rule: str, hyper: dict, parameters: list[Any], library: Any = None):
    """The step of the framework's own optimizer, or of another library's that has its classes."""
    import torch

    named = {"alpha" if key == "gamma" else key: value for key, value in hyper.items()}
    optimizer = getattr(library or torch.optim, OPTIMIZERS[rule])(parameters, **named)

    def update():
        optimizer.step()
        optimizer.zero_grad()

    return update


def from_scratch(rule: str, hyper: dict, parameters: list[Any]):
    """An update as the texts write it: eager operations on each parameter and its states."""
    import torch

    states: list[Any] = [states_of(FORMULAS[rule]) for _ in parameters]
    t = 0

    def update():
        nonlocal t
        t += 1
        with torch.no_grad():
            for k, p in enumerate(parameters):
                new, *states[k] = FORMULAS[rule](t, p, p.grad, *states[k], **hyper)
                p.copy_(new)
                p.grad.zero_()

    return update


def descend(library: Any, rule: str, hyper: dict, X, y, start, orders, batch_size: int) -> np.ndarray:
    """The weights before the first epoch and after each, (epochs + 1, 6), in float64.

    Args:
        library: has the optimizers: torch.optim, or what steps in for it.
        rule, hyper: as in `framework`.
        X, y: examples and targets.
        start: initial weights, the last of which is the bias.
        orders: of the examples, one for each epoch.
        batch_size: of a mini-batch.
    """
    import torch

    examples, targets, begin = (torch.as_tensor(a, dtype=torch.float64) for a in (X, y, start))
    w, b = begin[:5].reshape(5, 1).clone().requires_grad_(), begin[5:].clone().requires_grad_()
    update, seen = framework(rule, hyper, [w, b], library), [start]
    for order in orders:
        for batch in torch.as_tensor(order, dtype=torch.int64).split(batch_size):
            half_mean_square(examples[batch], targets[batch, None], w, b).backward()
            update()
        seen.append(torch.cat([w.ravel(), b]).detach().numpy())
    return np.array(seen)


@dataclass(frozen=True)
class History:
    """Training as the texts time it: their clock stops, for the loss, at each multiple of 200 examples.

    Attributes:
        seconds: between two such stops.
        losses: at each.
        epochs: how many.
    """

    seconds: list[float]
    losses: list[float]
    epochs: int

    @classmethod
    def of(cls, lr: float, X: np.ndarray, y: np.ndarray, batch_size: int, epochs: int) -> History:
        """SGD, with torch's data loader, which collects examples one by one.

        Raises:
            ImportError: torch is not installed.
        """
        import torch
        from torch.utils.data import DataLoader, TensorDataset

        rng = torch.Generator().manual_seed(0)
        examples, targets = torch.from_numpy(X), torch.from_numpy(y).reshape(-1, 1)
        loader = DataLoader(TensorDataset(examples, targets), batch_size, shuffle=True, generator=rng)
        w, b = torch.normal(0, 0.01, (X.shape[1], 1), generator=rng).requires_grad_(), torch.zeros(1).requires_grad_()
        update, history, seen = from_scratch("sgd", {"lr": lr}, [w, b]), cls([], [], epochs), 0
        with one_thread():
            begin = clock()
            for _ in range(epochs):
                for features, wanted in loader:
                    half_mean_square(features, wanted, w, b).backward()
                    update()
                    seen += len(features)
                    if seen % 200 == 0:
                        history.seconds.append(clock() - begin)
                        history.losses.append(half_mean_square(examples, targets, w, b).item())
                        begin = clock()
        return history

    @property
    def per_epoch(self) -> float:
        return sum(self.seconds) / self.epochs

    def until(self, loss: float) -> float:
        """The seconds until the loss was first as low as that; infinite if it never was."""
        passed = 0.0
        for seconds, reached in zip(self.seconds, self.losses, strict=True):
            passed += seconds
            if reached <= loss:
                return passed
        return float("inf")
