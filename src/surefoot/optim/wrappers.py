"""Frameworks wrap optimizers: Accelerate's and Lightning's keep the one that they were given as `optimizer`."""

from __future__ import annotations

from typing import Any

import torch


def unwrapped(optimizer: Any) -> tuple[Any, str]:
    """What is inside of wrappers that keep it as `optimizer`, as Accelerate's and Lightning's do, and the way to it.

    >>> inner = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    >>> class Wrapper:
    ...     def __init__(self, optimizer):
    ...         self.optimizer = optimizer
    >>> unwrapped(Wrapper(Wrapper(inner)))[0] is inner, unwrapped(Wrapper(Wrapper(inner)))[1]
    (True, 'optimizer.optimizer.optimizer')
    """
    chain = [optimizer]
    while (inner := getattr(chain[-1], "optimizer", None)) is not None and all(inner is not each for each in chain):
        chain.append(inner)
    while len(chain) > 1 and not isinstance(chain[-1], torch.optim.Optimizer):
        chain.pop()
    return chain[-1], ".".join(["optimizer"] * len(chain))
