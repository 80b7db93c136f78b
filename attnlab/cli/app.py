"""The commands, each imported when it is asked for."""

from __future__ import annotations

import importlib
import inspect
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

STANDING = {
    "train": "train",
    "sweep": "sweep",
    "interference": "interference",
    "diagnose": "diagnose",
    "evaluate": "evaluate",
    "report": "report",
    "ls": "catalog",
    "show": "catalog",
    "sample": "catalog",
    "generate": "generate",
    "check": "check",
    "audit": "audit",
    "bench": "bench",
    "cp": "report",
    "schema": "report",
}
"""In which module of this package each command stands, as the function of its name."""


class Commands(TyperGroup):
    """The commands by name; reading the options of all of them would take longer than most of them run."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names, in the order of the help."""
        return list(STANDING)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command of that name, or None."""
        if cmd_name not in STANDING:
            self.commands = {name: _named(name) for name in STANDING}  # so that the closest can be suggested
        elif cmd_name not in self.commands:
            single = typer.Typer(rich_markup_mode="rich", add_completion=False)
            single.command(cmd_name)(_function(cmd_name))
            self.commands[cmd_name] = typer.main.get_command(single)
        return self.commands.get(cmd_name)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The front page; typer would import what draws Markdown, code and tracebacks to draw it."""
        from rich.console import Console

        from attnlab.cli.help_page import Front

        options = [told for param in self.get_params(ctx) if (told := param.get_help_record(ctx))]
        commands = [(name, _named(name).get_short_help_str(limit=1000)) for name in STANDING]
        page = Front(self.get_usage(ctx), self.help or "", {"Options": options, "Commands": commands})
        Console().print(page, highlight=False)


def _function(name: str) -> Any:
    return getattr(importlib.import_module(f"attnlab.cli.{STANDING[name]}"), name)


def _named(name: str) -> TyperCommand:
    """A command without its options."""
    return TyperCommand(name, help=inspect.getdoc(_function(name)))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def attnlab() -> None:
    """A laboratory for attention: what learns what, up to which complexity, how surely, and why it fails beyond."""
