"""What the operating system says about the machine."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux keeps the memory limit of a container."""
UNKNOWN = 1e15
"""Bytes that are assumed where the system does not say."""


def memory() -> float:
    """Bytes of memory of the machine, or of the container that this process runs in."""
    known = [UNKNOWN]
    with suppress(AttributeError, ValueError, OSError):
        known.append(float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")))
    for limit in LIMITS:
        with suppress(ValueError, OSError):  # "max": there is none
            known.append(float(int(Path(limit).read_text())))
    return min(known)
