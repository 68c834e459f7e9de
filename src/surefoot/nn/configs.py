"""What an embedding table is: its size, the features that look it up, and how a bag of its rows is pooled."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

DTYPES = {"FP64": torch.float64, "FP32": torch.float32, "FP16": torch.float16, "BF16": torch.bfloat16}
"""By the names of TorchRec's DataType."""
POOLINGS = ("sum", "mean")


@dataclass
class EmbeddingBagConfig:
    """A table of `EmbeddingTables`, with the fields of TorchRec's EmbeddingBagConfig.

    Attributes:
        num_embeddings: the number of rows.
        embedding_dim: the numbers of a row.
        name: the table's, in state dicts and errors.
        data_type: torch.float32, float64, float16 or bfloat16.
        feature_names: the features that look it up; by default, one of the table's name.
        weight_init_max, weight_init_min: initial weights are uniform between them; by default, ± 1/√embedding_dim.
        init_fn: fills the table instead, or returns what it is filled with.
        pooling: "sum" or "mean" of the rows of a bag.

    Raises:
        ValueError: naming the table, for a value that makes no table.

    >>> EmbeddingBagConfig(1000, 16, "items", feature_names=["viewed", "bought"]).pooling
    'sum'
    """

    num_embeddings: int
    embedding_dim: int
    name: str = ""
    data_type: Any = torch.float32
    feature_names: list[str] = field(default_factory=list)
    weight_init_max: float | None = None
    weight_init_min: float | None = None
    init_fn: Callable[[Tensor], Any] | None = None
    pooling: Any = "sum"

    def __post_init__(self) -> None:
        self.data_type = self._dtype()
        # TorchRec's are members of an enum, whose values are names in capitals.
        pooling = getattr(self.pooling, "value", self.pooling)
        self.pooling = pooling.lower() if isinstance(pooling, str) else pooling
        if not isinstance(self.name, str) or not self.name or "." in self.name:
            raise ValueError(f"a table is called {self.name!r}; expected a name without dots, for state dicts")
        if self.pooling not in POOLINGS:
            raise ValueError(f"table {self.name!r}: pooling is {self.pooling!r}; expected one of {POOLINGS}")
        for what in ("num_embeddings", "embedding_dim"):
            value = getattr(self, what)
            if isinstance(value, bool) or not hasattr(value, "__index__") or value < 1:
                raise ValueError(f"table {self.name!r}: {what} is {value!r}; expected a whole number, 1 or more")
        if isinstance(self.feature_names, str):
            raise ValueError(f"table {self.name!r}: feature_names is {self.feature_names!r}; expected a list of names")
        self.feature_names = list(self.feature_names) or [self.name]
        if len(set(self.feature_names)) < len(self.feature_names):
            raise ValueError(f"table {self.name!r}: the features {self.feature_names} name one of them twice")

    def _dtype(self) -> torch.dtype:
        named = getattr(self.data_type, "value", self.data_type)
        dtype = DTYPES.get(named, named)
        if not isinstance(dtype, torch.dtype) or dtype not in DTYPES.values():
            expected = ", ".join(map(str, DTYPES.values()))
            raise ValueError(f"table {self.name!r}: data_type is {self.data_type}; expected one of {expected}")
        return dtype

    @torch.no_grad()
    def initialize(self, weight: Tensor) -> None:
        """Fills a table with its initial weights."""
        if self.init_fn is not None:
            made = self.init_fn(weight)
            if isinstance(made, Tensor) and made is not weight:
                weight.copy_(made)
            return
        most = 1 / math.sqrt(self.embedding_dim)
        low = -most if self.weight_init_min is None else self.weight_init_min
        high = most if self.weight_init_max is None else self.weight_init_max
        if low > high:
            raise ValueError(
                f"table {self.name!r}: initial weights lie between {low:g} and {high:g}; expected weight_init_min and "
                "weight_init_max in ascending order"
            )
        weight.uniform_(low, high)


def read_configs(tables: Iterable[Any]) -> list[EmbeddingBagConfig]:
    """Copies of the configurations of tables, ours or TorchRec's.

    Raises:
        ValueError: where there are none, one is something else, or two have the same name.
    """
    names = EmbeddingBagConfig.__dataclass_fields__
    tables = list(tables) if isinstance(tables, Iterable) else [tables]
    if wrong := [table for table in tables if not hasattr(table, "feature_names")]:
        raise ValueError(
            f"a table is given as {type(wrong[0]).__name__}; expected a list of EmbeddingBagConfig, one for each table"
        )
    configs = [
        EmbeddingBagConfig(**{name: getattr(table, name) for name in names if hasattr(table, name)}) for table in tables
    ]
    if not configs:
        raise ValueError("there are no tables; expected the configuration of one or more")
    called = [config.name for config in configs]
    if twice := {name for name in called if called.count(name) > 1}:
        raise ValueError(f"two tables are called {min(twice)!r}; expected a name for each")
    return configs


def embedding_names(configs: list[EmbeddingBagConfig]) -> list[str]:
    """What the pooled rows are called, table by table: by the feature, and by the table where several have it.

    >>> a = EmbeddingBagConfig(9, 2, "a", feature_names=["x", "y"])
    >>> embedding_names([a, EmbeddingBagConfig(9, 2, "b", feature_names=["x"])])
    ['x@a', 'y', 'x@b']
    """
    features = [name for config in configs for name in config.feature_names]
    return [
        f"{name}@{config.name}" if features.count(name) > 1 else name
        for config in configs
        for name in config.feature_names
    ]
