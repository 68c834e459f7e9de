"""Linear models with scikit-learn's interface: LinearClassifier and LinearRegressor."""

from __future__ import annotations

import numpy as np
from scipy import sparse
from sklearn.base import ClassifierMixin, RegressorMixin
from sklearn.utils import compute_class_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets

from surefoot import losses
from surefoot.learn import online
from surefoot.learn.estimator import LinearEstimator, takes_parts
from surefoot.learn.given import distinct, first_classes, mixed, number_given, numbers_in, shown, weight_given
from surefoot.learn.one_row import LARGEST

EXPECTED = f"a finite number of at most {LARGEST:.4g}"
"""What a regression can be learned from."""


def _has_probabilities(classifier: LinearClassifier) -> bool:
    name = classifier.loss
    loss = losses.REGISTRY[name] if isinstance(name, str) and name in losses.REGISTRY else losses.resolve(name)
    if loss.probability is None:
        known = [name for name, loss in losses.REGISTRY.items() if loss.probability is not None]
        raise AttributeError(
            f"probability estimates are not available for loss={loss.name!r}; use one of {', '.join(known)}, or "
            "CalibratedClassifierCV"
        )
    return True


class LinearClassifier(ClassifierMixin, LinearEstimator):
    """A linear classifier that learns from a stream, with a learning rate that need not be tuned.

    It minimizes (1/n) Σ cᵢ L(yᵢ, w·xᵢ + b) + l1 ‖w‖₁ + ½ l2 ‖w‖² by steps of an adaptive rule, one for each
    mini-batch; cᵢ are the weights of examples and classes. Several classes: "softmax" learns them together, every other
    loss one against the rest.

    Args:
        loss: "softmax" (probabilities; of two classes it is "logistic"), "logistic" (probabilities; of several classes
            one against the rest), "hinge", "squared_hinge" (support vector machines), "modified_huber" (probabilities,
            robust); or a loss of your own: a surefoot.Loss, or "path/to/file.py:name".
        loss_parameter: the number of its own that a loss of yours has; None: its default.
        optimizer: a rule of surefoot.rules, its name, or "path/to/file.py:name".
        optimizer_params: a dict of the rule's further hyperparameters, such as {"eps": 1e-8}.
        lr: "auto" trains several learning rates at once and mixes them by how well they predict what comes next; or a
            number, or a schedule: a function of the step t, or its written form, such as "polynomial:0.1:1".
        l1, l2: penalties of each weight. l1 gives exact zeros, the most of them with "dual_averaging"; of "ftrl" both
            are penalties on the sum of the losses, not on their mean (McMahan et al., 2013). l2="auto": where fit takes
            several epochs, 1/n on the weights of features as `normalize` scales them, which is what LogisticRegression
            has behind a StandardScaler; in a single epoch, in partial_fit, and with rules that do not take it, 0.
        epochs: passes through the data at most. "auto": enough to learn from 100,000 examples, between 1 and 100; but
            one where an example has as many features as there are examples, since further epochs would learn the noise.
            With lr="auto", the weights after several are an average of those at the end of each from the
            second on, of which later ones count more: see `surefoot.learn.epoch_average`.
        batch_size: examples for each step.
        shuffle: whether fit takes the examples in a new order in each epoch; partial_fit never does.
        early_stopping: rehearse with a validation set held out, with up to three where they have fewer than 1,000
            examples, until the loss on them has risen by more than two standard errors, and then train on all examples
            for the number of epochs after which it had not.
        validation_fraction: the share of the examples in each validation set.
        n_iter_no_change: epochs without progress before it stops.
        tol: progress is a loss lower than the best by more than tol times that of the first epoch; None: all epochs.
        average: predict with the average of the weights over all steps.
        normalize: centre and scale each feature by its values so far, see `surefoot.engines.scaling`; the origins and
            units of features then do not matter, nor does the mean weight of the examples.
        class_weight: a dict of weights by class, or "balanced" (fit only): n / (classes · count).
        warm_start: fit continues from the weights of the last one.
        random_state: for the orders and the validation sets.

    Attributes:
        coef_: (1, features) for two classes, or (classes, features), float64.
        intercept_: (1,) or (classes,), float64.
        classes_: the classes, sorted.
        history_: for each epoch of fit, or call of partial_fit, the number of "examples" learned from so far, and the
            mean "progressive_loss": each example is predicted, then learned from, so in the first epoch this is the
            loss on new examples; with early stopping the mean "validation_loss" after each epoch of the rehearsal. All
            as the loss's metric has them (log loss, the mean squared error, the mean Poisson deviance), see
            `surefoot losses`.
        learning_rate_: the rate with the largest weight.
        n_iter_: epochs of the last fit.
        n_features_in_, feature_names_in_: of the data.

    The result is the same with any number of threads, and partial_fit on the parts of a data set gives the same bits
    as fit with shuffle=False and epochs=1, if the parts are whole mini-batches.

    >>> X = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0], [0.0, 0.0]] * 5)
    >>> y = np.array(["no", "yes", "yes", "no"] * 5)
    >>> model = LinearClassifier(random_state=0).fit(X, y)
    >>> model.predict([[1.0, 0.5]])
    array(['yes'], dtype='<U3')
    >>> bool(model.predict_proba([[1.0, 0.5]])[0, 1] > 0.7)
    True
    """

    TARGETS = ("class",)
    _known: tuple = (None, {}, [])

    def __init__(
        self,
        loss="softmax",
        *,
        loss_parameter=None,
        optimizer="adagrad",
        optimizer_params=None,
        lr="auto",
        l1=0.0,
        l2="auto",
        epochs="auto",
        batch_size=1,
        shuffle=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-3,
        average=False,
        normalize=True,
        class_weight=None,
        warm_start=False,
        random_state=None,
    ):
        self.loss = loss
        self.loss_parameter = loss_parameter
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.l1 = l1
        self.l2 = l2
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.average = average
        self.normalize = normalize
        self.class_weight = class_weight
        self.warm_start = warm_start
        self.random_state = random_state

    @available_if(takes_parts)
    def partial_fit(self, X, y, classes=None, sample_weight=None):
        """Learns from more examples, in their order, once.

        Args:
            X, y, sample_weight: as in fit.
            classes: all classes that will ever occur; needed in the first call.

        Returns:
            The estimator itself.

        Raises:
            ValueError, DivergedError: as in fit, or there are no classes in the first call; the estimator is then
                unchanged.
        """
        if classes is None and not hasattr(self, "_learner"):
            raise ValueError(
                "classes: found None in the first call of partial_fit, expected all classes that will ever occur, such "
                "as classes=[0, 1]"
            )
        return self._learn_part(X, y, sample_weight, classes)

    @available_if(takes_parts)
    def learn_one(self, x, y, *, classes=None, sample_weight=1.0):
        """Learns from one example, as partial_fit does from a row, with the same bits in a fraction of the time.

        Args:
            x: a row of numbers or a CSR matrix of one row; or features by name, which need not be known before: a dict
                {column: value}, where a number is the value of the feature `column` and anything else is the feature
                `column=value`, as in a CSV file; or a text of words, or `|namespace name:value …` as Vowpal Wabbit has
                it. A dict or a text that comes first begins a model whose features are found by name (`vocabulary_`).
            y: the class.
            classes: all classes that will ever occur; needed in the first call unless y is True or False, 0 or 1.
            sample_weight: as in fit.

        Returns:
            The estimator itself. The call adds nothing to history_.

        Raises:
            ValueError, DivergedError: as in partial_fit; the estimator is then unchanged.

        >>> model = LinearClassifier()
        >>> for _ in range(20):
        ...     _ = model.learn_one({"sky": "clear", "wind": 3}, False).learn_one({"sky": "dark", "wind": 5}, True)
        >>> model.predict_one({"sky": "dark"}), model.vocabulary_
        (True, {'sky=clear': 0, 'wind': 1, 'sky=dark': 2})
        """
        if not hasattr(self, "_learner"):
            with self._all_or_nothing():
                self.classes_ = first_classes(y, classes)
                self._learn_one(x, *self._target(y, sample_weight))
            return self
        if classes is not None:
            self._check_classes(classes)
        self._learn_one(x, *self._target(y, sample_weight))
        return self

    def _target(self, y, weight) -> tuple[float, float]:
        """The number of a class, and the weight of an example of it."""
        known = self._numbers
        try:
            number = known[y]
        except (KeyError, TypeError):
            raise self._strange(y) from None
        weight = weight_given("sample_weight", weight)
        if self.class_weight is not None:
            weight *= self._of_classes(self.classes_, self.classes_).item(int(number))
        return number, weight

    @property
    def _numbers(self) -> dict:
        """The number of each class."""
        if self._known[0] is not self.classes_:
            numbers = {label: float(k) for k, label in enumerate(self.classes_.tolist())}
            self._known = self.classes_, numbers, list(numbers)
        return self._known[1]

    def _strange(self, label) -> ValueError:
        return ValueError(
            f"y: found class {shown(label)}, expected one of {', '.join(map(repr, self.classes_.tolist()))}"
        )

    def _check_classes(self, classes) -> None:
        if not np.array_equal(np.unique(classes), self.classes_):
            known = self.classes_.tolist()
            raise ValueError(f"classes: found {np.unique(classes).tolist()}, expected those of the first call, {known}")

    def _targets(self, y, weights, reset, classes):
        if reset:  # later ones have to be among its classes
            if y.dtype.kind == "O":
                distinct(y)
            check_classification_targets(y)
        if not reset:
            known = self.classes_
            if classes is not None:
                self._check_classes(classes)
        elif classes is not None:
            known = np.unique(classes)
        else:
            known = distinct(y)
        if len(known) < 2:
            raise ValueError(f"y: found one class, {known.tolist()[0]!r}; a classifier needs two classes or more")
        try:
            targets = np.minimum(np.searchsorted(known, y), len(known) - 1)
        except TypeError:
            raise mixed(y) from None
        strange = known[targets] != y
        self.classes_ = known
        if strange.any():
            raise self._strange(y[strange].tolist()[0])
        if self.class_weight is not None:
            weights = weights * self._of_classes(known, y[weights > 0])[targets]
        return targets.astype(np.float64), weights

    def _of_classes(self, known, y):
        """The weight of each class; examples without weight are not there, so a class may be without examples."""
        there = np.isin(known, y)
        found = np.ones(len(known))
        found[there] = compute_class_weight(self.class_weight, classes=known[there], y=y)
        if (found < 0).any():
            raise ValueError(f"class_weight: found {self.class_weight!r}, expected numbers of at least 0")
        return found

    def _outputs(self):
        return 1 if len(self.classes_) == 2 else len(self.classes_)

    @property
    def coef_(self):
        return self._of_fitted()[0]

    @property
    def intercept_(self):
        return self._of_fitted()[1]

    def decision_function(self, X):
        """w·x + b: (n,) for two classes, positive for the second; or (n, classes)."""
        scores = self._scores(X)
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X):
        """The class with the largest w·x + b, (n,)."""
        scores = self.decision_function(X)
        return self.classes_[(scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)]

    @available_if(_has_probabilities)
    def predict_proba(self, X):
        """Probabilities of the classes, (n, classes).

        1 / (1 + exp(−w·x − b)) for "logistic"; of several classes these are divided by their sum. "modified_huber":
        (1 + w·x + b) / 2 between 0 and 1 (Zhang & Oles, 2001, Text categorization).
        """
        scores = self._scores(X)  # of an estimator that is not fitted yet, this says so
        return self._learner.settings.loss.probabilities(scores)

    def predict_one(self, x):
        """The class of one example, see learn_one; None before the first example."""
        if not hasattr(self, "_learner"):
            return None
        scores = self._score_one(x)
        return self._labels[int(scores[0] > 0) if len(scores) == 1 else int(scores.argmax())]

    @available_if(_has_probabilities)
    def predict_proba_one(self, x):
        """The probabilities of the classes of one example, see learn_one, as a dict; empty before the first example."""
        if not hasattr(self, "_learner"):
            return {}
        labels = self._labels
        if len(labels) == 2:
            found = self._of_one(online.probability_one, x)
            return {labels[0]: 1.0 - found, labels[1]: found}
        scores = self._score_one(x)
        return dict(zip(labels, self._learner.settings.loss.probabilities(scores[None])[0].tolist(), strict=True))

    @property
    def _labels(self) -> list:
        """The classes, as Python's own objects."""
        return self._known[2] if self._numbers else []

    @available_if(_has_probabilities)
    def predict_log_proba(self, X):
        """Natural logarithms of the probabilities, (n, classes)."""
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X))


