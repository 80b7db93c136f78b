"""Every page of the manual, those of ``docs/`` and those that are made, and its navigation."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from manual.api import api_pages
from manual.commands import command_pages
from manual.diagram import draw_layers
from manual.notebook import app_page, notebook_page
from manual.parts import part_pages
from manual.settings import settings_page

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
CONFIG = ROOT / "mkdocs.yml"
DRAWING = "<!-- layers -->"
"""What stands in a page of ``docs/`` for the drawing."""


def own_pages() -> dict[str, str]:
    """Read the pages of ``docs/``, with the drawing where a page has a place for it.

    Returns:
        Path -> Markdown.
    """
    pages = {path.relative_to(DOCS).as_posix(): path.read_text() for path in sorted(DOCS.rglob("*.md"))}
    return {path: text.replace(DRAWING, draw_layers()) for path, text in pages.items()}


def made_pages() -> dict[str, str]:
    """Make the pages of what is registered, of the commands, the settings, the Python API, the notebook and the app.

    Returns:
        Path -> Markdown, in the order of the navigation.
    """
    notebook = {"notebook.md": notebook_page(DOCS / "notebook.ipynb"), "app.md": app_page(DOCS / "app.py")}
    return dict(itertools.chain(part_pages(), command_pages(), [settings_page()], api_pages())) | notebook


def site_config(made: Mapping[str, str]) -> dict[str, Any]:
    """Read ``mkdocs.yml`` and fill in the pages that are made, where its navigation names their folder.

    Args:
        made: Path -> Markdown of the made pages.

    Returns:
        A configuration of zensical.
    """
    config: dict[str, Any] = yaml.safe_load(CONFIG.read_text())
    config["nav"] = [_filled(entry, made) for entry in config["nav"]]
    return config


def nav_paths(entry: Any) -> Iterator[str]:
    """List the pages of a navigation.

    Args:
        entry: The navigation, or a part of it.

    Yields:
        Paths, in order.
    """
    if isinstance(entry, str):
        yield entry
    else:
        for inner in entry.values() if isinstance(entry, dict) else entry:
            yield from nav_paths(inner)


def _filled(entry: Any, made: Mapping[str, str]) -> Any:
    """An entry of the navigation, with the pages of the folders in it."""
    if isinstance(entry, list):
        return [_filled(one, made) for one in entry]
    if isinstance(entry, dict):
        return {title: _filled(one, made) for title, one in entry.items()}
    return [path for path in made if path.startswith(entry)] if entry.endswith("/") else entry
