"""Settings that all tests share."""

from hypothesis import settings

# The same examples in every run, and none kept on disk.
settings.register_profile("surefoot", derandomize=True, deadline=None, database=None, print_blob=False)
settings.load_profile("surefoot")

# Scripts that torchrun runs, and no tests of their own.
collect_ignore = ["optim/distributed"]
