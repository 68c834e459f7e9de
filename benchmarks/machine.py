"""Where and when a benchmark ran: what its figures cannot be understood without."""

import datetime
import importlib.metadata
import os
import platform
import re
import subprocess
from pathlib import Path

import surefoot
from surefoot.engines import get_threads

PACKAGES = ("surefoot", "numpy", "numba", "scipy", "torch", "fbgemm-gpu-cpu", "pytorch-optimizer")


def facts() -> dict[str, str]:
    """Date, commit, processor, system and versions, as text."""
    return {
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": commit(),
        "processor": f"{processor()}, {get_threads()} threads used",
        "system": f"{platform.system()} {platform.release()}, {' '.join(platform.libc_ver())}",
        "load before": load(),
        "python": platform.python_version(),
    } | {package: version(package) for package in PACKAGES}


def processor() -> str:
    """The processor's own name, with its caches of the last level where Linux tells."""
    try:
        name = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
        cache = Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text().strip()
    except OSError:
        return platform.processor() or platform.machine()
    return f"{name[1] if name else platform.machine()}, {os.cpu_count()} cores, last-level cache {cache}"


def load() -> str:
    """How many processes wanted to run, over the last minute."""
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "unknown"


def version(package: str) -> str:
    try:
        return surefoot.__version__ if package == "surefoot" else importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
