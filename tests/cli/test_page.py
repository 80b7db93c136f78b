"""``attnlab report`` with pictures: ``--html``, ``--plot``, ``--curves`` and ``--latex``."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from attnlab.attention import ATTENTIONS
from attnlab.config.experiment import Experiment, LadderLevels
from attnlab.plugins import PREFIX
from attnlab.storage import Store
from tests.cli.conftest import TINY, Command
from tests.rendering.learned_runs import learned_runs
from tests.rendering.test_html import Reader

pytest.importorskip("vl_convert")


@pytest.fixture
def learned(tmp_path: Path) -> Path:
    """A store of runs with histories and diagnostics, without weights."""
    store = Store(tmp_path / "results" / "x")
    store.open()
    store.append(learned_runs())
    experiment = Experiment(name="x", question="Which?", ladders=(LadderLevels(ladder="recall"),))
    (store.path / "experiment.json").write_text(experiment.model_dump_json())
    return store.path


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text())
    return reader


def test_the_page_has_whole_curves_and_says_why_there_are_no_maps(learned: Path, command: Command) -> None:
    result = command("report", "x", "--html", "page.html")
    assert (result.status, result.out) == (0, "")
    page = read(learned.parent.parent / "page.html")
    curves = page.data["tables"][page.data["curves"][0]]
    assert len({row[curves["columns"].index("step")] for row in curves["rows"]}) == 20
    assert "The weights of no run are stored" in page.text
    assert "name: x" in page.text
    assert "attnlab report x --html page.html" in page.text


def test_the_page_shows_attention_maps_of_stored_weights(tmp_path: Path, command: Command) -> None:
    assert command("train", *TINY, "--attn", "softmax,mamba2", "--quiet").status == 0
    (store,) = {path.parent for path in tmp_path.rglob("records.jsonl")}
    assert command("report", str(store), "--html", "page.html").status == 0
    page = read(tmp_path / "page.html")
    maps = {name: chart for name, chart in page.data["charts"].items() if name.startswith("map|")}
    assert {name.split("|")[1] for name in maps} == {"0", "1"}
    first = page.data["tables"][maps["map|0|1.1"]["table"]]
    sums = [sum(row) for row in first["weights"]]
    assert sums == pytest.approx([1.0] * len(sums), abs=0.02)
    assert command("report", str(store), "--html", "none.html", "--attention-maps", "0").status == 0
    without = read(tmp_path / "none.html")
    assert "were not asked for" in without.text
    assert not any(name.startswith("map|") for name in without.data["charts"])


def trained_on_a_file(folder: Path, command: Command) -> Path:
    """The store of a run with a class of a file."""
    (folder / "own.py").write_text(
        "from torch import nn\n\n\nclass Flat(nn.Module):\n    def __init__(self, width: int) -> None:\n"
        "        super().__init__()\n        self.map = nn.Linear(width, width)\n\n"
        "    def forward(self, x):\n        return self.map(x)\n"
    )
    assert command("train", *TINY, "--attn", "own.py:Flat", "--quiet").status == 0
    (store,) = {path.parent for path in folder.rglob("records.jsonl")}
    return store


def test_a_run_whose_weights_cannot_be_read_is_named(tmp_path: Path, command: Command) -> None:
    store = trained_on_a_file(tmp_path, command)
    for weights in (store / "weights").iterdir():
        weights.write_bytes(b"damaged")
    assert command("report", str(store), "--html", "page.html").status == 0
    run = json.loads((store / "records.jsonl").read_text().splitlines()[0])["id"]
    assert f"None of run {run[:6]}:" in read(tmp_path / "page.html").text


def test_the_page_has_maps_of_classes_of_a_file_that_is_named_and_says_how_it_is_named(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = trained_on_a_file(tmp_path, command)
    monkeypatch.delitem(ATTENTIONS._entries, "own.py:Flat")
    for name in [name for name in sys.modules if name.startswith(PREFIX)]:  # as in another session
        monkeypatch.delitem(sys.modules, name)
    assert command("report", str(store), "--html", "page.html").status == 0
    page = read(tmp_path / "page.html")
    assert "There is no attention 'own.py:Flat'" in page.text
    assert f"Add --plugin own.py: attnlab report {store} --html page.html --plugin own.py" in page.text
    assert command("report", str(store), "--html", "page.html", "--plugin", "own.py").status == 0
    page = read(tmp_path / "page.html")
    assert "None of run" not in page.text
    assert any(name.startswith("map|") for name in page.data["charts"])


def test_curves_are_shown_or_plotted(learned: Path, command: Command) -> None:
    shown = command("report", "x", "--curves")
    assert shown.status == 0
    assert shown.out.startswith("recall, pairs 2\n")
    plotted = command("report", "x", "--curves", "--plot", "curves.svg")
    assert (plotted.status, plotted.out) == (0, "")
    assert b"pairs 8" in (learned.parent.parent / "curves.svg").read_bytes()


def test_tables_are_written_for_a_paper(learned: Path, command: Command) -> None:
    assert command("report", "x", "--latex", "tables.tex", "--plot", "figure.pdf").status == 0
    folder = learned.parent.parent
    assert "\\toprule" in (folder / "tables.tex").read_text()
    assert (folder / "figure.pdf").read_bytes().startswith(b"%PDF")


@pytest.mark.parametrize("option", ["--html", "--plot", "--latex", "--csv"])
def test_what_cannot_be_written_is_refused(option: str, learned: Path, command: Command) -> None:
    result = command("report", "x", option, str(learned / "records.jsonl" / "file.svg"))
    assert result.status == 2
    assert "cannot be written" in result.error
    assert "Traceback" not in result.error


def test_a_store_that_is_being_written_is_reported(learned: Path, command: Command) -> None:
    with (learned / "records.jsonl").open("a") as journal:
        journal.write('{"id": "torn')
    assert command("report", "x", "--html", "page.html").status == 0
    assert len(read(learned.parent.parent / "page.html").data["runs"]) == 18


def test_failure_modes_have_no_picture_of_their_own(learned: Path, command: Command) -> None:
    for words in (("--html", "x.html"), ("--plot", "x.svg"), ("--latex", "x.tex"), ("--curves",)):
        result = command("report", "x", "--metric", "failure_mode", *words)
        assert result.status == 2
        assert "cannot be plotted" in result.error
