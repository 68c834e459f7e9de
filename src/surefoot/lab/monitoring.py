"""`Monitor`: a diagnosis every N steps, for TensorBoard or for a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch

from surefoot.lab.adopting import adopted
from surefoot.lab.diagnosing import Diagnosis, diagnose
from surefoot.lab.findings import owners_of
from surefoot.lab.visits import count_visits


class SummaryWriter(Protocol):
    """What a Monitor needs of TensorBoard's SummaryWriter."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> Any: ...


class Monitor:
    """Diagnoses an optimizer every N steps, and counts the visits of rows.

    Args:
        optimizer: any that `diagnose` accepts.
        every: the number of steps from one diagnosis to the next.
        writer: TensorBoard's SummaryWriter (or what has its add_scalar), or a function of (step, Diagnosis).
        model: names the parameters, where the optimizer was not given named ones, and tells units from rows of tables.
        losses: the loss of each step so far, as `diagnose` takes them: a list to which the loop appends.

    Attributes:
        step: the number of steps seen.
        latest: the latest diagnosis, or None.

    Raises:
        ValueError: if every is not a whole number of at least 1.
        TypeError: for another kind of optimizer, writer or model.

    >>> import surefoot
    >>> w = torch.nn.Parameter(torch.ones(2))
    >>> optimizer = surefoot.optim.Adagrad([("w", w)], lr=0.5)
    >>> with Monitor(optimizer, every=2, writer=lambda step, found: print(step, found["w"].rate["median"])):
    ...     for _ in range(4):
    ...         w.grad = torch.ones(2)
    ...         optimizer.step()
    2 0.35355...
    4 0.25
    """

    def __init__(
        self,
        optimizer: Any,
        every: int = 100,
        writer: SummaryWriter | Callable[[int, Diagnosis], Any] | None = None,
        model: torch.nn.Module | None = None,
        losses: Sequence[float] | None = None,
    ):
        stepped = adopted(optimizer, "Monitor").optimizer
        if not isinstance(every, int) or isinstance(every, bool) or every < 1:
            raise ValueError(f"every must be a whole number of at least 1, got {every!r}")
        if writer is not None and not hasattr(writer, "add_scalar") and not callable(writer):
            raise TypeError(f"writer must have add_scalar, or be a function, got a {type(writer).__name__}")
        owners_of(model)  # which raises, rather than the first step that is diagnosed
        self.every, self.writer, self.model, self.losses = every, writer, model, losses
        self.step, self.latest = 0, None
        self._handles = [count_visits(optimizer), stepped.register_step_post_hook(self._after)]

    def _after(self, optimizer, args, kwargs) -> None:
        self.step += 1
        if self.step % self.every:
            return
        self.latest = diagnose(optimizer, self.model, self.losses)
        add_scalar = getattr(self.writer, "add_scalar", None)
        if add_scalar is not None:
            for name, value in self.latest.scalars():
                add_scalar(name, value, self.step)
        elif callable(self.writer):
            self.writer(self.step, self.latest)

    def remove(self) -> None:
        """Ends the diagnoses and the counting."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *error) -> None:
        self.remove()
