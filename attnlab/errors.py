"""What can go wrong for a person, as one tree.

    AttnlabError
    ├── UnknownNameError      a task, attention, position, option or key that does not exist
    ├── InvalidValueError         a value of the wrong type or outside its range
    ├── InvalidFileError          a file that cannot be read as what it should be
    ├── IncompatiblePartsError          parts that make no sense together
    ├── PluginError      a user's file that fails to load
    ├── DeviceError      a device this machine does not have
    ├── StoreError       a store that cannot be read or written
    └── InterruptedTraining      the person pressed Ctrl-C; carries how to go on

Every message is one short block: where, what was found, what would be accepted, what to do next. A broken
invariant of our own is an ``assert``, never one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AttnlabError(Exception):
    """A slip of the user, or a limit of the machine, told in one block.

    Args:
        problem: What is wrong, as a sentence.
        hint: What would be accepted, or what to do next.
        where: The place: ``file:line: dotted.field``, or the option as it was typed.
    """

    status = 2
    """Exit status of the command line."""

    def __init__(self, problem: str, hint: str = "", *, where: str = "") -> None:
        super().__init__(problem, hint, where)
        self.problem = problem
        self.hint = hint
        self.where = where

    def at(self, where: str) -> AttnlabError:
        """The same error, with the place filled in where it was still unknown."""
        return self if self.where else type(self)(self.problem, self.hint, where=where)

    def __str__(self) -> str:
        head = f"{self.where}\n" if self.where else ""
        body = "\n".join(f"  {line}" for text in (self.problem, self.hint) for line in text.splitlines())
        return head + body


class UnknownNameError(AttnlabError):
    """A name nobody registered."""


class InvalidValueError(AttnlabError):
    """A value of the wrong type or outside its range."""


class InvalidFileError(AttnlabError):
    """A file that cannot be read as what it should be."""


class IncompatiblePartsError(AttnlabError):
    """Parts that make no sense together."""


class PluginError(AttnlabError):
    """A user's file that fails to load."""


class DeviceError(AttnlabError):
    """A device this machine does not have."""


class StoreError(AttnlabError):
    """A store that cannot be read or written."""


class InterruptedTraining(AttnlabError):
    """The person pressed Ctrl-C; what was reached is kept."""

    status = 130


def unknown(kind: str, name: str, known: Iterable[str], *, where: str = "") -> UnknownNameError:
    """The error for a wrong name, with the closest right one and the list of all.

    >>> print(unknown("attention", "sofmax", ["softmax", "gpam"]))
      There is no attention 'sofmax'; did you mean 'softmax'?
      Known: gpam, softmax.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    guess = f"; did you mean '{close[0]}'?" if close else "."
    hint = f"Known: {', '.join(names)}." if names else "None is known here."
    return UnknownNameError(f"There is no {kind} '{name}'{guess}", hint, where=where)
