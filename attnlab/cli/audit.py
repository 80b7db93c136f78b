"""``attnlab audit``: check that tasks are what they declare."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from attnlab.cli import completion
from attnlab.cli.options import AsJson, Plugin, Seed, TaskSettings, load_plugins


def audit(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TASK", help="NAME, NAME:option=value, or the file of a ladder.", autocompletion=completion.tasks
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Audit all built-in ladders.")] = False,
    complexity: Annotated[
        str | None,
        typer.Option("--complexity", metavar="LEVEL", help="The level to audit (default: all levels of the ladder)."),
    ] = None,
    sequences: Annotated[
        int,
        typer.Option(
            "--sequences", metavar="N", min=64, help="Sequences of the training sample, and of the test sample."
        ),
    ] = 2048,
    seed: Seed = 0,
    settings: TaskSettings = None,
    plugins: Plugin = None,
    as_json: AsJson = False,
) -> None:
    """Audit tasks on samples: labels, leaks, chance, best accuracy, shortcuts; exit 1 if a level fails."""
    from rich.console import Console

    from attnlab import resources
    from attnlab.config.inline_parts import parse_part, parse_settings
    from attnlab.config.yaml import scalar
    from attnlab.errors import InvalidValueError
    from attnlab.tasks.io.ladders import find_ladder

    load_plugins(plugins)
    if not names and not every:
        raise InvalidValueError("Nothing to audit.", "Give the names of tasks, or --all.", where="audit")

    from attnlab.rendering.audit import AuditTable
    from attnlab.testing.check_task import check_task

    parts = [parse_part(name) for name in [*(names or []), *(resources.names("tasks") if every else [])]]
    task_settings = parse_settings(settings or []).get("task", {})
    level = None if complexity is None else scalar(complexity)
    progress, console = Console(stderr=True), Console()
    audits = []
    for part in parts:
        if len(parts) > 1:
            progress.print(f"auditing {part}", highlight=False)
        options = {**part.options, **task_settings}
        audits.append(check_task(find_ladder(part.name), options, level, samples=sequences, seed=seed))
        if not as_json:
            console.print(AuditTable(audits[-1]))
    if as_json:
        sys.stdout.write(json.dumps([one.data() for one in audits]) + "\n")
    raise typer.Exit(0 if all(one.passed for one in audits) else 1)
