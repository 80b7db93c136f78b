"""``attnlab audit``: a table for each ladder, and an exit status."""

from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Command

QUICK = ("--sequences", "128")


def test_a_built_in_ladder_passes(command: Command) -> None:
    result = command("audit", "copy", *QUICK)
    assert (result.status, result.error) == (0, "")
    lines = result.out.splitlines()
    assert lines[0].startswith("copy  ")
    assert [line.split()[0] for line in lines if line.rstrip().endswith("pass")] == ["4", "8", "16", "32", "64"]
    assert max(map(len, lines)) <= 80


@pytest.mark.parametrize("words", [("recall:filler=random",), ("recall", "--set", "task.filler=random")])
def test_the_known_defect_of_recall_is_a_failure(words: tuple[str, ...], command: Command) -> None:
    result = command("audit", *words, "--complexity", "4", *QUICK)
    assert result.status == 1
    assert "pairs 4: A query without a target occurs " in result.out
    assert "the known defect of random filler" in " ".join(result.out.split())


def test_one_level_as_json(command: Command) -> None:
    result = command("audit", "recall", "--complexity", "2", *QUICK, "--json")
    assert result.status == 0
    (ladder,) = json.loads(result.out)
    (level,) = ladder["levels"]
    assert (ladder["ladder"], ladder["passed"], level["complexity"], level["chance"]) == ("recall", True, 2, 0.5)
    assert level["labels"] == {"sequences": 128, "targets": 256, "agreed": 256, "unlabeled": 0, "contradictions": 0}
    assert level["intended_shortcut"] == "nearest context"
    assert level["shortcuts"]["nearest context"]["accuracy"] == 1


def test_several_ladders_are_printed_one_after_the_other(command: Command) -> None:
    result = command("audit", "copy", "parity:bits=4", *QUICK)
    assert result.status == 0
    assert result.error.splitlines() == ["auditing copy", "auditing parity:bits=4"]
    assert [line.split()[0] for line in result.out.splitlines() if "in percent" in line] == ["copy", "parity"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "attnlab: audit\n  Nothing to audit.\n  Give the names of tasks, or --all.\n"),
        (("recal",), "did you mean 'recall'?"),
        (("recall:fillers=random",), "did you mean 'filler'?"),
        (("recall", "--complexity", "99"), "99 pairs do not fit 64 tokens."),
    ],
)
def test_a_wrong_word_is_misuse(words: tuple[str, ...], message: str, command: Command) -> None:
    result = command("audit", *words, *QUICK)
    assert result.status == 2
    assert message in result.error
    assert "Traceback" not in result.error
