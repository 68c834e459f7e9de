"""`surefoot rules`, `trace` and `reproduce`: what they print, write and return."""

import dataclasses
import json

import numpy as np
import pytest
from rich.cells import cell_len

from surefoot.cli import run
from surefoot.lab.published import ROWS, Finding
from surefoot.rules import MATRIX_RULES, REGISTRY, STATISTIC_RULES, everything
from surefoot.schedules import FORMS


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    monkeypatch.setenv("NO_COLOR", "1")


def out(capsys, *arguments, code=0):
    assert run(list(arguments)) == code
    captured = capsys.readouterr()
    return captured.out if code != 2 else captured.err


class TestRules:
    def test_the_family(self, capsys):
        text = out(capsys, "rules")
        for name in everything():
            assert name in text

    @pytest.mark.parametrize("name", REGISTRY)
    def test_one_rule(self, capsys, name):
        text = out(capsys, "rules", name)
        rule = REGISTRY[name]
        for expected in (rule.summary[:40], *rule.hyper, *rule.slots, *rule.conventions):
            assert expected in text
        assert ("none" if not rule.slots else f"{4 * len(rule.slots)} bytes per coordinate") in text

    @pytest.mark.parametrize("name", STATISTIC_RULES)
    def test_one_rule_with_statistics(self, capsys, name):
        text, rule = out(capsys, "rules", name), STATISTIC_RULES[name]
        waiting = (
            "gradients must be dense" if rule.dense else "stay as they are" if rule.lazy_exact else "no closed form"
        )
        for expected in (rule.summary[:40], *rule.hyper, *rule.slots, *rule.statistics, waiting):
            assert expected in text

    @pytest.mark.parametrize("name", MATRIX_RULES)
    def test_one_rule_of_whole_arrays(self, capsys, name):
        text, rule = out(capsys, "rules", name), MATRIX_RULES[name]
        for expected in (rule.summary[:40], *rule.hyper, *rule.slots, "matrices: ", "gradients must be dense"):
            assert expected in text
        assert json.loads(out(capsys, "rules", name, "--json"))["memory_bytes_per_coordinate"] is None

    @pytest.mark.parametrize("width", ["40", "80"])
    def test_narrow_terminals(self, capsys, monkeypatch, width):
        monkeypatch.setenv("COLUMNS", width)
        for name in ([], ["adam"]):
            text = out(capsys, "rules", *name)
            assert max(map(cell_len, text.splitlines())) <= int(width)

    def test_json(self, capsys):
        family = json.loads(out(capsys, "rules", "--json"))
        assert [rule["name"] for rule in family] == list(everything())
        one = json.loads(out(capsys, "rules", "ftrl", "--json"))
        assert one["memory_bytes_per_coordinate"] == 8
        assert one["hyperparameters"]["lr"] == {
            "default": 0.1,
            "allowed": "[0, inf)",
            "meaning": "learning rate (the paper's α)",
        }

    def test_unknown(self, capsys):
        assert out(capsys, "rules", "adagrd", code=2) == "error: there is no rule 'adagrd'; did you mean 'adagrad'?\n"


