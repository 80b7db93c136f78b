"""An experiment on one screen: its question, its runs, its claims, published values, and how it is run."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from attnlab import resources
from attnlab.config.experiment import Experiment
from attnlab.formatting import option_text


@dataclass(frozen=True)
class ExperimentCard:
    """An experiment and its file."""

    experiment: Experiment
    path: Path

    def __rich__(self) -> RenderableType:
        """The question, what varies, the claims, the published values, the commands."""
        one = self.experiment
        grid = Table.grid(padding=(0, 2))
        for name, value in self.fields():
            grid.add_row(Text(name, style="bold"), Text(value))
        named: list[RenderableType] = [Text(f"Claim: {claim.says}") for claim in one.claims]
        named += [Text(f"Published values: {text}") for text in self.published_values()]
        word = one.name if self.built_in else shlex.quote(str(self.path))
        commands = [f"attnlab sweep {word} --dry-run", f"attnlab sweep {word}"]
        if self.built_in:
            commands.append(f"attnlab cp {word}")
        if self.published:
            commands.append(f"attnlab report {one.name} --published")
        return Group(
            Text.assemble((one.name, "bold"), ("  experiment", "dim")),
            Text(one.question),
            Text(""),
            grid,
            *([Text("")] if named else []),
            *named,
            Text(""),
            *(Text(command, style="dim") for command in commands),
        )

    @property
    def published(self) -> bool:
        """Whether its records are published."""
        return self.built_in and self.experiment.name in resources.published_names()

    @property
    def built_in(self) -> bool:
        """Whether its name alone names it."""
        return self.path.resolve().parent == resources.folder("experiments").resolve()

    def published_values(self) -> Iterator[str]:
        """Name the tables of the source that the report compares with.

        Yields:
            The source and its table, what it measured, and how many values there are.
        """
        for table in self.experiment.published:
            count = f"{len(table.values)} value{'' if len(table.values) == 1 else 's'}"
            yield f"{table.source or self.experiment.source}, {table.table}: {table.quantity} ({count})"

    def fields(self) -> Iterator[tuple[str, str]]:
        """List what is run and how.

        Yields:
            A label and its value.
        """
        one = self.experiment
        for entry in one.ladders:
            levels = f"levels {option_text(entry.levels)}" if entry.levels else "all levels"
            more = [f"evaluated on {option_text(entry.evaluate)}"] if entry.evaluate else []
            yield (
                "Ladder",
                ", ".join([entry.ladder, levels, *map("{0[0]}={0[1]}".format, entry.options.items()), *more]),
            )
        for key, values in one.grid.items():
            yield "Grid", f"{key}: {option_text(values)}"
        for group in one.zip:
            yield "Zip", "; ".join(f"{key}: {option_text(values)}" for key, values in group.items())
        yield "Seeds", f"{one.seeds}, from {one.seed}" if one.seed else str(one.seeds)
        if one.recipe:
            yield "Recipe", one.recipe
        for name, data in (("Model", one.model), ("Training", one.train)):
            if data:
                yield name, ", ".join(f"{key}={option_text(value)}" for key, value in data.items())
        if one.match:
            yield "Match", one.match
        if one.presets:
            yield "Presets", ", ".join(one.presets)
        if one.source:
            yield "Source", one.source
        yield "File", str(self.path)

    def data(self) -> dict[str, Any]:
        """The experiment as plain data."""
        return {"kind": "experiment", "file": str(self.path), **self.experiment.model_dump(mode="json")}
