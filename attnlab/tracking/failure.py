"""Why a tracker failed, in one line."""

from __future__ import annotations

import re

from attnlab.errors import clipped
from attnlab.registry import Entry
from attnlab.tracking.base import Tracker


def failure_text(entry: Entry[Tracker], error: BaseException) -> str:
    """Say why a tracker failed.

    Args:
        entry: The registered tracker.
        error: What it raised.

    Returns:
        One line of one or two sentences; for an absent package, the command that installs it.
    """
    missing = error.name if isinstance(error, ModuleNotFoundError) and error.name else ""
    if entry.cls.extra and missing.partition(".")[0] == entry.cls.package:
        return f"{entry.name} is not installed. Install it: pip install 'attnlab[{entry.cls.extra}]'."
    reason = clipped(re.sub(r"\s+", " ", str(error)).strip().rstrip("."))
    return f"{entry.name} failed: {type(error).__name__}{': ' if reason else ''}{reason}."
