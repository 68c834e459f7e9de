"""A model that learns from, and predicts, one example at a time."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import numpy as np

from surefoot import models
from surefoot.data.stream import Block, formats
from surefoot.data.stream.kernels.layout import LARGEST_INDEX
from surefoot.data.stream.values import is_none, text_of
from surefoot.learn import online, scoring, storage
from surefoot.learn.classes import are_words, as_users_have, labels_of
from surefoot.learn.facts import Facts
from surefoot.learn.given import number_given, shown, weight_given
from surefoot.learn.guard import Guard
from surefoot.learn.learner import Learner
from surefoot.learn.one_row import LARGEST, OutOfRangeError, entries_of
from surefoot.learn.served import Examples
from surefoot.learn.settings import Method, Settings
from surefoot.learn.targets import Targets


class OneByOne:
    """A model, and once it has learned its learner.

    Args:
        loaded: the model as it was, a `model.Model`, which makes others of its kind.
    """

    def __init__(self, loaded: Any):
        if not loaded.architecture.merges_fields:
            raise ValueError(
                f"{loaded.architecture.name}: an example has features in fields; use predict, which takes blocks"
            )
        self.loaded, self.guard = loaded, Guard()
        self.learner: Learner | None = None
        self._begun_with: Learner | None = None  # what `learner` becomes once it has learned
        self.learned: Any = loaded
        self.targets = Targets(loaded.targets.loss, loaded.targets.classes)
        self.outputs, reading = self.targets.outputs, loaded.reading
        bits = None if reading is None else reading.bits
        if reading is not None:
            with storage.as_written(loaded.path or "model", "model"):
                formats.named(reading.format)
        self.examples = Examples(reading, LARGEST_INDEX + 1 if bits is None else 1 << bits)
        classes = loaded.targets.classes
        self.numbers: dict[Any, float] = {}
        if classes is not None:  # which lines have the labels of, and users the names
            self.numbers = {
                label: float(k) for own in (labels_of(classes).tolist(), classes) for k, label in enumerate(own)
            }
        self.labels = [as_users_have(label) for label in classes or ()]

    def __getstate__(self) -> dict[str, Any]:
        """Copies lay out calls of their own."""
        return {name: value for name, value in vars(self).items() if name != "_recalled"}

    # Learning

    def learn(self, x: Any, y: Any, weight: float) -> None:
        example = self.examples(x)
        target = self._target(example.label if y is None else y)
        weight = weight_given("weight", weight) * weight_given("weight", example.weight)
        if weight:
            learner, entries = self._begun(), (example.ids, example.values)
            try:
                online.learn_one(learner, *entries, target, weight, self.examples.most, example.zeros)
            except OutOfRangeError as error:
                raise error.named(self.examples.known) from None
            self.learner, self.learned = learner, None

    def _target(self, label: Any) -> float:
        """The target that a label stands for.

        Raises:
            ValueError: it stands for none.
        """
        if self.numbers:
            try:
                if label not in self.numbers and are_words(self.targets.classes) and not is_none(label):
                    return self.numbers[text_of(label)]
                return self.numbers[label]
            except (KeyError, TypeError):
                known = ", ".join(map(repr, self.labels))
                raise ValueError(f"y: found {shown(label)}, expected one of {known}") from None
        expected = f"a number that {self.targets.loss.name} loss is for"
        number = number_given("y", label, expected, LARGEST)
        return number_given("y", float(self.targets.of(np.array([number]))[0]), expected)

    def _begun(self) -> Learner:
        """The learner that the model comes from.

        Raises:
            ValueError: the model does not have its state.
        """
        if self._begun_with is None:
            with self.guard.lock:
                self._begun_with = self._begun_with or self._restored()
        return self._begun_with

    def _restored(self) -> Learner:
        loaded = self.loaded
        if loaded.memory is None or loaded.facts is None:
            raise ValueError(
                "this model has weights only, and not the state of its training; train it with --save-resume to learn "
                "on from it"
            )
        with storage.as_written(loaded.path or "model", "model"):
            learner = Learner.from_state(settings_of(loaded), *loaded.memory)
            if loaded.reading is not None and learner.missing != loaded.reading.is_table:
                raise ValueError(f"memory.missing: found {learner.missing} for files of {loaded.reading.format}")
            self._check_numbers(learner)
            return learner

    @np.errstate(all="ignore")  # of a state that was edited
    def _check_numbers(self, learner: Learner) -> None:
        """Raises ValueError where a state has other numbers than the model, such as for ids in another order."""
        loaded, found = self.loaded, type(self.loaded).of(learner, self.targets)
        rows = loaded.rows(np.arange(found.features) if found.ids is None else found.ids)
        for name, own in found.numbers.items():
            given = loaded.numbers[name]
            if loaded.architecture.parts[name].of == "feature":
                given = np.concatenate([given, np.zeros_like(given[:1], shape=(1, *given.shape[1:]))])[rows]
            if not np.array_equal(given, own):
                raise ValueError(
                    f"memory: found another {name} than the model's, expected the state that it comes from"
                )

    @property
    def model(self) -> Any:
        """The model as it is now."""
        if self.learned is None:
            loaded = self.loaded
            assert self.learner is not None
            assert loaded.facts is not None
            with self.learner.guard.lock:
                found = type(loaded).of(
                    self.learner,
                    self.targets,
                    names=loaded.names,
                    reading=loaded.reading,
                    facts=since(loaded.facts, self.learner),
                )
                arrays, numbers = self.learner.state()
                memory = {name: array.copy() for name, array in arrays.items()}, copy.deepcopy(numbers)
            self.learned = replace(found, memory=memory)
        return self.learned

    # Predictions

    def scores(self, x: Any) -> np.ndarray:
        """What is predicted before any link function, (1, outputs)."""
        return self._of_entries(self._scores, x)

    def _of_entries(self, function: Callable, x: Any) -> Any:
        """What a function of an example's entries returns."""
        example = self.examples(x)
        try:
            return function(example.ids, example.values, self.examples.most, example.zeros)
        except OutOfRangeError as error:
            raise error.named(self.examples.known) from None

    def _scores(self, *entries: Any) -> np.ndarray:
        if self.learner is not None:
            return online.score_one(self.learner, *entries)[None]
        with self.guard.lock:
            if self._recalled and self._recalled.score(*entries):
                return self._recalled.found.copy()
        return scores_of(self.loaded, *entries_of(*entries))

    @functools.cached_property
    def _recalled(self) -> scoring.Recalled | None:
        return scoring.Recalled(self.loaded) if self.loaded.architecture is models.linear else None

    def label(self, x: Any) -> Any:
        scores, loss = self.scores(x), self.targets.loss
        if not self.labels:
            return float(loss.means(scores[:, 0])[0])
        return self.labels[int(scores[0, 0] > 0) if scores.shape[1] == 1 else int(scores[0].argmax())]

    def probabilities(self, x: Any) -> dict[Any, float]:
        if self.outputs > 1:
            found = self.targets.loss.probabilities(self.scores(x))[0]
            return dict(zip(self.labels, found.tolist(), strict=True))
        second = self._of_entries(self._probability, x)
        return {self.labels[0]: 1.0 - second, self.labels[1]: second}

    def _probability(self, *entries: Any) -> float:
        """The probability of the second class."""
        if self.learner is not None:
            return online.probability_one(self.learner, *entries)
        with self.guard.lock:
            recalled = self._recalled
            if recalled and recalled.has_probabilities and recalled.score(*entries):
                return recalled.probabilities.item(0)
        return self.targets.loss.probabilities(scores_of(self.loaded, *entries_of(*entries))).item(1)


