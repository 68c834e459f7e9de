"""Drop-in PyTorch optimizers: change the import from torch.optim to surefoot.optim.

`classes.py` has torch's classes with torch's arguments; `optimizer.py` the optimizer for any rule that they are made
of; `running.py` hands gradients to the engines; `memory.py` knows where tensors lie.
"""

from surefoot.optim.backward import step_in_backward
from surefoot.optim.classes import FTRL, SGD, Adadelta, Adagrad, Adam, AdamW, NAdam, RMSprop, Yogi
from surefoot.optim.gradients import clip_grad_norm_, clip_grad_value_
from surefoot.optim.optimizer import Beyond, RuleOptimizer

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
    "step_in_backward",
]
