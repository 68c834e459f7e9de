"""The linear model: bias + Σ wⱼ vⱼ."""

import numpy as np

from surefoot.models.record import Architecture, Part


def predict(values, fields, numbers, base, predicted, lanes):
    for k in range(lanes):
        predicted[k] = base + numbers.bias[k]
    for e in range(values.size):
        for k in range(lanes):
            predicted[k] += numbers.weight[e * lanes + k] * values[e]


def predict_one(values, fields, numbers, base, predicted, lanes):
    """The same for one lane: its sum stays in a register."""
    total = base + numbers.bias[0]
    for e in range(values.size):
        total += numbers.weight[e] * values[e]
    predicted[0] = total


def gradient(values, fields, numbers, slopes, gradients, lanes):
    for k in range(lanes):
        gradients.bias[k] = slopes[k]
    for e in range(values.size):
        for k in range(lanes):
            gradients.weight[e * lanes + k] = slopes[k] * values[e]


def scores(block, rows, numbers):
    """Features that are not known add nothing."""
    weights, bias = numbers["weight"][:, 0], numbers["bias"][0, 0]
    found = np.tile(bias.astype(np.float64), (len(block), 1))
    filled = np.diff(block.indptr) > 0
    starts = block.indptr[:-1][filled]
    if len(starts):
        for o in range(weights.shape[1]):
            column = np.append(weights[:, o].astype(np.float64), 0.0)
            found[filled, o] += np.add.reduceat(column.take(rows) * block.values, starts - block.indptr[0])
    return found


linear = Architecture(
    name="linear",
    parts={"bias": Part(of="model", penalized=False), "weight": Part()},
    predict=predict,
    predict_one=predict_one,
    gradient=gradient,
    scores=scores,
    linear=True,
)
