"""Columns as arrays of NumPy or PyArrow, brought to two forms: numbers, and strings with their codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from surefoot.data.stream.kernels.layout import PADDING
from surefoot.data.stream.number_like import SAMPLE
from surefoot.data.stream.values import bytes_of, hold_numbers, is_none, is_number, number_of

NEW_LINE = 10
FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}
"""What PyArrow calls types that NumPy calls otherwise."""


class Numbers(NamedTuple):
    """A column of numbers.

    Attributes:
        values: float64, (rows,); NaN where there is none.
    """

    values: np.ndarray


class Strings(NamedTuple):
    """A column of strings.

    Attributes:
        codes: int32, (rows,): the number of the string that a row has; -1 where there is none.
        text: uint8: the strings in UTF-8, one after the other.
        cuts: int64: where each string begins in the text, and where the last one ends.
    """

    codes: np.ndarray
    text: np.ndarray
    cuts: np.ndarray

    def in_lines(self) -> tuple[np.ndarray, np.ndarray]:
        """The text with a line end after each string, and padding, so that a number ends where its string does."""
        lengths = np.diff(self.cuts)
        ends = np.arange(len(lengths))
        text = np.full(len(self.text) + len(lengths) + PADDING, NEW_LINE, np.uint8)
        text[np.arange(len(self.text)) + np.repeat(ends, lengths)] = self.text
        return text, self.cuts + np.arange(len(self.cuts))


Column: TypeAlias = Numbers | Strings


def numbers_of(array: Any) -> Column:
    """A column whose numbers are wanted; strings where they have to be read as numbers first.

    >>> numbers_of(np.array([1, 2]))
    Numbers(values=array([1., 2.]))
    """
    if not isinstance(array, np.ndarray):
        return _numbers_of_arrow(array)
    if array.dtype.kind in "iuf":
        return Numbers(array.astype(np.float64))
    values = list(array)
    if hold_numbers(values):
        return Numbers(np.array([number_of(value) for value in values], np.float64))
    # In float64 first, so that a number is the same whatever the other rows of its column hold.
    return _strings_of_objects([number_of(value) if is_number(value) else value for value in values])


def labels_of(array: Any) -> Column:
    """A column of targets: as `numbers_of` has it, but truth values are 0 and 1.

    >>> labels_of(np.array([True, False]))
    Numbers(values=array([1., 0.]))
    """
    if not isinstance(array, np.ndarray):
        from pyarrow import types

        return numbers_of(array.cast("int8") if types.is_boolean(array.type) else array)
    if array.dtype == bool:
        return Numbers(array.astype(np.float64))
    values = array.tolist() if array.dtype == object else []
    if values and all(is_none(value) or isinstance(value, (bool, np.bool_)) for value in values):
        return Numbers(np.array([np.nan if is_none(value) else value for value in values], np.float64))
    return numbers_of(array)


def strings_of(array: Any) -> Strings:
    """A column whose values are wanted as text.

    >>> strings_of(np.array(["b", None, 2.0, True], object)).text.tobytes()
    b'b2True'
    """
    # NumPy's `tolist` would make floats of float32, and whole numbers of times.
    return _strings_of_objects(list(array)) if isinstance(array, np.ndarray) else _strings_of_arrow(array)


def texts_of(array: Any) -> list[str]:
    """The first values of a column that are there, as text.

    >>> texts_of(np.array(["b", None, 2.0], object))
    ['b', '2']
    """
    try:
        found = strings_of(array[:SAMPLE])
    except Exception:  # of any library; the error names the column where all of it is read
        return []
    ends = found.cuts.tolist()
    return [found.text[ends[k] : ends[k + 1]].tobytes().decode("utf-8", "replace") for k in found.codes if k >= 0]


def _strings_of_objects(values: Sequence[Any]) -> Strings:
    texts = [bytes_of(value) for value in values]
    codes = np.arange(len(texts), dtype=np.int32)
    codes[[is_none(value) for value in values]] = -1
    text = np.frombuffer(b"".join(texts), np.uint8)
    return Strings(codes, text, np.cumsum([0, *map(len, texts)]))


def _numbers_of_arrow(array: Any) -> Column:
    from pyarrow import types

    if not (types.is_integer(array.type) or types.is_floating(array.type)):
        return _strings_of_arrow(array)
    numbers, valid = _primitive(array)
    return Numbers(numbers.astype(np.float64) if valid is None else np.where(valid, numbers, np.nan))


def _primitive(array: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """The numbers of an array, a view of what PyArrow has, and which of them are there; None for all."""
    content, name = array.buffers()[1], str(array.type)
    dtype = np.dtype(FLOATS.get(name, name))
    size, offset = len(array), array.offset
    if content is None or content.size < (offset + size) * dtype.itemsize:
        raise ValueError("found fewer numbers than rows")
    return np.frombuffer(content, dtype, size, offset * dtype.itemsize), _valid(array)


def _valid(array: Any) -> np.ndarray | None:
    """Which values of an array are there; None for all. PyArrow's own `to_numpy` would import pandas for it."""
    if not array.null_count:
        return None
    size, offset, validity = len(array), array.offset, array.buffers()[0]
    if validity is None:  # an array of the type null
        return np.zeros(size, bool)
    if validity.size * 8 < offset + size:
        raise ValueError("found fewer bits of validity than rows")
    begin = offset // 8
    bits = np.unpackbits(np.frombuffer(validity, np.uint8, -(-(offset + size) // 8) - begin, begin), bitorder="little")
    return bits[offset - 8 * begin : offset - 8 * begin + size].view(bool)


def _strings_of_arrow(array: Any) -> Strings:
    from pyarrow import types

    # A dictionary may serve many more rows than these.
    if types.is_dictionary(array.type) and (len(array.dictionary) > len(array) or array.dictionary.null_count):
        array.validate(full=True)
        array = array.dictionary_decode()
    if not (types.is_dictionary(array.type) or _is_cast(array.type)):
        array = array.dictionary_encode()
    if types.is_dictionary(array.type):
        numbers, valid = _primitive(array.indices)
        codes = numbers.astype(np.int32) if valid is None else np.where(valid, numbers, -1).astype(np.int32)
        # Kernels trust codes.
        if len(codes) and not -(valid is not None) <= codes.min() <= codes.max() < len(array.dictionary):
            raise ValueError("found a string that its dictionary does not have")
        return Strings(codes, *_text_of_arrow(array.dictionary))
    text, cuts = _text_of_arrow(array)
    codes = np.arange(len(array), dtype=np.int32)
    if (valid := _valid(array)) is not None:
        codes[~valid] = -1
    return Strings(codes, text, cuts)


def _is_cast(kind: Any) -> bool:
    """Whether PyArrow's text for a type is its values' names: it is not for truth values, floats and times."""
    from pyarrow import types

    return _is_text(kind) or str(kind).endswith("_view") or types.is_integer(kind) or types.is_null(kind)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    tests = types.is_string, types.is_binary, types.is_large_string, types.is_large_binary
    return any(test(kind) for test in tests)


def _values_of_arrow(array: Any) -> list[Any]:
    """The values of an array, floats in their own precision."""
    from pyarrow import types

    if not types.is_floating(array.type):
        return array.to_pylist()
    numbers, valid = _primitive(array)
    return list(numbers) if valid is None else [x if there else None for x, there in zip(numbers, valid, strict=True)]


def _named_times(array: Any) -> Any:
    """Times without a zone as text, as Python writes them; an array of anything else, or of nanoseconds, as it is.

    Logs have a different time in each row, which takes PyArrow a tenth of what it takes Python.
    """
    import pyarrow
    from pyarrow import types

    if not types.is_timestamp(array.type) or array.type.tz is not None:
        return array
    from pyarrow import compute

    try:
        exact = array.cast(pyarrow.timestamp("us"))
    except pyarrow.ArrowInvalid:
        return array
    compute.call_function("min_max", [exact]).as_py()  # raises OverflowError for years that Python does not have
    whole = compute.ReplaceSubstringOptions(r"\.000000$", "")
    return compute.call_function("replace_substring_regex", [exact.cast(pyarrow.large_string())], whole)


def _text_of_arrow(array: Any) -> tuple[np.ndarray, np.ndarray]:
    """The bytes of strings and where each begins: views of what PyArrow has, where that can be."""
    import pyarrow
    from pyarrow import types

    array = _named_times(array)
    if not _is_cast(array.type):
        named = _strings_of_objects(_values_of_arrow(array))
        return named.text, named.cuts
    wide = types.is_large_string(array.type) or types.is_large_binary(array.type)
    if not _is_text(array.type):
        array, wide = array.cast(pyarrow.large_string()), True
    _, offsets, content = array.buffers()
    if offsets is None or not len(array):
        return np.empty(0, np.uint8), np.zeros(len(array) + 1, np.int64)
    dtype = np.dtype(np.int64 if wide else np.int32)
    cuts = np.frombuffer(offsets, dtype, len(array) + 1, array.offset * dtype.itemsize).astype(np.int64)
    text = np.empty(0, np.uint8) if content is None else np.frombuffer(content, np.uint8)
    # Kernels trust offsets.
    if cuts[0] < 0 or cuts[-1] > len(text) or (np.diff(cuts) < 0).any():
        raise ValueError("found strings that lie outside of their text")
    return text[cuts[0] : cuts[-1]], cuts - cuts[0]
