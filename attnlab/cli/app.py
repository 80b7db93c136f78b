"""The table of commands; each command is imported when it is used."""

from __future__ import annotations

import importlib
import inspect
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from attnlab.errors import echoed
from attnlab.version import __version__

MODULES = {
    "train": "train",
    "sweep": "sweep",
    "interference": "interference",
    "diagnose": "diagnose",
    "evaluate": "evaluate",
    "report": "report",
    "ls": "catalog",
    "show": "catalog",
    "compare": "results",
    "tag": "results",
    "rm": "results",
    "track": "tracking",
    "sample": "catalog",
    "generate": "generate",
    "check": "check",
    "audit": "audit",
    "bench": "bench",
    "cp": "report",
    "schema": "report",
}
"""Command -> module of this package; the function has the name of the command."""


USAGE_ERROR: Any = typer.BadParameter.__bases__[0]
"""What typer raises for words that it does not accept; typer has no name for it."""


class Commands(TyperGroup):
    """The group of commands; it imports only the command that is used, so that ``attnlab`` starts quickly."""

    def list_commands(self, ctx: Any) -> list[str]:
        """List the names, in the order of the help."""
        return list(MODULES)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command of a name; None if there is none."""
        from attnlab.cli.number_types import strict_numbers

        if cmd_name not in MODULES:
            self.commands = {name: _without_options(name) for name in MODULES}  # for the suggestion of the closest name
        elif cmd_name not in self.commands:
            single = typer.Typer(rich_markup_mode="rich", add_completion=False)
            function = _function(cmd_name)
            single.command(cmd_name)(function)
            self.commands[cmd_name] = strict_numbers(typer.main.get_command(single), function)
        return self.commands.get(cmd_name)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; a message of typer repeats no more of a value than attnlab's own.

        Raises:
            InterruptedTraining: Ctrl-C or a signal like it came where the command had no answer of its own.
        """
        try:
            return super().invoke(ctx)
        except USAGE_ERROR as error:
            vars(error)["message"] = echoed(str(vars(error)["message"]))
            raise
        except KeyboardInterrupt as stop:
            raise _stopped(stop) from None

    def make_context(self, *args: Any, **more: Any) -> Any:
        """Likewise for the words before the command."""
        try:
            return super().make_context(*args, **more)
        except USAGE_ERROR as error:
            vars(error)["message"] = echoed(str(vars(error)["message"]))
            raise
        except KeyboardInterrupt as stop:
            raise _stopped(stop) from None

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Print the page of ``attnlab --help``; typer would import modules for Markdown, code and tracebacks."""
        from attnlab.cli.help_page import HelpPage
        from attnlab.rendering.console import Console

        options = [row for param in self.get_params(ctx) if (row := param.get_help_record(ctx))]
        commands = [(name, _without_options(name).get_short_help_str(limit=1000)) for name in MODULES]
        page = HelpPage(self.get_usage(ctx), self.help or "", {"Options": options, "Commands": commands})
        Console().print(page, highlight=False)


def _stopped(stop: KeyboardInterrupt) -> Exception:
    """The error of a command that Ctrl-C or a signal like it has ended; typer would end it without a word."""
    from attnlab.errors import InterruptedTraining
    from attnlab.stop_signals import exit_status, signal_name, signal_of

    number = signal_of(stop)
    return InterruptedTraining(f"Stopped by {signal_name(number)}.", status=exit_status(number))


def _function(name: str) -> Any:
    """Import the function of a command."""
    return getattr(importlib.import_module(f"attnlab.cli.{MODULES[name]}"), name)


def _without_options(name: str) -> TyperCommand:
    """Make a command that has its help text and no options."""
    return TyperCommand(name, help=inspect.getdoc(_function(name)))


app = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    """Print the version of attnlab and end."""
    if asked:
        sys.stdout.write(f"attnlab {__version__}\n")
        raise typer.Exit


@app.callback()
def attnlab(
    show_version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """A laboratory for attention: what learns what, up to which complexity, how surely, and why it fails beyond."""
