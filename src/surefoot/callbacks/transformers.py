"""A callback for Trainer of Hugging Face's Transformers."""

from __future__ import annotations

from typing import Any

from transformers import TrainerCallback  # pyright: ignore[reportMissingImports]

from surefoot.callbacks.accelerate import accept_sparse_gradients
from surefoot.callbacks.training import Training


class SurefootCallback(TrainerCallback):  # pyright: ignore[reportGeneralTypeIssues]
    """Rows catch up before the model is evaluated or saved, and when training ends; sparse gradients are clipped.

    Trainer measures the norm of the gradients in each step, also with max_grad_norm=0, by a function that rejects
    sparse gradients: see `accept_sparse_gradients`.

    Args:
        trainer: the Trainer that the callback is added to.

    Raises:
        TypeError: when training begins, if the optimizer is not one of surefoot.optim.
    """

    def __init__(self, trainer: Any):
        self.trainer, self.training = trainer, Training()

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training.begin(kwargs["model"], [kwargs["optimizer"]])
        accept_sparse_gradients(self.trainer.accelerator)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.training.end()