def scores_of(model: Any, ids: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What a model predicts for an example: the numbers of its features alone are looked at, (1, outputs)."""
    rows = model.rows(ids)
    there = np.flatnonzero(rows >= 0)
    rows, values, own = rows[there], values[there], np.arange(len(there))
    numbers = {
        name: array[rows] if model.architecture.parts[name].of == "feature" else array
        for name, array in model.numbers.items()
    }
    if model.centers is not None:
        values, numbers["bias"] = values - model.centers[rows], model.centred_bias
    block = Block(np.array([0, len(there)]), own, values, np.zeros(1), np.ones(1, np.float32))
    return model.architecture.scores(block, own, numbers) * model.spread + model.center


def settings_of(model: Any) -> Settings:
    """The settings that a model was trained with."""
    assert model.facts is not None
    given: dict[str, Any] = asdict(model.facts.settings)
    parameter = given.pop("parameter")
    given["model"] = model.architecture
    try:
        return Method(**given).learning(model.targets.loss, parameter, model.targets.outputs)
    except (TypeError, ValueError) as error:
        raise ValueError(f"facts.settings: {error}") from None


def since(facts: Facts, learner: Learner) -> Facts:
    """The facts of a model that has learned on."""
    return replace(facts, examples=learner.examples, progressive_loss=learner.loss, history=tuple(learner.history))
