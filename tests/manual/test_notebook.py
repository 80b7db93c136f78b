"""The pages of the notebook and the app have all of their code and what the notebook printed."""

from __future__ import annotations

import json
from pathlib import Path

from manual.notebook import notebook_page
from manual.pages import DOCS


def test_the_page_of_the_notebook_has_every_cell_and_its_images(made: dict[str, str]) -> None:
    page = made["notebook.md"]
    cells = json.loads((DOCS / "notebook.ipynb").read_text())["cells"]
    assert all("".join(cell["source"]) in page for cell in cells)
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    drawn = sum("image/png" in output.get("data", {}) for output in outputs)
    assert page.count("data:image/png;base64,") == drawn >= 3
    assert "gradient norm" in page


def test_the_page_of_the_app_has_its_code(made: dict[str, str]) -> None:
    assert (DOCS / "app.py").read_text().rstrip() in made["app.md"]


def test_an_output_that_has_fences_stays_in_its_block(tmp_path: Path) -> None:
    cells = [
        {"cell_type": "markdown", "source": ["# Title"]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": [{"output_type": "stream", "text": ["```\n", "x"]}]},
    ]
    path = tmp_path / "n.ipynb"
    path.write_text(json.dumps({"cells": cells}))
    assert notebook_page(path).endswith("````text\n```\nx\n````\n")
