"""Tables are moved into huge pages: nothing but their pages changes."""

import mmap
import re
import threading
from pathlib import Path

import pytest
import torch

from surefoot import hugepages
from surefoot.optim import Adagrad, gradients

ROWS, WIDTH = 40_000, 64  # 10 MB


def table(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.Parameter(torch.randn(ROWS, WIDTH, generator=generator))


def gradient(seed):
    generator = torch.Generator().manual_seed(seed)
    ids, values = torch.randint(ROWS, (1, 500), generator=generator), torch.randn(500, WIDTH, generator=generator)
    return torch.sparse_coo_tensor(ids, values, (ROWS, WIDTH), check_invariants=True)


def in_huge_pages(address):
    """Kilobytes in huge pages of the mapping that an address lies in."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line):
            inside = int(found[1], 16) <= address < int(found[2], 16)
        elif inside and line.startswith("AnonHugePages:"):
            return int(line.split()[1])
    return 0


def test_moving_to_huge_pages_changes_nothing(monkeypatch):
    moved, kept = table(), table()
    view, address = moved.data[:, :1], moved.data_ptr()
    for parameter, move in ((moved, True), (kept, False)):
        with monkeypatch.context() as patch:
            if not move:
                patch.setattr(hugepages, "madvise", lambda: None)
            optimizer = Adagrad([parameter], lr=0.1)
            for step in range(3):
                parameter.grad = gradient(step)
                optimizer.step()
    assert moved.data_ptr() == address
    assert torch.equal(moved, kept)
    assert torch.equal(view, kept[:, :1])


def wait_until_moved():
    for thread in threading.enumerate():
        if thread.name == hugepages.MOVING:
            thread.join()


def test_a_table_is_moved():
    """In memory of its own, whatever earlier tests have left of the heap."""
    if not hasattr(mmap, "MAP_ANONYMOUS"):
        pytest.skip("the system has no such mappings")
    memory = mmap.mmap(-1, 4 * ROWS * WIDTH, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    parameter = torch.nn.Parameter(torch.frombuffer(memory, dtype=torch.float32).view(ROWS, WIDTH))
    with torch.no_grad():
        parameter.normal_()
    begin, _ = hugepages.whole_pages(parameter.data_ptr(), parameter.nbytes)
    advise = hugepages.madvise()
    if not advise or advise(begin, hugepages.HUGE, hugepages.MADV_COLLAPSE):
        pytest.skip("the system moves nothing into huge pages (Linux does since 6.1, unless that is disabled)")
    optimizer = Adagrad([parameter])
    parameter.grad = gradient(0)
    optimizer.step()
    wait_until_moved()
    assert in_huge_pages(begin) >= 2 * hugepages.HUGE // 1024


def test_a_step_does_not_wait_for_it(monkeypatch):
    """Nor for a system that takes long to move a page."""
    called, go_on = threading.Event(), threading.Event()

    def advise(address, size, how):
        if how == hugepages.MADV_COLLAPSE:
            called.set()
            go_on.wait(60)

    monkeypatch.setattr(hugepages, "madvise", lambda: advise)
    parameter = table()
    optimizer = Adagrad([parameter])
    parameter.grad = gradient(0)
    optimizer.step()
    assert called.wait(60)
    assert not go_on.is_set()
    go_on.set()
    wait_until_moved()


def test_a_table_is_moved_once(monkeypatch):
    """Not whenever its data are exchanged, which some do at every step."""
    calls = []
    monkeypatch.setattr(gradients, "move_to_huge_pages", calls.append)
    parameter = table()
    optimizer = Adagrad([parameter])
    parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert not calls, "dense steps have no use for it"
    for step in range(3):
        parameter.data = parameter.data.clone()
        parameter.grad = gradient(step)
        optimizer.step()
    assert len(calls) == 1


def test_moving_pages_ends_after_a_while(monkeypatch):
    calls = []
    monkeypatch.setattr(hugepages, "madvise", lambda: lambda *arguments: calls.append(arguments))
    monkeypatch.setattr(hugepages, "LONGEST", 0.0)
    hugepages.move_to_huge_pages(0, 100 * hugepages.PIECE)
    wait_until_moved()
    assert [arguments[2] for arguments in calls] == [14], "a hint alone"
    monkeypatch.setattr(hugepages, "LONGEST", 60.0)
    hugepages.move_to_huge_pages(hugepages.HUGE - 1, 2 * hugepages.PIECE)
    wait_until_moved()
    begin, end = hugepages.whole_pages(hugepages.HUGE - 1, 2 * hugepages.PIECE)
    assert [arguments[2] for arguments in calls[1:]] == [14, 25, 25]
    assert sum(size for _, size, _ in calls[2:]) == end - begin
