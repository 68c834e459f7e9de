"""How well a model predicts the labels of files."""

from __future__ import annotations

import numpy as np

from surefoot.data.reading import ReadOptions
from surefoot.data.stream import OnError
from surefoot.learn.evaluation import Evaluation
from surefoot.learn.examples import for_model
from surefoot.learn.model import Model
from surefoot.learn.targets import Targets


def evaluate(
    model: Model,
    reading: ReadOptions,
    files: tuple[str, ...],
    on_error: OnError = "stop",
    max_errors: int | None = None,
) -> Evaluation:
    """Measures a model on files.

    Args:
        model: what predicts.
        reading: how the files are read.
        files: paths, globs, URLs, or "-" for standard input.
        on_error, max_errors: lines that cannot be used.

    Raises:
        DataError: they cannot be read, or have labels that the model does not know.
    """
    stream = reading.open(files, on_error=on_error, max_errors=max_errors, trained=True)
    targets = Targets(model.targets.loss, model.targets.classes, stream.words)
    found = Evaluation(model.targets.loss, model.targets.outputs, model.parameter)
    for block in stream:
        block = for_model(model.architecture, stream, targets, block, model.missing)
        found.add(model.scores(block), targets.of(block.labels), block.weights.astype(np.float64))
    found.skipped = dict(stream.policy.counts)
    return found
