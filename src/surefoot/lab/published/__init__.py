"""The published results, a function each that measures one of them and can fail; `ROWS` is the table of all.

    rows        what a row is
    schedules   learning rates that change with time
    traces      two-dimensional traces
    rule_traces a trace of every rule against its formula
    float32     the same in float32, along given gradients, on both engines
    optimizers  the classes of surefoot.optim, on tensors, against formulas and torch.optim
    airfoil     linear regression on the airfoil data
    formulas    the update rules as the texts print them, without the library
    loops       the texts' loop on the airfoil data, without the library
    theory      weights, recursions, rates of convergence, regret
    conditioning  condition numbers and changes of variables
    unbalanced  what an unbalanced Hessian costs, and what AdaGrad gains on it
    sparsity    rates of their own for rare features
    sampling    stochastic gradients, their noise and their variance
    speed       large and small pieces of a product of matrices
    lockstep    a rule of the engine and its printed formula, side by side
    eager       the source texts' own training loop, to compare times with
    reading     what a figure shows, read back from what was drawn
    pictures    what a reproduced figure is, and those of traces
    curve_pictures  figures of schedules, weights, noise and convergence
    airfoil_pictures  figures of runs on the airfoil data

Every function takes its setting as arguments, with the published one as the default: change one, and the row fails.
"""

from surefoot.lab.published import (
    airfoil,
    airfoil_pictures,
    conditioning,
    curve_pictures,
    optimizers,
    pictures,
    rows,
    rule_traces,
    sampling,
    schedules,
    sparsity,
    speed,
    theory,
    traces,
    unbalanced,
)
from surefoot.lab.published.rows import Finding, Row, Skipped

ROWS = dict(sorted(rows.ROWS.items(), key=lambda item: item[1].section))
"""All rows by id, in the order of the checklist."""

__all__ = [
    "ROWS",
    "Finding",
    "Row",
    "Skipped",
    "airfoil",
    "airfoil_pictures",
    "conditioning",
    "curve_pictures",
    "optimizers",
    "pictures",
    "rule_traces",
    "sampling",
    "schedules",
    "sparsity",
    "speed",
    "theory",
    "traces",
    "unbalanced",
]