class TestTrace:
    def test_the_published_numbers(self, capsys):
        text = out(capsys, "trace", "adagrad", "--lr", "0.4,2")
        for number in ("-2.382563", "-0.158591", "-0.002295", "-0.000000"):
            assert number in text

    @pytest.mark.parametrize("width", [24, 40, 60, 80, 200])
    def test_tables_name_the_rule_at_every_width(self, capsys, monkeypatch, width):
        monkeypatch.setenv("COLUMNS", str(width))
        text = out(capsys, "trace", "adagrad", "momentum", "--lr", "polynomial:0.4:0.1", "--steps", "3")
        lines = text.splitlines()
        assert max(map(cell_len, lines)) <= width or width < 40  # what is written of files does not fold
        parts = text.count("rule ")
        assert parts >= 1
        for name in ("adagrad,", "momentum,"):
            assert sum(line.startswith(name) for line in lines) == parts
        for heading in ("x₁", "x₂", "f(x)", "steps"):
            assert heading in text

    def test_several_rules_with_settings(self, capsys):
        arguments = ["--lr", "sgd=0.6", "--set", "gamma=0.5", "--noise", "1", "--steps", "30", "--start", "-1,-2"]
        text = out(capsys, "trace", "sgd,rmsprop", "full_matrix", "--problem", "bowl", *arguments)
        assert "rmsprop, η = 0.01, gamma = 0.5, noise = 1" in text
        assert "diverged" in text
        assert "nan" not in text

    def test_json(self, capsys):
        record = json.loads(out(capsys, "trace", "sgd", "--lr", "1e9", "--steps", "99", "--json"))
        (path,) = record["paths"]
        assert path["diverged"]
        assert len(path["positions"]) == 100
        # A rate without bounds is no number in JSON.
        record = json.loads(out(capsys, "trace", "adagrad", "--set", "eps_root=0", "--start", "0,1", "--json"))
        assert record["paths"][0]["rates"][0][0] is None

    def test_schedules_start_from_each_learning_rate(self, capsys):
        arguments = ["--schedule", "exponential:0.5", "--lr", "sgd=0.2", "--json"]
        first, second = json.loads(out(capsys, "trace", "sgd", "full_matrix", *arguments))["paths"]
        assert first["schedule"] == "exponential:0.2:0.5"
        assert second["schedule"] == "exponential:0.1:0.5"

    @pytest.mark.parametrize(
        "text, rates",
        [
            ("constant", [0.4, 0.4, 0.4]),
            ("exponential:0.1", 0.4 * np.exp([-0.1, -0.2, -0.3])),
            ("polynomial:2:1", [0.4 / 3, 0.4 / 5, 0.4 / 7]),
            ("piecewise:2:0.1:3:0.01", [0.4, 0.1, 0.01]),
            ("horizon:3:2:25", [0.3, 0.3, 0.3]),
            ("warmup:2", [0.2, 0.4, 0.4]),
            ("warmup:2:exponential:0.1", [0.2 * np.exp(-0.1), 0.4 * np.exp(-0.2), 0.4 * np.exp(-0.3)]),
            ("chain:constant/2/polynomial:1:1", [0.4, 0.4, 0.2]),
        ],
    )
    def test_every_schedule_is_followed(self, capsys, text, rates):
        """Gradient descent on 0.1 x₁² + 2 x₂² multiplies x₁ by 1 − 0.2 η(t)."""
        lr = [] if text.startswith("horizon") else ["--lr", "0.4"]
        arguments = ["--schedule", text, *lr, "--steps", "3", "--json"]
        (path,) = json.loads(out(capsys, "trace", "sgd", *arguments))["paths"]
        assert [x1 for x1, _ in path["positions"][1:]] == pytest.approx(-5 * np.cumprod(1 - 0.2 * np.array(rates)))

    def test_the_schedules_that_are_followed_are_all_there_are(self):
        (marks,) = self.test_every_schedule_is_followed.pytestmark
        assert {text.partition(":")[0] for text, _ in marks.args[1]} == set(FORMS)

    def test_files(self, capsys, tmp_path):
        figure, animation = tmp_path / "a" / "trace.png", tmp_path / "trace.gif"
        text = out(capsys, "trace", "adagrad", "--steps", "3", "--out", str(figure), "--gif", str(animation))
        assert f"written: {figure}" in text
        assert figure.stat().st_size > 1000
        assert animation.read_bytes().startswith(b"GIF89a")

    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["adagrad", "--lr", "fast"], "neither a number nor a schedule"),
            (["adagrad", "--lr", "adam=1"], "lr names the rule 'adam'"),
            (["adagrad", "--start", "1"], "--start takes two numbers"),
            (["adagrad", "--set", "gamma"], "--set takes NAME=VALUE"),
            (["adagrad", "--set", "steps=3"], "give steps as --steps"),
            (["adagrad", "--set", "granularity=column"], "granularity must be one of"),
            (["adagrad", "--problem", "rotate"], "did you mean 'rotated'"),
            (["adagrad", "--schedule", "horizon:1"], "is not written as horizon:RADIUS:LIPSCHITZ:STEPS\n"),
            (["adagrad", "--schedule", "cosine:1"], "there is no schedule 'cosine'"),
            (["adagrad", "--schedule", "chain:constant/3"], "is not written as chain:SCHEDULE/STEPS/SCHEDULE"),
            (["sgd", "--schedule", "horizon:1:2:9", "--lr", "0.1"], "has no rate that --lr could give; leave out one"),
            (["sgd", "--schedule", "warmup:3:horizon:1:2:9", "--lr", "sgd=1"], "has no rate that --lr could give"),
            (["sgd", "--schedule", "exponential:1", "--lr", "constant:1"], "--lr gives a schedule already"),
            (["adagrad", "--out", "trace.jpg"], "a figure is written as"),
            (["adagrad", "--steps", "0"], "--steps"),
            (["own.py:mine"], "own.py: there is no such file"),
            ([], "RULE"),
        ],
    )
    def test_mistakes_are_reported_in_one_sentence(self, capsys, arguments, message):
        text = out(capsys, "trace", *arguments, code=2)
        assert message in text
        assert text.count("\n") == 1


