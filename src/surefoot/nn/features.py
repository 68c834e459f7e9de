"""Bags of ids, in the forms in which they are handed to embedding tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Bags(NamedTuple):
    """The bags of one feature, a bag for each example.

    Attributes:
        ids: int64, those of all bags; others before and behind may not be the feature's.
        ends: (batch + 1,), int64: where each bag begins in `ids`, and where the last one ends.
        factors: for each id, what its row is multiplied by; None for 1.
    """

    ids: Tensor
    ends: Tensor
    factors: Tensor | None

    def trimmed(self) -> Bags:
        """The same with no other ids."""
        first, last = int(self.ends[0]), int(self.ends[-1])
        if first == 0 and last == len(self.ids):
            return self
        factors = self.factors
        return Bags(self.ids[first:last], self.ends - first, None if factors is None else factors[first:last])


def read_features(features: Any, names: Iterable[str], weights: Any, is_weighted: bool) -> dict[str, Bags]:
    """The bags of the features that tables look up.

    Args:
        features: a mapping of them, see `read_bags`, or what has the methods of TorchRec's KeyedJaggedTensor.
        names: those that are looked up.
        weights: a mapping like that of the features, with a number for each id; None for what `features` has.
        is_weighted: the weights that `features` has count.

    Raises:
        ValueError: naming the feature, where one is missing, does not fit or has another number of bags.
    """
    if isinstance(features, Mapping):
        found = read_mapping(features, names, weights, is_weighted)
    elif all(hasattr(features, method) for method in ("keys", "values", "offsets", "weights_or_none")):
        found = read_keyed(features, names, weights, is_weighted)
    else:
        raise ValueError(
            f"the features are of type {type(features).__name__}; expected a mapping of their names to ids, or a "
            "KeyedJaggedTensor"
        )
    sizes = {name: len(bags.ends) - 1 for name, bags in found.items()}
    (first, size), *_ = sizes.items()
    for name, other in sizes.items():
        if other != size:
            raise ValueError(f"feature {name!r} has {other} bags, and {first!r} {size}; expected one for each example")
    return found


def check_present(names: Iterable[str], present: Iterable[str]) -> None:
    present = list(present)
    if missing := [name for name in names if name not in present]:
        raise ValueError(
            f"the features have no {', '.join(map(repr, missing))}, only {', '.join(map(repr, present)) or 'none'}; "
            "expected all that a table looks up, empty bags where an example has no ids"
        )


def read_mapping(features: Mapping, names: Iterable[str], weights: Any, is_weighted: bool) -> dict[str, Bags]:
    """The bags of a mapping of names to ids."""
    check_present(names, features)
    if weights is not None and not isinstance(weights, Mapping):
        raise ValueError(f"per_sample_weights is of type {type(weights).__name__}; expected a mapping by feature")
    if unknown := set(weights or ()) - set(features):
        raise ValueError(f"per_sample_weights names {min(unknown)!r}; expected features of the batch")
    ends: dict[tuple, Tensor] = {}
    found = {name: read_bags(name, features[name], (weights or {}).get(name), ends) for name in dict.fromkeys(names)}
    if is_weighted:
        for name, bags in found.items():
            if bags.factors is None:
                raise ValueError(f"feature {name!r} has no weights; expected some, or tables with is_weighted=False")
    return found


def read_keyed(features: Any, names: Iterable[str], weights: Any, is_weighted: bool) -> dict[str, Bags]:
    """The bags of what has the methods of TorchRec's KeyedJaggedTensor."""
    if weights is not None:
        raise ValueError("per_sample_weights is for mappings; expected the weights in the KeyedJaggedTensor")
    keys = list(features.keys())
    check_present(names, keys)
    inverse = getattr(features, "inverse_indices_or_none", lambda: None)()
    if inverse is not None or getattr(features, "variable_stride_per_key", lambda: False)():
        raise ValueError("the keys have batches of different sizes; expected one size, stride(), for all keys")
    ids, offsets = features.values(), features.offsets()
    factors = features.weights_or_none() if is_weighted else None
    if is_weighted and factors is None:
        raise ValueError("the KeyedJaggedTensor has no weights; expected some, or tables with is_weighted=False")
    check_numbers("the values", ids)
    size, rest = divmod(len(offsets) - 1, len(keys))
    if rest or offsets.ndim != 1:
        raise ValueError(
            f"there are {len(offsets)} offsets of {len(keys)} keys; expected the same number of bags for each key, and "
            "the end of the last"
        )
    ids, offsets = ids.long(), offsets.long()
    places = {key: place for place, key in enumerate(keys)}
    return {
        name: Bags(ids, offsets[size * places[name] : size * (places[name] + 1) + 1], factors)
        for name in dict.fromkeys(names)
    }


