"""What a terminal shows, as HTML and as text for a cell of a notebook."""

from __future__ import annotations

import io

from rich.console import RenderableType

from attnlab.rendering.console import Console

WIDTH = 110
"""Columns of the text; wider cells scroll."""
STYLE = "overflow-x:auto;white-space:pre;line-height:normal;font-family:Menlo,Consolas,'DejaVu Sans Mono',monospace"


def as_html(renderable: RenderableType) -> str:
    """Render an object as HTML, without the control characters in its texts.

    Args:
        renderable: What a terminal would show.

    Returns:
        One element ``pre`` with its styles; texts are escaped.
    """
    console = Console(
        file=io.StringIO(), record=True, width=WIDTH, force_terminal=True, color_system="truecolor", force_jupyter=False
    )
    console.print(renderable, highlight=False)
    return console.export_html(inline_styles=True, code_format=f'<pre style="{STYLE}">{{code}}</pre>')


def as_text(renderable: RenderableType) -> str:
    """Render an object as text, without colors.

    Args:
        renderable: What a terminal would show.

    Returns:
        Lines of :data:`WIDTH` columns at most.
    """
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None, force_terminal=False, force_jupyter=False).print(
        renderable, highlight=False
    )
    return "\n".join(line.rstrip() for line in text.getvalue().splitlines())
