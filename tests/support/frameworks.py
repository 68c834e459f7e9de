"""Lightning, Transformers and Accelerate, where they are installed; else as much of each as callbacks see of it.

The stand-ins call hooks, closures, clipping functions and state dicts in the order of Lightning 2.6, Transformers 5.24
and Accelerate 1.15.
"""

import importlib.util
import itertools
import sys
import types
import warnings
from pathlib import Path

import torch
from torch import nn


def provide(monkeypatch, name: str) -> None:
    """Makes a framework importable: itself where it is installed, with its warnings ignored, else its stand-in."""
    if importlib.util.find_spec(name) is not None:
        warnings.simplefilter("ignore")  # until the test ends
        return
    for path, names in STAND_INS[name].items():
        module = types.ModuleType(path)
        module.__dict__.update(names)
        monkeypatch.setitem(sys.modules, path, module)
        package, _, last = path.rpartition(".")
        if package:
            setattr(sys.modules[package], last, module)
    monkeypatch.delitem(sys.modules, f"surefoot.callbacks.{name}", raising=False)


# Lightning


class Callback:
    """Each hook does nothing."""

    def on_fit_start(self, trainer, pl_module): ...

    def on_train_start(self, trainer, pl_module): ...

    def on_train_end(self, trainer, pl_module): ...

    def on_exception(self, trainer, pl_module, exception): ...


class LightningTrainer:
    def __init__(self, max_epochs=1, gradient_clip_val=None, gradient_clip_algorithm=None, callbacks=(), **others):
        self.max_epochs, self.callbacks = max_epochs, list(callbacks)
        self.checks = others.get("num_sanity_val_steps", 2)
        self.gradient_clip_val, self.gradient_clip_algorithm = gradient_clip_val, gradient_clip_algorithm

    def call(self, hook, *args):
        for callback in self.callbacks:
            getattr(callback, hook)(self, self.module, *args)

    def fit(self, module, train_dataloaders, val_dataloaders=()):
        self.module, self.optimizers = module, [module.configure_optimizers()]
        try:
            self.call("on_fit_start")
            self.evaluate(itertools.islice(val_dataloaders, self.checks))
            self.call("on_train_start")
            for _ in range(self.max_epochs):
                for index, batch in enumerate(train_dataloaders):
                    self.optimizers[0].step(lambda batch=batch, index=index: self.closure(batch, index))
                self.evaluate(val_dataloaders)
            self.call("on_train_end")
        except BaseException as error:
            self.call("on_exception", error)
            raise

    def closure(self, batch, index):
        loss = self.module.training_step(batch, index)
        self.optimizers[0].zero_grad()
        loss.backward()
        if self.gradient_clip_val:
            value = self.gradient_clip_algorithm == "value"
            clip = nn.utils.clip_grad_value_ if value else nn.utils.clip_grad_norm_
            clip([p for group in self.optimizers[0].param_groups for p in group["params"]], self.gradient_clip_val)
        return loss.detach()

    def evaluate(self, loader):
        self.module.eval()
        with torch.inference_mode():
            for index, batch in enumerate(loader):
                self.module.validation_step(batch, index)
        self.module.train()

    def save_checkpoint(self, path):
        state = {"state_dict": self.module.state_dict()}
        torch.save(state | {"optimizer_states": [optimizer.state_dict() for optimizer in self.optimizers]}, path)


# Accelerate


class AcceleratedOptimizer(torch.optim.Optimizer):
    def __init__(self, optimizer):
        self.optimizer = optimizer
        optimizer.load_state_dict(optimizer.state_dict())

    def __getattr__(self, name):
        return getattr(self.__dict__["optimizer"], name)

    def zero_grad(self, set_to_none=True):
        self.optimizer.zero_grad(set_to_none)

    def step(self, closure=None):
        self.optimizer.step(closure)

    def state_dict(self):
        return self.optimizer.state_dict()


class Accelerator:
    def __init__(self, **_):
        self.models, self.optimizers = [], []

    def prepare(self, *given):
        made = [AcceleratedOptimizer(each) if isinstance(each, torch.optim.Optimizer) else each for each in given]
        self.models += [each for each in made if isinstance(each, nn.Module)]
        self.optimizers += [each for each in made if isinstance(each, AcceleratedOptimizer)]
        return tuple(made)

    def backward(self, loss):
        loss.backward()

    def unscale_gradients(self): ...

    def clip_grad_norm_(self, parameters, max_norm, norm_type=2):
        self.unscale_gradients()
        return nn.utils.clip_grad_norm_(list(parameters), max_norm, norm_type=norm_type)

    def clip_grad_value_(self, parameters, clip_value):
        self.unscale_gradients()
        nn.utils.clip_grad_value_(parameters, clip_value)

    def save_state(self, folder, safe_serialization=True):
        folder = Path(folder)
        folder.mkdir(exist_ok=True)
        for model, optimizer in zip(self.models, self.optimizers, strict=True):
            torch.save(model.state_dict(), folder / "pytorch_model.bin")
            torch.save(optimizer.state_dict(), folder / "optimizer.bin")


# Transformers


class TrainerCallback:
    """Each hook does nothing."""

    def on_train_begin(self, args, state, control, **kwargs): ...

    def on_train_end(self, args, state, control, **kwargs): ...


class TrainingArguments:
    def __init__(self, output_dir=None, num_train_epochs=3.0, max_grad_norm=1.0, **_):
        self.num_train_epochs, self.max_grad_norm = int(num_train_epochs), max_grad_norm


class Trainer:
    def __init__(self, model, args, train_dataset, eval_dataset=(), optimizers=(None, None), **_):
        self.model, self.args, self.callbacks = model, args, []
        self.train_dataset, self.eval_dataset = train_dataset, eval_dataset
        self.optimizer, _ = optimizers

    def add_callback(self, callback):
        self.callbacks.append(callback)

    def call(self, event):
        for callback in self.callbacks:
            getattr(callback, event)(self.args, None, None, model=self.model, optimizer=self.optimizer)

    def train(self):
        self.accelerator = Accelerator()
        self.model, self.optimizer = self.accelerator.prepare(self.model, self.optimizer)
        self.call("on_train_begin")
        for _ in range(self.args.num_train_epochs):
            for example in self.train_dataset:
                self.model.train()
                self.accelerator.backward(self.model(**batch_of(example))["loss"])
                limit = self.args.max_grad_norm or float("inf")
                self.accelerator.clip_grad_norm_(self.model.parameters(), limit)
                self.optimizer.step()
                self.model.zero_grad()
            self.evaluate()
        self.call("on_train_end")

    def evaluate(self):
        self.model.eval()
        with torch.no_grad():
            return [self.model(**batch_of(example)) for example in self.eval_dataset]

    def save_model(self, folder):
        torch.save(self.model.state_dict(), Path(folder) / "model.bin")


def batch_of(example):
    """One example, as a batch."""
    return {key: torch.as_tensor(value)[None] for key, value in example.items()}


LIGHTNING = {"Callback": Callback, "LightningModule": nn.Module, "Trainer": LightningTrainer}
STAND_INS = {
    "lightning": {"lightning": {}, "lightning.pytorch": LIGHTNING},
    "accelerate": {"accelerate": {"Accelerator": Accelerator}},
    "transformers": {
        "transformers": {
            "Trainer": Trainer,
            "TrainerCallback": TrainerCallback,
            "TrainingArguments": TrainingArguments,
        }
    },
}
