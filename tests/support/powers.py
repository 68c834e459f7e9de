"""A rule that takes whole powers, named by literals, which engines give the dtype of their arithmetic."""

from support.table import Concrete
from surefoot import ops
from surefoot.rules import positive, rule, scale


@rule(slots={"total": scale()}, hyper={"lr": positive(0.1)})
def powers(x, g, g2, total, lr):
    total = total + ops.power(g2, 3)
    return lr / ops.power(1.0 + total, 2), ops.power(g, 3), total


POWERS = Concrete("powers", powers)  # type: ignore[arg-type]  # a rule stands for its name
