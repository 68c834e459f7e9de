"""Counts of skipped updates, which the host learns of without waiting for the device that counts them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from surefoot.optim.backends.base import Backend
from surefoot.optim.faults import Fault, fault
from surefoot.optim.memory import Memory, on_host


class FaultCounters:
    """Counts on one device, and the copy of them that the host has.

    Args:
        device: where the parameters lie.
        size: the most parameters that they are kept for.

    Attributes:
        counts: (2, size), int64, on the device: coordinates that were skipped, and ids out of range.
    """

    def __init__(self, device: torch.device, size: int):
        self.device, self.size = device, size
        self.counts = torch.zeros((2, size), dtype=torch.int64, device=device)
        self.arrived = self.counts
        if not on_host(self.counts):
            self.arrived = torch.zeros((2, size), dtype=torch.int64, pin_memory=self.sends)
        self.seen = self.arrived.numpy()
        self.reported = self.seen.copy()
        self._known = self.seen.tobytes()
        self.memories: list[Memory] = []
        self._columns: dict[int, int] = {}

    @property
    def sends(self) -> bool:
        """Whether counts come to the host without being waited for."""
        return self.device.type == "cuda"

    def has_room(self, parameters: Iterable[Tensor]) -> bool:
        """Whether there are columns for these parameters."""
        new = sum(id(parameter) not in self._columns for parameter in parameters)
        return len(self._columns) + new <= self.size

    def column(self, parameter: Tensor, memory: Memory) -> int:
        """The column of a parameter."""
        k = self._columns.get(id(parameter))
        if k is None:
            k = len(self.memories) if len(self.memories) < self.size else self._freed()
            self._columns[id(parameter)] = k
        self.memories[k : k + 1] = [memory]
        return k

    def keep(self, ids: set[int]) -> None:
        """Keeps the columns of the parameters with these ids; the others may be used again."""
        self._columns = {key: column for key, column in self._columns.items() if key in ids}

    def _freed(self) -> int:
        """The column of a parameter that is gone, once no step is under way that could write there."""
        k = min({*range(self.size)} - {*self._columns.values()})
        self._wait()
        self.reported[:, k] = self.seen[:, k]
        return k

    def _wait(self) -> None:
        """Waits for all steps so far, on all streams, those of replayed graphs too."""
        if self.sends:
            torch.cuda.synchronize(self.device)
        if self.arrived is not self.counts:
            self.arrived.copy_(self.counts)

    def send(self) -> None:
        """Lets the counts be copied to the host once the steps so far have been taken."""
        if self.sends:
            self.counts.record_stream(torch.cuda.current_stream(self.device))
            self.arrived.copy_(self.counts, non_blocking=True)

    def new_faults(self, wait: bool = False) -> list[Fault]:
        """Updates skipped since the last report: in all steps so far, or as far as known.

        Raises:
            ValueError: for ids out of range.
        """
        if wait or not self.sends:
            self._wait()
        known = self.seen.tobytes()
        if known == self._known:
            return []
        self._known = known
        new = np.maximum(self.seen - self.reported, 0)  # copies on different streams may arrive in another order
        self.reported += new
        found = [fault_of(self.memories[k], *new[:, k].tolist()) for k in np.flatnonzero(new.any(0))]
        return list(itertools.chain(*found))


class CountingBackend(Backend):
    """A backend whose skipped updates are counted on the device and reported at a later step, or on request."""

    def __init__(self, name: str):
        super().__init__(name)
        self.counters: list[FaultCounters] = []

    def counters_on(self, device: torch.device, parameters: list[Tensor]) -> FaultCounters:
        """Those of a device that have room for these parameters; the others stay, for steps that know them."""
        for counters in self.counters:
            if counters.device == device and counters.has_room(parameters):
                return counters
        size = max([len(parameters), *(counters.size for counters in self.counters)])
        self.counters.append(FaultCounters(device, 2 * size))
        return self.counters[-1]

    def report(self) -> None:
        for counters in self.counters:
            counters.send()

    def faults(self, wait: bool = False) -> list[Fault]:
        return [new for counters in self.counters for new in counters.new_faults(wait)]

    def forget(self, ids: set[int]) -> None:
        for counters in self.counters:
            counters.keep(ids)


def fault_of(memory: Memory, skipped: int, outside: int) -> list[Fault]:
    """The skipped updates of a parameter that are to be reported."""
    found = fault(memory.step, memory, skipped, "in earlier steps")
    if outside:
        raise ValueError(
            f"{memory.name}: sparse gradients of earlier steps named rows out of range, {outside:,} times; "
            f"expected 0 … {memory.shape[0] - 1}; all other rows were stepped"
        )
    return found
