"""The one door to the terminal: what is printed may have names from a file of somebody else.

A control character in a name would move the cursor, clear the screen or change its colors. Every text that is rendered
passes through here, and its control characters are left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, final

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from attnlab.formatting import CONTROL, printable


@final
class Console(rich.console.Console):
    """A console that prints no control character of a text; its own, such as those of colors, are as ever.

    Strings are text, never markup: what looks like ``[bold]`` or ``:smile:`` is printed as it is. Styles are given by
    ``Text`` and ``Style``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, **options})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render an object without the control characters in its texts.

        Args:
            renderable: What is printed.
            options: How it is rendered.

        Yields:
            The segments.
        """
        for segment in super().render(renderable, options):
            if not segment.control and CONTROL.search(segment.text):
                yield Segment(printable(segment.text), segment.style)
            else:
                yield segment
