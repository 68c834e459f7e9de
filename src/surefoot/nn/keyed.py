"""What several tables give for a batch: the pooled rows of each feature, side by side."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from torch import Tensor


@dataclass(eq=False)
class KeyedTensor:
    """Named columns of one matrix, which are read as those of TorchRec's KeyedTensor are.

    Args:
        names: of the parts, in their order.
        widths: how many columns each has.
        matrix: (batch, Σ widths).

    >>> import torch
    >>> pooled = KeyedTensor(["user", "item"], [1, 2], torch.tensor([[1.0, 2.0, 3.0]]))
    >>> pooled["item"], pooled.offset_per_key()
    (tensor([[2., 3.]]), [0, 1, 3])
    """

    names: list[str]
    widths: list[int]
    matrix: Tensor

    def keys(self) -> list[str]:
        """The names of the parts, in the order of their columns."""
        return self.names

    def values(self) -> Tensor:
        """The whole matrix."""
        return self.matrix

    def length_per_key(self) -> list[int]:
        """How many columns each part has."""
        return self.widths

    def offset_per_key(self) -> list[int]:
        """Where each part begins, and the end of the last."""
        return [0, *itertools.accumulate(self.widths)]

    def key_dim(self) -> int:
        """The dimension along which the parts lie."""
        return 1

    def to_dict(self) -> dict[str, Tensor]:
        """The parts by their names."""
        return dict(zip(self.names, self.matrix.split(self.widths, 1), strict=True))

    def __getitem__(self, key: str) -> Tensor:
        place = self.names.index(key) if key in self.names else -1
        if place < 0:
            raise KeyError(key)
        begin = sum(self.widths[:place])
        return self.matrix[:, begin : begin + self.widths[place]]
