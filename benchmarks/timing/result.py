"""What a benchmark found: drawn as a table, kept as JSON, compared with what was kept last."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from attnlab.errors import InvalidValueError
from attnlab.storage.files import write_whole
from benchmarks.timing.pairs import Measured


@dataclass(frozen=True)
class Benchmark:
    """Lines, and where they were measured."""

    lines: Sequence[Measured]
    environment: Mapping[str, Any]
    left_out: Sequence[str] = ()
    """What was not measured, and why, in sentences."""

    def data(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"environment": dict(self.environment), "lines": [asdict(line) for line in self.lines]}

    def save(self, path: Path) -> None:
        """Keep it, in place of the last one."""
        write_whole(path, json.dumps(self.data(), indent=1).encode() + b"\n")

    def table(self, last: Mapping[str, float]) -> Table:
        """Line by line: the median with its quartiles, what was asked for, what it was last time."""
        table = Table(box=None, pad_edge=False)
        table.add_column("what", overflow="fold")
        for heading in ("median", "quartiles", "goal", "last", "rounds"):
            table.add_column(heading, justify="right", no_wrap=True)
        for line in self.lines:
            asked = "" if line.goal is None else f"{'<' if line.below else '>'} {line.goal:g}"
            color = {None: "", True: "green", False: "yellow"}[line.holds]
            before = f"{last[line.name]:.3g}" if line.name in last else ""
            what = f"{line.name} [dim]{line.note}[/dim]" if line.note else line.name
            median = f"{line.median:.3g} {line.unit}"
            spread = f"{line.low:.3g}..{line.high:.3g}"
            table.add_row(
                what, f"[{color}]{median}[/{color}]" if color else median, spread, asked, before, str(line.rounds)
            )
        return table


def last(path: Path) -> dict[str, float]:
    """Medians of what was kept, by name; none where nothing was.

    Raises:
        InvalidValueError: the file holds something else.
    """
    if not path.exists():
        return {}
    try:
        return {line["name"]: float(line["median"]) for line in json.loads(path.read_text())["lines"]}
    except (ValueError, KeyError, TypeError):
        hint = "Give another --out, or remove the file."
        raise InvalidValueError(f"{path} holds no benchmark.", hint, where="--out") from None
