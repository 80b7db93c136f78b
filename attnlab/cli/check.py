"""``attnlab check``: does a variant keep its contract?"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from attnlab.cli.options import AsJson, With, load


def check(
    names: Annotated[list[str] | None, typer.Argument(help="NAME, NAME:option=value, or FILE.py:Class.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Every registered attention.")] = False,
    with_files: With = None,
    as_json: AsJson = False,
) -> None:
    """Check that attentions keep their contract: causality, numbers, paths, cost; exit 1 if one does not."""
    from rich.console import Console

    from attnlab.errors import InvalidValueError

    load(with_files)
    if not names and not every:
        raise InvalidValueError("Nothing to check.", "Give names, or --all.", where="check")

    from attnlab.attention import ATTENTIONS
    from attnlab.specs import Part
    from attnlab.testing.check_attention import check_attention as examine
    from attnlab.testing.check_attention import subject_of
    from attnlab.testing.finding import Overview

    parts = [subject_of(name) for name in names or []]
    parts += [Part(name=entry.name) for entry in ATTENTIONS] if every else []
    screen = Console(stderr=True)
    reports = []
    for part in parts:
        if len(parts) > 1:
            screen.print(f"checking {part}", highlight=False)
        reports.append(examine(part))
    if as_json:
        sys.stdout.write(json.dumps([report.data() for report in reports]) + "\n")
    else:
        Console().print(reports[0] if len(reports) == 1 else Overview(reports))
    raise typer.Exit(0 if all(report.passed for report in reports) else 1)
