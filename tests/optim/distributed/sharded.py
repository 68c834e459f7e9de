"""Run by torchrun: a sharded model, by fully_shard or by tensor parallelism."""

import sys
from pathlib import Path

import torch
from support.parallel import (
    OPTIMIZERS,
    PROCESSES,
    STEPS,
    Recommender,
    batch,
    contents,
    loss,
    make,
    message,
    together,
    train,
    whole,
)
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Partial, Replicate, Shard, distribute_module, distribute_tensor
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, SequenceParallel, parallelize_module
from torch.nn import functional as F

import surefoot
from surefoot import optim


def sharded(mesh: DeviceMesh) -> nn.Module:
    """Every parameter is split by rows; gradients are averaged and split alike."""
    model = Recommender()
    for part in (model.table, model):
        fully_shard(part, mesh=mesh)
    return model


def divided(mesh: DeviceMesh) -> nn.Module:
    """Rows of the table and units of the layers are split; gradients come whole, in summands, or split."""
    plan = {
        "table": RowwiseParallel(input_layouts=Replicate(), output_layouts=Shard(0)),
        "norm": SequenceParallel(sequence_dim=0),
        "hidden": ColwiseParallel(input_layouts=Shard(0)),
        "score": RowwiseParallel(),
    }
    return parallelize_module(Recommender(), mesh, plan)


def loss_of_all(model: nn.Module, step: int) -> Tensor:
    """The loss of a step's whole batch, which every process computes where the model is split."""
    parts = [batch(step, part) for part in range(PROCESSES)]
    ids, targets = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
    return F.mse_loss(model(ids), targets)


def train_divided(mesh: DeviceMesh, name: str) -> dict[str, Tensor]:
    model = divided(mesh)
    optimizer = make(name, model.named_parameters())
    for step in STEPS:
        optimizer.zero_grad()
        loss_of_all(model, step).backward()
        optimizer.step()
    return contents(model, optimizer.state_dict())


def train_moving(mesh: DeviceMesh, name: str, rank: int) -> dict[str, Tensor]:
    """Each process's part lies elsewhere in every step, as after fully_shard has padded it again."""
    model = sharded(mesh)
    optimizer = make(name, model.named_parameters())
    for step in STEPS:
        train(model, optimizer, rank, [step])
        for parameter in model.parameters():
            parameter._local_tensor = parameter._local_tensor.clone()
        model.double()  # fully_shard then looks for its parts
    return contents(model, optimizer.state_dict())


def train_gathered(mesh: DeviceMesh, name: str, rank: int) -> dict[str, Tensor]:
    """DTensor itself gathers the parameters and scatters the gradients, which are on their way when a step begins.

    Parameters are waited for: torch 2.13 frees the padding of one that it gathers meanwhile over gloo too early,
    which corrupts memory in some runs.
    """
    model = distribute_module(Recommender(), mesh, split_by_rows)
    optimizer = make(name, model.named_parameters())
    for step in STEPS:
        gathered = {key: whole(parameter).requires_grad_() for key, parameter in model.named_parameters()}
        ids, targets = batch(step, rank)
        (F.mse_loss(torch.func.functional_call(model, gathered, ids), targets) / PROCESSES).backward()
        for key, parameter in model.named_parameters():
            gradient = DTensor.from_local(gathered[key].grad, mesh, [Partial()])
            parameter.grad = gradient.redistribute(placements=parameter.placements, async_op=True)
        optimizer.step()
    return contents(model, optimizer.state_dict())


def split_by_rows(name: str, module: nn.Module, mesh: DeviceMesh) -> None:
    for key, parameter in module.named_parameters(recurse=False):
        setattr(module, key, nn.Parameter(distribute_tensor(parameter.detach(), mesh, [Shard(0)])))


def step_along_wholes_and_summands(mesh: DeviceMesh) -> list[float]:
    """The same gradient twice, 1 in each coordinate: every process has it, then each a half of it."""
    parameter = nn.Parameter(distribute_tensor(torch.ones(3), mesh, [Replicate()]))
    optimizer = optim.SGD([parameter], lr=1.0)
    for value, placement in ((1.0, Replicate()), (1 / PROCESSES, Partial())):
        parameter.grad = DTensor.from_local(torch.full((3,), value), mesh, [placement])
        optimizer.step()
    return whole(parameter).tolist()


