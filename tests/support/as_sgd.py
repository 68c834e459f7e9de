"""Our estimators under the names and with the arguments of scikit-learn's SGD, and our losses under those of its."""

import types
from functools import partial

import numpy as np
import scipy.sparse as sp

from surefoot import LinearClassifier, LinearRegressor, losses

NAMES = {"log_loss": "logistic", "squared_error": "squared"}


class NoCounterpartError(TypeError):
    """What was asked for is nothing that our estimators have."""


def decaying(eta0: float, power: float, t):
    return eta0 / t**power


class SGD:
    """Their arguments, and what ours are for them: the objectives are the same.

    learning_rate="optimal", their default, is "auto" here; the others are rates of plain SGD, which scales nothing.
    Nothing depends on verbose and n_jobs, and there is always an intercept.
    """

    loss_functions = ("hinge", "squared_hinge", "log_loss", "modified_huber")
    optimizer_params = loss_parameter = None
    batch_size = 1

    def __init__(
        self,
        loss=None,
        *,
        penalty="l2",
        alpha=0.0001,
        l1_ratio=0.15,
        fit_intercept=True,
        max_iter=5,
        tol=None,
        shuffle=True,
        verbose=0,
        epsilon=0.1,
        n_jobs=None,
        random_state=42,
        learning_rate="optimal",
        eta0=0.01,
        power_t=0.5,
        early_stopping=False,
        validation_fraction=0.1,
        n_iter_no_change=5,
        class_weight=None,
        warm_start=False,
        average=False,
    ):
        for name, value in locals().items():
            if name != "self":
                setattr(self, name, value)

    @property
    def loss(self):
        return self._loss_of_ours

    @loss.setter
    def loss(self, name):
        name = name or self.first_loss
        self._loss_of_ours = NAMES.get(name, name)

    @property
    def _share(self) -> float:
        """That of l1 in the penalty."""
        if self.penalty == "elasticnet" and self.l1_ratio is None:
            raise NoCounterpartError("l1_ratio")
        return {"l1": 1.0, "l2": 0.0, None: 0.0}.get(self.penalty, self.l1_ratio)

    l1 = property(lambda self: self.alpha * self._share)
    l2 = property(lambda self: 0.0 if self.penalty is None else self.alpha * (1 - self._share))
    epochs = property(lambda self: self.max_iter)
    delta = property(lambda self: self.epsilon)
    quantile = 0.5
    optimizer = property(lambda self: "adagrad" if self.learning_rate == "optimal" else "sgd")
    normalize = property(lambda self: self.learning_rate == "optimal")

    @property
    def lr(self):
        rates = {"optimal": "auto", "constant": self.eta0, "invscaling": partial(decaying, self.eta0, self.power_t)}
        if self.learning_rate not in rates:
            raise NoCounterpartError(f"learning_rate={self.learning_rate!r}")
        return rates[self.learning_rate]

    @property
    def t_(self) -> int:
        return self.history_["examples"][-1] + 1


class SGDClassifier(SGD, LinearClassifier):
    first_loss = "hinge"


class SGDRegressor(SGD, LinearRegressor):
    first_loss = "squared_error"

    @property
    def intercept_(self):
        return np.array([super().intercept_])


class Sparse:
    """Data as CSR."""

    def fit(self, X, *args, **kw):
        return super().fit(sp.csr_array(X), *args, **kw)

    def partial_fit(self, X, *args, **kw):
        return super().partial_fit(sp.csr_array(X), *args, **kw)


class SparseSGDClassifier(Sparse, SGDClassifier):
    def decision_function(self, X):
        return super().decision_function(sp.csr_array(X))

    def predict_proba(self, X):
        return super().predict_proba(sp.csr_array(X))


class SparseSGDRegressor(Sparse, SGDRegressor):
    pass


CLASSES = {own.__name__: own for own in (SGDClassifier, SGDRegressor, SparseSGDClassifier, SparseSGDRegressor)}


class OneLoss:
    """A loss as their compiled ones are called; labels are −1 and 1."""

    def __init__(self, loss: losses.Loss, *own: float):
        self.loss, self.own = loss, own

    def py_loss(self, prediction, y):
        return self.loss.value(np.float64(prediction), self._target(y), *self.own)

    def py_dloss(self, prediction, y):
        return self.loss.slope(np.float64(prediction), self._target(y), *self.own)

    def _target(self, y):
        return (y + 1) / 2 if self.loss.target == "class" else y


def with_margin(name: str):
    def make(margin: float) -> OneLoss:
        if margin != 1.0:
            raise NoCounterpartError(f"{name} with margin {margin}")
        return OneLoss(losses.REGISTRY[name])

    return make


LOSSES = types.SimpleNamespace(
    Hinge=with_margin("hinge"),
    SquaredHinge=with_margin("squared_hinge"),
    ModifiedHuber=partial(OneLoss, losses.REGISTRY["modified_huber"]),
    EpsilonInsensitive=partial(OneLoss, losses.REGISTRY["epsilon_insensitive"]),
)
