"""Run by torchrun: what one process saved is loaded by two, which train on and save what one process will load."""

import itertools
import sys
from collections.abc import Iterable
from pathlib import Path

import torch
from support.parallel import (
    LAYOUTS,
    OPTIMIZERS,
    PROCESSES,
    SECOND_HALF,
    Recommender,
    Trained,
    contents,
    load,
    make,
    save,
    together,
    train,
)
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel


def fresh(kinds: Iterable[str]) -> Trained:
    """For each optimizer a model split by rows, with dense gradients, or a replicated one with sparse gradients."""
    mesh = init_device_mesh("cpu", (PROCESSES,))
    made: Trained = {}
    for name, kind in itertools.product(OPTIMIZERS, kinds):
        model = Recommender(sparse=kind == "sparse")
        if kind == "sparse":
            model = DistributedDataParallel(model)
        else:
            for part in (model.table, model):
                fully_shard(part, mesh=mesh)
        made[name, kind] = model, make(name, model.named_parameters())
    return made


def main(folder: Path) -> None:
    with together() as rank:
        found = {}
        for layout, kinds in LAYOUTS.items():
            trained = fresh(kinds)
            load(folder / "one", trained, layout)
            for key, (model, optimizer) in trained.items():
                found[*key, layout] = contents(model, optimizer.state_dict())
                train(model, optimizer, rank, SECOND_HALF)
                optimizer.settle()
            save(folder / "two", trained, layout)
        torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
