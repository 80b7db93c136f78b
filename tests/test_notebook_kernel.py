"""Notebooks in a real kernel, where nbclient and ipykernel are installed."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.executed_notebook import SHIPPED, executed

INSTALL = "nbclient is absent: pip install nbclient ipykernel"
pytest.importorskip("nbclient", reason=INSTALL)
pytest.importorskip("ipykernel", reason=INSTALL)
nbformat = pytest.importorskip("nbformat", reason=INSTALL)

pytestmark = pytest.mark.filterwarnings("ignore")  # of Jupyter's packages, in this process

TRAIN = """
import attnlab

steps = []
how = {
    "model": {"layers": 1, "width": 8, "heads": 1},
    "train": {"max_steps": 20, "batch_size": 4, "validation_examples": 4, "test_examples": 4},
    "device": "cpu",
}
records = attnlab.train("copy", complexity=2, callbacks=[lambda event: steps.append(event)], seeds=2, **how)
records
"""


def cell(source: str) -> Any:
    return nbformat.v4.new_code_cell(source)


def outputs(one: Any) -> list[dict[str, str]]:
    """Media type -> text of each output of a cell; streams count as text."""
    return [dict(output.get("data", {})) or {"text/plain": output.get("text", "")} for output in one.outputs]


def without_control_codes(notebook: Any) -> bool:
    return not re.search(r"\\u00(0[0-8bcef]|1)|\\r", nbformat.writes(notebook))


def test_a_notebook_shows_progress_and_tables_without_control_codes(tmp_path: Path) -> None:
    quiet = "(again,) = attnlab.train('copy', complexity=2, progress=False, **how)\nagain.status"
    sweep = "_ = attnlab.sweep('copy', complexity=[2, 4], seeds=1, executor='inline', store='s', **how)"
    seen = "[type(event).__name__ for event in steps if isinstance(event, attnlab.RunFinished)]"
    cells = [cell(source) for source in (TRAIN, quiet, sweep, seen, "attnlab.report(records)")]
    notebook = executed(nbformat.v4.new_notebook(cells=cells), tmp_path)
    trained, again, swept, finished, report = map(outputs, cells)
    progress, table = trained
    assert re.fullmatch(r"2 runs done, [\d.]+ \w+", progress["text/plain"])
    assert re.fullmatch(r"<p>2 runs done, [\d.]+ \w+</p>", progress["text/html"])
    assert "softmax" in table["text/html"]
    assert "softmax" in table["text/plain"]
    assert again == [{"text/plain": "'done'"}]
    (bar,) = swept
    assert re.fullmatch(r"2 of 2 runs done, [\d.]+ \w+", bar["text/plain"])
    assert finished == [{"text/plain": "['RunFinished', 'RunFinished']"}]
    assert report[0]["text/plain"].startswith("copy")
    assert without_control_codes(notebook)


@pytest.mark.slow
def test_the_shipped_notebook_runs_and_its_outputs_are_those_of_its_cells(tmp_path: Path) -> None:
    pytest.importorskip("altair")
    shipped = nbformat.read(SHIPPED, 4)
    fresh = executed(nbformat.read(SHIPPED, 4), tmp_path)
    assert without_control_codes(shipped)
    assert without_control_codes(fresh)
    for one, other in zip(shipped.cells, fresh.cells, strict=True):
        if one.cell_type == "code":
            assert one.execution_count == other.execution_count
            assert [sorted(output) for output in outputs(one)] == [sorted(output) for output in outputs(other)]


def test_the_shipped_notebook_has_its_outputs_and_is_small() -> None:
    shipped = nbformat.read(SHIPPED, 4)
    kinds = {kind for one in shipped.cells if one.cell_type == "code" for output in outputs(one) for kind in output}
    assert {"image/png", "text/html"} <= kinds
    assert not [output for one in shipped.cells for output in one.get("outputs", ()) if output.output_type == "error"]
    assert SHIPPED.stat().st_size < 500_000
