"""``attnlab generate``: sequences of a task into a file."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from attnlab.cli.options import AsJson, Complexity, Seed, With, load


class StreamName(StrEnum):
    """What the sequences are for."""

    training = "training"
    validation = "validation"
    test = "test"


def generate(
    task: Annotated[str, typer.Argument(help="A ladder's name or file, or a registered task.")],
    out: Annotated[Path, typer.Option("--out", metavar="F", help="The file: .npz, .jsonl, .parquet or .txt.")],
    sequences: Annotated[int, typer.Option("--n", min=1, help="How many sequences.")] = 1000,
    complexity: Complexity = None,
    seed: Seed = 0,
    stream: Annotated[StreamName, typer.Option("--stream", help="Whose sequences.")] = StreamName.training,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="task.OPTION=VALUE", help="Any option of the task.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there already.")] = False,
    with_files: With = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Write sequences of a task to a file, and a description of them to F.json beside it.

    They are those that a run of that seed sees in that stream. Train on such a file with --task file:path=F.
    """
    from rich.console import Console
    from rich.progress import Progress

    from attnlab.config.inline_parts import parse_part
    from attnlab.config.inline_parts import parse_settings as read_settings
    from attnlab.config.yaml import scalar
    from attnlab.errors import unknown
    from attnlab.formatting import thousands
    from attnlab.tasks.io.export import export
    from attnlab.tasks.io.ladders import find_ladder, task_spec

    load(with_files)
    asked, given = parse_part(task), read_settings(settings or [])
    if wrong := set(given) - {"task"}:
        raise unknown("section", min(wrong), ("task",), where=f"--set {min(wrong)}")
    options = {**asked.options, **given.get("task", {})}
    rung = None if complexity is None else scalar(complexity)
    spec = task_spec(find_ladder(asked.name), options, rung)
    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=quiet or not screen.is_terminal) as progress:
        bar = progress.add_task(out.name, total=1.0)
        sidecar = export(
            spec,
            out,
            sequences=sequences,
            seed=seed,
            stream=stream.value,
            force=force,
            progress=lambda share: progress.update(bar, completed=share),
        )
    if as_json:
        sys.stdout.write(sidecar.model_dump_json() + "\n")
        return
    words = f"{thousands(sequences)} sequences of {spec.name}, {spec.complexity} {spec.level}"
    Console().print(f"{words}, in {out}; {out.name}.json tells more.", highlight=False, markup=False, soft_wrap=True)
