"""A rule by name, or from a file of the user's."""

import difflib
import importlib.util
import sys
import zlib
from pathlib import Path

from surefoot import rules
from surefoot.rules import Rule, RuleError


def resolve_rule(text: str | Rule) -> Rule:
    """The rule that `text` names: one of the family, or `path/to/file.py:name` for one of your own.

    `:name` may be left out where the file defines a single rule. A Rule is returned as it is.

    Raises:
        RuleError: in one sentence, if there is no such rule or file, or the file cannot be run.

    >>> resolve_rule("adagrad").name
    'adagrad'
    """
    if isinstance(text, Rule):
        return text
    path, colon, name = text.rpartition(":")
    if not (colon and path.endswith(".py")):
        path, name = text, ""
    if not path.endswith(".py"):
        return rules.get(text)
    found = {key: value for key, value in load(Path(path)).items() if isinstance(value, Rule)}
    # What a file imports from the family is not a rule of its own.
    own = {key: value for key, value in found.items() if value not in rules.REGISTRY.values()}
    if name:
        if name not in found:
            near = difflib.get_close_matches(name, own, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"it defines {', '.join(own) or 'none'}"
            raise RuleError(f"{path}: there is no rule {name!r}; {hint}")
        return found[name]
    if len(own) != 1:
        raise RuleError(
            f"{path}: it defines {', '.join(own) or 'no rule'}; say which one: {path}:{next(iter(own), 'name')}"
        )
    return next(iter(own.values()))


def load(path: Path) -> dict:
    """The global names of a Python file, after it has run."""
    if not path.is_file():
        raise RuleError(f"{path}: there is no such file")
    # Two files of the same name are two modules, and a file that was edited is a new one.
    mark = zlib.crc32(f"{path.resolve()} {path.stat().st_mtime_ns}".encode())
    name = f"surefoot_user_{path.stem}_{mark:08x}"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, path)
        if spec is None or spec.loader is None:
            raise RuleError(f"{path}: cannot be run as Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module
        try:
            spec.loader.exec_module(module)
        except RuleError:
            del sys.modules[name]
            raise
        except Exception as error:
            del sys.modules[name]
            reason = str(error).splitlines()[0] if str(error) else "no message"
            raise RuleError(f"{path}: running it failed with {type(error).__name__}: {reason}") from error
    return vars(sys.modules[name])
