"""A card for a class of the user's own, which documents nothing: what it is given, how it is called, and its size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from attnlab.formatting import thousands


@dataclass(frozen=True)
class Argument:
    """One argument of a constructor."""

    name: str
    given: str
    """What it is given, in words."""
    matched: bool
    """Whether that is taken from the run by its name; otherwise it keeps its default, or must be given."""


@dataclass(frozen=True)
class OwnCard:
    """What is known of a class of the user's own."""

    name: str
    kind: str
    """``attention`` or ``model``; ``module`` where it cannot be built and no argument tells."""
    summary: str
    file: str
    arguments: Sequence[Argument]
    call: str
    """How it is called; empty where it cannot be built."""
    parameters: int | None
    """Learned parameters at the default sizes; None where it cannot be built."""
    size: str
    """What was counted, in words."""
    problem: str = ""
    """Why it cannot be built with what is known; empty where it can."""

    def __rich__(self) -> RenderableType:
        """Heading, file, arguments, call and size."""
        head = Text.assemble((self.name, "bold"), (f"  {self.kind} of your own", "dim"))
        grid = Table(box=None, pad_edge=True, show_header=False)
        for one in self.arguments:
            grid.add_row(Text(one.name, style="bold"), Text(one.given, style="" if one.matched else "dim"))
        parts: list[RenderableType] = [head, *([Text(self.summary)] if self.summary else [])]
        parts.append(Padding(Text(f"File: {self.file}", overflow="fold"), (1, 0, 0, 0)))
        parts.append(Text("Arguments" if self.arguments else "No arguments.", style="bold"))
        parts += [grid] if self.arguments else []
        parts += [Text(f"Called as {self.call}")] if self.call else []
        parts += [Text(f"{self.size}: {thousands(self.parameters)}")] if self.parameters is not None else []
        parts += [Text(f"Not built: {self.problem}", style="yellow")] if self.problem else []
        parts.append(Text("It declares nothing more: no formula, source, cost or roles of its weights.", style="dim"))
        if self.kind in ("attention", "model"):
            option = "--model " if self.kind == "model" else ""
            parts.append(Text(f"attnlab check {option}{self.name}", style="dim"))
        return Group(*parts)

    def data(self) -> dict[str, Any]:
        """The card as plain data."""
        return asdict(self) | {"arguments": [asdict(one) for one in self.arguments]}
