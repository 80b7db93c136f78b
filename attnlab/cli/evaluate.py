"""``attnlab evaluate``: a finished run on lengths and levels that it was not trained on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from attnlab.choices import ExtrapolationMode
from attnlab.cli import completion
from attnlab.cli.options import AsJson, Device, Plugin, Quiet, Rollout, Store, load_plugins


def evaluate(
    run: Annotated[
        str,
        typer.Argument(
            metavar="RUN", help="Id of the run, or its start: attnlab ls results.", autocompletion=completion.runs
        ),
    ],
    length: Annotated[
        str | None,
        typer.Option("--length", metavar="64,128,...", help="Lengths in tokens, or the next shorter ones of the task."),
    ] = None,
    complexity: Annotated[
        str | None, typer.Option("--complexity", metavar="LEVELS", help="Levels, instead of lengths.")
    ] = None,
    mode: Annotated[
        ExtrapolationMode,
        typer.Option("--extrapolation", help="How positions are extended beyond the trained length."),
    ] = "trained",
    sequences: Annotated[
        int | None,
        typer.Option(
            "--sequences",
            metavar="N",
            min=1,
            help="Test sequences of each; left out, as many as in the run's own test.",
        ),
    ] = None,
    rollout: Rollout = None,
    device: Device = "auto",
    store: Store = Path("results"),
    plugins: Plugin = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate a finished run on longer sequences or other levels: accuracy against length."""
    from attnlab.config.inline_experiment import parse_levels
    from attnlab.rendering.console import Console
    from attnlab.rendering.evaluate_progress import evaluate_progress
    from attnlab.rendering.lengths import LengthTable

    load_plugins(plugins)
    lengths = _lengths(length)

    from attnlab.evaluation.evaluate import evaluate as evaluate_run

    with evaluate_progress(Console(stderr=True, quiet=quiet)) as progress:
        record, scores = evaluate_run(
            run,
            store,
            lengths=lengths,
            levels=parse_levels(complexity) or (),
            mode=mode,
            sequences=sequences,
            rollout=rollout,
            device_name=device,
            progress=progress.scored,
            batch_progress=progress.batch_done,
        )
    table = LengthTable(record, scores, mode)
    if as_json:
        sys.stdout.write(json.dumps(table.data()) + "\n")
    else:
        Console().print(table, highlight=False)


def _lengths(text: str | None) -> list[int]:
    """Parse the lengths of ``--length``."""
    from attnlab.errors import InvalidValueError
    from attnlab.sizes import whole_number

    lengths = []
    for word in filter(None, (part.strip() for part in (text or "").split(","))):
        if not (number := whole_number(word)):
            problem = f"'{word}' is not a length."
            raise InvalidValueError(problem, "Give numbers of tokens, such as 64,128,256.", where="--length")
        lengths.append(number)
    return lengths
