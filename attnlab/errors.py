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
import re
import textwrap
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


class PartWarning(UserWarning):
    """An attention of the user does something that a table of results should be read with."""


class NewerRecordWarning(UserWarning):
    """Results that a newer attnlab has written are left out, because this one cannot tell what was run."""


COLUMNS = 76
"""Columns of a list of names in a hint."""
CLOSEST = 12
"""Names that a hint lists at most if one of them is close to the wrong name."""


def unknown(kind: str, name: str, known: Iterable[str], *, owner: str = "", where: str = "") -> UnknownNameError:
    """Make the error for a wrong name, with the closest existing name and a list of names.

    The list has all names, or the closest ones if there are many names and one is close.

    >>> print(unknown("attention", "sofmax", ["softmax", "gpam"]))
      There is no attention 'sofmax'; did you mean 'softmax'?
      Known: gpam, softmax.
    >>> print(unknown("option", "kernal", ["kernel", "width"], owner="'dape'"))
      'dape' has no option 'kernal'; did you mean 'kernel'?
      Known: kernel, width.
    >>> print(unknown("key", "a1", [f"a{number}" for number in range(100, 200)]))
      There is no key 'a1'; did you mean 'a199'?
      Known: a199, a198, a197, a196, a195, a194, a193, a192, a191, a190, a189,
      a188, and 88 more.

    Args:
        kind: What the name should have named.
        name: The wrong name.
        known: All names that exist.
        owner: What lacks the name, as the subject of the sentence; empty where it is clear.
        where: The location, as in :class:`AttnlabError`.

    Returns:
        The error, to be raised.
    """
    names = sorted(known)
    close = difflib.get_close_matches(name.lower(), names, n=1, cutoff=0.5)
    guess = f"; did you mean '{close[0]}'?" if close else "."
    listed = difflib.get_close_matches(name.lower(), names, n=CLOSEST, cutoff=0.0) if close else names
    if len(listed) == len(names):
        listed, more = names, ""
    else:
        more = f", and {len(names) - len(listed)} more"
    text = f"Known: {', '.join(listed)}{more}." if names else "None exists here."
    hint = textwrap.fill(text, COLUMNS, break_long_words=False, break_on_hyphens=False)
    problem = f"{owner} has no {kind} '{name}'{guess}" if owner else f"There is no {kind} '{name}'{guess}"
    return UnknownNameError(problem, hint, where=where)


def plain_reason(message: str) -> str:
    """Write a message of pydantic in plain words.

    >>> plain_reason("Input should be a valid number, unable to parse string as a number")
    'Input should be a valid number'
    >>> plain_reason("Tuple should have at least 1 item after validation, not 0")
    'It should have at least 1 item'

    Args:
        message: The message, without a full stop.

    Returns:
        The message in plain words; a tuple is called a list, as in YAML.
    """
    text = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
    text = re.sub(r", unable to (parse|interpret) [^.;]*$", "", text)
    text = re.sub(r"^\w+ (should have at (?:least|most) \d+ items?) after validation, not .*$", r"It \1", text)
    return text.replace("tuple", "list").replace("Tuple", "List")
