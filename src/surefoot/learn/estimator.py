"""What the estimators share: parameters, epochs, weights."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import fields, replace
from functools import cache, cached_property
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, check_scalar

from surefoot import losses
from surefoot.data.stream import DataWarning
from surefoot.learn import online
from surefoot.learn.arrays import FLOATS, ArrayDataset, check_unmasked, checked, row_map_for, validated
from surefoot.learn.epochs import Epochs, copied, epochs_for, once, parts_for, predictions
from surefoot.learn.learner import Learner
from surefoot.learn.notes import Notes
from surefoot.learn.one_row import Numbered, OutOfRangeError, Vocabulary, is_named, of_array
from surefoot.learn.settings import Settings
from surefoot.losses import Loss, LossError

NUMBERS = (int, float, np.integer, np.floating, np.bool_)
FLAGS = ("shuffle", "early_stopping", "average", "normalize", "warm_start")


class MixedWeights:
    """A learner's weights: computed when they are first asked for, which streams need not pay."""

    def __init__(self, learner: Learner):
        self.learner = learner

    @cached_property
    def dense(self) -> tuple[Any, np.ndarray]:
        """(outputs, features) and (outputs,)."""
        with self.learner.guard.lock:
            weights, biases = self.learner.weights()
        return np.ascontiguousarray(weights.T), biases

    @property
    def is_computed(self) -> bool:
        return "dense" in vars(self)

    @cached_property
    def sparse(self) -> tuple[Any, np.ndarray]:
        """The same, the weights in CSR form."""
        coef, intercept = self.dense
        return sparse.csr_matrix(coef), intercept


