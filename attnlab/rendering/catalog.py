"""Registered parts and shipped files: listings, and a card for each part."""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attnlab.choices import SCORED, Scoring
from attnlab.config.ladder import Ladder
from attnlab.formatting import option_text, percent, thousands
from attnlab.registry import Entry

LEGENDS = {
    "attention": (
        "",
        "rows: what each row of the attention matrix satisfies. stochastic: non-negative, sum 1; substochastic: "
        "non-negative, sum at most 1; signed: any sign, constant sum; free: no constraint.",
        "parameters: per layer, at the default options, width 64 and 2 heads.",
        "cost: growth of the operations of a layer without its linear maps. T tokens, D width, H heads, C channels per "
        "head, F features per head, N state channels, w window, b block, n selected blocks (sparse: keys of a row), "
        "k selected keys, K candidate keys (sea: bins), m memory slots.",
    ),
    "experiment": ("", "published: attnlab report NAME --published shows its records, without a run."),
}
"""Lines below a listing that explain its columns, by the first heading."""


@dataclass(frozen=True)
class Listing:
    """A table of text; the last columns are sentences, and are written below their row."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    empty: str
    """The text that replaces a table without rows."""
    below: int = 1
    """How many columns are written below the row."""

    def __rich__(self) -> RenderableType:
        """Aligned columns, with the sentences of each row below it."""
        if not self.rows:
            return Text(self.empty)
        columns = list(zip(self.heads, *self.rows, strict=True))[: len(self.heads) - self.below]
        widths = [max(map(len, column)) for column in columns]
        lines: list[RenderableType] = [Text(_aligned(self.heads, widths), style="dim")]
        for row in self.rows:
            name, rest = row[0].ljust(widths[0]), _aligned(row[1:], widths[1:])
            lines.append(Text.assemble((name, "bold cyan"), f"  {rest}"))
            summary = " · ".join(filter(None, row[len(row) - self.below :]))
            lines += [Padding(Text(summary, style="dim"), (0, 0, 0, 2))] if summary else []
        lines += [Text(line, style="dim") for line in LEGENDS.get(self.heads[0], ())]
        return Group(*lines)

    def data(self) -> list[dict[str, str]]:
        """The rows as plain data."""
        return [dict(zip(self.heads, row, strict=True)) for row in self.rows]


class OptionRow(NamedTuple):
    """One option of a part in plain text."""

    name: str
    default: str
    """``required`` where there is none."""
    accepts: str
    meaning: str


@dataclass(frozen=True)
class Card:
    """The documentation of a part: formula, source, differences from it, options, size."""

    entry: Entry[Any]
    kind: str
    parameters: int | None = None
    """Number of learned parameters of the default model with it; None for a task."""
    ladders: Sequence[Ladder] = ()
    chance: float | None = None
    """Chance accuracy of a task at its default options; None for other parts."""
    scoring: Sequence[Scoring] = ()
    """Which way each ladder is scored, or the task where it has no ladder; empty where it is not known."""

    def __rich__(self) -> RenderableType:
        """Heading, documentation, options, ladders."""
        entry = self.entry
        also = f", also {', '.join(entry.aliases)}" if entry.aliases else ""
        head = Text.assemble((entry.name, "bold"), (f"  {self.kind}, version {entry.version}{also}", "dim"))
        parts: list[RenderableType] = [head, Text(entry.summary), Padding(reflow(self.text()), (1, 0))]
        parts.append(Text("Options" if entry.options else "No options.", style="bold"))
        if entry.options:
            parts.append(_options(self.options()))
        if self.parameters is not None:
            parts.append(Text(f"Weights of the default model with it: {thousands(self.parameters)}"))
        if self.chance is not None:
            parts.append(Text(f"Chance at the default options: {percent(self.chance)}"))
        return Group(*parts, *map(Text, (*self.ladder_lines(), *self.scoring_lines())))

    def options(self) -> list[OptionRow]:
        """List the options of the part, in order.

        Returns:
            One row for each.
        """
        meanings = _meanings(self.entry)
        rows = []
        for option in self.entry.options.values():
            default = "null" if option.default is None else option_text(option.default) or "empty"
            default = "required" if option.name in self.entry.required else default
            rows.append(OptionRow(option.name, default, type_text(option.accepts), meanings.get(option.name, "")))
        return rows

    def ladder_lines(self) -> list[str]:
        """Write one line for each ladder of a task.

        Returns:
            Name, complexity, levels and default level; the options that differ in training; how it is scored, where
            ladders differ in that.
        """
        ways = len(set(self.scoring))
        lines = []
        for index, ladder in enumerate(self.ladders):
            levels = ", ".join(map(str, ladder.levels))
            way = f"; {self.scoring[index]}" if ways > 1 else ""
            options = ", ".join(f"{name} {option_text(value)}" for name, value in ladder.training.items())
            trained = f", trained on {options}" if options else ""
            lines.append(f"Ladder {ladder.name}: {ladder.complexity} {levels} (default {ladder.default}){trained}{way}")
        return lines

    def scoring_lines(self) -> list[str]:
        """Write one sentence for each way in which the ladders of a task are scored.

        Returns:
            The sentences; none where it is not known.
        """
        ways = list(dict.fromkeys(self.scoring))
        return [SCORED[way] if len(ways) == 1 else f"{way}: {SCORED[way]}" for way in ways]

    def text(self) -> str:
        """The documentation of its module, or else of its class; and the source that it was registered with."""
        description, _, _ = (inspect.getdoc(self.entry.cls) or "").partition("Options:\n")
        _, _, details = description.partition("\n\n")
        text = inspect.getdoc(sys.modules[self.entry.cls.__module__]) or details.strip()
        return text if "Source" in text else f"{text}\n\nSource   {self.entry.source}".strip()

    def data(self) -> dict[str, Any]:
        """The card as plain data."""
        options: dict[str, Any] = {name: {"accepts": type_text(o.accepts)} for name, o in self.entry.options.items()}
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
            "scoring": list(self.scoring),
        }


class Paragraph(NamedTuple):
    """One paragraph of documentation."""

    kind: Literal["prose", "formula", "labels"]
    text: str
    """What is written, without labels; of a formula with its line breaks."""
    labels: Sequence[tuple[str, str]] = ()
    """The labels, such as Source, and what stands beside each."""


def paragraphs(text: str) -> Iterator[Paragraph]:
    r"""Split documentation into prose, formulas and labeled paragraphs.

    >>> [paragraph.kind for paragraph in paragraphs("Two words.\n\n    a = b\n\nSource   ours.")]
    ['prose', 'formula', 'labels']

    Args:
        text: A docstring.

    Yields:
        The paragraphs in order.
    """
    for paragraph in text.split("\n\n"):
        lines = paragraph.split("\n")
        labels = re.split(r"^(?=[A-Z][a-z]+ {2,}\S)", paragraph, flags=re.MULTILINE)
        if lines[0].startswith("    ") or any(line.startswith("    ") and "  " in line.strip() for line in lines):
            yield Paragraph("formula", paragraph)
        elif len(labels) > 1:
            split = (label.partition("  ") for label in labels if label)
            yield Paragraph("labels", "", [(name, " ".join(rest.split())) for name, _, rest in split])
        else:
            yield Paragraph("prose", " ".join(paragraph.split()))


def reflow(text: str) -> RenderableType:
    """Fit documentation to any width: prose is wrapped, labeled paragraphs are indented, formulas are unchanged.

    Args:
        text: A docstring.

    Returns:
        What rich prints.
    """
    parts: list[RenderableType] = []
    for kind, words, labels in paragraphs(text.replace("``", "")):
        if kind == "labels":
            grid = Table.grid(padding=(0, 2))
            for name, rest in labels:
                grid.add_row(Text(name, style="bold"), Text(rest))
            parts.append(grid)
        else:
            parts.append(Text(words, overflow="fold") if kind == "formula" else Text(words))
        parts.append(Text(""))
    return Group(*parts[:-1])


def type_text(annotation: Any) -> str:
    """Write the type of an option in plain text.

    >>> type_text(typing.Literal["a", "b"]), type_text(int | None)
    ('a | b', 'int | null')

    Args:
        annotation: The annotation of the option.

    Returns:
        The type, with its bounds.
    """
    origin = typing.get_origin(annotation)
    inner = typing.get_args(annotation)
    if origin is typing.Literal:
        return " | ".join(map(str, inner))
    if origin is typing.Annotated:
        bounds = [str(bound) for field in inner[1:] for bound in getattr(field, "metadata", [])]
        signs = {"Ge": ">=", "Gt": ">", "Le": "<=", "Lt": "<"}
        matched = [re.fullmatch(r"(\w+)\(\w+=(.+)\)", bound) for bound in bounds]
        limits = [f"{signs[one[1]]} {one[2]}" for one in matched if one and one[1] in signs]
        return " ".join([type_text(inner[0]), *limits])
    if origin in (typing.Union, types.UnionType):
        return " | ".join(type_text(one) for one in inner)
    return "null" if annotation is type(None) else getattr(annotation, "__name__", str(annotation))


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    return "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=False)).rstrip()


def _options(rows: Sequence[OptionRow]) -> Table:
    table = Table(box=None, pad_edge=True, show_header=False)
    for row in rows:
        cells = Text(row.name, style="bold"), Text(row.default), Text(row.accepts, style="dim")
        table.add_row(*cells, Text(row.meaning.replace("``", "")))
    return table


def _meanings(entry: Entry[Any]) -> dict[str, str]:
    """The description of each option in the class docstring, under ``Options:``."""
    _, _, text = (inspect.getdoc(entry.cls) or "").partition("Options:\n")
    options = re.findall(r"^    (\w+): (.+(?:\n        .+)*)", text, flags=re.MULTILINE)
    return {name: " ".join(meaning.split()) for name, meaning in options}
