"""Messages on the standard error. On a terminal, lines end at words; in a pipe they are whole.

A command at the end of a line is never broken, so that it can be copied.
"""

from __future__ import annotations

import os
import re
import sys
import textwrap

from attnlab.formatting import printable

COMMAND = re.compile(r"(?<!\S)attnlab [a-z]")
"""The beginning of a command."""
NARROWEST = 20
"""Columns below which nothing is wrapped."""


def tell(text: str) -> None:
    """Write a message, with a line end behind it.

    Args:
        text: The message; control characters are left out.
    """
    lines = printable(text).splitlines()
    columns = _columns()
    sys.stderr.write("\n".join([wrapped(line, columns) for line in lines] if columns else lines) + "\n")


def wrapped(line: str, columns: int) -> str:
    """Break a line at words; the lines that follow are indented as the first.

    >>> print(wrapped("  There is no such task. Try: attnlab train --task recall", 30))
      There is no such task. Try:
      attnlab train --task recall

    Args:
        line: The line.
        columns: Columns of the terminal.

    Returns:
        Lines; longer than the terminal where a word or a command is.
    """
    if len(line) <= columns or columns < NARROWEST:
        return line
    indent = line[: len(line) - len(line.lstrip())]
    commands = [found.start() for found in COMMAND.finditer(line, len(indent))]
    start = commands[-1] if commands else len(line)
    options = {"subsequent_indent": indent, "break_long_words": False, "break_on_hyphens": False}
    lines = textwrap.wrap(line[:start].rstrip(), columns, **options)  # type: ignore[arg-type]
    command = line[start:]
    if command and lines and len(lines[-1]) + 1 + len(command) <= columns:
        lines[-1] += f" {command}"
    elif command:
        lines.append(f"{indent}{command}")
    return "\n".join(lines)


def _columns() -> int:
    """Columns of the terminal that the standard error is; 0 where it is none."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns if sys.stderr.isatty() else 0
    except (OSError, ValueError):
        return 0
