"""What a tracker is, and the registry of trackers."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from attnlab.errors import AttnlabError, InvalidValueError
from attnlab.registry import Registry
from attnlab.specs import RunSpec

LONGEST_NAME = 120
"""Characters of the name of a run, without its id."""

Config = Mapping[str, str | int | float | bool]
"""Field of a run -> its value."""


@dataclass(frozen=True)
class TrackedRun:
    """A run as a tracker sees it."""

    spec: RunSpec
    config: Config

    @property
    def name(self) -> str:
        """The run in a few words, with its id: no two runs have one name, and every file system accepts it.

        Names that differ in punctuation alone would collide in tools that strip it; the id tells them apart.
        """
        return f"{plain_name(self.spec.summary)[:LONGEST_NAME].rstrip('-')}-{self.spec.id}"


class Tracker(ABC):
    """Writes runs to one tool. All methods are called on one thread; several runs may be open at once.

    Whatever a method raises is told once, and nothing more is written; the runs go on.

    Args:
        store: The folder of results; a tool that writes files writes them in a folder of its name below it.
        group: What the runs belong to: the experiment of a sweep; empty for single runs.
    """

    extra: ClassVar[str] = ""
    """The extra of attnlab that installs its package; empty where there is none."""

    package: ClassVar[str] = ""
    """The package that it imports."""

    def __init__(self, store: Path, group: str) -> None:
        self.store, self.group = store, group

    @abstractmethod
    def start(self, run: TrackedRun, step: int) -> None:
        """Open a run; what the tool has of it beyond this step is replaced, or left where the tool cannot replace it.

        Args:
            run: The run.
            step: Steps already taken; 0 begins anew.
        """

    @abstractmethod
    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Write numbers of an open run.

        Args:
            run: Its id.
            step: Steps taken.
            values: Name -> number; it may be nan or infinite. A step may come again with other names.
        """

    @abstractmethod
    def finish(self, run: str, step: int, values: Mapping[str, float], table: str) -> None:
        """Write the results of an open run, and close it.

        Args:
            run: Its id.
            step: Steps taken.
            values: Name -> number.
            table: The results as a table of Markdown.
        """

    def has_finished(self, run: TrackedRun) -> bool:
        """Tell whether the tool has a run with its results already.

        Args:
            run: The run.

        Returns:
            Whether a replay leaves it out; False where the tool cannot be asked.
        """
        return False

    def flush(self) -> None:  # noqa: B027 - a hook
        """Bring what was written where a reader sees it."""

    def close(self) -> None:  # noqa: B027 - a hook
        """Close every run that is still open."""


TRACKERS: Registry[Tracker] = Registry("tracker", "attnlab.tracking")
register = TRACKERS.register


def check_trackers(names: Iterable[str], store: object, where: str) -> tuple[str, ...]:
    """Look up trackers before anything runs.

    Args:
        names: Their names; one that comes twice counts once.
        store: The folder of results; None where there is none.
        where: The option that named them, for messages.

    Returns:
        The names in the registry.

    Raises:
        UnknownNameError: There is no such tracker.
        InvalidValueError: A single word was given in place of several, or there is no store.
    """
    if isinstance(names, str):
        problem = f"'{names}' is one word, and trackers are listed."
        raise InvalidValueError(problem, f"Write ({names!r},).", where=where)
    try:
        found = tuple(dict.fromkeys(TRACKERS.entry(str(name)).name for name in names))
    except AttnlabError as error:
        raise error.at(where) from None
    if found and store is None:
        problem = "A tracker mirrors a store, and there is none."
        raise InvalidValueError(problem, "Give the folder of results.", where=where)
    return found


def plain_name(text: str) -> str:
    """Write a text with letters, digits, ``_``, ``.``, ``=`` and ``-`` alone.

    >>> plain_name("recall pairs=8 · dape:kernel=3 · seed 0")
    'recall-pairs=8-dape-kernel=3-seed-0'

    Args:
        text: Any text.

    Returns:
        The text, with one ``-`` for every run of other characters.
    """
    return re.sub(r"[^0-9A-Za-z_.=]+", "-", text).strip("-.") or "run"
