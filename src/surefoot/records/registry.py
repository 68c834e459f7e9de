"""Records by name: built-in ones from a registry, user-defined ones from a file, as `path/to/file.py:name`."""

import difflib
import hashlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from surefoot.records.base import Record
from surefoot.records.files import RecordError, load

R = TypeVar("R", bound=Record)


def find(name: str | R, registry: Mapping[str, R], kind: str, error: type[RecordError]) -> R:
    """The record of that name; a record is returned as it is.

    Args:
        name: the name, or the record itself.
        registry: of all records of a kind.
        kind: what messages call them, and the decorator in `surefoot` that makes them: "rule" or "loss".
        error: what is raised for an unknown name, with the nearest known one.
    """
    if isinstance(name, Record):
        if not isinstance(name, type(next(iter(registry.values())))):
            raise error(f"{name!r} is not a {kind}; expected one of {', '.join(registry)}")
        return name  # pyright: ignore[reportReturnType]
    if callable(name):
        called = getattr(name, "__name__", name)
        raise error(f"{called} is a function, not yet a {kind}; decorate it with surefoot.{kind}")
    if name not in registry:
        raise error(f"there is no {kind} {name!r}; {hint(str(name), registry)}")
    return registry[name]


def resolve(text: str | R, registry: Mapping[str, R], kind: str, error: type[RecordError]) -> R:
    """The record that `text` names: a built-in one, or a user-defined one as `path/to/file.py:name`.

    `:name` is optional if the file defines a single one. A record is returned unchanged. The file is run, so its name
    must come from the user, never from a data or model file.

    Raises:
        error: in one sentence, if there is no such record or file, or the file cannot be run.
    """
    if not isinstance(text, str):
        return find(text, registry, kind, error)
    path, colon, name = text.rpartition(":")
    if not (colon and path.endswith(".py")):
        path, name = text, ""
    if not path.endswith(".py"):
        return find(text, registry, kind, error)
    base = type(next(iter(registry.values())))
    known = vars(load(Path(path), error))
    found = {key: value for key, value in known.items() if isinstance(value, base)}
    # What a file imports from the family is not its own.
    own = {key: value for key, value in found.items() if value not in registry.values()}
    if name in found:
        return found[name]
    if name:
        if isinstance(known.get(name), Record):
            raise error(f"{path}: {name} is not a {kind}, found {known[name]!r}; {hint(name, own)}")
        if callable(known.get(name)):
            raise error(f"{path}: {name} is a function, not yet a {kind}; decorate it with surefoot.{kind}")
        raise error(f"{path}: there is no {kind} {name!r}; {hint(name, own)}")
    if len(own) != 1:
        defined = ", ".join(own) or f"no {kind}"
        raise error(f"{path}: it defines {defined}; name one, as in {path}:{next(iter(own), 'name')}")
    return next(iter(own.values()))


def hint(name: str, known: Iterable[str]) -> str:
    """What may have been meant.

    >>> hint("adagra", ["sgd", "adagrad"]), hint("x", ["sgd"])
    ("did you mean 'adagrad'?", 'there are sgd')
    """
    names = list(known)
    near = difflib.get_close_matches(name, names, 1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names) or 'none'}"


def described(record: Record, registry: Mapping[str, Any]) -> str:
    """A record as files name it: by its name, and if it is user-defined by its file and a fingerprint of that.

    >>> from surefoot.rules import REGISTRY
    >>> described(REGISTRY["adam"], REGISTRY)
    'adam'
    """
    if registry.get(record.name) is record:
        return record.name
    file = Path(inspect.getsourcefile(record.main) or "")
    if not file.is_file():
        return f"{record.name} (defined outside a file)"
    return f"{file.name}:{record.variable} (fingerprint {hashlib.sha256(file.read_bytes()).hexdigest()[:12]})"
