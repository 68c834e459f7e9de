"""`EmbeddingTables`: the embedding tables of a model and the features that look them up, in one call."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from surefoot.nn.configs import EmbeddingBagConfig, embedding_names, read_configs
from surefoot.nn.features import Bags, read_features
from surefoot.nn.keyed import KeyedTensor
from surefoot.nn.pooling import Outputs, WrongIds, is_pooled_here, pooled
from surefoot.nn.servable import TorchTables


class EmbeddingTables(nn.Module):
    """Sums or means of the rows that many features name, used as TorchRec's EmbeddingBagCollection is.

    A batch is a mapping of features to the ids of a bag for each example, or TorchRec's KeyedJaggedTensor; TorchRec
    itself is not needed. State dicts have TorchRec's keys, `embedding_bags.<table>.weight`. Gradients are sparse, on
    CPUs with each row once (but where weights are learned, or of float64 tables next to others), and the optimizers of
    Surefoot step all tables together.

    Args:
        tables: the tables, `EmbeddingBagConfig` or TorchRec's. A feature may look up several, and several features one.
        is_weighted: ids have weights, by which their rows are multiplied: in the batch, or in `per_sample_weights`. A
            mean of them is divided by the number of ids.
        device: where the tables lie.
        sparse: False for gradients of a table's size, as TorchRec's module has them.

    Raises:
        ValueError: naming the table, for a configuration that makes no table.

    >>> tables = EmbeddingTables(
    ...     [
    ...         EmbeddingBagConfig(10, 2, "users"),
    ...         EmbeddingBagConfig(20, 3, "items", feature_names=["viewed", "bought"], pooling="mean"),
    ...     ]
    ... )
    >>> bought = torch.tensor([7, 7, 9]), torch.tensor([0, 3, 3])  # the second example has none
    >>> pooled = tables({"users": torch.tensor([4, 5]), "viewed": torch.tensor([[1, 2], [3, 4]]), "bought": bought})
    >>> pooled.keys(), pooled.values().shape, pooled["bought"][1].tolist()
    (['users', 'viewed', 'bought'], torch.Size([2, 8]), [0.0, 0.0, 0.0])
    """

    def __init__(
        self,
        tables: Iterable[Any],
        is_weighted: bool = False,
        device: torch.device | str | None = None,
        sparse: bool = True,
    ):
        super().__init__()
        self._configs = read_configs(tables)
        self._is_weighted, self._sparse = is_weighted, sparse
        self._features = [name for config in self._configs for name in config.feature_names]
        self._names = embedding_names(self._configs)
        self._widths = [config.embedding_dim for config in self._configs for _ in config.feature_names]
        self.embedding_bags = Tables()
        for config in self._configs:
            self.embedding_bags[config.name] = Table(
                config.num_embeddings,
                config.embedding_dim,
                mode=config.pooling,
                sparse=sparse,
                include_last_offset=True,
                device=device,
                dtype=config.data_type,
                _weight=torch.empty(config.num_embeddings, config.embedding_dim, device=device, dtype=config.data_type),
            )
        self.reset_parameters()

    @torch._disable_dynamo  # pyright: ignore[reportPrivateImportUsage]
    def forward(self, features: Any, per_sample_weights: Any = None) -> KeyedTensor:
        """The pooled rows of a batch.

        Args:
            features: a KeyedJaggedTensor, or for each feature its ids: (batch, ids of a bag); (batch,) with an id for
                each example; a nested tensor with a bag for each example; or (values, offsets), of which the last
                offset is the number of values. What no table looks up is ignored.
            per_sample_weights: for mappings, a floating-point number for each id, laid out like the ids, by feature.

        Returns:
            The rows by feature, in the order of the tables and of their features, and side by side: float32, or float64
            where a table is. A feature of several tables is called `feature@table`.

        Raises:
            ValueError: naming the feature, where one is missing, does not fit, or has another number of bags.
            RuntimeError: naming the table and the feature, for ids out of range.
        """
        bags = read_features(features, self._features, per_sample_weights, self._is_weighted)
        weights = [table() for table in self.embedding_bags.children()]
        outputs = [(k, name, bags[name]) for k, config in enumerate(self._configs) for name in config.feature_names]
        if self._sparse and is_pooled_here(weights, outputs):
            try:
                return KeyedTensor(self._names, self._widths, pooled(self._configs, weights, outputs))
            except WrongIds:  # torch's way finds out which
                pass
        return KeyedTensor(self._names, self._widths, self._by_table(weights, outputs))

    def _by_table(self, weights: list[Tensor], outputs: Outputs) -> Tensor:
        """The pooled rows, by torch's operation, a call for each table."""
        parts = []
        for number, (config, weight) in enumerate(zip(self._configs, weights, strict=True)):
            own = []
            for k, name, bags in outputs:
                if k == number:
                    own.append(bags.trimmed())
                    check_ids(config, name, own[-1], len(weight))
            parts += pooled_by_torch(config, weight, own, self._sparse)
        dtype = torch.float64 if any(part.dtype is torch.float64 for part in parts) else torch.float32
        return torch.cat([part.to(dtype) for part in parts], 1)

    def to_torch(self) -> TorchTables:
        """The same of torch's own modules, for torch.export and torch.jit.script; the weights are shared.

        Its `forward(values, offsets, per_sample_weights=None)` takes mappings of features to tensors: the ids, where
        bags begin in them and the last one ends, and weights. It returns what `values()` of a KeyedTensor does.
        """
        return TorchTables(self._configs, list(self.embedding_bags.parameters())).train(self.training)

    def reset_parameters(self) -> None:
        """Fills all tables with initial weights."""
        for config, weight in zip(self._configs, self.embedding_bags.parameters(), strict=True):
            if not weight.is_meta:
                config.initialize(weight)

    def embedding_bag_configs(self) -> list[EmbeddingBagConfig]:
        """The configurations of the tables, in their order."""
        return self._configs

    def is_weighted(self) -> bool:
        """Whether ids have weights."""
        return self._is_weighted

    @property
    def device(self) -> torch.device:
        """Where the first table lies."""
        return next(self.parameters()).device