class TestReproduce:
    @pytest.mark.parametrize("width", [36, 50])
    def test_narrow_terminals_get_whole_ids(self, capsys, monkeypatch, width):
        monkeypatch.setenv("COLUMNS", str(width))
        text = out(capsys, "reproduce", "--only", "trace-adagrad")
        assert max(map(cell_len, text.splitlines())) <= width
        assert "…" not in text

    def test_side_by_side(self, capsys):
        text = out(capsys, "reproduce", "--only", "trace-adagrad")
        assert text.count("x₁ = −2.382563, x₂ = −0.158591") == 2
        assert "2 of 2 results reproduced" in text

    def test_json_on_standard_output_and_in_a_file(self, capsys, tmp_path):
        for dash in ([], ["-"]):
            document = json.loads(out(capsys, "reproduce", "--only", "schedule", "--json", *dash))
            assert (document["passed"], document["failed"], document["skipped"]) == (4, 0, 0)
        file = tmp_path / "new" / "results.json"
        text = out(capsys, "reproduce", "--only", "schedule", "--json", str(file))
        assert "4 of 4 results reproduced" in text
        result = json.loads(file.read_text(encoding="utf-8"))["results"][0]
        assert set(result) >= {"id", "section", "claim", "published", "measured", "verdict", "seconds", "numbers"}
        assert set(result) >= {"texts", "ours", "note"}

    @pytest.mark.parametrize(
        "arguments, first", [([], "schedule-exponential"), (["--json"], '"id": "schedule-exponential"')]
    )
    def test_rows_are_written_as_they_come(self, capfd, monkeypatch, arguments, first):
        """A row sees what was written before it, to a file: nothing waits in a buffer."""
        seen = []

        def measure():
            seen.append(capfd.readouterr().out)
            return Finding("0.5", True)

        monkeypatch.setitem(
            ROWS, "schedule-polynomial", dataclasses.replace(ROWS["schedule-polynomial"], measure=measure)
        )
        assert run(["reproduce", "--only", "schedule", *arguments]) == 0
        assert first in seen[0]
        assert "schedule-polynomial" in capfd.readouterr().out

    def test_ctrl_c_keeps_what_there_is(self, capsys, monkeypatch, tmp_path):
        def interrupt():
            raise KeyboardInterrupt

        row = dataclasses.replace(ROWS["schedule-polynomial"], measure=interrupt)
        monkeypatch.setitem(ROWS, "schedule-polynomial", row)
        file = tmp_path / "results.json"
        for arguments in ([], ["--json"], ["--json", str(file)]):
            assert run(["reproduce", "--only", "schedule", *arguments]) == 130
            written = capsys.readouterr()
            assert written.err == "Interrupted: 2 of 4 results reproduced, 2 not measured.\n"
            documents = {"--json": written.out, str(file): file.read_text() if file.exists() else ""}
            if arguments:
                document = json.loads(documents[arguments[-1]])
                assert [one["id"] for one in document["results"]] == ["schedule-piecewise", "schedule-exponential"]
                assert (document["passed"], document["not_measured"]) == (2, 2)
            if arguments != ["--json"]:
                assert "schedule-exponential" in written.out

    def test_ctrl_c_before_the_first_row_leaves_valid_json(self, capsys, monkeypatch):
        def interrupt():
            raise KeyboardInterrupt

        monkeypatch.setitem(ROWS, "sampling", dataclasses.replace(ROWS["sampling"], measure=interrupt))
        assert run(["reproduce", "--only", "sampling", "--json"]) == 130
        document = json.loads(capsys.readouterr().out)
        assert (document["results"], document["not_measured"]) == ([], 1)

    def test_what_texts_print_and_what_is_ours_have_their_own_names_and_a_legend(self, capsys, monkeypatch):
        row = dataclasses.replace(ROWS["trace-gd"], texts={"notebook": "Momentum"}, ours="1.5", note="a remark")
        monkeypatch.setitem(ROWS, "trace-gd", row)
        text = out(capsys, "reproduce", "--only", "trace-gd")
        for expected in ("(notebook, Momentum)", "ours: 1.5", "note: a remark", "notebook: lecture notebook"):
            assert expected in text
        assert "CME 216" not in text
        document = json.loads(out(capsys, "reproduce", "--only", "trace-gd", "--json"))
        (result,) = (one for one in document["results"] if one["id"] == "trace-gd")
        assert (result["texts"], result["ours"], result["note"]) == ({"notebook": "Momentum"}, "1.5", "a remark")
        assert set(document["texts"]) == {"D2L", "D2L-MXNet", "CME 216", "notebook", "guide"}

    def test_a_failing_row_is_exit_code_1(self, capsys, monkeypatch):
        row = dataclasses.replace(ROWS["sampling"], measure=lambda: Finding("0.5", False))
        monkeypatch.setitem(ROWS, "sampling", row)
        text = out(capsys, "reproduce", "--only", "sampling", code=1)
        assert "0 of 1 results reproduced, 1 failed" in text

    def test_a_skipped_row_is_shown_and_not_a_failure(self, capsys, monkeypatch):
        from surefoot.data import DataError
        from surefoot.lab.published import airfoil

        def offline():
            raise DataError("airfoil: could not be downloaded")

        monkeypatch.setattr(airfoil, "airfoil_textbook", offline)
        text = out(capsys, "reproduce", "--only", "airfoil-gd")
        airfoil.loaded.cache_clear()
        assert "skipped: airfoil: could not be downloaded" in text
        assert "0 of 1 results reproduced, 1 skipped" in text

    @pytest.mark.parametrize(
        "arguments, message",
        [
            (["--only", "trace-adagrad-3"], "did you mean 'trace-adagrad-2'"),
            (["sampling"], "select one result with --only sampling"),
        ],
    )
    def test_mistakes_are_reported_in_one_sentence(self, capsys, arguments, message):
        assert message in out(capsys, "reproduce", *arguments, code=2)
