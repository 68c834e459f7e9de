"""Drop-in PyTorch modules: change the import from torch.nn to surefoot.nn."""

from surefoot.nn.bags import EmbeddingBag

__all__ = ["EmbeddingBag"]
