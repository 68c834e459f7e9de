"""Section 5: speed. A product of matrices in small and in large pieces, which is why there are mini-batches."""

import numpy as np

from surefoot.lab.published.rows import NOTEBOOK, Finding, clock, row

SECTION = "5 theory"


def by_element(B, C):
    A = np.zeros((len(B), C.shape[1]))
    for i in range(len(B)):
        for j in range(C.shape[1]):
            A[i, j] = np.dot(B[i, :], C[:, j])
    return A


def by_column(B, C):
    A = np.zeros((len(B), C.shape[1]))
    for j in range(C.shape[1]):
        A[:, j] = np.dot(B, C[:, j])
    return A


def whole(B, C):
    return np.dot(B, C)


def by_blocks(B, C, columns: int = 64):
    A = np.zeros((len(B), C.shape[1]))
    for j in range(0, C.shape[1], columns):
        A[:, j : j + columns] = np.dot(B, C[:, j : j + columns])
    return A


WAYS = {"element": by_element, "column": by_column, "whole": whole, "blocks": by_blocks}
"""The four products, from the smallest pieces to the largest but one."""


@row(
    "vectorization",
    SECTION,
    "a 256 × 256 product element by element, column by column, whole, and in blocks of 64 columns: the order of times",
    '1.357 s by element, 0.0234 s by column, 0.00502 s whole; "Gigaflops" 1.473, 85.459, 117.515 and, for blocks, '
    "398.282",
    texts=NOTEBOOK,
    ours="2 · 256³ is 0.0336 Gflop, not 2: 0.0247 by element, 1.43 by column, 6.68 whole; blocks are like whole",
    note="the last printed figure is 2/0.00502 of a second whole product; blocks were not timed; see docs/errata.md",
)
def vectorization(ways=WAYS, size=256) -> Finding:
    rng = np.random.default_rng(0)
    B, C = rng.random((size, size)), rng.random((size, size))
    seconds = shortest(ways, B, C)
    speed = {name: 2 * size**3 / time / 1e9 for name, time in seconds.items()}
    exact = all(np.allclose(way(B, C), B @ C) for name, way in ways.items() if name != "element")
    passed = exact and 3 * speed["element"] < speed["column"] < min(speed["whole"], speed["blocks"]) / 1.5
    times = ", ".join(f"{name} {1e3 * time:.3g}" for name, time in seconds.items())
    text = ", ".join(f"{name} {value:.3g}" for name, value in speed.items())
    return Finding(f"{times} ms; {text} Gflop/s: element ≪ column < whole, and blocks like whole", passed, speed)


def shortest(ways, B, C, repeats: int = 30) -> dict[str, float]:
    """The shortest time of each way, on one thread; in turn, so that other work on the machine slows all of them."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for k in range(repeats):
        for name, way in ways.items():
            if name == "element" and k >= 2:  # which takes longer than all others together
                continue
            begin = clock()
            way(B, C)
            seconds[name].append(clock() - begin)
    return {name: min(times) for name, times in seconds.items()}
