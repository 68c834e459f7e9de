"""The laboratory: problems, traces, races, theory, published results and figures. Nothing else imports it.

trace       follow rules over a function of two numbers
compare     race rules on the same data and order
reproduce   published results, measured
diagnose    what a torch optimizer does to each parameter; Monitor does it every N steps
problems    the functions that traces walk on
"""

import importlib

# No module has the name of a function: importing it would replace the function.
_HOMES = {
    "Monitor": "monitoring",
    "compare": "comparison",
    "count_visits": "visits",
    "diagnose": "diagnosing",
    "reproduce": "reproduction",
    "trace": "tracing",
}

__all__ = [*_HOMES, "problems"]


def __getattr__(name: str):
    """Loads each part when it is first needed."""
    if name in _HOMES:
        return getattr(importlib.import_module(f"surefoot.lab.{_HOMES[name]}"), name)
    if name == "problems":
        return importlib.import_module("surefoot.lab.problems")
    raise AttributeError(f"module 'surefoot.lab' has no attribute {name!r}")


def __dir__():
    return sorted(__all__)
