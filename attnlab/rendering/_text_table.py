"""A plain table that renders quickly: aligned columns, a rule below the headings, cells of several lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import NamedTuple

from rich.cells import cell_len, chop_cells
from rich.console import Console, ConsoleOptions, RenderResult
from rich.measure import Measurement
from rich.segment import Segment
from rich.text import Text

GAP = 2
"""Blanks between columns."""
WORDS = re.compile(r"(?<=[_.\-])|(?<=[a-z0-9])(?=[A-Z])")
"""Ends of words in a name that is longer than a line: ``titans_|pytorch``, ``Transformer|Encoder|Layer``."""


class Line(NamedTuple):
    """One line of a cell."""

    text: str
    style: str = ""


CellText = Sequence[Line]
"""The lines of a cell, from the top."""


def cell_text(*texts: str, style: str = "", below: str = "dim") -> list[Line]:
    """A cell with its first line in one style and the others in another; empty lines below the first are left out."""
    return [Line(text, below if index else style) for index, text in enumerate(texts) if text or not index]


def width(cell: CellText) -> int:
    """The width of the longest line."""
    return max((cell_len(line.text) for line in cell), default=0)


@dataclass(frozen=True)
class TextTable:
    """Columns of names, aligned left, and columns of numbers, aligned right.

    Where the numbers do not fit side by side, the table continues below with the remaining columns.
    """

    names: Sequence[str]
    """Headings of the columns of names."""
    heads: Sequence[str]
    """Headings of the other columns."""
    rows: Sequence[tuple[Sequence[str], Sequence[CellText]]]
    title: Text | None = None
    left: int = 0
    """How many of the other columns are aligned left as well."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """One block for the columns that fit the width, a blank line, the next block."""
        if self.title is not None:
            yield self.title
        available = options.max_width
        names = self._name_widths(available)
        columns = list(zip(*(cells for _, cells in self.rows), strict=True))
        sizes = [max(cell_len(head), *map(width, cells)) for head, cells in zip(self.heads, columns, strict=True)]
        for block in column_blocks(sizes, available - sum(names) - GAP * len(names)):
            yield from self._block(console, names, sizes, block)
            yield Segment.line()

    def _block(self, console: Console, names: list[int], sizes: list[int], block: range) -> Iterator[Segment]:
        """The columns of one block, with headings."""
        heads = [*(pad_text(head, size) for head, size in zip(self.names, names, strict=True))]
        heads += [pad_text(self.heads[column], sizes[column], right=column >= self.left) for column in block]
        blanks = " " * GAP
        head = blanks.join(heads)
        for text in (head, "─" * len(head)):
            yield from (Segment(text, console.get_style("dim")), Segment.line())
        widths = [*names, *(sizes[column] for column in block)]
        aligned_right = [*[False] * len(names), *(column >= self.left for column in block)]
        for words, cells in self.rows:
            folded = [fold_text(word, size) for word, size in zip(words, names, strict=True)]
            shown = [[Line(text) for text in texts] for texts in folded] + [cells[column] for column in block]
            for lines in zip_longest(*shown, fillvalue=Line("")):
                for index, (line, size, right) in enumerate(zip(lines, widths, aligned_right, strict=True)):
                    style = console.get_style(line.style) if line.style else None
                    yield Segment(blanks * bool(index) + pad_text(line.text, size, right=right), style)
                yield Segment.line()

    def _name_widths(self, available: int) -> list[int]:
        """The widths of the names, together at most a third of the screen; short names keep their width first."""
        wanted = [
            max(cell_len(head), *(cell_len(words[column]) for words, _ in self.rows), 1)
            for column, head in enumerate(self.names)
        ]
        left, sizes = available // 3 - GAP * len(wanted), list(wanted)
        for count, column in enumerate(sorted(range(len(wanted)), key=lambda column: wanted[column])):
            sizes[column] = min(wanted[column], max(8, left // (len(wanted) - count)))
            left -= sizes[column]
        return sizes


@dataclass(frozen=True)
class FoldedText:
    """A name in a table of rich that is folded as in :class:`TextTable`."""

    text: str

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """The lines that fit the column."""
        yield Text("\n".join(fold_text(self.text, options.max_width)))

    def __rich_measure__(self, console: Console, options: ConsoleOptions) -> Measurement:
        """From the longest piece to the whole name."""
        longest = max(cell_len(piece.rstrip()) for piece in _pieces(self.text))
        return Measurement(longest, cell_len(self.text)).with_maximum(options.max_width)


def column_blocks(sizes: Sequence[int], available: int) -> Iterator[range]:
    """Ranges of columns that fit side by side; each has at least one column."""
    start = used = 0
    for column, size in enumerate(sizes):
        if column > start and used + size > available:
            yield range(start, column)
            start, used = column, 0
        used += size + GAP
    yield range(start, len(sizes))


def fold_text(word: str, size: int) -> list[str]:
    """A name in lines of a width, broken after a punctuation mark where there is one, or else between its words."""
    lines = [""]
    for piece in _pieces(word):
        if cell_len((lines[-1] + piece).rstrip()) <= size:
            lines[-1] += piece
            continue
        lines.append("")
        for part in [piece] if cell_len(piece.rstrip()) <= size else WORDS.split(piece):
            if cell_len((lines[-1] + part).rstrip()) <= size:
                lines[-1] += part
            else:
                lines += chop_cells(part.rstrip(), size)
                lines[-1] += part[len(part.rstrip()) :]
    return [line for line in map(str.rstrip, lines) if line] or [""]


def _pieces(word: str) -> list[str]:
    """The pieces of a name, each up to a punctuation mark or a blank."""
    return re.split(r"(?<=[:,+ ])", word)


def pad_text(text: str, size: int, *, right: bool = False) -> str:
    """Text with blanks up to the width of its column."""
    blanks = " " * (size - cell_len(text))
    return blanks + text if right else text + blanks
