"""Dense steps of every rule: bytes per second compared with the best copy, and time compared with torch's optimizers.

A step reads and writes the parameter and every slot, and reads the gradient: 4 · (3 + 2 · slots) bytes a coordinate. A
copy is counted as 8 bytes a coordinate, although processors may read the target too before they write it; an in-place
pass has no such hidden traffic, and is shown as the stricter yardstick.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from benchmarks.harness import Row, Times, installed, race, times_as_fast
from surefoot.engines import Step, get_threads
from surefoot.rules import REGISTRY, Rule

torch = installed("torch")

TITLE = "Dense steps: bytes moved per second compared with the best copy, and time compared with torch"
COPY_BAR = 0.9
COPIED = 8


class Contender(NamedTuple):
    kind: str
    name: str
    threads: int


@dataclass(frozen=True)
class Peer:
    """An optimizer of torch with its settings, and how many times as fast we must be."""

    name: str
    settings: dict = field(default_factory=dict)
    bar: float | None = None

    def __str__(self) -> str:
        return f"torch {self.name}({', '.join(f'{key}={value}' for key, value in self.settings.items())})"


PEERS = {
    "sgd": (Peer("SGD", {"fused": True}),),
    "momentum": (Peer("SGD", {"momentum": 0.9, "fused": True}),),
    "adagrad": (Peer("Adagrad", {"fused": True}, bar=0.95), Peer("Adagrad")),
    "rmsprop": (Peer("RMSprop", bar=3),),
    "adadelta": (Peer("Adadelta", bar=3),),
    "adam": (Peer("Adam", {"fused": True}), Peer("Adam")),
    "adamw": (Peer("AdamW", {"fused": True}),),
    "nadam": (Peer("NAdam"),),
}


def measure(quick: bool) -> Iterator[Row]:
    """Every rule and variant at 50 million float32 coordinates."""
    n, rounds = (30_000, 2) if quick else (50_000_000, 11)
    rng = np.random.default_rng(0)
    x, g = rng.standard_normal(n, dtype=np.float32), rng.standard_normal(n, dtype=np.float32)
    target = np.ones_like(x)
    for rule, options in variants():
        if not quick or (rule.name == "adagrad" and not options):
            yield from of_rule(rule, options, x, g, target, rounds)


def variants() -> Iterator[tuple[Rule, dict]]:
    """Every rule, and its variants with the options that ask for them; the clock of rows is for sparse gradients."""
    for rule in REGISTRY.values():
        yield rule, {}
        for named in sorted(sorted(options) for options in rule.variants if "clock" not in options):
            yield rule, {option: True if rule.hyper[option].is_flag else 0.9 for option in named}


def of_rule(rule: Rule, options: dict, x, g, target, rounds: int) -> Iterator[Row]:
    name = ", ".join([rule.name, *(f"{key}={value}" for key, value in options.items())])
    bytes_moved = 4 * (3 + 2 * len(rule.resolve(rule.settings(**options)).slots))
    peers = () if options else PEERS.get(rule.name, ())
    counts, most = sorted({1, get_threads()}), get_threads()

    contenders: dict[Contender, Callable[[], object]] = {}
    for threads in counts:
        contenders |= yardsticks(x, target, threads)
        contenders[Contender("ours", "", threads)] = our_step(rule, options, x, g, threads)
    if torch:
        contenders |= {Contender("peer", str(peer), most): their_step(peer, x, g, most) for peer in peers}
    times = race(contenders, rounds)

    for threads in counts:
        yield beside_copy(name, threads, times, bytes_moved, x.size)
    ours = times[Contender("ours", "", most)]
    for peer in peers:
        theirs = times.get(Contender("peer", str(peer), most))
        if theirs:
            yield Row(name, str(ours), f"{peer}: {theirs}", times_as_fast(ours, theirs), bar=peer.bar)
        else:
            yield Row(name, str(ours), f"{peer}: torch is not installed", bar=peer.bar)


def beside_copy(name: str, threads: int, times: dict[Contender, Times], bytes_moved: int, n: int) -> Row:
    """Our bytes per second over those of the copy that is fastest on no more threads."""
    ours = times[Contender("ours", "", threads)]
    copy = fastest("copy", threads, times)
    in_place = fastest("in place", threads, times)

    def rate(bytes_: int, contender: Contender) -> float:
        return bytes_ * n / times[contender].median / 1e9

    our_rate = rate(bytes_moved, Contender("ours", "", threads))
    return Row(
        f"{name}, {threads} thread{'s' * (threads > 1)}",
        f"{our_rate:.1f} GB/s, {our_rate / rate(COPIED, in_place):.0%} of {in_place.name}; {ours}",
        f"{copy.name}: {rate(COPIED, copy):.1f} GB/s",
        times_as_fast(ours, times[copy], work=bytes_moved / COPIED),
        bar=COPY_BAR,
    )


def fastest(kind: str, threads: int, times: dict[Contender, Times]) -> Contender:
    allowed = [contender for contender in times if contender.kind == kind and contender.threads <= threads]
    return min(allowed, key=lambda contender: times[contender].median)


def yardsticks(x, target, threads: int) -> dict[Contender, Callable[[], object]]:
    """Copies of x, and a pass that changes the target in place."""
    found: dict[Contender, Callable[[], object]] = {}
    if threads == 1:
        found[Contender("copy", "np.copyto", 1)] = lambda: np.copyto(target, x)
        found[Contender("in place", "in-place np.negative", 1)] = lambda: np.negative(target, out=target)
    if torch:
        source, copied = torch.from_numpy(x), torch.from_numpy(target)
        named = f"on {threads} thread{'s' * (threads > 1)}"
        found[Contender("copy", f"torch copy_ {named}", threads)] = on_threads(threads, lambda: copied.copy_(source))
        found[Contender("in place", f"torch neg_ {named}", threads)] = on_threads(threads, copied.neg_)
    return found


def our_step(rule: Rule, options: dict, x, g, threads: int) -> Callable[[], object]:
    step = Step(rule, threads=threads, **options)
    state = step.init(x)
    return lambda: step.dense(x, g, state)


def their_step(peer: Peer, x, g, threads: int) -> Callable[[], object]:
    parameter = torch.nn.Parameter(torch.from_numpy(x))
    parameter.grad = torch.from_numpy(g)
    return on_threads(threads, getattr(torch.optim, peer.name)([parameter], lr=1e-3, **peer.settings).step)


def on_threads(threads: int, call: Callable[[], object]) -> Callable[[], object]:
    def run():
        torch.set_num_threads(threads)
        call()

    return run
