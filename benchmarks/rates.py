"""Learning rates: held-out loss of lr="auto" and of rules without a rate, compared with the best of nine rates."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.harness import Figure, Row, duration, race, times_as_fast
from benchmarks.rate_tasks import TASKS, Missing, Task
from surefoot import optim

TITLE = "Learning rates: held-out loss after training, compared with the best of nine rates of Adagrad and of Adam"
RATES = [10.0 ** (k / 2) for k in range(-8, 1)]
SEEDS, ROUNDS = 3, 15
LEVEL, SLOWER = 1.02, 1.3
"""Bars: the loss compared with that of the best rate, and the time of a training step with that of a given rate."""

Make = Callable[[list[Tensor]], Any]


def by_rule(rule: str, **settings: Any) -> Make:
    return lambda p: optim.RuleOptimizer(p, rule, nonfinite="skip", **settings)


TUNED: dict[str, Make] = {
    **{f"Adagrad {r:.2g}": lambda p, r=r: optim.Adagrad(p, lr=r, nonfinite="skip") for r in RATES},
    **{f"Adam {r:.2g}": lambda p, r=r: optim.Adam(p, lr=r, lazy="touched", nonfinite="skip") for r in RATES},
}
AUTO = 'Adagrad(lr="auto")'
UNTUNED: dict[str, Make] = {
    AUTO: lambda p: optim.Adagrad(p, lr="auto"),
    "Adagrad()": lambda p: optim.Adagrad(p),
    "Adam()": lambda p: optim.Adam(p, lazy="touched"),
    "prodigy, dense gradients": by_rule("prodigy"),
    "dog": by_rule("dog", lazy="touched"),
    "dog, layerwise": by_rule("dog", layerwise=True, lazy="touched"),
    "dadapt_adagrad": by_rule("dadapt_adagrad"),
    "cocob": by_rule("cocob"),
    "schedule_free_adagrad": by_rule("schedule_free_adagrad", lazy="touched"),
    "schedule_free_adamw": by_rule("schedule_free_adamw", lazy="touched"),
}


def measure(quick: bool) -> Iterator[Row]:
    """Of each task the best rate, the contenders without a rate, and the time of a step."""
    torch.set_num_threads(1)
    for name, load in TASKS.items():
        try:
            task = load()
        except Missing as missing:
            yield Row(name, "", str(missing))
            continue
        steps, seeds = (4, 1) if quick else (None, SEEDS)
        tuned = {who: losses(task, make, seeds, steps) for who, make in TUNED.items()}
        best = min(tuned, key=lambda who: tuned[who].mean())
        for who, make in UNTUNED.items():
            found = losses(task, make, seeds, steps, dense="dense" in who)
            level = f"{best}: {tuned[best].mean():.4f}"
            bar = LEVEL if who == AUTO else None
            yield Row(
                f"{name}: {who}", f"{found.mean():.4f}", level, compared(found, tuned[best]), bar=bar, at_most=True
            )
        yield from time_of_a_step(name, task, 2 if quick else ROUNDS)


def compared(found: np.ndarray, best: np.ndarray) -> Figure:
    """The ratio of the mean losses; its spread is that of seeds."""
    each = found / best
    return Figure(float(found.mean() / best.mean()), float(each.min()), float(each.max()))


def losses(task: Task, make: Make, seeds: int, steps: int | None = None, dense: bool = False) -> np.ndarray:
    """The held-out loss after training, (seeds,); infinite where it diverged."""
    return np.array([trained(task, make, seed, steps, dense) for seed in range(seeds)])


def trained(task: Task, make: Make, seed: int, steps: int | None, dense: bool) -> float:
    torch.manual_seed(seed)
    model = task.model()
    if dense:
        give_dense_gradients(model)
    optimizer = make(list(model.parameters()))
    for number, batch in enumerate(task.batches(seed)):
        if number == steps:
            break
        optimizer.zero_grad()
        loss = task.loss(model, batch)
        if not math.isfinite(loss.item()):
            return math.inf
        loss.backward()
        optimizer.step()
    optimizer.eval()  # schedule-free rules: the average
    loss = task.held_out_loss(model)
    return loss if math.isfinite(loss) else math.inf


def give_dense_gradients(model: nn.Module) -> None:
    for module in model.modules():
        if isinstance(module, (nn.Embedding, nn.EmbeddingBag)):
            module.sparse = False


def time_of_a_step(name: str, task: Task, rounds: int) -> Iterator[Row]:
    """Training steps, with forward and backward pass, and steps of the optimizer alone."""
    batch = next(task.batches(0))

    def contender(lr: Any, whole: bool) -> Callable[[], None]:
        torch.manual_seed(0)
        model = task.model()
        optimizer = optim.Adagrad(model.parameters(), lr=lr)

        def step() -> None:
            if whole or model_has_no_gradient():
                optimizer.zero_grad()
                task.loss(model, batch).backward()
            optimizer.step()

        def model_has_no_gradient() -> bool:
            return all(parameter.grad is None for parameter in model.parameters())

        return step

    for what, whole, bar in (("time of a training step", True, SLOWER), ("time of optimizer.step()", False, None)):
        times = race({AUTO: contender("auto", whole), "fixed": contender(0.1, whole)}, rounds)
        seconds = {who: duration(each.median) for who, each in times.items()}
        figure = times_as_fast(times["fixed"], times[AUTO])
        yield Row(f"{name}: {what}", seconds[AUTO], f"lr=0.1: {seconds['fixed']}", figure, bar=bar, at_most=True)
