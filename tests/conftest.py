"""Settings that all tests share."""

import gc
import signal

import pytest
import torch
from hypothesis import settings
from support.sampling import mark_the_rest

from surefoot import threads

# The same examples in every run, and none kept on disk: few of them, but with --hypothesis-profile=thorough.
settings.register_profile("thorough", derandomize=True, deadline=None, database=None, print_blob=False)
settings.register_profile("surefoot", settings.get_profile("thorough"), max_examples=25)
settings.load_profile("surefoot")

# Scripts that torchrun runs, and no tests of their own.
collect_ignore = ["optim/distributed"]

# A shell ignores interrupts in what it runs in the background, and so would all that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# What is imported and collected lives to the end, and little of what the compiler makes is garbage: to look for it as
# often as Python does by default would take a third of the time of collecting, and a twelfth of that of compiling.
gc.disable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """Slow ones first: of several processes, none should begin one when the others are done."""
    mark_the_rest(items)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish():
    gc.freeze()
    gc.set_threshold(10_000, 10, 20)
    gc.enable()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
    """Exceptions that a test has caught hold its arrays, in circles: of hundreds of tests, gigabytes."""
    gc.collect(1)


@pytest.fixture
def one_thread():
    """For models that are so small that several threads would wait for each other most of the time."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def parts_of_steps(monkeypatch):
    """Into how many parts each step is cut, from which its threads take."""
    counts, run = [], threads.run

    def counting(kernel, parts, *arguments, **limit):
        counts.append(parts)
        return run(kernel, parts, *arguments, **limit)

    monkeypatch.setattr(threads, "run", counting)
    return counts
