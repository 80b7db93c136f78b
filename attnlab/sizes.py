"""What fits the memory of this machine. A size is refused before anything of it is allocated."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path

from attnlab.errors import InvalidValueError

MAX_INTEGER = 2**63 - 1
"""The largest integer of options and settings; that of numpy, torch and most JSON readers."""
MAX_LAYERS = 2_000
"""The most layers of a model: each takes a millisecond to build, whatever its size."""
MAX_LENGTH, MAX_STEPS = 2**17, 2**12
"""The most tokens of a sequence; and where a task draws them one by one, which takes some 50 us for each."""
MAX_VOCABULARY = 2**18
"""The most ids of a task; those of today's language models have as many."""
MAX_RUNS = 1_000_000
"""The most runs of a plan, and the most models of a diagnosis."""
MAX_SEQUENCES = 100_000_000
"""The most test sequences of an evaluation: at a thousand a second they take a day."""
TOO_MANY = 2**100
"""Bytes of what cannot be counted because its sizes overflow."""
CGROUPS = Path("/sys/fs/cgroup")
UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB", "EB")


def available_memory() -> int:
    """Memory that new processes can take without swapping, within the limit of the control group (a container's).

    Returns:
        Bytes: free pages and the caches that the system can give up.
    """
    import psutil

    return min(int(psutil.virtual_memory().available), cgroup_memory())


def cgroup_memory(root: Path = CGROUPS, own: Path = Path("/proc/self/cgroup")) -> int:
    """Memory that the control groups of this process leave it.

    Args:
        root: Where control groups are mounted.
        own: The file that names the groups of this process.

    Returns:
        Bytes; ``MAX_INTEGER`` where no group has a limit.
    """
    left = MAX_INTEGER
    for line in _text(own).splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers and "memory" not in controllers.split(","):
            continue
        top = root / "memory" if controllers else root
        # Within a container the path may be that of the host; the container's own group is then the top.
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            left = min(left, _left_in(folder))
            if folder == top:
                break
    return left


def _left_in(folder: Path) -> int:
    """Bytes below the limit of one control group, of version 2 or 1; the files that it caches can be given up."""
    for limit, used, cached in (
        ("memory.max", "memory.current", "inactive_file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    ):
        numbers = [_text(folder / name).strip() for name in (limit, used)]
        if all(number.isdecimal() for number in numbers):
            most, now = map(int, numbers)
            fields = dict(line.split(maxsplit=1) for line in _text(folder / "memory.stat").splitlines() if " " in line)
            return max(0, most - now + int(fields.get(cached, 0)))
    return MAX_INTEGER


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def check_fits(
    value: int, need: Callable[[int], int], *, what: str, where: str, multiple: int = 1, available: int | None = None
) -> None:
    """Refuse a count that needs more memory than there is.

    Args:
        value: The count.
        need: Bytes that are needed for a count; it rises with the count.
        what: The count and what it counts, as the subject of a sentence: ``1,000 sequences``.
        where: The option or field.
        multiple: The largest that fits is a multiple of this.
        available: Bytes that are available; None asks the machine.

    Raises:
        InvalidValueError: It does not fit; the message has the largest count that would.
    """
    needed = need(value)
    limit = available_memory() if available is None else available
    if needed <= limit:
        return
    largest = largest_fitting(value, need, limit) // multiple * multiple
    size = f"about {bytes_text(needed)}" if needed < TOO_MANY else "more memory than can be counted"
    hint = f"At most {largest:,} would fit." if largest else "No number of them would fit: other sizes are too large."
    problem = f"{what} would take {size}, and {bytes_text(limit)} are available."
    raise InvalidValueError(problem, hint, where=where)


def largest_fitting(value: int, need: Callable[[int], int], limit: int, *, exact: bool = True) -> int:
    """Find the largest count below one that does not fit; each takes a byte at least.

    >>> largest_fitting(1000, lambda count: 8 * count, 100)
    12

    Args:
        value: The count that does not fit.
        need: Bytes that are needed for a count.
        limit: Bytes that are available.
        exact: Whether it is the largest; otherwise one within a hundredth of it, after fewer calls.

    Returns:
        The largest count that fits; 0 if none does.
    """
    low, high = 0, min(value, limit + 1)
    while high - low > (1 if exact else max(1, low // 100)):
        middle = (low + high) // 2 if exact else math.isqrt(max(1, low) * high) if high > low + 2 else low + 1
        low, high = (middle, high) if need(middle) <= limit else (low, middle)
    return low


def check_count(value: int, most: int, *, what: str, where: str, hint: str = "") -> None:
    """Refuse a count that is larger than a fixed limit.

    Args:
        value: The count.
        most: The limit.
        what: What is counted, in the plural.
        where: The option or field.
        hint: What else to do; empty where nothing else helps.

    Raises:
        InvalidValueError: It is larger.
    """
    if value > most:
        problem = f"These are {value:,} {what}; at most {most:,} are accepted."
        raise InvalidValueError(problem, hint or f"Use at most {most:,}.", where=where)


def whole_number(text: str) -> int | None:
    """Read a whole number of the command line: ASCII digits, of at most 64 bits.

    >>> whole_number("12"), whole_number("1_000"), whole_number("²"), whole_number("9" * 30)
    (12, None, None, None)

    Args:
        text: The word.

    Returns:
        The number, not negative; None for any other word.
    """
    if not re.fullmatch("[0-9]{1,19}", text.strip(), re.ASCII):
        return None
    return number if (number := int(text)) <= MAX_INTEGER else None


def bytes_text(number: float) -> str:
    """Format a size in memory.

    >>> bytes_text(900), bytes_text(2.5e9), bytes_text(3e21)
    ('900 bytes', '2.5 GB', '3,000 EB')

    Args:
        number: Bytes.

    Returns:
        Three digits, and the unit.
    """
    size, unit = float(number), 0
    while size >= 999.5 and unit < len(UNITS) - 1:
        size, unit = size / 1000, unit + 1
    return f"{size:,.0f} {UNITS[unit]}" if size >= 999.5 or not unit else f"{size:.3g} {UNITS[unit]}"
