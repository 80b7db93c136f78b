"""``attnlab check``: a table for one variant, one line each for several, and an exit status."""

from __future__ import annotations

import json
import re
import time

import pytest

from attnlab.rendering import waiting
from attnlab.rendering.conformance import STYLES
from attnlab.testing import check_attention as checks
from attnlab.testing._subject import Subject
from attnlab.testing.finding import Finding
from attnlab.training.events import no_callback
from tests.cli.conftest import Command
from tests.testing.conftest import Write
from tests.testing.conftest import short as short
from tests.testing.conftest import write as write
from tests.testing.test_check_attention import CORRECT, LEAK, RAISING


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch, short: None) -> None:
    """Without the timed check, and at short lengths."""
    monkeypatch.setattr(checks, "CHECKS", {name: one for name, one in checks.CHECKS.items() if name != "cost"})


def test_a_correct_file_passes(write: Write, command: Command) -> None:
    result = command("check", f"{write(CORRECT).name}:Mine")
    assert result.status == 0
    assert result.error == ""
    lines = result.out.splitlines()
    assert lines[0].strip() == "mine"
    assert "fail" not in result.out
    for name in checks.CHECKS:
        assert sum(line.strip().startswith(f"{name}  ") for line in lines) == 1
    assert max(map(len, lines)) <= 80


def test_a_leak_is_a_failure(write: Write, command: Command) -> None:
    result = command("check", f"{write(LEAK)}:Mine")
    assert result.status == 1
    (line,) = [line for line in result.out.splitlines() if "future never seen" in line]
    assert line.split()[3] == "fail"
    assert "largest" in line


def test_an_exception_is_reported_with_the_line_of_the_user(write: Write, command: Command) -> None:
    path = write(RAISING)
    result = command("check", f"{path}:Mine")
    assert (result.status, result.out) == (2, "")
    where, problem, line, _ = result.error.splitlines()
    assert where == "attnlab: mine"
    assert problem.startswith("  RuntimeError: ")
    assert line.startswith(f"  at {path}:")


def test_one_of_several_that_cannot_be_used_is_a_finding(write: Write, command: Command) -> None:
    path = write(RAISING)
    result = command("check", f"{path}:Mine", "easy", "--json")
    assert result.status == 1
    report, _ = json.loads(result.out)
    assert report["variant"] == "mine"
    assert report["passed"] is False
    (finding,) = report["findings"]
    assert (finding["check"], finding["outcome"]) == ("usable", "fail")
    assert f"at {path}:" in finding["evidence"]
    assert finding["outcome"] in STYLES


def test_several_variants_have_a_line_each(write: Write, command: Command) -> None:
    result = command("check", "easy", f"{write(RAISING)}:Mine")
    assert result.status == 1
    assert [line.split()[0] for line in result.out.splitlines() if re.search(r" \d+/\d+ ", line)] == ["easy", "mine"]
    assert result.error.splitlines() == ["1/2  easy", "2/2  mine  failed"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "attnlab: check\n  Nothing to check.\n  Give the names of attentions, --all, or --model FILE.py:Class.\n"),
        (("sofmax",), "did you mean 'softmax'?"),
        (("nowhere.py:Mine",), "There is no such Python file."),
        (("cosine.py",), "attnlab: cosine.py\n  There is no such Python file.\n  Give the path of a .py file."),
        (("softmax:sharpness=3",), "'sharpness'"),
    ],
)
def test_a_wrong_word_is_misuse(words: tuple[str, ...], message: str, command: Command) -> None:
    result = command("check", *words)
    assert result.status == 2
    assert message in result.error
    assert "Traceback" not in result.error


def test_what_is_checked_is_told_where_it_lasts(
    write: Write, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(_: Subject) -> Finding:
        time.sleep(0.3)
        return Finding("slow", "info", "slept")

    monkeypatch.setattr(checks, "CHECKS", {"slow": slow})
    monkeypatch.setattr(checks.check_attention, "__defaults__", (("slow",), no_callback))
    path = write(CORRECT).name
    assert command("check", f"{path}:Mine").error == ""
    monkeypatch.setattr(waiting, "SECONDS", 0.1)
    assert command("check", f"{path}:Mine").error.splitlines()[-1] == "checking mine: slow, 1 of 1 ..."
