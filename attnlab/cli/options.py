"""Options that several commands share. An option has one name in all commands."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from attnlab.choices import BATCH_SIZE, HEADS, LAYERS, LR, MAX_STEPS, WIDTH, Budget, Compile, DeviceName
from attnlab.cli import completion


def _or_ladders(default: float) -> str:
    """A default in the help, where a ladder or an experiment may set another."""
    return f"{default:g}, or the ladder's"


Attention = Annotated[
    str | None,
    typer.Option(
        "--attn",
        "--attention",
        help="Attentions, such as [b]softmax,dape[/b]; + alternates over layers, *N repeats.",
        autocompletion=completion.attentions,
    ),
]
WholeModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="FILE.py:Class",
        help="Whole models of your own, from tokens to logits, beside --attn or alone; or a function that makes one.",
    ),
]
Position = Annotated[
    str | None,
    typer.Option(
        "--pos",
        "--position",
        help="Positions, such as [b]rotary,alibi[/b].",
        autocompletion=completion.positions,
    ),
]
SweepPosition = Annotated[
    str | None,
    typer.Option(
        "--pos",
        "--position",
        help="Positions, such as [b]rotary,alibi[/b]; [b]auto[/b]: each cell takes the best of fourier, learned, "
        "rotary and none on validation.",
        autocompletion=completion.positions,
    ),
]
Complexity = Annotated[
    str | None,
    typer.Option("--complexity", metavar="LEVEL", help="Level of difficulty; left out, the ladder's default."),
]
Curriculum = Annotated[
    list[str] | None,
    typer.Option(
        "--curriculum",
        metavar="RANGES",
        help="Levels of training batches, such as '2..8 -> 2..64' (moving) or '2..8 | 2..64' (stages); "
        "'1..level' ends at each level; OPTION=RANGES for another option of the task.",
    ),
]
Layers = Annotated[int | None, typer.Option("--layers", help="Number of layers.", show_default=_or_ladders(LAYERS))]
Width = Annotated[
    int | None, typer.Option("--width", help="Width of the residual stream.", show_default=_or_ladders(WIDTH))
]
Heads = Annotated[int | None, typer.Option("--heads", help="Number of heads.", show_default=_or_ladders(HEADS))]
Steps = Annotated[
    int | None,
    typer.Option(
        "--steps", help="Upper limit of training steps; a solved run stops early.", show_default=_or_ladders(MAX_STEPS)
    ),
]
Batch = Annotated[int | None, typer.Option("--batch", help="Sequences per step.", show_default=_or_ladders(BATCH_SIZE))]
Lr = Annotated[float | None, typer.Option("--lr", help="Peak learning rate.", show_default=_or_ladders(LR))]
Recipe = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME",
        help="Named settings, below the ladder's and yours: see [b]attnlab ls recipes[/b].",
        autocompletion=completion.recipes,
    ),
]
Watch = Annotated[
    str | None,
    typer.Option("--watch", help="Diagnostics to log, with commas: [b]rank[/b], [b]gradients[/b], [b]attention[/b]."),
]
Rollout = Annotated[
    bool | None,
    typer.Option(
        "--rollout/--no-rollout",
        help="Test with the answers generated so far as inputs, not the right ones.",
        show_default=False,
    ),
]
AllowLeak = Annotated[
    bool | None,
    typer.Option("--allow-leak", help="Train what sees later tokens; tables say so.", show_default=False),
]
Match = Annotated[Budget | None, typer.Option("--match", help="Give every other variant the same budget as the first.")]
Device = Annotated[DeviceName, typer.Option("--device", help="Where to compute.")]
Vmap = Annotated[
    str,
    typer.Option(
        "--vmap", metavar="N|auto", help="Runs that are vmapped into one program; auto: what fits a GPU, 1 on a CPU."
    ),
]
CompileSteps = Annotated[
    Compile,
    typer.Option("--compile", help="Compile training steps, and capture CUDA graphs on a GPU; auto: where it pays."),
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any field, such as train.lr=0.001.")
]
TaskSettings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="An option of the task, such as task.symbols=8.")
]
Seed = Annotated[int, typer.Option("--seed", metavar="N", min=0, help="The first seed.")]
Store = Annotated[Path, typer.Option("--store", metavar="DIR", help="Folder of results.")]
Plugin = Annotated[
    list[Path] | None,
    typer.Option("--plugin", metavar="FILE.py", help="Run this file first; what it registers can be used by name."),
]
Track = Annotated[
    list[str] | None,
    typer.Option(
        "--track",
        metavar="TRACKER",
        help="Mirror the runs in a tracker, such as [b]tensorboard[/b]; may be repeated.",
        autocompletion=completion.trackers,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Quiet = Annotated[bool, typer.Option("--quiet", help="Show no progress.")]


def write_file(path: Path, content: bytes) -> None:
    """Write a file that the user asked for, and tell its name on the standard error: the output may be data.

    Args:
        path: The file.
        content: Its content.

    Raises:
        InvalidFileError: It cannot be written; whatever was there is unchanged.
    """
    from attnlab.files import write_output
    from attnlab.formatting import printable

    sys.stdout.flush()  # the file may be the standard output
    write_output(path, content)
    sys.stderr.write(f"Written: {printable(str(path))}\n")


def load_plugins(files: list[Path] | None) -> None:
    """Run the files of ``--plugin``.

    Args:
        files: The files, in order; None where there are none.

    Raises:
        PluginError: A file is missing or fails.
    """
    if files:
        from attnlab.plugins import load_plugin

        for path in files:
            load_plugin(path)


def field_settings(
    words: list[str] | None, *, watch: str | None = None, curriculum: list[str] | None = None, **fields: Any
) -> dict[str, Any]:
    """Collect the settings of the options that set one field each, and of ``--set``, which overrides them.

    Args:
        words: The words of ``--set``.
        watch: The words of ``--watch``.
        curriculum: The words of ``--curriculum``.
        **fields: ``layers``, ``width``, ``heads``, ``steps``, ``batch``, ``lr``, ``rollout`` and ``allow_leak``;
            None where one is not given.

    Returns:
        Nested data: section -> field -> value.

    Raises:
        InvalidValueError: A word of ``--set`` is not ``dotted.key=value``, or two words give ranges of one option.
    """
    from attnlab.config.inline_parts import merged, parse_settings
    from attnlab.config.renamed import renamed_settings

    names = {"steps": "max_steps", "batch": "batch_size"}
    given: dict[str, dict[str, Any]] = {"model": {}, "train": {}, "task": {}}
    for name, value in fields.items():
        if value is not None:
            section = "model" if name in ("layers", "width", "heads", "allow_leak") else "train"
            given[section][names.get(name, name)] = value
    if watch:
        given["train"]["log_diagnostics"] = watch.split(",")
    data = dict(renamed_settings(parse_settings(words or []), "--set"))
    if curriculum:
        from attnlab.config.ladder import joined_training

        where, training = "--curriculum", dict[str, Any]()
        for word in curriculum:
            name, equals, ranges = word.partition("=")
            training = joined_training(training, {name.strip(): ranges} if equals else word, where)
        task = data.pop("task", {})
        if isinstance(task, dict):
            training = joined_training(training, {} if task.get("train") is None else task["train"], where)
            task = {**task, "train": training}
        data["task"] = task
    return merged({section: fields for section, fields in given.items() if fields}, data)


def tracker_names(words: list[str] | None, where: str = "--track") -> tuple[str, ...]:
    """Look up the trackers of ``--track``.

    Args:
        words: The words, each of one name or several with commas; None where there are none.
        where: The option, for messages.

    Returns:
        Their names in the registry; none costs no import.

    Raises:
        UnknownNameError: There is no such tracker.
    """
    if not words:
        return ()
    from attnlab.tracking.base import check_trackers

    return check_trackers([name.strip() for word in words for name in word.split(",")], True, where)
