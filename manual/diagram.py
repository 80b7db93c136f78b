"""The drawing of the layers, from the contract that `make check` enforces."""

from __future__ import annotations

import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH, MARGIN = 760, 12
ROW, GAP = 34, 14
LETTER = 7.3
"""Width of a letter at the size of the drawing."""


def layers() -> list[list[str]]:
    """Read the layers of the packages, the highest first.

    Returns:
        Of each layer its packages.
    """
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = next(one for one in data["tool"]["importlinter"]["contracts"] if one["type"] == "layers")
    return [[name.strip() for name in line.replace(":", "|").split("|")] for line in contract["layers"]]


def draw_layers() -> str:
    """Draw the layers, one row above the other, as an SVG with the colors of the page.

    Returns:
        An element on one line, without an outside font or image.
    """
    parts, y = [], MARGIN
    for index, names in enumerate(layers()):
        lines = _lines(names)
        height = len(lines) * ROW
        parts.append(_box(y, height))
        for row, line in enumerate(lines):
            parts += _names(line, y + row * ROW)
        y += height + GAP
        if index < len(layers()) - 1:
            parts.append(_arrow(y - GAP))
    title = "<title>The layers of attnlab: each imports only what stands below it.</title>"
    head = f'<div class="layers"><svg viewBox="0 0 {WIDTH} {y}" role="img" aria-label="Layers of attnlab">'
    return "".join([head, title, *parts, "</svg></div>"])


def _lines(names: list[str]) -> list[list[str]]:
    """The names of a layer, in as many lines as they need."""
    lines: list[list[str]] = [[]]
    for name in names:
        if lines[-1] and _width([*lines[-1], name]) > WIDTH - 4 * MARGIN:
            lines.append([])
        lines[-1].append(name)
    return lines


def _width(names: list[str]) -> float:
    return sum(len(name) * LETTER + 3 * MARGIN for name in names)


def _box(y: int, height: int) -> str:
    return f'<rect class="layer" x="{MARGIN}" y="{y}" width="{WIDTH - 2 * MARGIN}" height="{height}" rx="6"/>'


def _names(line: list[str], y: int) -> list[str]:
    """The names of one line, spread evenly around the middle."""
    x = (WIDTH - _width(line)) / 2
    texts = []
    for name in line:
        width = _width([name])
        texts.append(f'<text x="{x + width / 2:.0f}" y="{y + ROW / 2 + 5:.0f}">{escape(name)}</text>')
        x += width
    return texts


def _arrow(y: int) -> str:
    """A small arrow from one layer to the one below."""
    x = WIDTH // 2
    return f'<path class="arrow" d="M{x} {y + 2}v{GAP - 4}m-4 -4l4 4l4 -4"/>'
