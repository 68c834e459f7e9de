"""Settings that all tests share."""

import gc

from hypothesis import settings

# The same examples in every run, and none kept on disk.
settings.register_profile("surefoot", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("surefoot")

# Scripts that torchrun runs, and no tests of their own.
collect_ignore = ["optim/distributed"]

# What is imported and collected lives to the end, and little of what the compiler makes is garbage: to look for it as
# often as Python does by default would take a third of the time of collecting, and a twelfth of that of compiling.
gc.disable()


def pytest_collection_modifyitems(items):
    """Slow ones first: of several processes, none should begin one when the others are done."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish():
    gc.freeze()
    gc.set_threshold(10_000, 10, 20)
    gc.enable()
