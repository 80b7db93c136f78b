"""The command line: parse, call one function, draw one value."""

from __future__ import annotations

import shlex
import sys

from attnlab.cli.app import app
from attnlab.errors import AttnlabError, InterruptedTraining


def main() -> None:
    """Run the command line; a user's slip ends in one block on the standard error, never in a traceback."""
    try:
        app(prog_name="attnlab")
    except InterruptedTraining as error:
        _tell(error, f"  {shlex.join(['attnlab', *_resuming(sys.argv[1:])])}" if "--resume" in error.hint else "")
    except AttnlabError as error:
        _tell(error)


def _tell(error: AttnlabError, more: str = "") -> None:
    lines = f"attnlab: {str(error).strip()}" + (f"\n{more}" if more else "")
    sys.stderr.write(lines + "\n")
    sys.exit(error.status)


def _resuming(words: list[str]) -> list[str]:
    return words if "--resume" in words else [*words, "--resume"]
