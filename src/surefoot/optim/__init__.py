"""Drop-in PyTorch optimizers: change the import from torch.optim to surefoot.optim.

`classes.py`, `adam.py` and `radam.py` have torch's classes with torch's arguments, `optimizer.py` the optimizer for any
rule that they derive from. `grouped.py` has the optimizer whose groups have a rule each, and `patterns.py` divides a
model into such groups. `group.py` reads the settings of a parameter group, `checkpoint.py` state dicts; `known.py`
remembers where parameters and states lie, `work.py` finds what there is to step. `backends/` has a module for each
engine.

Everything else that torch.optim has is torch's own, under the same name.
"""

import sys

from torch.optim import (
    ASGD,
    LBFGS,
    Adafactor,
    Muon,
    Optimizer,
    Rprop,
    SparseAdam,
    lr_scheduler,
    swa_utils,
    swap_in_optimizer_params_and_state,
)

from surefoot.optim.adam import Adam, AdamW, NAdam, Yogi
from surefoot.optim.backward import step_in_backward
from surefoot.optim.classes import FTRL, SGD, Adadelta, Adagrad, RMSprop
from surefoot.optim.first_batch import start_from_gradients
from surefoot.optim.from_torch import from_torch
from surefoot.optim.gradients import clip_grad_norm_, clip_grad_value_
from surefoot.optim.group import Beyond
from surefoot.optim.grouped import Grouped
from surefoot.optim.in_use import flush_before_use
from surefoot.optim.optimizer import RuleOptimizer
from surefoot.optim.patterns import groups
from surefoot.optim.radam import Adamax, RAdam

for module in (lr_scheduler, swa_utils):  # so that `from surefoot.optim.lr_scheduler import StepLR` finds it
    sys.modules[f"{__name__}.{module.__name__.rpartition('.')[2]}"] = module

__all__ = [
    "ASGD",
    "FTRL",
    "LBFGS",
    "SGD",
    "Adadelta",
    "Adafactor",
    "Adagrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Beyond",
    "Grouped",
    "Muon",
    "NAdam",
    "Optimizer",
    "RAdam",
    "RMSprop",
    "Rprop",
    "RuleOptimizer",
    "SparseAdam",
    "Yogi",
    "clip_grad_norm_",
    "clip_grad_value_",
    "flush_before_use",
    "from_torch",
    "groups",
    "lr_scheduler",
    "start_from_gradients",
    "step_in_backward",
    "swa_utils",
    "swap_in_optimizer_params_and_state",
]