class Tables(nn.ModuleDict):
    """Modules by name. A name such as "items", which torch's ModuleDict does not take, means the module here."""

    def __setitem__(self, key: str, module: nn.Module) -> None:
        self._modules[key] = module

    def __getattribute__(self, name: str) -> Any:
        if name in OF_DICTIONARIES and name in (modules := super().__getattribute__("_modules")):
            return modules[name]
        return super().__getattribute__(name)


OF_DICTIONARIES = {name for name in vars(nn.ModuleDict) if not name.startswith("_")}


class Table(nn.EmbeddingBag):
    """A table of several. Called without ids it returns its weights: so its hooks are called whatever looks it up."""

    def forward(self, input: Any = None, offsets: Any = None, per_sample_weights: Any = None) -> Tensor:
        return self.weight if input is None else super().forward(input, offsets, per_sample_weights)


def pooled_by_torch(config: EmbeddingBagConfig, weight: Tensor, features: list[Bags], sparse: bool) -> list[Tensor]:
    """The pooled rows of each feature of a table, by torch's own operation."""
    size, ids = len(features[0].ends) - 1, torch.cat([bags.ids for bags in features])
    starts = itertools.accumulate((len(bags.ids) for bags in features[:-1]), initial=0)
    begins = [bags.ends[:-1] + start for bags, start in zip(features, starts, strict=True)]
    ends = torch.cat([*begins, begins[0].new_full((1,), len(ids))])
    mode, factors = config.pooling, None
    if any(bags.factors is not None for bags in features):
        factors = [torch.ones(len(b.ids), device=ids.device) if b.factors is None else b.factors for b in features]
        factors = torch.cat([part.to(weight.dtype) for part in factors])
        if mode == "mean":  # torch has it for sums alone
            counts = ends.diff()
            factors, mode = factors * (1 / counts.clamp(min=1).to(weight.dtype)).repeat_interleave(counts), "sum"
    rows = nn.functional.embedding_bag(
        ids, weight, ends, mode=mode, sparse=sparse, per_sample_weights=factors, include_last_offset=True
    )
    return list(rows.view(len(features), size, config.embedding_dim).unbind())


def check_ids(config: EmbeddingBagConfig, feature: str, bags: Bags, rows: int) -> None:
    """Raises RuntimeError for ids of rows that a table does not have, and ValueError for bags that overlap."""
    ids, ends = bags.ids, bags.ends
    outside = (ids < 0) | (ids >= rows)
    if bool(outside.any()):
        wrong = int(ids[outside][0])
        raise RuntimeError(f"table {config.name!r}: feature {feature!r} has the id {wrong}; expected 0 … {rows - 1}")
    if bool((ends.diff() < 0).any()):
        raise ValueError(f"feature {feature!r}: the offsets {ends.tolist()[:8]} … fall; expected ascending ones")
