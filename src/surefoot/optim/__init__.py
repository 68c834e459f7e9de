"""Drop-in PyTorch optimizers: change the import from torch.optim to surefoot.optim.

`classes.py` and `adam.py` have torch's classes with torch's arguments, `optimizer.py` the optimizer for any rule that
they derive from. `group.py` reads the settings of a parameter group, `checkpoint.py` state dicts; `known.py` remembers
where parameters and states lie, `work.py` finds what there is to step. `backends/` has a module for each engine.
"""

from surefoot.optim.adam import Adam, AdamW, NAdam, Yogi
from surefoot.optim.backward import step_in_backward
from surefoot.optim.classes import FTRL, SGD, Adadelta, Adagrad, RMSprop
from surefoot.optim.first_batch import start_from_gradients
from surefoot.optim.from_torch import from_torch
from surefoot.optim.gradients import clip_grad_norm_, clip_grad_value_
from surefoot.optim.group import Beyond
from surefoot.optim.optimizer import RuleOptimizer

__all__ = [
    "FTRL",
    "SGD",
    "Adadelta",
    "Adagrad",
    "Adam",
    "AdamW",
    "Beyond",
    "NAdam",
    "RMSprop",
    "RuleOptimizer",
    "Yogi",
    "clip_grad_norm_",
    "clip_grad_value_",
    "from_torch",
    "start_from_gradients",
    "step_in_backward",
]