def read_bags(name: str, given: Any, weights: Any, known: dict[tuple, Tensor]) -> Bags:
    """The bags of one feature.

    Args:
        name: the feature's, for errors.
        given: its ids: a tensor (batch, ids of a bag), or (batch,) with an id for each example; a nested tensor with a
            bag for each example; or (values, offsets), as in TorchRec's JaggedTensor, of which the last offset is the
            number of values; or what has its methods.
        weights: a number for each id, laid out like them; also (values, offsets, weights), and what a JaggedTensor has.
        known: ends of bags of one size, by their number, size and device.
    """
    is_plain = isinstance(given, Tensor) and not given.is_nested
    if is_plain and given.ndim in (1, 2):
        check_numbers(f"feature {name!r}", given)
        shape = (*given.shape, given.device)
        if shape not in known:
            each = given.shape[1] if given.ndim == 2 else 1
            known[shape] = torch.arange(len(given) + 1, device=given.device) * each
        factors = None if weights is None else factors_of(name, weights, given.numel())
        return Bags(given.reshape(-1).long(), known[shape], factors)
    if isinstance(given, tuple) and len(given) == 3 and weights is None:
        *given, weights = given
    elif not isinstance(given, Tensor) and hasattr(given, "offsets"):
        jagged: Any = given
        weights = jagged.weights_or_none() if weights is None else weights
        given = jagged.values(), jagged.offsets()
    if isinstance(given, (tuple, list)) and len(given) == 2 and all(isinstance(each, Tensor) for each in given):
        ids, ends = given
        if ends.ndim != 1 or len(ends) == 0 or ids.ndim != 1:
            raise ValueError(
                f"feature {name!r}: the values have shape {tuple(ids.shape)}, the offsets {tuple(ends.shape)}; "
                "expected both in one dimension, with an offset for each bag and one more"
            )
        check_numbers(f"feature {name!r}: the offsets", ends)
    elif isinstance(given, Tensor) and given.is_nested:
        ids, ends = flat(given)
    else:
        what = f"shape {tuple(given.shape)}" if isinstance(given, Tensor) else f"type {type(given).__name__}"
        raise ValueError(
            f"feature {name!r} is of {what}; expected a tensor of one or two dimensions, a nested tensor, or values "
            "and offsets"
        )
    check_numbers(f"feature {name!r}", ids)
    ids, ends = ids.long(), ends.long()
    if int(ends[0]) != 0 or int(ends[-1]) != len(ids):
        raise ValueError(
            f"feature {name!r}: the offsets begin with {int(ends[0])} and end with {int(ends[-1])}; expected 0 and "
            f"{len(ids)}, the number of ids"
        )
    return Bags(ids, ends, None if weights is None else factors_of(name, weights, len(ids)))


def flat(nested: Tensor) -> tuple[Tensor, Tensor]:
    """The numbers of a nested tensor, one component behind the other, and where each begins."""
    components: Any = nested
    if (
        nested.layout is torch.jagged
        and components._ragged_idx == 1
        and nested.ndim == 2
        and components.lengths() is None
    ):
        return components.values(), components.offsets()
    parts = [part.reshape(-1) for part in nested.unbind()]
    sizes = torch.tensor([0, *map(len, parts)], device=nested.device)
    return torch.cat(parts) if parts else nested.new_empty(0), sizes.cumsum(0)


def factors_of(name: str, weights: Any, count: int) -> Tensor:
    """A number for each id."""
    if not isinstance(weights, Tensor):
        raise ValueError(f"feature {name!r} has weights of type {type(weights).__name__}; expected a tensor")
    factors = flat(weights)[0] if weights.is_nested else weights.reshape(-1)
    if len(factors) != count or not factors.is_floating_point():
        raise ValueError(
            f"feature {name!r} has {len(factors)} weights of {factors.dtype}; expected a floating-point number for "
            f"each of its {count} ids"
        )
    return factors


def check_numbers(what: str, ids: Tensor) -> None:
    """Raises ValueError for ids that are not whole numbers; an empty list becomes a tensor of float32."""
    whole = not (ids.is_floating_point() or ids.is_complex() or ids.dtype is torch.bool)
    if not whole and ids.numel() > 0:
        raise ValueError(f"{what}: the ids are {ids.dtype}; expected whole numbers")
