"""Errors that a user can cause or meet, as one tree.

    AttnlabError
    ├── UnknownNameError         a task, attention, position, option or key that does not exist      LookupError
    ├── InvalidValueError        a value of the wrong type or outside its range                      ValueError
    ├── InvalidFileError         a file that cannot be read as what it should be                     ValueError
    ├── IncompatiblePartsError   parts that cannot be combined                                       ValueError
    ├── PluginError              a user's file or class that fails to load or to run                 RuntimeError
    ├── DeviceError              a device that this machine does not have                            RuntimeError
    ├── StoreError               a store that cannot be read or written                              RuntimeError
    │   └── LostStoreError       a store that was removed while runs were written to it              RuntimeError
    └── InterruptedTraining      Ctrl-C, SIGTERM or SIGHUP; says how to continue                     RuntimeError

Each is a subclass of the standard exception on the right as well, so that ``except ValueError`` catches it. Every
message is one short block: where, what was found, what would be accepted, what to do next. A broken invariant of the
library is an ``assert``, never one of these.
"""

from __future__ import annotations

import difflib
import re
import textwrap
from collections.abc import Iterable

ECHO = 200
"""Characters of a value that a message repeats, at most."""
KEPT = 120, 60
"""Of a longer one so many are kept at its begin and at its end."""
LONGEST_LINE = 1200
"""Characters of one line of a message, at most."""
QUOTED, UNBROKEN = re.compile(r"(?<!\w)'([^']{201,})'"), re.compile(r"\S{201,}")


def clipped(text: str, most: int = ECHO) -> str:
    """Shorten a long value for a message.

    >>> clipped("abc"), len(clipped("x" * 1000)) <= 200
    ('abc', True)

    Args:
        text: The value as text.
        most: Characters up to which it stays whole.

    Returns:
        The value, or its begin and its end with its length between them.
    """
    if len(text) <= most:
        return text
    return f"{text[: KEPT[0]]}…({len(text):,} characters)…{text[-KEPT[1] + 40 :]}"


def echo(value: object) -> str:
    """Write a value of the user for a message, shortened.

    >>> echo([1, "a"])
    "[1, 'a']"

    Args:
        value: The value.

    Returns:
        Its repr, of at most ``ECHO`` characters.
    """
    try:
        return clipped(repr(value))
    except (RecursionError, ValueError):  # nested too deeply; an integer of more digits than Python writes
        return f"this {type(value).__name__}"


def echoed(text: str) -> str:
    """Shorten every long value in a message: quoted, without spaces, or a long line.

    Args:
        text: The message.

    Returns:
        The message; of each long value its begin and its end.
    """
    if len(text) <= ECHO:
        return text
    short = QUOTED.sub(lambda found: f"'{clipped(found[1])}'", text)
    short = UNBROKEN.sub(lambda found: clipped(found[0]), short)
    return "\n".join(clipped(line, LONGEST_LINE) for line in short.split("\n"))


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
        problem, hint, where = map(echoed, (problem, hint, where))
        where = where.replace("\n", "\\n")  # a path may have line ends; the location is one line
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


class LostStoreError(StoreError):
    """A store that was removed while runs were written to it."""

    status = 1


class InterruptedTraining(AttnlabError, RuntimeError):
    """The user pressed Ctrl-C, or another signal asked to end; what was reached is saved.

    Args:
        problem: What was stopped.
        hint: What is kept, and how to go on.
        where: The location, as in :class:`AttnlabError`.
        status: Exit status of the command line: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """

    status = 130

    def __init__(self, problem: str, hint: str = "", *, where: str = "", status: int = 130) -> None:
        super().__init__(problem, hint, where=where)
        self.status = status

    def at(self, where: str) -> InterruptedTraining:
        """Add the location where it is still unknown; the status stays.

        Args:
            where: The location.

        Returns:
            This error if it has a location already, otherwise a copy that has this one.
        """
        return self if self.where else type(self)(self.problem, self.hint, where=where, status=self.status)


class RenamedWarning(FutureWarning):
    """An old name is accepted for one more release; the message names the new one."""


class PartWarning(UserWarning):
    """An attention of the user does something that a table of results should be read with."""


class NewerRecordWarning(UserWarning):
    """Results that a newer attnlab has written are left out, because this one cannot tell what was run."""


class StoreWarning(UserWarning):
    """Something in a folder of results cannot be read and is left out; the message says where it is, and why."""


COLUMNS = 76
"""Columns of a list of names in a hint."""
FEW = 16
"""Up to this many names are listed whole in a hint."""
CLOSEST = 5
"""Names that a hint lists where there are more: the closest ones."""
LISTINGS = {
    "task": "tasks",
    "ladder": "tasks",
    "attention": "attentions",
    "position": "positions",
    "norm": "norms",
    "MLP": "mlps",
    "block": "blocks",
    "residual stream": "residual-streams",
    "scorer": "scorers",
    "experiment": "experiments",
    "experiment or ladder": "experiments",
}
"""What ``attnlab ls`` lists -> the argument that lists it."""
COMMANDS = {
    **{kind: f"ls {argument}" for kind, argument in LISTINGS.items()},
    "experiment with published records": "ls experiments",
    "part": "ls --help",
    "key": "schema",
    "varied key": "schema",
    "field": "show RUN --json",
}
"""What may be named -> the command that shows the names."""


def unknown(kind: str, name: str, known: Iterable[str], *, owner: str = "", where: str = "") -> UnknownNameError:
    """Make the error for a wrong name, with the closest existing name and a list of names.

    The list has all names if they are few; otherwise the five closest, and the command that lists all.

    >>> print(unknown("attention", "sofmax", ["softmax", "gpam"]))
      There is no attention 'sofmax'; did you mean 'softmax'?
      Known: gpam, softmax.
    >>> print(unknown("option", "kernal", ["kernel", "width"], owner="'dape'"))
      'dape' has no option 'kernal'; did you mean 'kernel'?
      Known: kernel, width.
    >>> print(unknown("task", "a1", [f"a{number}" for number in range(100, 200)]))
      There is no task 'a1'; did you mean 'a199'?
      Closest: a199, a198, a197, a196, a195. All 100: attnlab ls tasks

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
    problem = f"{owner} has no {kind} '{name}'{guess}" if owner else f"There is no {kind} '{name}'{guess}"
    if len(names) <= FEW:
        text, command = f"Known: {', '.join(names)}." if names else "None exists here.", ""
    else:
        closest = ", ".join(difflib.get_close_matches(name.lower(), names, n=CLOSEST, cutoff=0.0))
        shown_by = COMMANDS.get(kind, "") if not owner else ""
        counted = kind in LISTINGS  # the others show more than these
        text = f"Closest: {closest}{'.' if shown_by and counted else f', and {len(names) - CLOSEST} more.'}"
        command = f"{f'All {len(names)}' if counted else 'See'}: attnlab {shown_by}" if shown_by else ""
    hint = textwrap.fill(text, COLUMNS, break_long_words=False, break_on_hyphens=False)
    if command:  # on the same line where it fits, and never broken
        together = f"{hint} {command}"
        hint = together if len(together.splitlines()[-1]) <= COLUMNS else f"{hint}\n{command}"
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
