"""The card of an experiment ends with commands that can be given as they stand."""

from __future__ import annotations

from pathlib import Path

from attnlab import resources
from tests.cli.conftest import Command
from tests.cli.conftest import command as command


def commands(shown: str) -> list[list[str]]:
    return [line.split() for line in shown.splitlines() if line.startswith("attnlab ")]


def test_a_built_in_experiment_is_named(command: Command) -> None:
    found = commands(command("show", "quickstart").out)
    assert [words[1:] for words in found] == [
        ["sweep", "quickstart", "--dry-run"],
        ["sweep", "quickstart"],
        ["cp", "quickstart"],
        ["report", "quickstart", "--published"],
    ]


def test_the_commands_of_a_file_name_the_file(command: Command, tmp_path: Path) -> None:
    text = (resources.folder("experiments") / "quickstart.yaml").read_text().replace("name: quickstart", "name: mine")
    (tmp_path / "my own.yaml").write_text(text)
    shown = command("show", "my own.yaml").out
    assert shown.splitlines()[-2:] == ["attnlab sweep 'my own.yaml' --dry-run", "attnlab sweep 'my own.yaml'"]
    assert command("sweep", "my own.yaml", "--preset", "smoke", "--dry-run").status == 0


def test_the_file_of_a_ladder_shows_its_task_and_its_levels(command: Command, tmp_path: Path) -> None:
    text = (resources.folder("tasks") / "copy.yaml").read_text()
    (tmp_path / "mine.yaml").write_text(text.replace("name: copy", "name: mine").replace("[4, 8, 16", "[3, 4, 8, 16"))
    result = command("show", "mine.yaml")
    assert (result.status, result.error) == (0, "")
    assert result.out.startswith("copy  task")
    assert "Ladder mine: symbols 3, 4, 8, 16" in result.out
