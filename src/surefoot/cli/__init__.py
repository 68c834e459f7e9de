"""The command line. Commands are thin: each reads its options, calls the laboratory and shows what comes back.

Errors that a user can cause are reported in one sentence on standard error, with exit code 2; others are tracebacks.
"""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperGroup
from typer.main import get_command

import surefoot
from surefoot.cli import output
from surefoot.cli.compare import compare
from surefoot.cli.convert import convert
from surefoot.cli.inspect import inspect
from surefoot.cli.losses import losses
from surefoot.cli.predict import predict
from surefoot.cli.reproduce import reproduce
from surefoot.cli.rules import rules
from surefoot.cli.trace import trace
from surefoot.cli.train import train

WRONG, INTERRUPTED, PIPE_CLOSED = 2, 130, 141
NEW_OBJECTS = 100_000
"""Before the garbage collector looks at them: with Python's 700 it takes a tenth of a command's start, for modules that
stay."""

# Typer carries a copy of Click, or uses Click itself, depending on its version; this is the right one of the two.
ClickException: Any = typer.BadParameter.__mro__[2]

EXTRAS = {
    "PIL": "lab",
    "fsspec": "table",
    "jinja2": "lab",
    "matplotlib": "lab",
    "pandas": "lab",
    "pooch": "lab",
    "pyarrow": "table",
    "torch": "torch",
}
"""The extra that brings a module."""


class Commands(TyperGroup):
    """Ends an interrupted command, or one whose reader has gone, as Unix tools do; Typer has its own way."""

    def invoke(self, ctx: Any) -> Any:
        try:
            status = super().invoke(ctx)
            sys.stdout.flush()
            return status
        except KeyboardInterrupt:
            output.note("Interrupted.")
            raise typer.Exit(INTERRUPTED) from None
        except BrokenPipeError:
            raise typer.Exit(pipe_closed()) from None


app = typer.Typer(
    name="surefoot",
    cls=Commands,
    help="AdaGrad and its family of optimizers: compare them, trace them, reproduce what was published.",
    pretty_exceptions_enable=False,
    # Plain help starts faster than boxes, and reads well at any width.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (train, predict, inspect, convert, compare, trace, reproduce, rules, losses):
    app.command()(command)


def show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"surefoot {surefoot.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def bare(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Show the version.", is_eager=True, callback=show_version)
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Runs the command line and exits: 0, 1 (a result that fails), 2 (a mistake), 130 (Ctrl-C), 141 (pipe closed)."""
    gc.set_threshold(NEW_OBJECTS)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the parent process
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show η gets a question mark rather than a traceback.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # type: ignore[union-attr]
    leave(run(arguments))


def leave(status: int) -> NoReturn:
    """Exits; after a mistake or Ctrl-C without waiting for threads, which may wait for a pipe that never ends."""
    if status in (WRONG, INTERRUPTED):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
    sys.exit(status)


def run(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns the exit code.

    >>> run(["--version"])
    surefoot ...
    0
    """
    try:
        status = get_command(app).main(arguments, prog_name="surefoot", standalone_mode=False)
        sys.stdout.flush()
        return status if isinstance(status, int) else 0
    except BrokenPipeError:
        return pipe_closed()
    except ClickException as mistake:
        output.error(sentence_of_usage(mistake))
        return WRONG
    except (ValueError, ImportError, OSError) as error:
        sentence = sentence_of(error)
        if sentence is None:
            raise
        output.error(sentence)
        return WRONG
    except MemoryError as error:
        output.error(f"not enough memory ({error}); map features to fewer places with --bits, or read less at once")
        return WRONG


def pipe_closed() -> int:
    """The exit code when the reader of a pipe is gone. At shutdown Python would flush again, and complain."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return PIPE_CLOSED


def sentence_of_usage(mistake) -> str:
    """A wrong option or argument, and where to read about the right ones."""
    command = mistake.ctx.command_path if getattr(mistake, "ctx", None) is not None else "surefoot"
    return f"{mistake.format_message().strip().rstrip('.')}; see {command} --help"


def sentence_of(error: Exception) -> str | None:
    """The message for the user; None for what can only be a bug."""
    if isinstance(error, ImportError):
        module = (error.name or "").partition(".")[0]
        return f'this needs {module}; run pip install "surefoot[{EXTRAS[module]}]"' if module in EXTRAS else None
    if isinstance(error, OSError):
        if error.strerror is None:
            return str(error)
        return f"{error.filename or 'output'}: {error.strerror}"
    return str(error) if raised_here(error.__traceback__) else None


def raised_here(traceback: TracebackType | None) -> bool:
    """Whether this package raised the error on purpose: then its message is meant for people."""
    import dis

    if traceback is None:
        return False
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    code = traceback.tb_frame.f_code
    raising = {i.offset for i in dis.get_instructions(code) if i.opname in ("RAISE_VARARGS", "RERAISE")}
    return code.co_filename.startswith(os.path.dirname(surefoot.__file__)) and traceback.tb_lasti in raising
