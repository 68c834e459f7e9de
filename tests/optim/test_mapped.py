"""Tables in mapped files are stepped as those in memory, and what the optimizer keeps of them lies in files, too."""

import copy
from pathlib import Path

import pytest
from support.optimizers import assert_tensors_identical, optim, torch

from surefoot import nn
from surefoot.optim.mapped import file_of

ROWS, WIDTH = 50, 8
KINDS = {
    "Adagrad": ("Adagrad", {}),
    "Adagrad by row": ("Adagrad", {"granularity": "row"}),
    "Adagrad with initial memory": ("Adagrad", {"initial_accumulator_value": 0.3}),
    "FTRL": ("FTRL", {"l1": 0.01}),
    "decay": ("Adagrad", {"decoupled_weight_decay": 0.1}),
    "Adam": ("Adam", {"lazy": "touched"}),
}


def mapped(path: Path, values):
    """A parameter in a file, with these values."""
    path.touch()
    with path.open("r+b") as file:
        file.truncate(values.nbytes)
    parameter = torch.from_file(str(path), shared=True, size=values.numel(), dtype=values.dtype).view(values.shape)
    parameter.copy_(values)
    return torch.nn.Parameter(parameter)


def train(table, optimizer, steps):
    for step in steps:
        optimizer.zero_grad()
        ids = (torch.tensor([[3, 0, 3], [7, 49, 12]]) + step) % ROWS
        torch.nn.functional.embedding(ids, table, sparse=True).square().sum().backward()
        optimizer.step()


@pytest.fixture
def pair(tmp_path):
    """A table in memory and one in a file, with the same values."""
    torch.manual_seed(0)
    values = torch.randn(ROWS, WIDTH)
    return torch.nn.Parameter(values.clone()), mapped(tmp_path / "table.bin", values)


def tensors_of(optimizer, table):
    return {key: value for key, value in optimizer.state[table].items() if value.ndim > 0 and key not in MEMORY}


MEMORY = ("last", "history")
"""What remains in memory: a number for each row and step that wait."""


def assert_same(optimizers, tables):
    for optimizer, table in zip(optimizers, tables, strict=True):
        optimizer.flush([table])
    states = [tensors_of(*each) for each in zip(optimizers, tables, strict=True)]
    assert_tensors_identical(tables[1].detach(), tables[0].detach())
    for key, value in states[0].items():
        assert_tensors_identical(states[1][key], value)
        assert file_of(value) is None
        assert file_of(states[1][key]) is not None, key


@pytest.mark.parametrize("name, settings", KINDS.values(), ids=KINDS)
def test_steps_loading_and_growing(name, settings, pair, tmp_path):
    path = tmp_path / "table.bin"
    optimizers = [getattr(optim, name)([table], lr=0.1, **settings) for table in pair]
    for table, optimizer in zip(pair, optimizers, strict=True):
        train(table, optimizer, range(3))
    assert_same(optimizers, pair)
    assert [each.name for each in tmp_path.iterdir()] == ["table.bin"]
    held = torch.from_file(str(path), shared=False, size=ROWS * WIDTH).view(ROWS, WIDTH)
    assert_tensors_identical(held, pair[0].detach())

    again = [getattr(optim, name)([table], lr=0.1, **settings) for table in pair]
    for optimizer, other in zip(again, optimizers, strict=True):
        optimizer.load_state_dict(copy.deepcopy(other.state_dict()))
    for table, optimizer in zip(pair, again, strict=True):
        train(table, optimizer, range(3, 6))
        optimizer.grow(table, ROWS + 5, torch.nn.init.ones_)
        train(table, optimizer, range(6, 9))
        optimizer.reset(table, 0.5, rows=[1, 3])
    assert_same(again, pair)
    assert path.stat().st_size == (ROWS + 5) * WIDTH * 4
    assert file_of(pair[1]) == str(path)


def test_a_part_of_a_file_does_not_grow(tmp_path):
    whole = mapped(tmp_path / "table.bin", torch.zeros(ROWS, WIDTH))
    part = torch.nn.Parameter(whole.detach()[:10])
    optimizer = optim.Adagrad([part])
    with pytest.raises(ValueError, match=r"is a part of the file .*table.bin; expected all of it"):
        optimizer.grow(part, 20)
    assert part.shape == (10, WIDTH)


def test_checkpoints_that_are_mapped_are_not_written_to(tmp_path):
    """torch.load(mmap=True) shares nothing with the file, so a state is kept in memory."""
    torch.save({"weight": torch.zeros(ROWS, WIDTH)}, tmp_path / "model.pt")
    table = nn.Embedding(ROWS, WIDTH, sparse=True)
    table.load_state_dict(torch.load(tmp_path / "model.pt", mmap=True), assign=True)
    optimizer = optim.Adagrad(table.parameters())
    assert file_of(table.weight) is None
    assert file_of(optimizer.state[table.weight]["sum"]) is None


def resident() -> int:
    """The bytes of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs Linux's /proc")
@pytest.mark.parametrize("granularity", ["coordinate", "row"])
def test_memory_does_not_grow_by_the_table(granularity, tmp_path):
    def train(rows):
        path, width = tmp_path / f"{rows}.bin", 64
        with path.open("wb") as file:
            file.truncate(rows * width * 4)
        table = torch.nn.Parameter(torch.from_file(str(path), shared=True, size=rows * width).view(rows, width))
        optimizer = optim.Adagrad([table], lr=0.1, granularity=granularity)
        for _ in range(5):
            optimizer.zero_grad()
            ids = torch.randint(rows, (500,))
            torch.nn.functional.embedding(ids, table, sparse=True).sum().backward()
            optimizer.step()
        return table, optimizer, path.stat().st_blocks * 512

    kept = [train(1000)]  # compiles and imports
    before = resident()
    kept.append(train(1_600_000))  # 410 MB, and as much for the accumulators of coordinates
    assert resident() - before < 150e6
    assert kept[1][-1] < 100e6
