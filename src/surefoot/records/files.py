"""Users' Python files, run as modules."""

import importlib.util
import sys
import zlib
from pathlib import Path
from types import ModuleType

PREFIX = "surefoot_user_"
"""What the names of their modules begin with."""


class RecordError(ValueError):
    """A record that cannot be used, or a file of them; the message is one sentence."""


def load(path: Path, error: type[RecordError] = RecordError) -> ModuleType:
    """A Python file as a module, after it has run."""
    if not path.is_file():
        raise error(f"{path}: there is no such file")
    # Two files of the same name are two modules, and a file that was edited is a new one.
    mark = zlib.crc32(f"{path.resolve()} {path.stat().st_mtime_ns}".encode())
    name = f"{PREFIX}{path.stem}_{mark:08x}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise error(f"{path}: cannot be run as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except RecordError as fault:
            del sys.modules[name]
            raise type(fault)(f"{path}: {fault}") from fault
        except (Exception, SystemExit) as fault:  # a script that ends with sys.exit must not end ours
            del sys.modules[name]
            reason = str(fault).splitlines()[0] if str(fault) else "no message"
            raise error(f"{path}: running it failed with {type(fault).__name__}: {reason}") from fault
    return sys.modules[name]
