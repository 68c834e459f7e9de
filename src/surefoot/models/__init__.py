"""Models: how the numbers of an example's features predict, and the derivative of the prediction; one file per model.

Whatever learns a model knows this shape and not the members: memory, rules and penalties are those of its parts. Begin
with `models/linear.py`; `record.py` says what a model is.
"""

from surefoot.models.linear import linear
from surefoot.models.record import STATISTICS, Architecture, ModelError, Part
from surefoot.records.registry import find

REGISTRY: dict[str, Architecture] = {architecture.name: architecture for architecture in (linear,)}


def get(name: str | Architecture) -> Architecture:
    """The architecture of that name; an Architecture is returned as it is.

    Raises:
        ModelError: for an unknown name, with the nearest known one.

    >>> get("linear").parts["bias"].of
    'model'
    """
    return find(name, REGISTRY, "model", ModelError)


__all__ = ["REGISTRY", "STATISTICS", "Architecture", "ModelError", "Part", "get", "linear"]