def counted_visits(mesh: DeviceMesh) -> list[int]:
    """In how many steps each row of this process's part had a gradient."""
    parameter = nn.Parameter(distribute_tensor(torch.ones(3 * PROCESSES, 2), mesh, [Shard(0)]))
    optimizer = optim.Adagrad([("table", parameter)])
    surefoot.count_visits(optimizer)
    rows = torch.ones(3 * PROCESSES, 2)
    rows[::2] = 0
    for gradient, placement in ((torch.ones(3, 2), Shard(0)), (rows, Replicate())):
        parameter.grad = DTensor.from_local(gradient, mesh, [placement])
        optimizer.step()
    return surefoot.diagnose(optimizer)["table"].rows[1].tolist()


def train_in_backward(mesh: DeviceMesh, name: str, rank: int) -> dict[str, Tensor]:
    model = sharded(mesh)
    optimizer = make(name, model.named_parameters())
    with optim.step_in_backward(model, optimizer):
        for step in STEPS:
            loss(model, step, rank).backward()
    return contents(model, optimizer.state_dict())


def train_clipped(mesh: DeviceMesh, name: str, rank: int) -> dict[str, Tensor]:
    model = sharded(mesh)
    optimizer = make(name, model.named_parameters())
    norms = []
    for step in STEPS:
        optimizer.zero_grad()
        loss(model, step, rank).backward()
        norms.append(optim.clip_grad_norm_(model.parameters(), max_norm=0.1).full_tensor())
        optim.clip_grad_value_(model.parameters(), clip_value=0.01)
        optimizer.step()
    return contents(model, optimizer.state_dict()) | {"norms": torch.stack(norms)}


def errors(mesh: DeviceMesh) -> dict[str, str]:
    """What is rejected: rates that processes would share, the state of other shards, a second backward pass."""
    model = sharded(mesh)
    loss(model, 0, 0).backward()
    shared = optim.Adagrad(model.named_parameters(), granularity="tensor")
    found = {"tensor": message(shared.step)}

    other = optim.Adam(model.named_parameters())
    other.step()
    checkpoint = other.state_dict()
    average = checkpoint["state"][0]["exp_avg"]
    for what, wrong in (("whole", average.full_tensor()), ("columns", average.redistribute(placements=[Shard(1)]))):
        checkpoint["state"][0]["exp_avg"] = wrong
        found[what] = message(lambda: other.load_state_dict(checkpoint))

    model = divided(mesh)
    remembered = loss_of_all(model, 0)
    remembered.backward(retain_graph=True)
    rows = optim.Adagrad(model.named_parameters(), granularity="row")
    found["row"] = message(rows.step)
    optim.SGD(model.parameters()).step()
    return found | {"second backward": message(remembered.backward)}


def main(folder: Path) -> None:
    with together() as rank:
        mesh = init_device_mesh("cpu", (PROCESSES,))
        found: dict[tuple[str, ...], object] = {}
        for name in OPTIMIZERS:
            model = sharded(mesh)
            optimizer = make(name, model.named_parameters())
            train(model, optimizer, rank)
            found[name, "rows"] = contents(model, optimizer.state_dict())
            if OPTIMIZERS[name][1].get("granularity") is None:
                found[name, "divided"] = train_divided(mesh, name)
        for name in ("SGD", "Adagrad, rows"):
            found[name, "gathered"] = train_gathered(mesh, name, rank)
            found[name, "in backward"] = train_in_backward(mesh, name, rank)
            found[name, "clipped"] = train_clipped(mesh, name, rank)
            found[name, "moving"] = train_moving(mesh, name, rank)
        found["wholes and summands",] = step_along_wholes_and_summands(mesh)
        found["visits",] = counted_visits(mesh)
        torch.save(found | {(what,): error for what, error in errors(mesh).items()}, folder / f"{rank}.pt")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
