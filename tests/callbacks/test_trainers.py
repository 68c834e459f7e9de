"""A run in each framework evaluates, saves and returns what a loop by hand does, with `flush()` and clipping in it.

Where a framework is not installed, its stand-in in tests/support/frameworks.py calls the same.
"""

import importlib
import math

import pytest
from support import frameworks
from support.optimizers import optim, torch

nn = torch.nn
ROWS, EPOCHS = 6, 2
IDS = [torch.tensor(ids) for ids in ([0, 1], [2, 0], [1, 1], [0, 3])]
EVERY = torch.arange(ROWS)
DECAY = {"lr": 0.1, "decoupled_weight_decay": 0.5, "engine": "reference"}
LIMITS = [None, ("norm", 0.3), ("value", 0.05)]
KINDS = ("Adagrad", "Grouped")


class Model(nn.Module):
    """Its loss is the mean square of what it says; what it says in evaluation is kept."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(ROWS, 2, sparse=True)
        self.head = nn.Linear(2, 1)
        self.said = []

    def forward(self, ids):
        said = self.head(self.table(ids)).flatten()
        if not self.training:
            self.said.append(said.detach().clone())
        return said


def loss_of(model, ids):
    return model(ids).square().mean()


def optimizer_of(kind, model, **settings):
    if kind == "Grouped":
        groups = optim.groups(model, {"*table.*": {"rule": "adagrad", **DECAY}, "*": {"rule": torch.optim.SGD}})
        return optim.Grouped(groups, **settings)
    return optim.Adagrad(model.parameters(), **DECAY, **settings)


def clip(parameters, limit):
    if limit is not None:
        {"norm": optim.clip_grad_norm_, "value": optim.clip_grad_value_}[limit[0]](parameters, limit[1])


def by_hand(kind, limit, epochs=EPOCHS):
    """What the model says after each epoch, and its state dict at the end."""
    model = Model()
    optimizer = optimizer_of(kind, model)
    for _ in range(epochs):
        for ids in IDS:
            optimizer.zero_grad()
            loss_of(model.train(), ids).backward()
            clip(list(model.parameters()), limit)
            optimizer.step()
        optimizer.flush()
        model.eval()(EVERY)
    return model.said, model.state_dict()


def assert_alike(model, kind, limit):
    said, state = by_hand(kind, limit)
    torch.testing.assert_close(model.said[-len(said) :], said)
    found = {name.removeprefix("model."): value for name, value in model.state_dict().items()}
    torch.testing.assert_close(found, state)


# Lightning


def lightning(monkeypatch):
    frameworks.provide(monkeypatch, "lightning")
    return importlib.import_module("lightning.pytorch"), importlib.import_module("surefoot.callbacks.lightning")


def module_of(pl, kind):
    class Module(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.model = Model()

        def training_step(self, batch, batch_idx):
            return loss_of(self.model, batch)

        def validation_step(self, batch, batch_idx):
            self.model(batch)

        def configure_optimizers(self):
            return optimizer_of(kind, self)

    return Module()


def loader(batches):
    return torch.utils.data.DataLoader(batches, batch_size=None)


def trainer_of(pl, folder, **settings):
    quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "accelerator": "cpu"}
    quiet |= {"enable_model_summary": False, "default_root_dir": folder, "barebones": False}
    return pl.Trainer(max_epochs=EPOCHS, **quiet, **settings)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", LIMITS, ids=str)
def test_lightning(monkeypatch, tmp_path, limit, kind):
    pl, ours = lightning(monkeypatch)
    module, settings = module_of(pl, kind), {}
    if limit is not None:
        settings = {"gradient_clip_algorithm": limit[0], "gradient_clip_val": limit[1]}
    trainer = trainer_of(pl, tmp_path, callbacks=[ours.SurefootCallback()], **settings)
    trainer.fit(module, loader(IDS), loader([EVERY]))
    assert_alike(module.model, kind, limit)
    assert trainer.gradient_clip_val == (None if limit is None else limit[1])
    assert not module.model._forward_pre_hooks


def test_lightning_saves_rows_that_have_caught_up(monkeypatch, tmp_path):
    """In the middle of an epoch, in the model's state and without a trace in the optimizer's."""
    pl, ours = lightning(monkeypatch)
    module = module_of(pl, "Adagrad")
    saved, model = [], module.model
    original = module.training_step

    def training_step(batch, batch_idx):
        if batch_idx == 2 and not saved:
            optimizer = trainer.optimizers[0]
            assert "last" in optimizer.state[model.table.weight]
            trainer.save_checkpoint(tmp_path / "c.ckpt")
            saved.append(model.table.weight.detach().clone())
            optimizer.flush()
            torch.testing.assert_close(model.table.weight, saved[0])
        return original(batch, batch_idx)

    module.training_step = training_step
    trainer = trainer_of(pl, tmp_path, callbacks=[ours.SurefootCallback()])
    trainer.fit(module, loader(IDS), loader([EVERY]))
    found = torch.load(tmp_path / "c.ckpt", weights_only=False)
    torch.testing.assert_close(found["state_dict"]["model.table.weight"], saved[0])
    assert "last" not in found["optimizer_states"][0]["state"][0]


def test_lightning_hooks_end_with_an_error(monkeypatch, tmp_path):
    pl, ours = lightning(monkeypatch)
    module = module_of(pl, "Adagrad")

    def training_step(batch, batch_idx):
        raise ArithmeticError("of the user's")

    module.training_step = training_step
    trainer = trainer_of(pl, tmp_path, callbacks=[ours.SurefootCallback()], gradient_clip_val=0.5)
    with pytest.raises(ArithmeticError, match="of the user's"):
        trainer.fit(module, loader(IDS))
    assert trainer.gradient_clip_val == 0.5
    assert not module.model._forward_pre_hooks


def test_lightning_without_an_optimizer_of_ours(monkeypatch, tmp_path):
    pl, ours = lightning(monkeypatch)
    module = module_of(pl, "Adagrad")
    module.configure_optimizers = lambda: torch.optim.SGD(module.parameters(), lr=0.1)
    trainer = trainer_of(pl, tmp_path, callbacks=[ours.SurefootCallback()])
    with pytest.raises(TypeError, match=r"the trainer's optimizers are: SGD; expected one of surefoot\.optim"):
        trainer.fit(module, loader(IDS))


# Transformers


class WithLoss(Model):
    """As Trainer takes models: they return their loss."""

    def forward(self, ids):
        said = super().forward(ids[0])
        return {"loss": said.square().mean(), "said": said[None]}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", [None, ("norm", 0.3)], ids=str)
def test_transformers(monkeypatch, tmp_path, limit, kind):
    frameworks.provide(monkeypatch, "transformers")
    ts = importlib.import_module("transformers")
    ours = importlib.import_module("surefoot.callbacks.transformers")
    model = WithLoss()
    # The order of a Dataset is Trainer's own: one without length has the order in which it is written.
    args = ts.TrainingArguments(
        tmp_path,
        num_train_epochs=EPOCHS,
        max_grad_norm=0.0 if limit is None else limit[1],
        per_device_train_batch_size=1,
        per_device_eval_batch_size=1,
        eval_strategy="epoch",
        save_strategy="no",
        report_to=[],
        lr_scheduler_type="constant",
        use_cpu=True,
        disable_tqdm=True,
        train_sampling_strategy="sequential",
        dataloader_pin_memory=False,
    )
    examples = [{"ids": ids} for ids in IDS]
    optimizer = optimizer_of(kind, model)
    trainer = ts.Trainer(
        model=model,
        args=args,
        train_dataset=examples,
        eval_dataset=[{"ids": EVERY}],
        optimizers=(optimizer, torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: 1.0)),
    )
    trainer.add_callback(ours.SurefootCallback(trainer))
    trainer.train()
    assert_alike(model, kind, limit)
    assert not model._forward_pre_hooks


# Accelerate


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("limit", LIMITS, ids=str)
@pytest.mark.parametrize("by_optimizer", [False, True])
def test_accelerate(monkeypatch, tmp_path, by_optimizer, limit, kind):
    """`flush_before_use` is enough; clipping is the optimizer's, or Accelerate's made to accept sparse gradients."""
    frameworks.provide(monkeypatch, "accelerate")
    accelerate = importlib.import_module("accelerate")
    ours = importlib.import_module("surefoot.callbacks.accelerate")
    accelerator = accelerate.Accelerator(cpu=True)
    settings = {f"max_grad_{limit[0]}": limit[1]} if by_optimizer and limit else {}
    model = Model()
    model, optimizer = accelerator.prepare(model, optimizer_of(kind, model, **settings))
    optim.flush_before_use(model, optimizer)
    for _ in range(2):
        ours.accept_sparse_gradients(accelerator)
    for epoch in range(EPOCHS):
        for ids in IDS:
            optimizer.zero_grad()
            accelerator.backward(loss_of(model.train(), ids))
            if limit and not by_optimizer:
                getattr(accelerator, f"clip_grad_{limit[0]}_")(model.parameters(), limit[1])
            optimizer.step()
        if epoch == EPOCHS - 1:
            accelerator.save_state(tmp_path / "saved", safe_serialization=False)
        model.eval()(EVERY)
    assert_alike(model, kind, limit)
    saved = torch.load(tmp_path / "saved" / "pytorch_model.bin")
    torch.testing.assert_close(saved, dict(by_hand(kind, limit)[1]))


def test_dense_gradients_are_clipped_by_accelerate(monkeypatch):
    frameworks.provide(monkeypatch, "accelerate")
    ours = importlib.import_module("surefoot.callbacks.accelerate")
    accelerator = importlib.import_module("accelerate").Accelerator(cpu=True)
    called = []
    accelerator.clip_grad_norm_ = lambda *args, **_: called.append(args)
    ours.accept_sparse_gradients(accelerator)
    dense = nn.Parameter(torch.ones(2))
    dense.grad = torch.ones(2)
    accelerator.clip_grad_norm_(dense, math.inf)
    assert len(called) == 1
