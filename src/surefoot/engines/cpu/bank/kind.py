"""What drivers of banks are compiled for."""

from dataclasses import dataclass

from surefoot.engines.cpu.kind import Kind
from surefoot.losses import Loss


@dataclass(frozen=True)
class BankKind:
    """What a driver of `bank` is compiled for, besides the architecture and the rules.

    Attributes:
        dtype: of the numbers, "float32" or "float64".
        lanes: how many models learn at once, where that is known when compiling; 0 for any number.
        normalizes: values are centred and scaled, see `engines.scaling`.
        averages: averages of the iterates are kept.
        penalizes_scaled: penalties are of the weights of scaled values.
        parts: what is done around each part's rule, in the order of the parts.
        fields, bases: whether examples have them.
        loss: a loss that is not built in; built-in ones are told apart by their code when kernels run.
    """

    dtype: str
    lanes: int
    normalizes: bool
    averages: bool
    parts: tuple[Kind, ...]
    fields: bool = False
    bases: bool = False
    penalizes_scaled: bool = False
    loss: Loss | None = None

    def __str__(self) -> str:
        flags = [
            name for name in ("normalizes", "averages", "fields", "bases", "penalizes_scaled") if getattr(self, name)
        ]
        return "_".join([self.dtype, *flags, f"{self.lanes}_lanes" if self.lanes else "lanes"])
