"""What a job asks of the cluster, and the times of SLURM."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from attnlab.config import yaml
from attnlab.config.durations import LONGEST, parse_duration
from attnlab.errors import AttnlabError, InvalidFileError, InvalidValueError
from attnlab.execution.base import EXECUTORS

SLURM_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<hours>\d+)(?::(?P<minutes>\d\d)(?::(?P<seconds>\d\d))?)?", re.ASCII)
"""``H:MM:SS``, ``D-HH``, ``D-HH:MM``, ``D-HH:MM:SS``; what SLURM reads as minutes has no hours and is refused."""
LONGEST_SIGNAL = 90
"""Seconds before the end of its time in which a job saves its checkpoints, at most."""


@dataclass(frozen=True)
class JobRequest:
    """What each job asks for."""

    partition: str | None = None
    minutes: int = 60
    """The time limit; a job that reaches it saves checkpoints and is queued again."""
    mem: str | None = None
    cpus: int = 1
    gpus: int = 0
    account: str | None = None
    qos: str | None = None
    constraint: str | None = None
    setup: tuple[str, ...] = ()
    """Lines of shell that a job runs first."""
    more: Mapping[str, Any] = field(default_factory=dict)
    """Further options of sbatch."""

    @property
    def signal_seconds(self) -> int:
        """Seconds before its time limit at which a job is told to save its checkpoints."""
        return min(LONGEST_SIGNAL, self.minutes * 60 // 4)

    @property
    def wants_gpu(self) -> bool:
        """Whether a job has a GPU, as far as the options tell."""
        words = [f"{key}={value}" for key, value in self.more.items()]
        return self.gpus > 0 or any(re.match(r"gpus|gres=.*gpu", word) for word in words)


def parse_minutes(text: str, where: str) -> int:
    """Read a time limit in minutes, rounded up.

    >>> [parse_minutes(text, "") for text in ("90m", "1h30m", "2:00:00", "1-12", "90s")]
    [90, 90, 120, 2160, 2]

    Args:
        text: A duration with units, or a time as SLURM writes it, with hours or days.
        where: Where the text stands, for a message.

    Returns:
        Minutes.

    Raises:
        InvalidValueError: It is no time; a bare number, which would be minutes here and seconds there; or more than a
            year.
    """
    word = text.strip().lower()
    found = SLURM_TIME.fullmatch(word)
    if found and (found["days"] or found["seconds"]):
        days, hours, minutes, seconds = (int(found[name] or 0) for name in ("days", "hours", "minutes", "seconds"))
        total = float(seconds + 60 * (minutes + 60 * (hours + 24 * days)))
    else:
        total = 0.0 if found or re.fullmatch(r"[\d.:]*", word) else parse_duration(text, where)
    if not 0 < total <= LONGEST:
        hint = "Write a time such as 90m, 2h, 2:00:00 or 1-12:00:00, up to a year."
        raise InvalidValueError(f"'{text}' is no such time limit.", hint, where=where)
    return int(-(-total // 60))


def parse_memory(text: str, where: str) -> str:
    """Read an amount of memory as SLURM takes it.

    >>> parse_memory("4GB", ""), parse_memory("512m", "")
    ('4G', '512M')

    Args:
        text: A whole number with a unit, K, M, G or T.
        where: Where the text stands, for a message.

    Returns:
        The amount.

    Raises:
        InvalidValueError: It is no such amount; a bare number would be megabytes.
    """
    word = text.strip().upper().removesuffix("B")
    if not re.fullmatch(r"[1-9][0-9]{0,9}[KMGT]", word, re.ASCII):
        raise InvalidValueError(f"'{text}' is no amount of memory.", "Write such as 4G or 512M.", where=where)
    return word


def read_options(file: Path) -> dict[str, Any]:
    """Read the options of the executor from YAML.

    Args:
        file: The file: a mapping of the options of ``slurm``, such as ``partition: gpu``.

    Returns:
        Option -> value.

    Raises:
        InvalidFileError: The file cannot be read, is no mapping, or has another key.
    """
    document = yaml.read(file)
    if not isinstance(document.data, dict):
        raise InvalidFileError("Options are written as key: value.", "Such as: partition: gpu", where=document.where())
    entry = EXECUTORS.entry("slurm")
    for key, value in document.data.items():
        try:
            entry.check(key, value)
        except AttnlabError as error:
            raise error.at(document.where((key,))) from None
    return document.data


def slurm_options(executor: str, given: Mapping[str, Any] | str | Path | None, where: str = "slurm") -> dict[str, Any]:
    """Read the options of the executor, wherever they stand.

    Args:
        executor: The executor that was chosen.
        given: Options by name, or a YAML file with them; None for none.
        where: Where they were given, for a message.

    Returns:
        Option -> value.

    Raises:
        InvalidValueError: Another executor was chosen.
        InvalidFileError: The file cannot be read, or is no mapping.
    """
    if given is None:
        return {}
    if (base := executor.partition(":")[0]) != "slurm":
        problem = f"The executor '{base}' is no SLURM cluster."
        raise InvalidValueError(problem, "Choose the executor slurm, or leave it out.", where=where)
    return dict(given) if isinstance(given, Mapping) else read_options(Path(given))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Lay options over others; further options of sbatch are added to those that are there.

    >>> merged({"time": "1h", "set": {"a": 1}}, {"time": "2h", "set": {"b": 2}})
    {'time': '2h', 'set': {'a': 1, 'b': 2}}

    Args:
        base: The options below.
        over: The options above.

    Returns:
        The options.
    """
    both = {**base, **over}
    if isinstance(base.get("set"), dict) and isinstance(over.get("set"), dict):
        both["set"] = {**base["set"], **over["set"]}
    return both
