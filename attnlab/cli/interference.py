"""``attnlab interference``: the accuracy that tasks lose when one model learns several of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from attnlab.cli import completion, slurm
from attnlab.cli.options import AsJson, Attention, Device, Plugin, Position, Recipe, Settings, load_plugins


def interference(
    subtasks: Annotated[str, typer.Argument(metavar="TASK,TASK,...", help="Ladders, such as recall,copy,parity.")],
    attn: Attention = None,
    pos: Position = None,
    level: Annotated[
        int, typer.Option("--level", metavar="N", min=0, help="Level of each task's ladder, 0 the easiest.")
    ] = 0,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Number of seeds.")] = 3,
    recipe: Recipe = None,
    settings: Settings = None,
    executor: Annotated[
        str,
        typer.Option(
            "--executor",
            help="[b]processes:N[/b], [b]inline[/b], [b]ray[/b] or [b]slurm:N[/b].",
            autocompletion=completion.executors,
        ),
    ] = "processes",
    device: Device = "auto",
    slurm_file: slurm.Config = None,
    store: Annotated[Path | None, typer.Option("--store", metavar="DIR", help="Folder of results.")] = None,
    plugins: Plugin = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Train every task alone, every pair and all together, and show the accuracy that multi-task training costs."""
    from attnlab.cli.sweep import run_with_progress
    from attnlab.config.inline_experiment import interference_experiment
    from attnlab.config.inline_parts import parse_settings as read_settings
    from attnlab.config.inline_parts import split_outside_brackets
    from attnlab.execution.executors import make_executor
    from attnlab.execution.worker_parts import worker_parts
    from attnlab.experiments.expand import expand
    from attnlab.rendering.console import Console
    from attnlab.rendering.interference import interference as interference_matrices

    load_plugins(plugins)
    names = [name.strip() for name in split_outside_brackets(subtasks, ",") if name.strip()]
    given = read_settings(settings or [])
    experiment = interference_experiment(
        names, level, attention=attn or (), position=pos or (), seeds=seeds, settings=given, recipe=recipe
    )
    specs = expand(experiment)
    folder = store or Path("results") / experiment.name
    more: dict[str, Any] = {"store": folder, "options": slurm.slurm_options(executor, slurm_file, None)}
    workers = make_executor(executor, device, worker_parts(specs, plugins or []), runs=len(specs), **more)
    try:
        outcome = run_with_progress(Console(stderr=True), experiment, specs, folder, workers, quiet, {})
    finally:
        workers.close()
    matrices = interference_matrices(outcome.records)
    if as_json:
        sys.stdout.write(json.dumps([cell for matrix in matrices for cell in matrix.data()]) + "\n")
    for matrix in [] if as_json else matrices:
        Console().print(matrix, highlight=False)
    raise typer.Exit(1 if outcome.failed else 0)
