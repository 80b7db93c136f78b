"""``attnlab evaluate``: a finished run beyond the length it was trained on."""

from __future__ import annotations

import json
import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from attnlab.cli.options import AsJson, Device, Plugin, Store, load_plugins


class Reach(StrEnum):
    """How positions reach beyond the trained length."""

    trained = "trained"
    interpolated = "interpolated"
    yarn = "yarn"
    randomized = "randomized"


def evaluate(
    run: Annotated[str, typer.Argument(metavar="RUN", help="Its id, or the start of it: attnlab ls results.")],
    length: Annotated[str | None, typer.Option("--length", metavar="64,128,...", help="Lengths in tokens.")] = None,
    complexity: Annotated[
        str | None, typer.Option("--complexity", metavar="LEVELS", help="Levels, instead of lengths.")
    ] = None,
    mode: Annotated[Reach, typer.Option("--as", help="How positions reach beyond the trained length.")] = Reach.trained,
    sequences: Annotated[
        int | None, typer.Option("--sequences", min=1, help="Test sequences of each; left out, the run's own number.")
    ] = None,
    device: Device = "auto",
    store: Store = Path("results"),
    plugins: Plugin = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Evaluate a finished run on longer sequences or other levels: accuracy against length."""
    from rich.console import Console

    from attnlab.config.inline_experiment import parse_levels
    from attnlab.formatting import percent
    from attnlab.rendering.lengths import LengthTable

    load_plugins(plugins)
    asked = _numbers(length)

    from attnlab.evaluation.evaluate import evaluate as measure

    screen = Console(stderr=True)

    def tell(extent: Any) -> None:
        if not quiet:
            said = f"{extent.length:,} tokens: {percent(extent.accuracy.mean)}"
            screen.print(said, highlight=False)

    record, extents = measure(
        run,
        store,
        lengths=asked,
        levels=parse_levels(complexity) or (),
        mode=mode.value,
        sequences=sequences,
        device_name=device,
        progress=tell,
    )
    table = LengthTable(record, extents, mode.value)
    if as_json:
        sys.stdout.write(json.dumps(table.data()) + "\n")
    else:
        Console().print(table, highlight=False)


def _numbers(words: str | None) -> list[int]:
    """Lengths, as they are typed."""
    from attnlab.errors import InvalidValueError

    found = []
    for word in filter(None, (part.strip() for part in (words or "").split(","))):
        if not word.isdigit() or int(word) < 1:
            raise InvalidValueError(
                f"'{word}' is no length.", "Give numbers of tokens, as 64,128,256.", where="--length"
            )
        found.append(int(word))
    return found
