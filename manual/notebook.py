"""Pages of the notebook and the app of ``docs/``, as they are shipped: code with its stored output."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manual.markdown import block

REPOSITORY_PATH = "docs"


def notebook_page(path: Path) -> str:
    """Write a notebook as a page.

    Args:
        path: The notebook, executed.

    Returns:
        Markdown: the cells in order, each with what it printed or drew; images stand in the page itself.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    parts = [part for cell in cells for part in _cell(cell)]
    note = f"This page is the notebook `{REPOSITORY_PATH}/{path.name}` as it was run last; a slow test runs it again."
    return "\n\n".join([parts[0], note, *parts[1:]]) + "\n"


def app_page(path: Path) -> str:
    """Write the page of the marimo app.

    Args:
        path: The app.

    Returns:
        Markdown: what it does, how it is started, and its code.
    """
    place = f"{REPOSITORY_PATH}/{path.name}"
    text = path.read_text(encoding="utf-8")
    words = (
        "A [marimo](https://marimo.io) app shows a store in the browser, and reads it again while runs finish: the "
        "report, learning curves, and the inside of a run that is chosen. It works without a network."
    )
    start = f"pip install marimo 'attnlab[plots]'\nmarimo run {place} -- --store results/parity"
    own = f"It is `{place}`, short enough to make it your own:"
    return "\n\n".join(["# An app in the browser", words, block(start, "shell"), own, block(text, "python")]) + "\n"


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    """The parts of a cell."""
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield source
        return
    yield block(source, "python")
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        if "image/png" in data:
            image = "".join(data["image/png"]).replace("\n", "")
            yield f'<img alt="what the cell draws" src="data:image/png;base64,{image}">'
        elif text := "".join(data.get("text/plain") or output.get("text", "")).rstrip():
            yield block(text, "text")
