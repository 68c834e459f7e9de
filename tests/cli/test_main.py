"""The shell around all commands: exit codes, one sentence for mistakes, tracebacks for faults, pipes, speed."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import surefoot
from surefoot.cli import EXTRAS, output, run

HEAVY = {"matplotlib", "numba", "numpy", "pandas", "rich", "scipy", "sklearn", "torch"}
POSIX = pytest.mark.skipif(os.name != "posix", reason="pipes and signals as on Unix")


def surefoot_process(*arguments, program=("-m", "surefoot"), **how) -> subprocess.Popen[str]:
    """The command line in a process of its own, which writes to pipes by default."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    return subprocess.Popen([sys.executable, *program, *map(str, arguments)], **pipes | how)


def finished(process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=60)
    return process.returncode, out, err


def error_of(capsys) -> str:
    """The only sentence on standard error."""
    captured = capsys.readouterr()
    assert captured.out == ""
    (line,) = captured.err.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


def test_version(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"surefoot {surefoot.__version__}\n"


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]], ids=str)
def test_help_shows_every_command(arguments, capsys):
    assert run(arguments) == 0
    text = capsys.readouterr().out
    for command in ("compare", "trace", "reproduce", "rules"):
        assert re.search(rf"^  {command}  ", text, re.MULTILINE)


def test_the_command_line_is_light():
    code = "import sys, surefoot.cli; print(*{name.partition('.')[0] for name in sys.modules})"
    status, out, err = finished(surefoot_process(program=("-c", code)))
    assert status == 0, err
    assert not HEAVY & set(out.split())


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (["comprae"], "No such command 'comprae'. Did you mean 'compare'?; see surefoot --help"),
        (["compare", "--epoch", "3"], "--epochs"),
        (["compare", "--epochs", "many"], "'--epochs'"),
        (["compare", "--epochs"], "'--epochs'"),
        (["compare", "a", "b"], "see surefoot compare --help"),
        (["rules", "adagrd"], "did you mean 'adagrad'"),
    ],
    ids=str,
)
def test_a_mistake_is_reported_in_one_sentence(arguments, sentence, capsys):
    assert run(arguments) == 2
    assert sentence in error_of(capsys)


@pytest.mark.parametrize("fault", ["[][1]", "int('x')", "np.ones(2) + np.ones(3)", "1 / 0"])
def test_a_fault_of_the_program_keeps_its_traceback(fault):
    code = (
        "import numpy as np, surefoot.cli, surefoot.lab.comparison\n"
        f"def fault(*_, **__): {fault}\n"
        "surefoot.lab.comparison.compare = fault\n"
        "surefoot.cli.main(['compare'])"
    )
    status, _, err = finished(surefoot_process(program=("-c", code)))
    assert status == 1
    assert "Traceback (most recent call last)" in err
    assert "in fault" in err


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_missing_packages_are_named_with_the_command_to_install_them(module, tmp_path):
    code = f"import sys; sys.modules[{module!r}] = None; import surefoot.cli; surefoot.cli.main(sys.argv[1:])"
    arguments = ["compare", "--rules", "sgd", "--lr", "1", "--out", tmp_path / "out"]
    status, out, err = finished(surefoot_process(*arguments, program=("-c", code)))
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    assert module in err.lower()
    assert 'pip install "surefoot[lab]"' in err


def test_optional_modules_are_mapped_to_an_extra():
    import tomllib

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for module, extra in EXTRAS.items():
        distribution = {"PIL": "pillow"}.get(module, module)
        assert any(text.startswith(distribution) for text in project["optional-dependencies"][extra])


# Pipes


@POSIX
def test_a_pipe_that_closes_early_ends_it_quietly():
    process = surefoot_process("rules", "--json")
    process.stdout.close()
    process.stdout = None
    _, err = process.communicate(timeout=60)
    assert process.returncode == 141
    assert err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full")
def test_a_full_disk_is_reported_in_one_sentence():
    with open("/dev/full", "w") as full:
        status, _, err = finished(surefoot_process("rules", "--json", stdout=full))
    assert status == 2
    assert err == "error: output: No space left on device\n"


def test_a_stream_without_a_character_shows_a_replacement():
    environment = os.environ | {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    status, out, err = finished(surefoot_process("rules", "adagrad", env=environment))
    assert status == 0, err
    assert "adagrad" in out


@pytest.mark.parametrize("arguments", [["rules"], ["rules", "adagrad"], ["trace", "adagrad"]], ids=str)
def test_pipes_get_no_colours(arguments):
    _, out, err = finished(surefoot_process(*arguments, env=os.environ | {"FORCE_COLOR": ""}))
    assert "\x1b" not in out + err


@pytest.mark.parametrize("arguments", [["rules"], ["rules", "adagrad"], ["trace", "adagrad"]], ids=str)
def test_json_is_json_and_nothing_else(arguments):
    status, out, err = finished(surefoot_process(*arguments, "--json"))
    assert (status, err) == (0, "")
    json.loads(out, parse_constant=pytest.fail)


def test_json_has_no_number_that_is_not_finite(capsys):
    output.write_json({"loss": [float("nan"), float("inf"), 1.0]})
    assert json.loads(capsys.readouterr().out) == {"loss": [None, None, 1.0]}


# Completion


def completed(words: str) -> list[str]:
    environment = os.environ | {
        "_SUREFOOT_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
    }
    _, out, err = finished(surefoot_process(env=environment))
    assert err == ""
    return out.split()


@pytest.mark.parametrize(
    "words, expected",
    [
        ("surefoot com", {"compare"}),
        ("surefoot compare doc", {"docstrings"}),
        ("surefoot compare --rules adag", {"adagrad"}),
        ("surefoot compare --rules sgd,adad", {"sgd,adadelta"}),
        ("surefoot compare --engine c", {"cpu"}),
        ("surefoot compare --convention py", {"pytorch"}),
    ],
)
def test_completion(words, expected):
    assert set(completed(words)) == expected


def test_the_completion_script_calls_surefoot():
    status, out, _ = finished(surefoot_process(env=os.environ | {"_SUREFOOT_COMPLETE": "source_bash"}))
    assert status == 0
    assert "complete -o default -F _surefoot_completion surefoot" in out


# Interruption


INTERRUPTED_WHILE_LOADING = """
import importlib.abc, os, signal, sys

class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, *_):
        if name == "surefoot.cli":
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Finder())
sys.argv = ["surefoot", "--version"]
from surefoot.__main__ import main
main()
"""


@POSIX
def test_ctrl_c_while_modules_are_loaded_has_no_traceback():
    status, out, err = finished(surefoot_process(program=("-c", INTERRUPTED_WHILE_LOADING)))
    assert (status, out, err) == (-signal.SIGINT, "", "")


@POSIX
def test_ctrl_c_that_is_ignored_stays_ignored():
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)\n" + INTERRUPTED_WHILE_LOADING
    status, out, err = finished(surefoot_process(program=("-c", code)))
    assert (status, err) == (0, "")
    assert out.startswith("surefoot ")


@POSIX
def test_ctrl_c_exits_with_130():
    code = (
        "import signal, surefoot.cli, surefoot.lab.comparison\n"
        "def wait(*_, **__):\n    print('waiting', flush=True)\n    signal.pause()\n"
        "surefoot.lab.comparison.compare = wait\n"
        "surefoot.cli.main(['compare'])"
    )
    process = surefoot_process(program=("-c", code))
    assert process.stdout.readline() == "waiting\n"
    process.send_signal(signal.SIGINT)
    status, _, err = finished(process)
    assert (status, err) == (130, "Interrupted.\n")
