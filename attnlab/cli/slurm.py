"""The options of ``--executor slurm``: what a job asks of the cluster, on the command line or in a file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

PANEL = "SLURM"

Config = Annotated[
    Path | None,
    typer.Option(
        "--slurm", metavar="FILE.yaml", help="These options as YAML, such as partition: gpu.", rich_help_panel=PANEL
    ),
]
Partition = Annotated[
    str | None, typer.Option("--slurm-partition", metavar="NAME", help="The partition.", rich_help_panel=PANEL)
]
Time = Annotated[
    str | None,
    typer.Option(
        "--slurm-time",
        metavar="TIME",
        help="Time limit of a job, such as 2h; then it is queued again. [dim]\\[default: 1h][/dim]",
        rich_help_panel=PANEL,
    ),
]
Memory = Annotated[
    str | None,
    typer.Option("--slurm-mem", metavar="SIZE", help="Memory of a job, such as 4G.", rich_help_panel=PANEL),
]
Cpus = Annotated[
    int | None,
    typer.Option("--slurm-cpus", metavar="N", help="Cores of a job. [dim]\\[default: 1][/dim]", rich_help_panel=PANEL),
]
Gpus = Annotated[int | None, typer.Option("--slurm-gpus", metavar="N", help="GPUs of a job.", rich_help_panel=PANEL)]
Account = Annotated[
    str | None,
    typer.Option("--slurm-account", metavar="NAME", help="What jobs are charged to.", rich_help_panel=PANEL),
]
Qos = Annotated[
    str | None, typer.Option("--slurm-qos", metavar="NAME", help="Quality of service.", rich_help_panel=PANEL)
]
Constraint = Annotated[
    str | None,
    typer.Option("--slurm-constraint", metavar="TEXT", help="Features of a node.", rich_help_panel=PANEL),
]
Setup = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm-setup",
        metavar="COMMAND",
        help="Run first in a job, such as 'module load cuda'; may be repeated.",
        rich_help_panel=PANEL,
    ),
]
Groups = Annotated[
    int | None,
    typer.Option(
        "--slurm-groups",
        metavar="N",
        help="Runs (groups of vmapped ones) that a job trains, side by side on its cores. [dim]\\[default: 1][/dim]",
        rich_help_panel=PANEL,
    ),
]
Cancel = Annotated[
    bool | None,
    typer.Option(
        "--slurm-cancel",
        help="Ctrl-C cancels the jobs; otherwise they go on.",
        show_default=False,
        rich_help_panel=PANEL,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--slurm-set",
        metavar="KEY=VALUE",
        help="Any other option of sbatch, such as nodelist=n1; may be repeated.",
        rich_help_panel=PANEL,
    ),
]


def slurm_options(executor: str, config: Path | None, words: list[str] | None, **given: Any) -> dict[str, Any]:
    """Collect the options of the cluster; those of the command line come before those of the file.

    Args:
        executor: What ``--executor`` names.
        config: The file of ``--slurm``; None where there is none.
        words: What ``--slurm-set`` was given.
        **given: The other options by name; None where they were left out.

    Returns:
        Options of the executor, by name.

    Raises:
        InvalidValueError: Another executor was chosen, or a word is not ``key=value``.
        InvalidFileError: The file cannot be read, or is no mapping.
    """
    options = {name: value for name, value in given.items() if value not in (None, [], False)}
    if not (options or words or config):
        return {}
    from attnlab.config.yaml import scalar
    from attnlab.errors import InvalidValueError
    from attnlab.execution.slurm.options import merged
    from attnlab.execution.slurm.options import slurm_options as checked

    if words:
        options["set"] = {}
    for word in words or []:
        key, equals, value = word.partition("=")
        if not (key.strip() and equals):
            raise InvalidValueError(f"'{word}' is not an option.", "Write KEY=VALUE.", where="--slurm-set")
        options["set"][key.strip()] = scalar(value.strip())
    flag = f"--slurm-{next(iter(options))}" if options else "--slurm"
    return merged(checked(executor, config, flag), checked(executor, options or None, flag))