class LinearRegressor(RegressorMixin, LinearEstimator):
    """A linear regression that learns from a stream, with a learning rate that need not be tuned.

    It minimizes (1/n) Σ cᵢ L(yᵢ, w·xᵢ + b) + l1 ‖w‖₁ + ½ l2 ‖w‖² by steps of an adaptive rule, one for each
    mini-batch. With r = w·x + b − y the losses are: "squared" ½ r²; "huber" ½ r² up to |r| = δ, then δ (|r| − ½ δ);
    "quantile" max(−q r, (1 − q) r); "epsilon_insensitive" max(0, |r| − ε); "poisson" exp(w·x + b) − y (w·x + b), for
    counts y ≥ 0, of which exp(w·x + b) is predicted.

    Args:
        loss: one of these, or a loss of your own: a surefoot.Loss, or "path/to/file.py:name".
        delta: δ of "huber", in the unit of y.
        quantile: q of "quantile", between 0 and 1.
        epsilon: ε of "epsilon_insensitive", in the unit of y.
        loss_parameter, optimizer, optimizer_params, lr, l1, l2, epochs, batch_size, shuffle, early_stopping,
            validation_fraction, n_iter_no_change, average, warm_start, random_state: as for LinearClassifier.
        tol: progress is a loss lower than the best by more than tol times that, of "poisson" by tol times that of the
            first epoch; None: all epochs.
        normalize: centre and scale each feature by its values so far, and centre and scale the targets by those of the
            first rows; scales then do not matter.

    Attributes:
        coef_: (features,), float64.
        intercept_: a number.
        history_, learning_rate_, n_iter_, n_features_in_, feature_names_in_: as for LinearClassifier.

    partial_fit on the parts of a data set gives the same bits as fit with shuffle=False and epochs=1, if the parts
    are whole mini-batches and the first has 4,096 rows, by which targets are centred and scaled.

    >>> X = np.array([[0.0], [1.0], [2.0], [3.0]] * 5)
    >>> model = LinearRegressor(random_state=0).fit(X, 3.0 * X[:, 0] + 1.0)
    >>> model.predict([[4.0]]).round(1)
    array([13.])
    """

    TARGETS = ("number", "count")

    def __init__(
        self,
        loss="squared",
        *,
        delta=1.0,
        quantile=0.5,
        epsilon=0.1,
        loss_parameter=None,
        optimizer="adagrad",
        optimizer_params=None,
        lr="auto",
        l1=0.0,
        l2=0.0,
        epochs="auto",
        batch_size=1,
        shuffle=True,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        tol=1e-3,
        average=False,
        normalize=True,
        warm_start=False,
        random_state=None,
    ):
        self.loss = loss
        self.loss_parameter = loss_parameter
        self.delta = delta
        self.quantile = quantile
        self.epsilon = epsilon
        self.optimizer = optimizer
        self.optimizer_params = optimizer_params
        self.lr = lr
        self.l1 = l1
        self.l2 = l2
        self.epochs = epochs
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.tol = tol
        self.average = average
        self.normalize = normalize
        self.warm_start = warm_start
        self.random_state = random_state

    @available_if(takes_parts)
    def partial_fit(self, X, y, sample_weight=None):
        """Learns from more examples, in their order, once.

        Args:
            X, y, sample_weight: as in fit.

        Returns:
            The estimator itself.

        Raises:
            ValueError, DivergedError: as in fit; the estimator is then unchanged.
        """
        return self._learn_part(X, y, sample_weight)

    @available_if(takes_parts)
    def learn_one(self, x, y, *, sample_weight=1.0):
        """Learns from one example, as partial_fit does from a row, with the same bits in a fraction of the time.

        Args:
            x: as in LinearClassifier.learn_one.
            y: a number.
            sample_weight: as in fit.

        Returns:
            The estimator itself. The call adds nothing to history_.

        Raises:
            ValueError, DivergedError: as in partial_fit; the estimator is then unchanged.
        """
        target = number_given("y", y, EXPECTED, LARGEST)
        self._check_counts(target)
        self._learn_one(x, target, weight_given("sample_weight", sample_weight))
        return self

    def _targets(self, y, weights, reset, classes):
        y = numbers_in("y", y)
        self._check_counts(y.min())
        largest = y[np.abs(y).argmax()]
        number_given("y", float(largest), EXPECTED, LARGEST)
        return y.astype(np.float64), weights

    def _check_counts(self, least) -> None:
        loss = self._loss()
        if loss.target == "count" and least < 0:
            raise ValueError(f"y: found {least:g}, expected at least 0: {loss.name} loss is for counts")

    @property
    def coef_(self):
        coef = self._of_fitted()[0]
        return coef if sparse.issparse(coef) else coef[0]

    @property
    def intercept_(self):
        return float(self._of_fitted()[1][0])

    def predict(self, X):
        """w·x + b, or exp(w·x + b) for "poisson", (n,)."""
        return self._loss().means(self._scores(X)[:, 0])

    def predict_one(self, x):
        """The prediction for one example, see learn_one; before the first one, that of a model whose numbers are 0."""
        scores = self._score_one(x) if hasattr(self, "_learner") else np.zeros(1)
        return float(self._loss().means(scores)[0])

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.target_tags.positive_only = self._loss().target == "count"
        return tags
