"""A callback for Lightning."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback  # pyright: ignore[reportMissingImports]

from surefoot.callbacks.training import Training


class SurefootCallback(Callback):
    """Rows catch up before the model is evaluated or saved, and when training ends; the optimizer clips.

    The trainer's `gradient_clip_val` becomes `max_grad_norm`, or `max_grad_value`, of Surefoot's optimizers until the
    end of training: Lightning clips by torch's functions, which reject sparse gradients.

    Raises:
        TypeError: when training begins, if no optimizer is one of surefoot.optim.
    """

    def __init__(self):
        self.training = Training()
        self.clipping: Any = None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Before the state of a checkpoint is loaded and before anything is evaluated."""
        self.training.begin(pl_module, trainer.optimizers)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """After that: a checkpoint has the limits that it was saved with."""
        value = trainer.gradient_clip_val
        if not value:
            return
        key = "max_grad_value" if trainer.gradient_clip_algorithm == "value" else "max_grad_norm"
        for optimizer in self.training.optimizers:
            optimizer.change(**{key: value})
        self.clipping, trainer.gradient_clip_val = value, None

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self._end(trainer)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        self._end(trainer)

    def _end(self, trainer: Any) -> None:
        self.training.end()
        if self.clipping is not None:
            trainer.gradient_clip_val, self.clipping = self.clipping, None
