"""Feature hashing: how names become indices, and a table of bounded size that leads back to the names.

K. Weinberger, A. Dasgupta, J. Langford, A. Smola, J. Attenberg, "Feature hashing for large scale multitask learning",
2009.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from surefoot.data.stream.kernels import compiled
from surefoot.data.stream.kernels.layout import FIELD_BITS, PADDING, PROBES

MOST_BITS = 63
"""A hash has 64, of which one is the sign."""
MOST_BITS_OF_A_FIELD = MOST_BITS - FIELD_BITS
"""Where entries have fields: a row is sorted by index and field in one int64."""
CELLS = 1 << 21
"""Of a table of names, at most."""
MOST_NAMES, MOST_BYTES = 1 << 20, 32 << 20
"""How many names a table keeps at most, and their bytes."""
TYPES = {
    "slots": np.int64, "ends": np.int64, "signs": np.int8, "text": np.uint8, "known": np.uint64, "sizes": np.int64,
}  # fmt: skip
"""The arrays of a table of names."""


@dataclass(frozen=True)
class Hashing:
    """How names become indices from 0 to 2^bits − 1.

    Args:
        bits: 2^bits places; each doubling halves how many names share one. With all 63, of a million names two share
            one with a probability of 5e-8.
        signed: a bit of the hash decides whether a feature's value is negated, so that names that share a place disturb
            each other as often this way as that (the inner products of rows are then right on average). Not by default:
            for weights that are learned neither was better throughout (SMS, RCV1 and Avazu's clicks, 2^8 to 2^20
            places, three seeds), and without it a weight belongs to its name as it is.
        seed: another one gives other places.
    """

    bits: int = MOST_BITS
    signed: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.bits <= MOST_BITS:
            raise ValueError(f"bits: found {self.bits}, expected 1 to {MOST_BITS}")
        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"seed: found {self.seed}, expected a whole number from 0 to 2^63 − 1")

    @property
    def settings(self) -> tuple[int, bool, int]:
        """As kernels take them."""
        return self.bits, self.signed, self.seed

    @property
    def mask(self) -> int:
        """Which bits of a hash are the index."""
        return (1 << self.bits) - 1

    def index(self, name: str | bytes, space: str | bytes = "") -> int:
        """The index of a name, in a namespace (of Vowpal Wabbit's text) or of a column (of a table).

        This is what all readers compute: a numeric column is the name of the column; a value of a categorical column
        is that name, in the space of the column.

        >>> 0 <= Hashing(bits=10).index("rain", "weather") < 1024
        True
        """
        return self.place(self.identity(name, space))[0]

    def sign(self, name: str | bytes, space: str | bytes = "") -> int:
        """What the values of a name are multiplied by, 1 or −1."""
        return self.place(self.identity(name, space))[1]

    def place(self, identity: int) -> tuple[int, int]:
        """The index and the sign that belong to the hash of a name."""
        return identity & self.mask, -1 if self.signed and identity >> 63 else 1

    def identity(self, name: str | bytes, space: str | bytes = "") -> int:
        """The hash of a name, of 64 bits."""
        first, second = (part.encode() if isinstance(part, str) else part for part in (space, name))
        text = np.frombuffer(bytearray(first + second + bytes(PADDING)), np.uint8)
        return int(compiled("hashing", "of")(text, len(first), len(first) + len(second), self.seed))


class Names:
    """Which name has which index: the first name that was read for it.

    The same names are kept whatever the number of threads. Those past the limits are not kept, but still counted, the
    first two million or so. What it takes in memory is at most 16 MB, and what the limits say.

    Args:
        bits: as in `Hashing`.
        most: names that are kept.
        most_bytes: of all kept names together.

    Attributes:
        collisions: indices that belong to more than one name.
        left_out: names that there was no room for.

    >>> from surefoot.data.stream import read
    >>> import io
    >>> stream = read(io.BytesIO(b"1 |weather rain wind:3\\n-1 |weather sun\\n"), "vw")
    >>> for block in stream:
    ...     print([stream.names[index] for index in block.indices[:2]], block.values[:2])
    ['weather^rain', 'weather^wind'] [1. 3.]
    """

    def __init__(self, bits: int, most: int = MOST_NAMES, most_bytes: int = MOST_BYTES):
        self.bits, self.most, self.most_bytes = bits, most, most_bytes
        self.known = np.zeros(min(1 << bits, CELLS), np.uint64)
        self._slots, self._ends, self._signs = np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.int8)
        self._text = np.empty(0, np.uint8)
        self._sizes = np.zeros(4, np.int64)
        self._places: dict[int, int] = {}

    def __len__(self) -> int:
        return int(self._sizes[0])

    @property
    def collisions(self) -> int:
        return int(self._sizes[2])

    @property
    def left_out(self) -> int:
        return int(self._sizes[3])

    def add(self, found: np.ndarray, text: np.ndarray) -> None:
        """Adds what a piece of text holds: hashes and ends of names, one after the other, and their bytes."""
        n, used = int(self._sizes[0]), int(self._sizes[1])
        rows, size = min(n + len(found), self.most), min(used + len(text), self.most_bytes)
        self._slots, self._ends, self._signs = (_with_room(a, rows) for a in (self._slots, self._ends, self._signs))
        self._text = _with_room(self._text, size)
        compiled("hashing", "merge")(
            found,
            text,
            Hashing(self.bits).mask,
            self.known,
            self._slots,
            self._ends,
            self._signs,
            self._text,
            self._sizes,
            (self.most, self.most_bytes),
        )

    def __iter__(self) -> Iterator[int]:
        """The indices that have a name, in order of occurrence."""
        return iter(self._slots[: len(self)].tolist())

    def __getitem__(self, index: int) -> str:
        return self._name(self._place(index))

    def get(self, index: int, default: str | None = None) -> str | None:
        """The name of an index, where it has one."""
        try:
            return self[index]
        except KeyError:
            return default

    def sign(self, index: int) -> int:
        """The sign that signed hashing gives to the name of an index."""
        return int(self._signs[self._place(index)])

    def is_shared(self, index: int) -> bool:
        """Whether an index belongs to more than one name."""
        cell, mask = index & (len(self.known) - 1), Hashing(self.bits).mask
        for _ in range(PROBES):
            there = int(self.known[cell])
            if (there >> 1 ^ index) & mask == 0 or not there:
                return bool(there & 1)
            cell = (cell + 1) & (len(self.known) - 1)
        return False

    def arrays(self) -> dict[str, np.ndarray]:
        """All there is to the table, for a file; `of_arrays` makes it again."""
        n, used = len(self), int(self._sizes[1])
        return {
            "slots": self._slots[:n],
            "ends": self._ends[:n],
            "signs": self._signs[:n],
            "text": self._text[:used],
            "known": self.known,
            "sizes": np.array([*self._sizes, self.most, self.most_bytes, self.bits]),
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Names:
        """The table that `arrays` describes.

        Raises:
            ValueError: they do not fit together.
        """
        for name, dtype in TYPES.items():
            if arrays[name].dtype != dtype or arrays[name].ndim != 1:
                raise ValueError(
                    f"{name} of the table of names have type {arrays[name].dtype}, expected {np.dtype(dtype)}"
                )
        known, sizes = arrays["known"], arrays["sizes"]
        if len(sizes) != 7 or (sizes < 0).any() or not 1 <= sizes[6] <= MOST_BITS:
            raise ValueError("the table of names lacks its counts")
        table = cls(int(sizes[6]), int(sizes[4]), int(sizes[5]))
        if len(known) != len(table.known):
            raise ValueError(f"the table of names has {len(known)} cells, expected {len(table.known)}")
        slots, ends, signs, text = (np.array(arrays[name]) for name in ("slots", "ends", "signs", "text"))
        fits = len(slots) == len(ends) == len(signs) == sizes[0] and len(text) == sizes[1]
        steps = np.diff(ends, prepend=0)
        if not fits or (steps < 0).any() or (len(ends) and ends[-1] != len(text)):
            raise ValueError("the names of the table and their places do not fit together")
        if len(slots) and not 0 <= slots.min() <= slots.max() < 1 << table.bits:
            raise ValueError("the table of names has an index that is out of range")
        table.known = np.array(known)
        table._slots, table._ends, table._signs, table._text = slots, ends, signs, text
        table._sizes = np.array(sizes[:4], np.int64)
        return table

    def _place(self, index: int) -> int:
        for place in range(len(self._places), len(self)):
            self._places[int(self._slots[place])] = place
        return self._places[int(index)]

    def _name(self, place: int) -> str:
        begin = int(self._ends[place - 1]) if place else 0
        return self._text[begin : int(self._ends[place])].tobytes().decode("utf-8", "replace")


def _with_room(array: np.ndarray, size: int) -> np.ndarray:
    """The array, or a longer copy, with room for `size` numbers."""
    if size <= len(array):
        return array
    longer = np.empty(max(size, 2 * len(array)), array.dtype)
    longer[: len(array)] = array
    return longer