class LinearEstimator(BaseEstimator):
    """What the two estimators share: parameters, epochs, weights."""

    TARGETS: ClassVar[tuple[str, ...]] = ()
    """The kinds of targets that losses may be for."""
    loss: str | Loss
    loss_parameter: float | None
    optimizer: Any
    optimizer_params: Mapping[str, Any] | None
    lr: Any
    l1: float
    l2: float | str
    epochs: int | str
    batch_size: int
    shuffle: bool
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    tol: float | None
    average: bool
    normalize: bool
    warm_start: bool
    random_state: Any
    _vocabulary: Vocabulary | None = None
    _notes: Notes

    # Learning

    def fit(self, X, y, sample_weight=None):
        """Learns from a data set, in one epoch or several.

        Args:
            X: (n, features), an array, a SciPy sparse matrix or a data frame.
            y: (n,), targets.
            sample_weight: (n,), at least 0: factors of the examples' losses. An example of weight 0 is ignored. One of
                weight 2 is one step, and so not quite the same as two examples.

        Returns:
            The estimator itself.

        Raises:
            ValueError: something does not fit or is not finite; the message says what.
            DivergedError: the learning rate is too large. The estimator is then unchanged.
        """
        with self._all_or_nothing():
            self._check()
            go_on = bool(self.warm_start) and hasattr(self, "_learner")
            data = self._dataset(X, y, sample_weight, reset=not go_on)
            if go_on:
                self._check_unchanged()
            limit = epochs_for(len(data), data.numbers) if isinstance(self.epochs, str) else self.epochs
            learner = copied(self._learner) if go_on else self._learner_for(data, limit)
            random = check_random_state(self.random_state)
            epochs = Epochs(limit, self.shuffle, random, self.tol, self.n_iter_no_change)
            if self.early_stopping:
                count = parts_for(len(data), self.validation_fraction)
                own = copy.deepcopy(random)  # epochs are those of a fit that stops there
                epochs.rehearse(learner, [self._split(data, own) for _ in range(count)], own)
            epochs.run(learner, data)
            self._take(learner, epochs.history, keep=go_on)
        if not go_on:
            self._notes = Notes(self._learner.settings.loss)
        self._warn(self._notes.of_fit(learner, data, epochs), 3)
        if not isinstance(self.epochs, str):
            epochs.warn_unless_converged()
        return self

    def _warn(self, notes: list[str], level: int = 4) -> None:
        """Warns users, whose code is this many calls away."""
        for note in notes:
            warnings.warn(note, DataWarning, stacklevel=level)

    def _learn_part(self, X, y, sample_weight, classes=None):
        first = not hasattr(self, "_learner")
        with self._all_or_nothing():
            if first or self._parameters() != self._given:
                self._check()
            data = self._dataset(X, y, sample_weight, reset=first, classes=classes)
            if first:
                learner = self._learner_for(data)
                self._notes, before = Notes(learner.settings.loss), 0
                self._take(learner, once(learner, data), keep=False)
            else:
                self._check_unchanged()
                before = self._learner.examples
                with nullcontext() if len(data) == 1 else online.all_or_nothing(self._learner, data.ids):
                    self._take(self._learner, once(self._learner, data), keep=True)
        self._notes.add(data.targets)
        self._warn(self._notes.of_stream(self._learner, before))
        return self

    def _learn_one(self, x, target: float, weight: float) -> None:
        """Learns from an example, or raises an error and changes nothing."""
        if weight == 0.0:
            return
        if not hasattr(self, "_learner"):
            self._begin(x, target, weight)
            return
        self._check_unchanged()
        vocabulary = self._columns() if is_named(x) else None
        before = 0 if vocabulary is None else len(vocabulary)
        try:
            if vocabulary is None:
                (ids, values), size = of_array(x, self.n_features_in_)
            else:
                (ids, values), size = vocabulary.entries(x, grow=True), len(vocabulary)
            zeros = vocabulary is not None and self._learner.missing
            online.learn_one(self._learner, ids, values, target, weight, size, zeros)
        except BaseException as error:
            named = self._naming(error)
            if vocabulary is not None:
                vocabulary.forget(before)
            raise named from None
        if vocabulary is not None and len(vocabulary) > before:
            self.n_features_in_ = len(vocabulary)
        self._weights, self._is_sparse = MixedWeights(self._learner), False
        self._notes.add_one(target)
        self._warn(self._notes.of_stream(self._learner, self._learner.examples - 1))

    def _begin(self, x, target: float, weight: float) -> None:
        """Learns from the first example of all."""
        with self._all_or_nothing():
            self._check()
            if is_named(x):
                self._vocabulary = Vocabulary({}, fixed=False)
                ids, values = self._vocabulary.entries(x, grow=True)
                size = len(self._vocabulary)
            else:
                (ids, values), size = of_array(x, None)
            self.n_features_in_, row_map = size, row_map_for(size, len(ids))
            learner = Learner(self._settings(), size, row_map=row_map, missing=is_named(x))
            try:
                online.learn_one(learner, ids, values, target, weight, size, is_named(x))
            except OutOfRangeError as error:
                raise self._naming(error) from None
            self._take(learner, {"examples": [], "progressive_loss": []}, keep=False)
            self.n_iter_, self._notes = 1, Notes(learner.settings.loss)
            self._notes.add_one(target)

    @contextmanager
    def _all_or_nothing(self):
        """Restores the estimator after an error."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            vars(self).clear()
            vars(self).update(before)
            raise

    def _check(self) -> None:
        """Parameters that the learner's settings do not check."""
        self._loss()
        for loss in self._named():
            loss.settings(getattr(self, loss.parameter.name))  # pyright: ignore[reportOptionalMemberAccess]
        if not (isinstance(self.epochs, str) and self.epochs == "auto"):
            if isinstance(self.epochs, str):
                raise ValueError(f'epochs: found {self.epochs!r}, expected "auto" or a number')
            check_scalar(self.epochs, "epochs", Integral, min_val=1)
        check_scalar(self.l1, "l1", Real, min_val=0)
        if not (isinstance(self.l2, str) and self.l2 == "auto"):
            if isinstance(self.l2, str):
                raise ValueError(f'l2: found {self.l2!r}, expected "auto" or a number')
            check_scalar(self.l2, "l2", Real, min_val=0)
        for name in FLAGS:
            if not isinstance(getattr(self, name), (bool, np.bool_)):
                raise TypeError(f"{name}: found {getattr(self, name)!r}, expected True or False")
        check_scalar(self.n_iter_no_change, "n_iter_no_change", Integral, min_val=1)
        check_scalar(
            self.validation_fraction, "validation_fraction", Real, min_val=0, max_val=1, include_boundaries="neither"
        )
        if self.tol is not None:
            check_scalar(self.tol, "tol", Real, min_val=0)
        if not isinstance(self.optimizer_params, Mapping | None):
            raise TypeError(f"optimizer_params: found {self.optimizer_params!r}, expected a dict or None")

    def _settings(self, epochs: int = 1, examples: int = 1) -> Settings:
        """The learner's settings, with the penalty of "auto" for this number of epochs through the examples."""
        auto = isinstance(self.l2, str)
        settings = Settings(
            loss=self._loss_of_outputs(),
            parameter=self._parameter(),
            outputs=self._outputs(),
            optimizer=self.optimizer,
            lr=self.lr,
            l1=float(self.l1),
            l2=0.0 if auto else float(self.l2),
            batch_size=self.batch_size,
            average=bool(self.average),
            normalize=bool(self.normalize),
            hyper=dict(self.optimizer_params or {}),
        )
        return settings.shrunk(1 / examples) if auto and epochs > 1 else settings

    def _learner_for(self, data: ArrayDataset, epochs: int = 1) -> Learner:
        """A new learner for a data set."""
        return Learner(self._settings(epochs, len(data)), data.features, row_map=data.row_map())

    def _check_unchanged(self) -> None:
        """Raises ValueError where parameters have been changed since training began, so that it cannot continue."""
        if self._parameters() == self._given:
            return
        settings, begun = self._settings(), self._learner.settings
        if isinstance(self.l2, str):  # which is decided where training begins
            settings = replace(settings, l2=begun.l2, penalizes_scaled=begun.penalizes_scaled)
        for field in fields(Settings):
            old, new = getattr(begun, field.name), getattr(settings, field.name)
            if old != new:
                name = {"hyper": "optimizer_params", "parameter": self._name_of_parameter()}.get(field.name, field.name)
                raise ValueError(
                    f"{name}: found {new!r}, but the model was trained with {old!r}; keep that value to continue, or "
                    "call fit with warm_start=False to start again"
                )
        self._note_parameters()

    def _parameters(self) -> list:
        """The parameters as they are now."""
        return list(map(vars(self).get, names_of_parameters(type(self))))

    def _note_parameters(self) -> None:
        """Notes with which parameters training began; those that can be changed in place as copies."""
        self._given = [dict(value) if isinstance(value, dict) else value for value in self._parameters()]

    def _dataset(self, X, y, sample_weight, reset: bool, classes=None) -> ArrayDataset:
        if reset:
            self._vocabulary = None
        check_unmasked(sample_weight=sample_weight)
        if not reset and self._is_row(X) and is_number(y):
            y = np.asarray(y)
        else:
            X, y = validated(self, X, y=y, reset=reset, y_numeric=isinstance(self, RegressorMixin))
        weights = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        targets, weights = self._targets(y, weights, reset, classes)
        data = ArrayDataset(checked(X), targets, weights).weighted()
        if not len(data):
            raise ValueError("sample_weight: found no weight above 0, so there is no example to learn from")
        return data

    def _split(self, data: ArrayDataset, random: np.random.RandomState) -> tuple[ArrayDataset, ArrayDataset]:
        """The training and the validation part."""
        strata = data.targets if isinstance(self, ClassifierMixin) else None
        parts = train_test_split(
            np.arange(len(data)), test_size=self.validation_fraction, random_state=random, stratify=strata
        )
        return data.part(np.sort(parts[0])), data.part(np.sort(parts[1]))

    def _take(self, learner: Learner, history: dict[str, list], keep: bool) -> None:
        before = self.history_ if keep else {}
        if before.keys() == history.keys():
            for key, values in history.items():
                before[key] += values
        else:
            self.history_ = {key: [*before.get(key, []), *values] for key, values in history.items()}
        self.n_iter_ = len(history["examples"])
        self._learner, self._weights, self._is_sparse = learner, MixedWeights(learner), False
        self._note_parameters()

    def _loss(self) -> Loss:
        """The loss.

        Raises:
            LossError: there is no such loss, or it is not for these targets.
        """
        loss = losses.resolve(self.loss)
        if loss.target not in self.TARGETS:
            known = [name for name, loss in losses.REGISTRY.items() if loss.target in self.TARGETS]
            raise LossError(f"loss: found {loss.name!r}, which predicts a {loss.target}; expected {', '.join(known)}")
        return loss

    def _loss_of_outputs(self) -> Loss:
        """The loss that is learned: of a joint one and two classes, the one with a single output."""
        loss = self._loss()
        return loss.for_two if loss.for_two is not None and self._outputs() == 1 else loss

    def _named(self) -> list[Loss]:
        """The losses for whose own number the estimator has an argument of that name."""
        return [loss for loss in losses.REGISTRY.values() if loss.parameter and hasattr(self, loss.parameter.name)]

    def _name_of_parameter(self) -> str:
        """What the estimator calls the loss's own number."""
        loss = self._loss()
        return loss.parameter.name if loss.parameter is not None and loss in self._named() else "loss_parameter"

    def _parameter(self) -> float:
        """The loss's own number.

        Raises:
            LossError: it has none, or not this one.
        """
        name, loss = self._name_of_parameter(), self._loss()
        if name != "loss_parameter" and self.loss_parameter is not None:
            raise LossError(f"loss_parameter: {loss.name} calls its number {name}; give {name}={self.loss_parameter!r}")
        return loss.settings(getattr(self, name))

    def _outputs(self) -> int:
        return 1

    def _targets(self, y, weights, reset: bool, classes) -> tuple[np.ndarray, np.ndarray]:
        raise NotImplementedError

    # Names

    def _columns(self) -> Vocabulary:
        """The names of features: those of the first data frame, or numbers where there was an array."""
        if self._vocabulary is None:
            names = getattr(self, "feature_names_in_", None)
            known = Numbered(self.n_features_in_) if names is None else {name: k for k, name in enumerate(names)}
            self._vocabulary = Vocabulary(known, fixed=True)
        return self._vocabulary

    def _naming(self, error: BaseException) -> BaseException:
        """An error with the name of the feature that it is about, where that has one."""
        if isinstance(error, OutOfRangeError) and error.name is None:
            return error.named(self._columns().names)
        return error

    @property
    def vocabulary_(self) -> dict[Any, int]:
        """The column of coef_ that each feature has, by name, where the model began with a dict or a text."""
        if self._vocabulary is None or self._vocabulary.fixed:
            raise AttributeError(
                "vocabulary_: found a model that did not begin with a dict or a text, which have names"
            )
        return dict(self._vocabulary.columns)

    # Weights

    @property
    def learning_rate_(self) -> Any:
        """The rate with the largest weight."""
        if not hasattr(self, "_learner"):
            raise AttributeError(
                f"this {type(self).__name__} is not fitted yet: it has a rate after fit or partial_fit"
            )
        return self._learner.learning_rate.lr

    def _of_fitted(self) -> tuple[Any, np.ndarray]:
        """(outputs, features) and (outputs,)."""
        if not hasattr(self, "_learner"):
            raise AttributeError(
                f"this {type(self).__name__} is not fitted yet: it has weights after fit or partial_fit"
            )
        return self._weights.sparse if self._is_sparse else self._weights.dense

    def sparsify(self):
        """Turns `coef_` into a sparse matrix, which is smaller and faster where l1 has left few weights.

        Returns:
            The estimator itself. What is learned next makes `coef_` dense again.
        """
        check_is_fitted(self)
        self._is_sparse = True
        return self

    def densify(self):
        """Turns `coef_` back into an array."""
        check_is_fitted(self)
        self._is_sparse = False
        return self

    def _scores(self, X) -> np.ndarray:
        """(n, outputs)."""
        if not hasattr(self, "_learner"):
            check_is_fitted(self)
        if self._is_row(X) and X.nnz < X.shape[1] and not self._weights.is_computed:
            return self._score_one(X)[None]
        rows: Any = validated(self, X, reset=False)
        if sparse.issparse(rows) and rows.nnz < rows.shape[1] and not self._weights.is_computed:
            if rows.shape[0] == 1:
                return self._score_one(rows)[None]
            rows = checked(rows)
            entries = rows.indptr.astype(np.int64), rows.indices.astype(np.int64), rows.data.astype(np.float64)
            return online.scores(self._learner, *entries)
        coef, intercept = self._of_fitted()
        return predictions(rows, coef.T, intercept)

    def _is_row(self, X) -> bool:
        """Whether it is a CSR matrix of a single row, of which all is checked where it is learned from or scored."""
        return (
            sparse.issparse(X)
            and X.format == "csr"
            and X.shape == (1, self.n_features_in_)
            and X.dtype in FLOATS
            and not hasattr(self, "feature_names_in_")
        )

    def _score_one(self, x) -> np.ndarray:
        """What is predicted for an example before any link function, (outputs,)."""
        return self._of_one(online.score_one, x)

    def _of_one(self, function: Callable, x) -> Any:
        """What a function of the learner and an example returns."""
        entries = self._entries(x)
        try:
            return function(self._learner, *entries)
        except OutOfRangeError as error:
            raise self._naming(error) from None

    def _entries(self, x) -> tuple[Any, Any, int, bool]:
        """Ids and values of an example, how many features there are, and whether zeros count.

        Raises:
            ValueError: it does not fit what the model began with.
        """
        if not is_named(x):
            entries, size = of_array(x, self.n_features_in_)
            return *entries, size, False
        columns = self._columns()
        return *columns.entries(x), len(columns), self._learner.missing

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "_learner")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


def is_number(y) -> bool:
    """Whether these targets are one number of ordinary size, in a list or a flat array."""
    if not (len(y) == 1 if type(y) is list else type(y) is np.ndarray and y.shape == (1,)):
        return False
    return isinstance(y[0], NUMBERS) and bool(abs(y[0]) < 1 << 53)


@cache
def names_of_parameters(estimator: type[BaseEstimator]) -> tuple[str, ...]:
    return tuple(estimator._get_param_names())


def takes_parts(estimator: LinearEstimator) -> bool:
    if estimator.early_stopping:
        raise AttributeError("early_stopping: partial_fit does not hold out a validation set; expected False")
    if isinstance(getattr(estimator, "class_weight", None), str):
        raise AttributeError(
            "class_weight: partial_fit cannot know how often classes will occur; expected None or a dict, such as "
            "sklearn.utils.compute_class_weight has the numbers for"
        )
    return True
