"""A table of words, drawn quickly: columns aligned, a rule below the heads, cells of several lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.segment import Segment
from rich.text import Text

GAP = 2
"""Blanks between columns."""


class Line(NamedTuple):
    """One line of a cell."""

    text: str
    style: str = ""


Entry = Sequence[Line]
"""The lines of a cell, from above."""


def entry(*texts: str, style: str = "", below: str = "dim") -> list[Line]:
    """A cell whose first line is in one style and the others in another; empty lines at its end are left out."""
    return [Line(text, below if index else style) for index, text in enumerate(texts) if text or not index]


def width(cell: Entry) -> int:
    """Of the longest line."""
    return max((cell_len(line.text) for line in cell), default=0)


@dataclass(frozen=True)
class Aligned:
    """Names at the left, numbers at the right of their columns.

    Where the numbers do not fit side by side, the table goes on below with the columns that are left.
    """

    names: Sequence[str]
    """QKV of the columns of names."""
    heads: Sequence[str]
    """QKV of the others."""
    rows: Sequence[tuple[Sequence[str], Sequence[Entry]]]
    title: Text | None = None
    left: int = 0
    """How many of the other columns stand at the left as well."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As many blocks as the width takes, a blank line below each."""
        if self.title is not None:
            yield self.title
        wide = options.max_width
        names = self._names(wide)
        columns = list(zip(*(cells for _, cells in self.rows), strict=True))
        sizes = [max(cell_len(head), *map(width, cells)) for head, cells in zip(self.heads, columns, strict=True)]
        for block in column_blocks(sizes, wide - sum(names) - GAP * len(names)):
            yield from self._block(console, names, sizes, block)
            yield Segment.line()

    def _block(self, console: Console, names: list[int], sizes: list[int], block: range) -> Iterator[Segment]:
        heads = [*(pad_text(head, size) for head, size in zip(self.names, names, strict=True))]
        heads += [pad_text(self.heads[place], sizes[place], right=place >= self.left) for place in block]
        blanks = " " * GAP
        line = blanks.join(heads)
        for text in (line, "─" * len(line)):
            yield from (Segment(text, console.get_style("dim")), Segment.line())
        for words, cells in self.rows:
            folded = [fold_text(word, size) for word, size in zip(words, names, strict=True)]
            shown = [[Line(text) for text in texts] for texts in folded] + [cells[place] for place in block]
            whole = [*names, *(sizes[place] for place in block)]
            aligned = [*[False] * len(names), *(place >= self.left for place in block)]
            for lines in zip_longest(*shown, fillvalue=Line("")):
                for place, (result, size, right) in enumerate(zip(lines, whole, aligned, strict=True)):
                    style = console.get_style(result.style) if result.style else None
                    yield Segment(blanks * bool(place) + pad_text(result.text, size, right=right), style)
                yield Segment.line()

    def _names(self, wide: int) -> list[int]:
        """What names take, but together no more than a third of the screen: short ones first."""
        wanted = [
            max(cell_len(head), *(cell_len(words[place]) for words, _ in self.rows), 1)
            for place, head in enumerate(self.names)
        ]
        left, sizes = wide // 3 - GAP * len(wanted), list(wanted)
        for count, place in enumerate(sorted(range(len(wanted)), key=lambda place: wanted[place])):
            sizes[place] = min(wanted[place], max(8, left // (len(wanted) - count)))
            left -= sizes[place]
        return sizes


def column_blocks(sizes: Sequence[int], wide: int) -> Iterator[range]:
    """Columns that fit side by side, block by block; a block has at least one."""
    start = used = 0
    for place, size in enumerate(sizes):
        if place > start and used + size > wide:
            yield range(start, place)
            start, used = place, 0
        used += size + GAP
    yield range(start, len(sizes))


def fold_text(word: str, size: int) -> list[str]:
    """A name in lines of that width, broken after a mark where there is one."""
    lines = [""]
    for piece in re.split(r"(?<=[:,+ ])", word):
        if cell_len(lines[-1] + piece) <= size:
            lines[-1] += piece
        else:
            lines += chop_cells(piece, size)
    return [line for line in lines if line] or [""]


def pad_text(text: str, size: int, *, right: bool = False) -> str:
    """Text with the blanks that fill its column."""
    blanks = " " * (size - cell_len(text))
    return blanks + text if right else text + blanks
