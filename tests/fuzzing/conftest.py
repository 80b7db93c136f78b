"""The command line in this process, as the tests of commands run it."""

from __future__ import annotations

from tests.cli.conftest import command

__all__ = ["command"]
