"""Rules and modifiers that need statistics, as someone would write them, and the same steps written from the papers."""

import numpy as np

from surefoot import ops, rules
from surefoot.modifiers import modifier
from surefoot.records.hyper import flag
from surefoot.rules import mean, nonnegative, origin, positive, rule, scalar, total


def square_of_gradient(g):
    return g * g


def square_of_parameter(x):
    return x * x


@rule(
    slots={"sum": scalar()},
    statistics={"squares": total(square_of_gradient, "tensor")},
    hyper={"lr": nonnegative(0.1), "eps": positive(1e-8)},
)
def adagrad_norm(x, g, g2, sum, squares, lr, eps):
    """AdaGrad-Norm (Ward, Wu & Bottou 2019): one rate for the tensor, from the norms of its gradients."""
    sum = sum + squares
    return lr / (ops.sqrt(sum) + eps), g, sum


def adagrad_norm_by_hand(x, gradients, lr=0.1, eps=1e-8):
    total = 0.0
    for g in gradients:
        total += float((g * g).sum())
        x = x - lr / (np.sqrt(total) + eps) * g
    return x


def lamb_by_hand(x, gradients, lr=0.001, beta1=0.9, beta2=0.999, eps=1e-6, decay=0.0):
    m, v = np.zeros_like(x), np.zeros_like(x)
    for t, g in enumerate(gradients, 1):
        m, v = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
        u = m / (1 - beta1**t) / (np.sqrt(v / (1 - beta2**t)) + eps) + decay * x
        ratio = np.linalg.norm(x) / np.linalg.norm(u) if np.linalg.norm(x) > 0 and np.linalg.norm(u) > 0 else 1.0
        x = x - lr * ratio * u
    return x


def novograd_by_hand(x, gradients, lr=0.01, beta1=0.95, beta2=0.98, eps=1e-8, decay=0.0):
    m, v = np.zeros_like(x), None
    for g in gradients:
        v = (g * g).sum() if v is None else beta2 * v + (1 - beta2) * (g * g).sum()
        m = beta1 * m + (g / (np.sqrt(v) + eps) + decay * x)
        x = x - lr * m
    return x


def sm3_by_hand(x, gradients, lr=0.1, eps_root=1e-8, momentum=0.0):
    rows, columns, m = np.zeros((len(x), 1)), np.zeros((1, x.shape[1])), np.zeros_like(x)
    for g in gradients:
        nu = np.minimum(rows, columns) + g * g
        rows, columns = nu.max(1, keepdims=True), nu.max(0, keepdims=True)
        m = momentum * m + (1 - momentum) * g / np.sqrt(nu + eps_root)
        x = x - lr * m
    return x


def adafactor_by_hand(x, gradients, lr=0.01, threshold=1.0, eps_root=1e-30, eps_scale=1e-3):
    rows, columns = np.zeros(len(x)), np.zeros(x.shape[1])
    for t, g in enumerate(gradients, 1):
        kept, square = 1 - t**-0.8, g * g + eps_root
        rows, columns = kept * rows + (1 - kept) * square.sum(1), kept * columns + (1 - kept) * square.sum(0)
        u = g / np.sqrt(np.outer(rows, columns) / rows.sum())
        u = u / max(1.0, np.sqrt((u * u).mean()) / threshold)
        x = x - max(eps_scale, np.sqrt((x * x).mean())) * min(lr, 1 / np.sqrt(t)) * u
    return x


def square_of_way(x, start):
    return (x - start) * (x - start)


def dog_coefficients(t, lr, eps, distance):
    return lr, eps


@rule(
    slots={"start": origin(), "distance": scalar("eps"), "sum": scalar()},
    statistics={"way": total(square_of_way, "tensor"), "squares": total(square_of_gradient, "tensor")},
    hyper={"lr": nonnegative(1.0), "eps": positive(1e-6)},
    coefficients=dog_coefficients,
)
def dog(x, g, g2, start, distance, sum, way, squares, lr, eps):
    """DoG (Ivgi, Hinder & Carmon 2023): the distance from the start over the norm of the gradients so far."""
    distance = ops.maximum(distance, ops.sqrt(way))
    sum = sum + squares
    return lr * distance / (ops.sqrt(sum) + eps), g, start, distance, sum


