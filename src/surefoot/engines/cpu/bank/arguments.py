"""What drivers take, by name."""

from typing import Any, NamedTuple

import numpy as np

VECTOR = 16
"""Numbers of a vector, at most; arrays of an example's numbers have room for whole vectors."""


class Rows(NamedTuple):
    """Examples in CSR form; `rows` are those of the table. Empty `bases` and `fields` are none."""

    indptr: np.ndarray
    rows: np.ndarray
    values: np.ndarray
    fields: np.ndarray
    bases: np.ndarray
    targets: np.ndarray
    weights: np.ndarray


class Cells(NamedTuple):
    """A FeatureTable's arrays, and in which column of `sums` the statistics begin."""

    cells: np.ndarray
    sums: np.ndarray
    shared: np.ndarray
    seen: np.ndarray
    statistics: int


class Loss(NamedTuple):
    """The loss by its code, its own parameter, how many outputs there are, and which lanes take implicit steps."""

    code: int
    parameter: float
    outputs: int
    damped: np.ndarray


class Entries(NamedTuple):
    """Room for one example: its values, and the same centred and scaled; the features' statistics, and what values are
    scaled by and limited to; numbers of lanes; `repeated` is scaled values of features that may occur several times.

    `packed` and `numbers` are one memory, for the numbers and slots of rows that are moved as vectors; `first` is the
    only row of the parts of the model.
    """

    values: np.ndarray
    scaled: np.ndarray
    counts: np.ndarray
    means: np.ndarray
    deviations: np.ndarray
    scales: np.ndarray
    limits: np.ndarray
    repeated: np.ndarray
    packed: np.ndarray
    numbers: np.ndarray
    slopes: np.ndarray
    shifted: np.ndarray
    shares: np.ndarray
    first: np.ndarray


class Gathered(NamedTuple):
    """A part of several features side by side, a number for each feature, number of the part, and lane.

    Attributes:
        x, g, slots, coefficients: what the rule takes.
        moves: what an implicit step would take off.
        penalties: (3, …), l1, l2, and what is kept of x before the step.
        table: the coefficients of every lane, (steps or 1, coefficients, lanes).
        keep: what every lane keeps of x, (steps or 1, lanes).
        l1, l2: the penalties of the features as they are in the data.
        common: what the part's numbers share, if they share a rate; else nothing.
    """

    x: np.ndarray
    g: np.ndarray
    slots: tuple
    coefficients: tuple
    moves: np.ndarray
    penalties: np.ndarray
    table: np.ndarray
    keep: np.ndarray
    l1: Any
    l2: Any
    common: tuple


class Common(NamedTuple):
    """What all numbers of a part share in every lane.

    Attributes:
        slots: in common, (slots, lanes).
        after: what they become in the step that is being taken.
        means: the mean squares of the gradient, (lanes,).
        numbers: how many numbers the part has in a lane.
    """

    slots: np.ndarray
    after: np.ndarray
    means: np.ndarray
    numbers: int


class Waiting(NamedTuple):
    """Rows that wait: the last step in which each took part, the step that is being taken, the first steps of
    stretches of constant coefficients, and for each part what acts in them.

    Attributes:
        first: the first step of the call.
        rates: the learning rates of each stretch, by which iterates are averaged.
        averages: see Averages; nothing where none are kept.
    """

    last: np.ndarray
    now: np.ndarray
    starts: np.ndarray
    parts: tuple
    first: int
    rates: np.ndarray
    averages: Any


class WaitingPart(NamedTuple):
    """The coefficients of each stretch, what is kept of x in each, the penalties, and the slots in common; see
    Gathered."""

    table: np.ndarray
    keep: np.ndarray
    l1: float
    l2: float
    common: Any


class Averages(NamedTuple):
    """The averages of every part, the sum of learning rates that each row's reach to, and that sum before each step."""

    means: tuple
    upto: np.ndarray
    upto_shared: np.ndarray
    totals: np.ndarray


class Batch(NamedTuple):
    """Room for a mini-batch: the rows it touches, what their values are scaled by, and where each row lies there.

    `mean`: whether the gradient is divided by the examples' weights.
    """

    touched: np.ndarray
    scales: np.ndarray
    places: np.ndarray
    parts: tuple
    mean: bool
