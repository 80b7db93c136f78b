"""What is registered and shipped: lists, and a card for each part."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attnlab.config.ladder import Ladder
from attnlab.formatting import percent, thousands
from attnlab.registry import Entry


@dataclass(frozen=True)
class Listing:
    """A table of words; the last columns are sentences, and stand below their row."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str
    """What to say when there is nothing."""
    below: int = 1
    """How many columns stand below."""

    def __rich__(self) -> RenderableType:
        """Aligned columns, the summary of each row below it; or the word for nothing."""
        if not self.rows:
            return Text(self.empty)
        columns = list(zip(self.heads, *self.rows, strict=True))[: len(self.heads) - self.below]
        widths = [max(map(len, column)) for column in columns]
        lines: list[RenderableType] = [Text(_aligned(self.heads, widths), style="dim")]
        for row in self.rows:
            name, rest = row[0].ljust(widths[0]), _aligned(row[1:], widths[1:])
            lines.append(Text.assemble((name, "bold cyan"), f"  {rest}"))
            words = " · ".join(filter(None, row[len(row) - self.below :]))
            lines += [Padding(Text(words, style="dim"), (0, 0, 0, 2))] if words else []
        return Group(*lines)

    def data(self) -> list[dict[str, str]]:
        """The rows as plain data."""
        return [dict(zip(self.heads, row, strict=True)) for row in self.rows]


@dataclass(frozen=True)
class Card:
    """All that is known of a part: formula, source, departures, options, size."""

    entry: Entry[Any]
    kind: str
    parameters: int | None = None
    """Learned numbers at the default size, for parts of a model."""
    ladders: Sequence[Ladder] = ()
    chance: float | None = None

    def __rich__(self) -> RenderableType:
        """Headline, documentation, options, ladders."""
        entry = self.entry
        also = f", also {', '.join(entry.aliases)}" if entry.aliases else ""
        head = Text.assemble((entry.name, "bold"), (f"  {self.kind}, version {entry.version}{also}", "dim"))
        parts: list[RenderableType] = [head, Text(entry.summary), Padding(flowing(self.text()), (1, 0))]
        parts.append(Text("Options" if entry.options else "No options.", style="bold"))
        if entry.options:
            parts.append(_options(entry))
        if self.parameters is not None:
            parts.append(Text(f"Weights of the default model with it: {thousands(self.parameters)}"))
        if self.chance is not None:
            parts.append(Text(f"Chance at the default options: {percent(self.chance)}"))
        for ladder in self.ladders:
            levels = ", ".join(map(str, ladder.levels))
            parts.append(Text(f"Ladder {ladder.name}: {ladder.complexity} {levels} (default {ladder.default})"))
        return Group(*parts)

    def text(self) -> str:
        """The documentation of the file it stands in, or else of the class; and the source it was registered with."""
        said, _, _ = (inspect.getdoc(self.entry.cls) or "").partition("Options:\n")
        _, _, more = said.partition("\n\n")
        written = inspect.getdoc(sys.modules[self.entry.cls.__module__]) or more.strip()
        return written if "Source" in written else f"{written}\n\nSource   {self.entry.source}".strip()

    def data(self) -> dict[str, Any]:
        """The card as plain data."""
        options: dict[str, Any] = {name: {"accepts": accepted(o.accepts)} for name, o in self.entry.options.items()}
        for name in options.keys() - set(self.entry.required):
            options[name]["default"] = self.entry.options[name].default
        return {
            "name": self.entry.name,
            "kind": self.kind,
            "version": self.entry.version,
            "aliases": list(self.entry.aliases),
            "summary": self.entry.summary,
            "source": self.entry.source,
            "options": options,
            "parameters": self.parameters,
            "text": self.text(),
            "ladders": [ladder.model_dump(mode="json") for ladder in self.ladders],
        }


def flowing(text: str) -> RenderableType:
    """Documentation fitted to any width: prose flows, what follows a label hangs by it, formulas stay."""
    parts: list[RenderableType] = []
    for paragraph in text.replace("``", "").split("\n\n"):
        lines = paragraph.split("\n")
        labels = re.split(r"^(?=[A-Z][a-z]+ {2,}\S)", paragraph, flags=re.MULTILINE)
        if lines[0].startswith("    ") or any(line.startswith("    ") and "  " in line.strip() for line in lines):
            parts.append(Text(paragraph, overflow="fold"))
        elif len(labels) > 1:
            grid = Table.grid(padding=(0, 2))
            for label in filter(None, labels):
                name, _, rest = label.partition("  ")
                grid.add_row(Text(name, style="bold"), Text(" ".join(rest.split())))
            parts.append(grid)
        else:
            parts.append(Text(" ".join(paragraph.split())))
        parts.append(Text(""))
    return Group(*parts[:-1])


def accepted(annotation: Any) -> str:
    """An annotation, as a person reads it.

    >>> accepted(typing.Literal["a", "b"]), accepted(int | None)
    ('a | b', 'int | null')
    """
    origin = typing.get_origin(annotation)
    inner = typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(map(str, inner))
    if origin is typing.Annotated:
        bounds = [str(bound) for field in inner[1:] for bound in getattr(field, "metadata", [])]
        signs = {"Ge": ">=", "Gt": ">", "Le": "<=", "Lt": "<"}
        result = [re.fullmatch(r"(\w+)\(\w+=(.+)\)", bound) for bound in bounds]
        words = [f"{signs[one[1]]} {one[2]}" for one in result if one and one[1] in signs]
        return " ".join([accepted(inner[0]), *words])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(accepted(one) for one in inner)
    return "null" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()


def _options(entry: Entry[Any]) -> Table:
    table = Table(box=None, pad_edge=True, show_header=False)
    meanings = _meanings(entry)
    for option in entry.options.values():
        default = "null" if option.default is None else str(option.default)
        default = "needed" if option.name in entry.required else default
        words = Text(option.name, style="bold"), Text(default), Text(accepted(option.accepts), style="dim")
        table.add_row(*words, Text(meanings.get(option.name, "")))
    return table


def _meanings(entry: Entry[Any]) -> dict[str, str]:
    """What the class docstring says of each option, under ``Options:``."""
    _, _, written = (inspect.getdoc(entry.cls) or "").replace("``", "").partition("Options:\n")
    result = re.findall(r"^    (\w+): (.+(?:\n        .+)*)", written, flags=re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in result}
