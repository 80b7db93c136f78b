"""Errors that a user can cause or meet, as one tree.

    AttnlabError
    ├── UnknownNameError         a task, attention, position, option or key that does not exist      LookupError
    ├── InvalidValueError        a value of the wrong type or outside its range                      ValueError
    ├── InvalidFileError         a file that cannot be read as what it should be                     ValueError
    ├── IncompatiblePartsError   parts that cannot be combined                                       ValueError
    ├── PluginError              a user's file or class that fails to load or to run                 RuntimeError
    ├── DeviceError              a device that this machine does not have                            RuntimeError
    ├── StoreError               a store that cannot be read or written                              RuntimeError
    └── InterruptedTraining      the user pressed Ctrl-C; says how to continue                       RuntimeError

Each is a subclass of the standard exception on the right as well, so that ``except ValueError`` catches it. Every
message is one short block: where, what was found, what would be accepted, what to do next. A broken invariant of the
library is an ``assert``, never one of these.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class AttnlabError(Exception):
    """A mistake of the user, or a limit of the machine.

    Args:
        problem: What is wrong, as a sentence.
        hint: What would be accepted, or what to do next.
        where: The location: ``file:line: dotted.field``, or the option as it was typed.
    """

    status = 2
    """Exit status of the command line."""

    def __init__(self, problem: str, hint: str = "", *, where: str = "") -> None:
        super().__init__(problem, hint, where)
        self.problem = problem
        self.hint = hint
        self.where = where

    def at(self, where: str) -> AttnlabError:
        """Add the location where it is still unknown.

        Args:
            where: The location.

        Returns:
            This error if it has a location already, otherwise a copy that has this one.
        """
        return self if self.where else type(self)(self.problem, self.hint, where=where)

    def __str__(self) -> str:
        head = f"{self.where}\n" if self.where else ""
        body = "\n".join(f"  {line}" for text in (self.problem, self.hint) for line in text.splitlines())
        return head + body


class UnknownNameError(AttnlabError, LookupError):
    """A name that does not exist."""


class InvalidValueError(AttnlabError, ValueError):
    """A value of the wrong type or outside its range."""


class InvalidFileError(AttnlabError, ValueError):
    """A file that cannot be read as what it should be."""


class IncompatiblePartsError(AttnlabError, ValueError):
    """Parts that cannot be combined."""


class PluginError(AttnlabError, RuntimeError):
    """A user's file or class that fails to load or to run."""


class DeviceError(AttnlabError, RuntimeError):
    """A device that this machine does not have."""


class StoreError(AttnlabError, RuntimeError):
    """A store that cannot be read or written."""


class InterruptedTraining(AttnlabError, RuntimeError):
    """The user pressed Ctrl-C; what was reached is saved."""

    status = 130


class RenamedWarning(FutureWarning):
    """An old name is accepted for one more release; the message names the new one."""


def unknown(kind: str, name: str, known: Iterable[str], *, where: str = "") -> UnknownNameError:
    """Make the error for a wrong name, with the closest existing name and the list of all.

    >>> print(unknown("attention", "sofmax", ["softmax", "gpam"]))
      There is no attention 'sofmax'; did you mean 'softmax'?
      Known: gpam, softmax.

    Args:
        kind: What the name should have named.
        name: The wrong name.
        known: All names that exist.
        where: The location, as in :class:`AttnlabError`.

    Returns:
        The error, to be raised.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    guess = f"; did you mean '{close[0]}'?" if close else "."
    hint = f"Known: {', '.join(names)}." if names else "None exists here."
    return UnknownNameError(f"There is no {kind} '{name}'{guess}", hint, where=where)