def dog_by_hand(x, gradients, lr=1.0, eps=1e-6):
    start, distance, total = x, eps, 0.0
    for g in gradients:
        distance = max(distance, float(np.linalg.norm(x - start)))
        total += float((g * g).sum())
        x = x - lr * distance / (np.sqrt(total) + eps) * g
    return x


def of_dog(x, gradients, lr=1.0, first=1e-6, eps=1e-8):
    start, most, total = x, first * (1 + np.linalg.norm(x)), 0.0
    for g in gradients:
        most, total = max(most, np.linalg.norm(x - start)), total + (g * g).sum()
        x = x - lr * most / np.sqrt(total + eps) * g
    return x


def dadapt_adagrad_by_hand(x, gradients, a0=1e-6, d=1e-6):
    """The paper's loop as its authors run it, at η = 1 and without momentum."""
    start, s, a, spent = x, np.zeros_like(x), np.full_like(x, a0), 0.0
    for g in gradients:
        a = a + g * g
        spent, s = spent + d * d * (g * g / np.sqrt(a)).sum(), s + d * g
        d = max(d, ((s * s / np.sqrt(a)).sum() - spent) / abs(s).sum())
        x = start - s / np.sqrt(a)
    return x


def prodigy_by_hand(x, gradients, d=1e-6, beta1=0.9, beta2=0.999, eps=1e-8):
    start, m, v, s, r = x, np.zeros_like(x), np.zeros_like(x), np.zeros_like(x), 0.0
    for g in gradients:
        m, v = beta1 * m + (1 - beta1) * d * g, beta2 * v + (1 - beta2) * d * d * g * g
        r = np.sqrt(beta2) * r + d * d * (g * (start - x)).sum()
        s = np.sqrt(beta2) * s + d * d * g
        new = max(d, r / abs(s).sum())
        x, d = x - d * m / (np.sqrt(v) + new * eps), new
    return x


def averaged(y, steps, lr, beta=0.9):
    """Defazio et al. (2024), by all three sequences, without decay."""
    z = x = y
    for t, step in enumerate(steps, 1):
        z = z - lr * step
        x = (1 - 1 / t) * x + z / t
        y = (1 - beta) * z + beta * x
    return y


def schedule_free_sgd_by_hand(x, gradients, lr=1.0):
    return averaged(x, gradients, lr)


def schedule_free_adamw_by_hand(x, gradients, lr=0.0025, beta2=0.999, eps=1e-8):
    steps, v = [], np.zeros_like(x)
    for t, g in enumerate(gradients, 1):
        v = beta2 * v + (1 - beta2) * g * g
        steps.append(g / (np.sqrt(v / (1 - beta2**t)) + eps))
    return averaged(x, steps, lr)


def schedule_free_adagrad_by_hand(x, gradients, lr=0.1, eps=1e-8):
    roots = np.sqrt(np.cumsum([g * g for g in gradients], axis=0)) + eps
    return averaged(x, [g / root for g, root in zip(gradients, roots, strict=True)], lr)


OF_GROUPS = {
    "dog": (rules.dog, of_dog),
    "dadapt_adagrad": (rules.dadapt_adagrad, dadapt_adagrad_by_hand),
    "prodigy": (rules.prodigy, prodigy_by_hand),
}
"""Whose numbers belong to all parameters of a group."""

AVERAGED = {
    "schedule_free_sgd": (rules.schedule_free_sgd, schedule_free_sgd_by_hand),
    "schedule_free_adamw": (rules.schedule_free_adamw, schedule_free_adamw_by_hand),
    "schedule_free_adagrad": (rules.schedule_free_adagrad, schedule_free_adagrad_by_hand),
}

RULES = {
    "adagrad_norm": (adagrad_norm, adagrad_norm_by_hand),
    "lamb": (rules.lamb, lamb_by_hand),
    "novograd": (rules.novograd, novograd_by_hand),
    "sm3": (rules.sm3, sm3_by_hand),
    "adafactor": (rules.adafactor, adafactor_by_hand),
    "own dog": (dog, dog_by_hand),
}


def itself(g):
    return g


@modifier(
    stage="gradient",
    settings={"centralize": flag(False, "subtract the mean of each row")},
    statistics={"of_row": mean(itself, "row")},
    formula="g ← g − mean of its row",
    source="Yong, Huang, Hua & Zhang (2020), Gradient centralization, ECCV",
)
def centralization(g, of_row):
    """The gradient without its row's mean."""
    return g - of_row
