"""``attnlab report NAME --published``, and where the published records are listed and offered."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest

import attnlab
from attnlab import resources
from attnlab.errors import InvalidValueError
from attnlab.rendering.export import report_data
from attnlab.storage.published import read_published
from tests.cli.conftest import Command
from tests.cli.test_completion import completed

NAMES = resources.published_names()


@pytest.mark.parametrize("name", NAMES)
def test_every_one_is_reported_as_its_records_are(name: str, command: Command) -> None:
    result = command("report", name, "--published")
    found = attnlab.report(name, published=True)
    assert result.error == ""
    assert result.status == (0 if found.claims_hold else 1)
    assert " ".join(result.out.split()).startswith(found.question)
    assert f"Published: {read_published(name).header.command}" in result.out
    as_data = command("report", name, "--published", "--json")
    claims = json.dumps(report_data(found)["claims"])
    assert json.loads(as_data.out)["claims"] == json.loads(claims, parse_constant=lambda _: None)  # JSON has no NaN


def test_the_options_of_a_store_work(command: Command, tmp_path: Path) -> None:
    words = ("--metric", "steps", "--csv", "a.csv", "--html", "a.html", "--markdown", "a.md")
    assert command("report", "quickstart", "--published", *words).status == 0
    cells = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert {cell["attention"] for cell in cells} == {"softmax", "expressive"}
    page = (tmp_path / "a.html").read_text()
    assert read_published("quickstart").header.command in page
    assert "experiments/quickstart.yaml" in page
    assert (tmp_path / "a.md").read_text().startswith("**Do softmax and expressive attention")
    assert not (tmp_path / "results").exists()
    assert "failure mode" in command("report", "quickstart", "--published", "--metric", "failure_mode").out
    assert "softmax" in command("report", "quickstart", "--published", "--curves").out


def test_probes_are_refused(command: Command) -> None:
    result = command("report", "quickstart", "--published", "--metric", "failure_mode", "--probe")
    assert (result.status, result.out) == (2, "")
    assert result.error == (
        "attnlab: --probe\n  Published records cannot be probed.\n"
        "  Run the experiment yourself, and probe the runs of your store.\n"
    )


def test_a_damaged_file_is_one_block(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in resources.KINDS:
        shutil.copytree(resources.folder(kind), tmp_path / kind)
    monkeypatch.setattr(resources, "__file__", str(tmp_path / "attnlab" / "resources.py"))
    path = resources.published_path("quickstart")
    path.write_bytes(path.read_bytes()[:-20])
    result = command("report", "quickstart", "--published")
    assert (result.status, result.out) == (2, "")
    where, problem, hint = result.error.splitlines()
    assert where == f"attnlab: {path}"
    assert problem.startswith("  The published records are damaged: ")
    assert hint == "  Install attnlab anew, or take this file from its repository."


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("quikstart",), "There is no experiment with published records 'quikstart'; did you mean 'quickstart'?"),
        ((), "There is no experiment with published records 'results'"),
    ],
)
def test_a_wrong_name_is_one_block(words: tuple[str, ...], problem: str, command: Command) -> None:
    result = command("report", *words, "--published")
    assert (result.status, result.out) == (2, "")
    assert problem in result.error
    assert "Closest: " in result.error
    assert "See: attnlab ls experiments" in result.error


def test_a_missing_store_of_a_published_experiment_names_both_commands(command: Command) -> None:
    result = command("report", "quickstart")
    assert result.status == 2
    assert "attnlab sweep quickstart\n" in result.error
    assert "attnlab report quickstart --published\n" in result.error


def test_the_listing_and_the_card_tell_what_is_published(command: Command) -> None:
    rows = json.loads(command("ls", "experiments", "--json").out)
    assert [row["experiment"] for row in rows if row["published"] == "yes"] == NAMES
    assert {row["published"] for row in rows} <= {"yes", "no"}
    assert "attnlab report NAME --published" in command("ls", "experiments").out
    assert "attnlab report quickstart --published" in command("show", "quickstart").out


@pytest.mark.parametrize(
    ("line", "offered"),
    [("attnlab report --published quick", ["quickstart"]), ("attnlab report quick", ["quick-one"])],
)
def test_a_shell_completes_names(line: str, offered: list[str], tmp_path: Path) -> None:
    (tmp_path / "results" / "quick-one").mkdir(parents=True)
    (tmp_path / "results" / "quick-one" / "records.jsonl").touch()
    assert completed(tmp_path, line) == offered


def test_records_are_loaded_in_python() -> None:
    records = attnlab.load_records("quickstart", published=True)
    assert tuple(records) == read_published("quickstart").records
    assert len(records.to_pandas()) == len(records)
    with pytest.raises(InvalidValueError, match="Records are given, not a name"):
        attnlab.report(records, published=True)
