"""Run by torchrun: what one process saved is loaded by two, which train on and save what one process will load."""

import sys
from pathlib import Path

import torch
from parallel import (
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


def fresh() -> Trained:
    """For each optimizer a model split by rows, with dense gradients, and a replicated one with sparse gradients."""
    mesh = init_device_mesh("cpu", (PROCESSES,))
    made: Trained = {}
    for name in OPTIMIZERS:
        model = Recommender()
        for part in (model.table, model.hidden, model):
            fully_shard(part, mesh=mesh)
        made[name, "dense"] = model, make(name, model.named_parameters())
        replicated = DistributedDataParallel(Recommender(sparse=True))
        made[name, "sparse"] = replicated, make(name, replicated.named_parameters())
    return made


def main(folder: Path) -> None:
    with together() as rank:
        found = {}
        for layout in LAYOUTS:
            trained = fresh()
            load(folder / "one", trained, layout)
            for key, (model, optimizer) in trained.items():
                found[*key, layout] = contents(model, optimizer.state_dict())
                train(model, optimizer, rank, SECOND_HALF)
                optimizer.settle()
            save(folder / "two", trained, layout)
        torch.save(found, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
