"""One example after the other: what a call of learn_one, partial_fit and their predictions costs in Python.

Each example has 20 features of 2^12 to 2^24. A model has learned from some of them before, so that nothing is made for
the first time while it is measured; models from files have learned from a file of them, as lines of svmlight or of
Vowpal Wabbit, or as a table of ten numbers and ten categories, whose rows are dicts. Vowpal Wabbit gets the same
examples as lines of text, as its users give them; scikit-learn's SGDClassifier a CSR matrix of one row. All of them
work in the thread that calls, and never wait: what is measured is its processor time, in which other processes of the
machine are not counted.
"""

import itertools
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from scipy import sparse

from benchmarks.harness import Row, Times, installed, race, times_as_fast
from surefoot import LinearClassifier
from surefoot.data.reading import ReadOptions
from surefoot.learn.model import Model
from surefoot.learn.plan import Plan
from surefoot.learn.settings import Method
from surefoot.learn.training import Training

linear_model, vowpalwabbit = installed("sklearn.linear_model"), installed("vowpalwabbit")

TITLE = "One example after the other, 20 features each; processor time"
LEARN_BAR, PREDICT_BAR = 1 / 2.5, 1 / 1.2
EXAMPLES, SIZE = 64, 20
RATES = ("auto", 0.1)
LABELS = [0, 1]


def measure(quick: bool) -> Iterator[Row]:
    """learn_one and predict_proba_one compared with learning in Vowpal Wabbit, and single rows with scikit-learn."""
    rounds = 2 if quick else 11
    for bits in (12,) if quick else (12, 20, 24):
        yield from of_size(bits, rounds)


def of_size(bits: int, rounds: int) -> Iterator[Row]:
    rng = np.random.default_rng(0)
    ids = [np.sort(rng.choice(1 << bits, SIZE, replace=False)) for _ in range(EXAMPLES)]
    rows = [sparse.csr_matrix((np.ones(SIZE), each, [0, SIZE]), shape=(1, 1 << bits)) for each in ids]
    forms = {
        "a CSR row": rows,
        "a dict": [{int(j): 1.0 for j in each} for each in ids],
    }
    files = files_of(ids, rng)
    contenders: dict[tuple, Callable[[], object]] = {}
    for rate in RATES:
        for form, examples in forms.items():
            contenders |= of_model(("one", form, rate), ours(rows, rate), examples, "learn_one", "predict_proba_one")
        words = [" ".join(f"w{j}" for j in each) for each in ids]
        contenders |= of_model(("one", "a text", rate), of_words(words, rate), words, "learn_one", "predict_proba_one")
        for form, given in files.items():
            model = of_file(*given, rate)
            contenders |= of_model(("one", form, rate), model, given[2], "learn_one", "predict_proba_one")
        contenders |= of_model(("rows", "", rate), ours(rows, rate), rows, "partial_fit", "predict_proba")
    contenders |= theirs(ids, bits) | of_scikit_learn(rows)
    times = race(contenders, rounds, time.thread_time)
    for rate in RATES:
        for form in (*forms, "a text", *files):
            learn, predict = (times["one", form, rate, what] for what in ("learn", "predict"))
            yield compared(f"2^{bits}: learn_one, {form}, lr={rate}", learn, times.get(("vw", "learn")), LEARN_BAR)
            yield compared(
                f"2^{bits}: predict_proba_one, {form}, lr={rate}", predict, times.get(("vw", "learn")), PREDICT_BAR
            )
        for what, name in (("learn", "partial_fit"), ("predict", "predict_proba")):
            yield compared(
                f"2^{bits}: {name}, a CSR row, lr={rate}", times["rows", "", rate, what], times.get(("sgd", what)), 1
            )


def compared(what: str, ours: Times, peer: Times | None, bar: float) -> Row:
    if peer is None:
        return Row(what, str(ours), "vowpalwabbit or scikit-learn is not installed", bar=bar)
    name = "SGDClassifier" if bar == 1 else "Vowpal Wabbit learns a line"
    return Row(what, str(ours), f"{name}: {peer}", times_as_fast(ours, peer), bar=bar)


def of_model(name: tuple, model, examples: list, learn: str, predict: str) -> dict[tuple, Callable[[], object]]:
    """Calls that take the next example each time."""
    learns, turn, other = getattr(model, learn), itertools.cycle(enumerate(examples)), itertools.cycle(examples)
    label = (lambda k: k % 2) if learn == "learn_one" else (lambda k: [k % 2])

    def learning():
        k, example = next(turn)
        learns(example, label(k))

    return {(*name, "learn"): learning, (*name, "predict"): lambda: getattr(model, predict)(next(other))}


def ours(rows: list, rate) -> LinearClassifier:
    model = LinearClassifier(lr=rate)
    for row in rows:
        model.partial_fit(row, [0], classes=LABELS)
    return model


def of_words(texts: list[str], rate) -> LinearClassifier:
    model = LinearClassifier(lr=rate)
    for text in texts:
        model.learn_one(text, 0)
    return model


def files_of(ids: list, rng: np.random.Generator) -> dict[str, tuple[str, list[str], list]]:
    """For each kind of model from a file: the file's format and lines, and the examples that the model gets."""
    labels = [k % 2 for k in range(len(ids))]
    words = [f"{y} | " + " ".join(f"w{j}" for j in each) for y, each in zip(labels, ids, strict=True)]
    svmlight = [f"{y} " + " ".join(f"{j}:1" for j in each) for y, each in zip(labels, ids, strict=True)]
    numbers, texts = rng.random((len(ids), 10)).tolist(), [[f"v{j}" for j in each[:10]] for each in ids]
    table = [[*own, *other, y] for own, other, y in zip(numbers, texts, labels, strict=True)]
    columns = [*(f"I{k}" for k in range(10)), *(f"C{k}" for k in range(10)), "y"]
    csv = [",".join(map(str, row)) for row in (columns, *table)]
    return {
        "a model file and a line of Vowpal Wabbit": ("vw", words, words),
        "a model file and a line of svmlight": ("svmlight", svmlight, svmlight),
        "a model file and a dict of a row of CSV": (
            "csv",
            csv,
            [dict(zip(columns, row, strict=True)) for row in table],
        ),
    }


def of_file(format: str, lines: list[str], examples: list, rate) -> Model:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, f"examples.{format}")
        path.write_text("\n".join(lines) + "\n")
        target = "y" if format == "csv" else None
        plan = Plan((str(path),), ReadOptions(target=target), method=Method(lr=rate), save_resume=True)
        Training(plan).run().model.save(path.with_suffix(".safetensors"))
        return Model.load(path.with_suffix(".safetensors"))


def theirs(ids: list, bits: int) -> dict[tuple, Callable[[], object]]:
    """Vowpal Wabbit on lines of names."""
    if not vowpalwabbit:
        return {}
    workspace = vowpalwabbit.Workspace(f"--loss_function logistic -b {bits} --quiet")
    lines = [f"{1 - k % 2 * 2} | " + " ".join(f"w{j}" for j in each) for k, each in enumerate(ids)]
    turn = itertools.cycle(lines)
    return {("vw", "learn"): lambda: workspace.learn(next(turn))}


def of_scikit_learn(rows: list) -> dict[tuple, Callable[[], object]]:
    if not linear_model:
        return {}
    model = linear_model.SGDClassifier(loss="log_loss")
    for row in rows[:2]:
        model.partial_fit(row, [0], classes=LABELS)
    return of_model(("sgd",), model, rows, "partial_fit", "predict_proba")
