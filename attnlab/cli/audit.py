"""``attnlab audit``: is a task what it says it is?"""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from attnlab.cli.options import AsJson, Seed, Settings, With, load


def audit(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="TASK", help="NAME, NAME:option=value, or a ladder's file.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Every ladder of the resources.")] = False,
    complexity: Annotated[
        str | None, typer.Option("--complexity", metavar="LEVEL", help="The level; left out, all of the ladder's.")
    ] = None,
    samples: Annotated[int, typer.Option("--samples", min=64, help="Sequences to learn from, and to test on.")] = 2048,
    seed: Seed = 0,
    settings: Settings = None,
    with_files: With = None,
    as_json: AsJson = False,
) -> None:
    """Audit tasks on samples: labels, leaks, chance, ceiling, shortcuts; exit 1 if a level fails."""
    from rich.console import Console

    from attnlab import resources
    from attnlab.config.inline_parts import parse_part
    from attnlab.config.inline_parts import parse_settings as read_settings
    from attnlab.config.yaml import scalar
    from attnlab.errors import InvalidValueError
    from attnlab.tasks.io.ladders import find_ladder

    load(with_files)
    if not names and not every:
        raise InvalidValueError("Nothing to audit.", "Give names, or --all.", where="audit")

    from attnlab.testing.check_task import check_task as examine

    parts = [parse_part(name) for name in [*(names or []), *(resources.names("tasks") if every else [])]]
    told = read_settings(settings or []).get("task", {})
    rung = None if complexity is None else scalar(complexity)
    screen, console = Console(stderr=True), Console()
    audits = []
    for asked in parts:
        if len(parts) > 1:
            screen.print(f"auditing {asked}", highlight=False)
        audits.append(examine(find_ladder(asked.name), {**asked.options, **told}, rung, samples=samples, seed=seed))
        if not as_json:
            console.print(audits[-1])
    if as_json:
        sys.stdout.write(json.dumps([one.data() for one in audits]) + "\n")
    raise typer.Exit(0 if all(one.passed for one in audits) else 1)
