"""What classes are called: numbers or words, as people have them, and the labels that examples have for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from surefoot.data.stream.class_names import check_word, labels_of_words

Label: TypeAlias = float | str
"""What a class is called."""
NAMED = 6
"""Labels that a message shows at most."""
COUNTERPARTS = (("false", "true"), ("f", "t"), ("no", "yes"), ("n", "y"), ("off", "on"))
"""Words of which one alone tells what the other is."""


def are_words(classes: Sequence[Label] | None) -> bool:
    """Whether classes are called by words."""
    return bool(classes) and isinstance(classes[0], str)


def ordered(classes: Sequence[Any]) -> tuple[Label, ...]:
    """Classes in their order: numbers rise, words stay as they are. Numbers among words are words.

    Raises:
        ValueError: these cannot be classes.

    >>> ordered([1, -1]), ordered(["spam", "ham"]), ordered([1, "many"])
    ((-1.0, 1.0), ('spam', 'ham'), ('1', 'many'))
    """
    if any(isinstance(label, str) for label in classes):
        found: tuple[Label, ...] = tuple(label if isinstance(label, str) else shown(label) for label in classes)
        for word in found:
            check_word(str(word))
    else:
        found = tuple(sorted(map(float, classes)))
    if len(set(found)) < max(len(found), 2):
        raise ValueError(f"classes: found {listed(found)}, expected at least two labels, each of them once")
    return found


def with_counterpart(word: str) -> tuple[str, str]:
    """The classes where all labels so far are this word: the other one is not known unless the word says it.

    >>> with_counterpart("Yes"), with_counterpart("F"), with_counterpart("spam")
    (('No', 'Yes'), ('F', 'T'), ('spam', 'not spam'))
    """
    for pair in COUNTERPARTS:
        for alike in (str.lower, str.upper, str.title):
            if word in (both := (alike(pair[0]), alike(pair[1]))):
                return both
    return word, f"not {word}"


def labels_of(classes: Sequence[Label]) -> np.ndarray:
    """The labels that examples of classes have, (classes,), float64."""
    return labels_of_words([str(word) for word in classes]) if are_words(classes) else np.asarray(classes, np.float64)


def as_users_have(label: Label) -> Label:
    """A label without the point that whole numbers get.

    >>> as_users_have(1.0), as_users_have(0.5), as_users_have("ham")
    (1, 0.5, 'ham')
    """
    return int(label) if isinstance(label, float) and label.is_integer() else label


def listed(labels: Sequence[Label], between: str = ", ") -> str:
    """Labels as people write them.

    >>> listed((-1.0, 1.0, 2.5)), listed(("ham", "spam"), ",")
    ('-1, 1, 2.5', 'ham,spam')
    """
    return between.join(map(shown, labels[:NAMED])) + (f"{between}…" if len(labels) > NAMED else "")


def shown(label: Label) -> str:
    """A label as text: a number in the fewest digits that identify it.

    >>> shown(-1.0), shown(0.1), shown(12345670.0), shown("ham")
    ('-1', '0.1', '12345670', 'ham')
    """
    if isinstance(label, str):
        return label
    short = f"{label:g}"
    return short if float(short) == label else repr(float(label)).removesuffix(".0")
