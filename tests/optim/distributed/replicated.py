"""Run by torchrun: a replicated model, whose gradients are averaged by DistributedDataParallel."""

import functools
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from support.parallel import FIRST_HALF, OPTIMIZERS, SECOND_HALF, Recommender, contents, make, message, together, train
from torch import Tensor
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.nn.parallel import DistributedDataParallel

from surefoot import optim


def replicated(rank: int, name: str, sparse: bool, **options) -> dict[str, Tensor]:
    model = DistributedDataParallel(Recommender(sparse), **options)
    optimizer = make(name, model.named_parameters())
    train(model, optimizer, rank)
    return contents(model, optimizer.state_dict())


def divided_memory(rank: int, name: str, sparse: bool, **options) -> dict[str, Tensor]:
    """Each process has the state of some of the parameters; halfway it is gathered and sharded again."""
    model = DistributedDataParallel(Recommender(sparse))
    kind, settings = OPTIMIZERS[name]
    cls = getattr(optim, kind)
    if "rule" in settings:
        cls, settings = functools.partial(cls, rule=settings["rule"]), {"lr": settings["lr"]}
    state = None
    for steps in (FIRST_HALF, SECOND_HALF):
        optimizer = ZeroRedundancyOptimizer(model.parameters(), cls, **options, **settings)
        if state is not None:
            optimizer.load_state_dict(state)
        train(model, optimizer, rank, steps)
        state = gathered(optimizer)
    return contents(model, state)


def gathered(optimizer: ZeroRedundancyOptimizer) -> dict:
    """The state of all parameters, in every process."""
    optimizer.consolidate_state_dict(to=0)
    found = [optimizer.state_dict() if dist.get_rank() == 0 else {}]
    dist.broadcast_object_list(found)
    return found[0]


def main(folder: Path) -> None:
    with together() as rank:
        found: dict[tuple[str, ...], object] = {}
        for name in OPTIMIZERS:
            found[name, "dense", "replicas"] = replicated(rank, name, sparse=False)
            found[name, "sparse", "replicas"] = replicated(rank, name, sparse=True)
            if OPTIMIZERS[name][0] == "Grouped":
                continue  # ZeroRedundancyOptimizer gives all parameters to one class with one set of settings
            found[name, "dense", "divided memory"] = divided_memory(rank, name, sparse=False)
            found[name, "sparse", "divided memory"] = divided_memory(rank, name, sparse=True)
        for name in ("SGD", "Adagrad, rows"):
            found[name, "dense", "gradients in buckets"] = replicated(rank, name, False, gradient_as_bucket_view=True)
            found[name, "dense", "buckets"] = divided_memory(rank, name, False, parameters_as_bucket_view=True)
        model = DistributedDataParallel(Recommender())
        found["step in backward",] = message(lambda: optim.step_in_backward(model))
        torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
