"""What serves a trained model elsewhere: the same as torch's own modules, for torch.export and torch.jit.script."""

from __future__ import annotations

from typing import Dict, List, Optional  # noqa: UP035 (torch.jit.script knows no others)

import torch
from torch import Tensor, nn

from surefoot.nn.configs import EmbeddingBagConfig


class TorchTables(nn.Module):
    """The pooled rows of many features, side by side, by torch's modules alone; see `EmbeddingTables.to_torch`.

    Args:
        configs: those of the tables.
        weights: of the tables, which are shared.
    """

    def __init__(self, configs: list[EmbeddingBagConfig], weights: list[nn.Parameter]):
        super().__init__()
        self.embedding_bags = nn.ModuleList()
        for config, weight in zip(configs, weights, strict=True):
            bag = nn.EmbeddingBag(1, 1, mode=config.pooling, include_last_offset=True, device="meta")
            bag.num_embeddings, bag.embedding_dim, bag.weight = *weight.shape, weight
            self.embedding_bags.append(bag)
        self.features = [config.feature_names for config in configs]
        self.means = [config.pooling == "mean" for config in configs]
        self.wide = any(weight.dtype is torch.float64 for weight in weights)

    def forward(
        self,
        values: Dict[str, Tensor],  # noqa: UP006
        offsets: Dict[str, Tensor],  # noqa: UP006
        per_sample_weights: Optional[Dict[str, Tensor]] = None,  # noqa: UP006, UP045
    ) -> Tensor:
        """The pooled rows, (batch, Σ widths).

        Args:
            values: the ids of each feature.
            offsets: where each bag begins in them, and the end of the last.
            per_sample_weights: what rows are multiplied by; all features have some, or none.
        """
        parts: List[Tensor] = []  # noqa: UP006
        for k, bag in enumerate(self.embedding_bags):
            weight: Tensor = bag.weight  # pyright: ignore[reportAssignmentType]
            for name in self.features[k]:
                ids, ends = values[name].long(), offsets[name].long()
                if per_sample_weights is None:
                    rows = bag(ids, ends)
                else:
                    factors = per_sample_weights[name].to(weight.dtype)
                    if self.means[k]:
                        counts = ends.diff()
                        factors = factors / counts.clamp(min=1).to(factors.dtype).repeat_interleave(counts)
                    rows = nn.functional.embedding_bag(
                        ids, weight, ends, mode="sum", per_sample_weights=factors, include_last_offset=True
                    )
                parts.append(rows.double() if self.wide else rows.float())
        return torch.cat(parts, 1)
