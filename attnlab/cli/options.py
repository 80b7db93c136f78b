"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

With = Annotated[
    list[Path] | None,
    typer.Option("--with", metavar="FILE.py", help="Run this file first: the parts it registers are known by name."),
]
Store = Annotated[Path, typer.Option("--store", metavar="DIR", help="Folder of results.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print data instead of paint.")]
Seed = Annotated[int, typer.Option("--seed", min=0, help="The first seed.")]
Complexity = Annotated[
    str | None, typer.Option("--complexity", metavar="LEVEL", help="The level; left out, the ladder's default.")
]
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Any field, such as train.decay=0.1.")
]


def load(files: list[Path] | None) -> None:
    """Run the files of ``--with``."""
    from attnlab.registry import load_plugin

    for path in files or []:
        load_plugin(path)
