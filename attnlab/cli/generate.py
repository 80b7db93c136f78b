"""``attnlab generate``: write sequences of a task to a file."""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from attnlab.cli import completion
from attnlab.cli.options import AsJson, Complexity, Plugin, Seed, load_plugins


class SplitName(StrEnum):
    """The split that the sequences are drawn from."""

    training = "training"
    validation = "validation"
    test = "test"


class IgnoreIndex(StrEnum):
    """What stands where nothing is asked."""

    number = "-100"
    null = "null"


def generate(
    task: Annotated[
        str, typer.Argument(help="A ladder's name or file, or a registered task.", autocompletion=completion.tasks)
    ],
    out: Annotated[Path, typer.Option("--out", metavar="F", help="The file: .npz, .jsonl, .parquet or .txt.")],
    sequences: Annotated[int, typer.Option("--sequences", metavar="N", min=1, help="Number of sequences.")] = 1000,
    complexity: Complexity = None,
    seed: Seed = 0,
    split: Annotated[SplitName, typer.Option("--split", help="Split of the sequences.")] = SplitName.training,
    ignore_index: Annotated[
        IgnoreIndex,
        typer.Option("--ignore-index", help="What targets are where nothing is asked; null in .jsonl and .parquet."),
    ] = IgnoreIndex.number,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="task.OPTION=VALUE", help="Any option of the task.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    plugins: Plugin = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Show no progress.")] = False,
) -> None:
    """Write sequences of a task to a file F, and a description of them to F.json.

    They are the sequences that a run with the same seed draws from the split.
    --task file:path=F trains on them.
    """
    from rich.progress import Progress

    from attnlab.config.inline_experiment import unknown_section
    from attnlab.config.inline_parts import parse_part
    from attnlab.config.inline_parts import parse_settings as read_settings
    from attnlab.config.yaml import scalar
    from attnlab.formatting import thousands
    from attnlab.rendering.console import Console
    from attnlab.tasks.io.export import export
    from attnlab.tasks.io.ladders import find_ladder, task_spec

    load_plugins(plugins)
    part, given = parse_part(task), read_settings(settings or [])
    if wrong := set(given) - {"task"}:
        raise unknown_section(min(wrong), given[min(wrong)], ("task",))
    options = {**part.options, **given.get("task", {})}
    level = None if complexity is None else scalar(complexity)
    spec = task_spec(find_ladder(part.name), options, level)
    screen = Console(stderr=True)
    with Progress(console=screen, transient=True, disable=quiet or not screen.is_terminal) as progress:
        bar = progress.add_task(out.name, total=1.0)
        sidecar = export(
            spec,
            out,
            sequences=sequences,
            seed=seed,
            split=split.value,
            ignore_index=ignore_index.value,
            force=force,
            progress=lambda share: progress.update(bar, completed=share),
        )
    if as_json:
        sys.stdout.write(sidecar.model_dump_json() + "\n")
        return
    text = f"Wrote {thousands(sequences)} sequences of {spec.name}, {spec.complexity} {spec.level}, to {out}"
    Console().print(f"{text}; {out.name}.json describes them.", highlight=False, markup=False, soft_wrap=True)
