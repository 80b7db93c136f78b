"""The command line: parse, call one function, draw one value."""

from __future__ import annotations

import shlex
import sys
import warnings
from typing import Any, TextIO

from attnlab.cli.app import app
from attnlab.cli.renamed import renamed_options
from attnlab.errors import AttnlabError, InterruptedTraining, RenamedWarning


def main() -> None:
    """Run the command line; a user's mistake ends in one block on the standard error, never in a traceback."""
    command, *rest = sys.argv[1:] or [""]
    words, notes = renamed_options(command, rest)
    sys.argv[2:] = words
    for note in notes:
        sys.stderr.write(f"attnlab: {note}\n")
    warnings.showwarning = _show_warning
    warnings.simplefilter("always", RenamedWarning)
    try:
        app(prog_name="attnlab")
    except InterruptedTraining as error:
        _report(error, f"  {shlex.join(['attnlab', *_resuming(sys.argv[1:])])}" if "--resume" in error.hint else "")
    except AttnlabError as error:
        _report(error)


_shown: set[str] = set()
_show_other = warnings.showwarning


def _show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> Any:
    """Show a renamed name as one line, once; other warnings as Python does."""
    if not issubclass(category, RenamedWarning):
        return _show_other(message, category, filename, lineno, file, line)
    text = str(message)
    if text not in _shown:
        _shown.add(text)
        sys.stderr.write(f"attnlab: {text}\n")
    return None


def _report(error: AttnlabError, more: str = "") -> None:
    lines = f"attnlab: {str(error).strip()}" + (f"\n{more}" if more else "")
    sys.stderr.write(lines + "\n")
    sys.exit(error.status)


def _resuming(words: list[str]) -> list[str]:
    return words if "--resume" in words else [*words, "--resume"]
