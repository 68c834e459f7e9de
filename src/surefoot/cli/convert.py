"""surefoot convert: files as a block cache, which is read at the speed of memory."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from surefoot.cli import options, output
from surefoot.cli import reading as given


def convert(
    files: given.Files,
    out: Annotated[Path, typer.Option("--out", "-o", metavar="FILE", help="Where the cache goes.", dir_okay=False)],
    format: given.Format = "auto",
    bits: given.Bits = None,
    seed: given.Seed = 0,
    label_weights: given.LabelWeights = False,
    target: given.Target = None,
    weight: given.Weight = None,
    numeric: given.Numeric = None,
    categorical: given.Categorical = None,
    drop: given.Drop = None,
    missing: given.Missing = None,
    delimiter: given.Delimiter = None,
    header: given.Header = True,
    quotes: given.Quotes = True,
    fields: given.Fields = False,
    on_error: given.OnError = "stop",
    max_errors: given.MaxErrors = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Convert files to a block cache, for training more than once.

    train and predict take the cache in the place of the files, and learn the same from it, bit for bit.
    """
    from surefoot.data import cache
    from surefoot.data.reading import ReadOptions

    chosen = ReadOptions(
        format=given.format_named(format), bits=bits, seed=seed, label_weights=label_weights, target=target,
        weight=weight, numeric=given.columns(numeric), categorical=given.columns(categorical), drop=given.columns(drop),
        missing=None if missing is None else given.columns(missing),
        delimiter=given.character(delimiter), header=header, quotes=quotes, fields=fields,
    )  # fmt: skip
    given.check_apart(out, files)
    began = time.perf_counter()
    with given.telling(quiet):
        stream = chosen.open(files, on_error=on_error, max_errors=max_errors)  # pyright: ignore[reportArgumentType]
        for _ in cache.write(stream, out, chosen.resolved(stream).record()):
            pass
    facts = {
        "cache": out,
        "examples": stream.rows,
        "entries": stream.entries,
        "bytes": os.path.getsize(out),
        "skipped": dict(stream.policy.counts),
        "seconds": time.perf_counter() - began,
    }
    if as_json:
        output.write_json(facts)
    elif not quiet:
        skipped = f"; lines skipped: {stream.policy.summary()}" if stream.policy.counts else ""
        size = f"{stream.rows:,} examples, {stream.entries:,} entries, {facts['bytes'] / 1e6:,.1f} MB"
        output.console().print(f"{out}: {size}{skipped}", soft_wrap=True)
