"""``attnlab check``: one table for one variant, one line each for several, and an exit status that says it."""

from __future__ import annotations

import json

import pytest

from attnlab.testing import check_attention as kit
from attnlab.testing.finding import STYLES
from tests.cli.conftest import Command
from tests.testing.conftest import Write
from tests.testing.conftest import write as write
from tests.testing.test_check_attention import LEAK, RAISING, SOUND


@pytest.fixture(autouse=True)
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the timed check."""
    monkeypatch.setattr(kit, "CHECKS", {name: one for name, one in kit.CHECKS.items() if name != "cost"})


def test_a_sound_file_passes(write: Write, command: Command) -> None:
    result = command("check", f"{write(SOUND).name}:Mine")
    assert result.status == 0
    assert result.error == ""
    lines = result.out.splitlines()
    assert lines[0].strip() == "mine"
    assert "fail" not in result.out
    for name in kit.CHECKS:
        assert sum(line.strip().startswith(f"{name}  ") for line in lines) == 1
    assert max(map(len, lines)) <= 80


def test_a_leak_is_a_failure(write: Write, command: Command) -> None:
    result = command("check", f"{write(LEAK)}:Mine")
    assert result.status == 1
    (line,) = [line for line in result.out.splitlines() if "future never seen" in line]
    assert line.split()[3] == "fail"
    assert "largest change" in line


def test_an_exception_is_told_by_the_users_line(write: Write, command: Command) -> None:
    path = write(RAISING)
    result = command("check", f"{path}:Mine", "--json")
    assert result.status == 1
    (report,) = json.loads(result.out)
    assert report["variant"] == "mine"
    assert report["passed"] is False
    failed = [finding["evidence"] for finding in report["findings"] if finding["outcome"] == "fail"]
    assert len(failed) > 10
    assert all(f"at {path}:" in evidence for evidence in failed)
    assert {finding["outcome"] for finding in report["findings"]} <= STYLES.keys()


def test_several_are_told_in_a_line_each(write: Write, command: Command) -> None:
    result = command("check", "softmax", f"{write(LEAK)}:Mine")
    assert result.status == 1
    assert [line.split()[0] for line in result.out.splitlines() if "/" in line] == ["softmax", "mine"]
    assert result.error.splitlines() == ["checking softmax", "checking mine"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "attnlab: check\n  Nothing to check.\n  Give names, or --all.\n"),
        (("sofmax",), "did you mean 'softmax'?"),
        (("nowhere.py:Mine",), "There is no such Python file."),
        (("softmax:sharpness=3",), "'sharpness'"),
    ],
)
def test_a_slip_is_misuse(words: tuple[str, ...], told: str, command: Command) -> None:
    result = command("check", *words)
    assert result.status == 2
    assert told in result.error
    assert "Traceback" not in result.error
