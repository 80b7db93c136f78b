"""``attnlab interference``: what tasks cost one another when one model learns them together."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from attnlab.cli.options import AsJson, Settings, With, load
from attnlab.cli.train import Device


def interference(
    members: Annotated[str, typer.Argument(metavar="TASK,TASK,...", help="Ladders, as recall,copy,parity.")],
    attn: Annotated[str, typer.Option("--attn", help="Attentions, as [b]softmax,expressive[/b].")] = "softmax",
    pos: Annotated[str | None, typer.Option("--pos", help="Positions.")] = None,
    level: Annotated[int, typer.Option("--level", min=0, help="The level of each task's own ladder, 0 first.")] = 0,
    seeds: Annotated[int, typer.Option("--seeds", min=1)] = 3,
    settings: Settings = None,
    executor: Annotated[str, typer.Option("--executor", help="As in attnlab sweep.")] = "processes",
    device: Annotated[Device, typer.Option("--device")] = Device.auto,
    store: Annotated[Path | None, typer.Option("--store", metavar="DIR")] = None,
    with_files: With = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Train every task alone, every pair and all together, and show what company costs."""
    from rich.console import Console

    from attnlab.cli.sweep import run_watched
    from attnlab.config.inline_experiment import interference_experiment
    from attnlab.config.inline_parts import parse_settings as read_settings
    from attnlab.config.inline_parts import split_outside_brackets
    from attnlab.execution.executors import make_executor
    from attnlab.experiments.expand import expand
    from attnlab.rendering.interference import interference as compose

    load(with_files)
    words = [word.strip() for word in split_outside_brackets(members, ",") if word.strip()]
    given = read_settings(settings or [])
    chosen = interference_experiment(words, level, attention=attn, position=pos or (), seeds=seeds, settings=given)
    specs = expand(chosen)
    place = store or Path("results") / chosen.name
    staff = make_executor(executor, device, with_files or [], runs=len(specs))
    try:
        found = run_watched(Console(stderr=True), chosen, specs, place, staff, quiet, {})
    finally:
        staff.close()
    matrices = compose(found.records)
    if as_json:
        sys.stdout.write(json.dumps([cell for matrix in matrices for cell in matrix.data()]) + "\n")
    for matrix in [] if as_json else matrices:
        Console().print(matrix, highlight=False)
    raise typer.Exit(1 if found.failed else 0)
