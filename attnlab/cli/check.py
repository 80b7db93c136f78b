"""``attnlab check``: check that attentions satisfy the contract of an attention."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from attnlab.cli.options import AsJson, Plugin, load_plugins


def check(
    names: Annotated[list[str] | None, typer.Argument(help="NAME, NAME:option=value, or FILE.py:Class.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Check all registered attentions.")] = False,
    plugins: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Check attentions: causality, numerics, equivalence of paths, cost; exit 1 if a check fails."""
    from rich.console import Console

    from attnlab.errors import InvalidValueError

    load_plugins(plugins)
    if not names and not every:
        raise InvalidValueError("Nothing to check.", "Give the names of attentions, or --all.", where="check")

    from attnlab.attention import ATTENTIONS
    from attnlab.rendering.conformance import ConformanceOverview, ConformanceTable
    from attnlab.specs import Part
    from attnlab.testing.check_attention import check_attention, subject_of

    parts = [subject_of(name) for name in names or []]
    parts += [Part(name=entry.name) for entry in ATTENTIONS] if every else []
    progress = Console(stderr=True)
    reports = []
    for part in parts:
        if len(parts) > 1:
            progress.print(f"checking {part}", highlight=False)
        reports.append(check_attention(part))
    if as_json:
        sys.stdout.write(json.dumps([report.data() for report in reports]) + "\n")
    else:
        Console().print(ConformanceTable(reports[0]) if len(reports) == 1 else ConformanceOverview(reports))
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)
