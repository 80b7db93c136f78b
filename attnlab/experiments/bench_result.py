"""What a benchmark of this machine measured: medians with quartiles, as JSON in a file. Imports no torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from attnlab.errors import InvalidFileError
from attnlab.files import write_output


@dataclass(frozen=True)
class Measurement:
    """One measured quantity."""

    name: str
    median: float
    low: float
    """Lower quartile over the rounds."""
    high: float
    """Upper quartile over the rounds."""
    rounds: int
    unit: str
    note: str = ""
    """The conditions under which it was measured."""


@dataclass(frozen=True)
class BenchResult:
    """The measurements of one benchmark, and where they were made."""

    measurements: Sequence[Measurement]
    environment: Mapping[str, Any]
    """Machine and versions, see :func:`attnlab.training.environment.environment`."""

    def data(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {"environment": dict(self.environment), "lines": [asdict(one) for one in self.measurements]}

    def save(self, path: Path) -> None:
        """Write the result as JSON, in place of the previous one.

        Args:
            path: The file.

        Raises:
            InvalidFileError: It cannot be written.
        """
        write_output(path, json.dumps(self.data(), indent=1).encode() + b"\n")


def quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    """Compute the lower quartile, the median and the upper quartile.

    >>> quartiles([4.0, 1.0, 2.0, 3.0, 5.0]), quartiles([7.0])
    ((2.0, 3.0, 4.0), (7.0, 7.0, 7.0))

    Args:
        values: One value per round, at least one.

    Returns:
        The three numbers; all are the value itself if there is only one.
    """
    if len(values) == 1:
        return values[0], values[0], values[0]
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def measurement(name: str, values: Sequence[float], unit: str, note: str = "") -> Measurement:
    """Summarize what several rounds measured.

    Args:
        name: What was measured.
        values: One value per round.
        unit: Unit of the values.
        note: The conditions.

    Returns:
        Median and quartiles.
    """
    low, median, high = quartiles(values)
    return Measurement(name, median, low, high, len(values), unit, note)


def turns(names: Sequence[str], rounds: int, warm: bool = True) -> Iterator[tuple[str, bool]]:
    """List the turns of programs that are timed in interleaved rounds, so that other load slows all of them alike.

    >>> [name for name, counted in turns(["a", "b"], 2) if counted]
    ['a', 'b', 'b', 'a']

    Args:
        names: The programs.
        rounds: Number of rounds that count.
        warm: Whether a round that does not count comes first.

    Yields:
        The name of the next program, and whether its turn counts. The order rotates from round to round.
    """
    for turn in range(-1 if warm else 0, rounds):
        shift = turn % len(names)
        for name in (*names[shift:], *names[:shift]):
            yield name, turn >= 0


def last_medians(path: Path) -> dict[str, float]:
    """Read the medians of the previous benchmark.

    Args:
        path: The file that :meth:`BenchResult.save` wrote.

    Returns:
        Name -> median; empty if there is no such file.

    Raises:
        InvalidFileError: The file is not a benchmark result.
    """
    if not path.exists():
        return {}
    try:
        return {line["name"]: float(line["median"]) for line in json.loads(path.read_text())["lines"]}
    except (OSError, ValueError, KeyError, TypeError):
        hint = "Give another path with --out, or remove the file."
        raise InvalidFileError("The file is not a benchmark result.", hint, where=f"--out {path}") from None
