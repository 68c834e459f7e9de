"""Inputs that mutation found, each for a fault of its own, are read as a slow reader in plain Python reads them."""

from pathlib import Path

import pytest
from support import slow_readers


@pytest.mark.parametrize("format", slow_readers.FORMATS)
@pytest.mark.parametrize("threads", [1, 2])
def test_corpus(format, threads):
    content = (Path(__file__).with_name("corpus") / f"{format}.txt").read_bytes()
    faults = slow_readers.check(content, format, threads=threads)
    assert len({fault.reason for fault in faults}) >= 5
