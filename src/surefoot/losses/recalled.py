"""Losses in model files: built-in ones by name, user-defined ones by a description, since a model never runs code."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, NoReturn

from surefoot import losses
from surefoot.losses.record import TARGETS, Loss, LossError, Metric

KNOWN = ("name", "formula", "source", "target", "center", "degree", "joint", "convex")
"""What a model file holds of a user-defined loss."""
FUNCTIONS = ("slope", "value", "probability", "mean")
"""What it only names."""


@dataclass(frozen=True)
class Missing:
    """A function that a model file only names; calling it says what to do.

    Args:
        function: which of the loss's.
        described: the loss, as `losses.described` has it.
    """

    function: str
    described: str

    def __call__(self, *_arguments: Any) -> NoReturn:
        file = self.described.partition(" (")[0]
        raise LossError(
            f"the {self.function} of the loss {self.described} is not in the model, which never runs a file; name the "
            f"loss, as in --loss {file}"
        )


class RecalledLoss(Loss):
    """A user-defined loss as a model file describes it.

    Attributes:
        record: the description in the file.
    """

    record: Mapping[str, Any]

    def __init__(self, record: Mapping[str, Any]):
        check(record)
        known: dict[str, Any] = dict.fromkeys(field.name for field in fields(Loss))
        known |= {name: record[name] for name in KNOWN}
        known |= {name: Missing(name, record["described"]) for name in record["functions"]}
        known |= {"metric": Metric(**record["metric"]), "record": dict(record)}
        for name, value in known.items():
            object.__setattr__(self, name, value)

    def __reduce_ex__(self, protocol):
        return RecalledLoss, (self.record,)


def check(record: Mapping[str, Any]) -> None:
    """Raises TypeError or ValueError for a description that `recorded` cannot have written: files can be edited."""
    metric = record["metric"]
    texts = {"name": record["name"], "described": record["described"], "the metric's name": metric["name"]}
    if metric["root"] is not None:
        texts["the metric's root"] = metric["root"]
    for what, found in texts.items():
        if not isinstance(found, str):
            raise TypeError(f"loss: found {found!r} as {what}, expected text")
    if record["target"] not in TARGETS or not isinstance(record["joint"], bool):
        raise ValueError(f"loss: found target {record['target']!r} and joint {record['joint']!r}")
    if not math.isfinite(metric["factor"]) or metric["least"] is not None or not {*record["functions"]} <= {*FUNCTIONS}:
        raise ValueError("loss: found a metric or functions that no loss has")


def recorded(loss: Loss) -> str | dict[str, Any]:
    """What a model file holds of a loss, as JSON.

    >>> recorded(losses.huber)
    'huber'
    """
    if losses.REGISTRY.get(loss.name) is loss:
        return loss.name
    if isinstance(loss, RecalledLoss):
        return dict(loss.record)
    known = {name: getattr(loss, name) for name in KNOWN}
    metric = asdict(replace(loss.metric, least=None))
    functions = [name for name in FUNCTIONS if getattr(loss, name) is not None]
    return known | {"metric": metric, "functions": functions, "described": losses.described(loss)}


def recalled(record: str | Mapping[str, Any], given: str | Loss | None = None) -> Loss:
    """The loss of a model file. What needs the functions of a user-defined loss raises LossError.

    Args:
        record: what the file holds.
        given: the loss itself, or `path/to/file.py:name`, from the user who loads the model.

    Raises:
        LossError: another loss is given.

    >>> recalled("huber") is losses.huber
    True
    """
    made = record if isinstance(record, str) else record["described"]
    if given is not None:
        loss = losses.resolve(given)
        if (found := losses.described(loss)) != made:
            raise LossError(f"loss: found {found}, but the model was trained with {made}; give that one")
        return loss
    return losses.get(record) if isinstance(record, str) else RecalledLoss(record)
