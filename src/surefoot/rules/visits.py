"""Visit-count SGD: the rate of a coordinate falls with the number of nonzero gradients it has seen.

The hack that AdaGrad replaces: it counts how often a feature occurs, but not how large its gradients are.
"""

from surefoot import ops
from surefoot.records.hyper import nonnegative, positive
from surefoot.rules.record import rule
from surefoot.rules.slots import scale


@rule(
    formula="s ← s + [g ≠ 0];  x ← x − η g / √(s + c)",
    source="Zhang, Lipton, Li & Smola, Dive into Deep Learning, chapter AdaGrad",
    slots={"count": scale()},
    hyper={"lr": nonnegative(0.1, "learning rate η"), "c": positive(1.0, "added to the count")},
    lazy_exact=True,
)
def visits(x, g, g2, count, lr, c):
    """Visit-count SGD: the rate falls with the number of nonzero gradients seen."""
    count = count + ops.where(g2 > 0.0, 1.0, 0.0)
    return lr / ops.sqrt(count + c), g, count
