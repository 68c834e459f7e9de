"""Drop-in PyTorch modules: change the import from torch.nn to surefoot.nn."""

from surefoot.nn.bags import EmbeddingBag
from surefoot.nn.configs import EmbeddingBagConfig
from surefoot.nn.embedding import Embedding
from surefoot.nn.keyed import KeyedTensor
from surefoot.nn.tables import EmbeddingTables

__all__ = ["Embedding", "EmbeddingBag", "EmbeddingBagConfig", "EmbeddingTables", "KeyedTensor"]
