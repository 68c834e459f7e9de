"""Where a rule meets memory: `Step` says what one step does; `reference` (NumPy) and `cpu` (Numba) do it.

Both engines have the same drivers, `dense` and `rows` (sparse gradients), and the same bits. `bank` learns models from
examples, with engines of its own, whose bits are the same too; in float64 up to the last digit of exp and log, where a
loss calls them. `gpu` (Triton) steps tensors, and `eager` the arrays of torch and JAX, for `surefoot.optim` and
`surefoot.optax`.
"""

from surefoot.engines.driver import order
from surefoot.engines.numerics import from_bfloat16, to_bfloat16
from surefoot.engines.registry import ORACLE, REGISTRY
from surefoot.engines.state import NonFiniteError, State
from surefoot.engines.step import Step
from surefoot.threads import get_threads, set_threads

__all__ = [
    "ORACLE",
    "REGISTRY",
    "NonFiniteError",
    "State",
    "Step",
    "from_bfloat16",
    "get_threads",
    "order",
    "set_threads",
    "to_bfloat16",
]
