"""The position ``auto`` of a sweep: each variant runs with several positions, and each cell takes the best of them.

``--pos auto`` stands for :data:`AUTO_POSITIONS`, and ``--pos auto,alibi`` for these and alibi. Their runs are ordinary
runs. Each cell takes the position with the best validation accuracy, as it does of learning rates; the test split is
never used to choose. A position among these that an attention cannot have is left out for that attention.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from attnlab.errors import InvalidValueError

AUTO = "auto"
AUTO_POSITIONS = ("fourier", "learned", "rotary", "none")
"""What is tried, in this order; of several that are equally good the first is taken."""
POSITION_KEYS = ("position", "model.position")


def is_auto(value: Any) -> bool:
    """Tell whether a value of the field ``position`` is ``auto``, as a word or as the name of a part.

    Args:
        value: What was written.

    Returns:
        Whether it is.
    """
    return value == AUTO or (isinstance(value, Mapping) and dict(value) == {"name": AUTO})


def auto_refusal() -> InvalidValueError:
    """Make the error for ``auto`` where there are no runs to choose among.

    Returns:
        The error, to be raised.
    """
    hint = f"Sweep with it (attnlab sweep), or name one: {', '.join(AUTO_POSITIONS)}."
    return InvalidValueError("'auto' chooses among the runs of a sweep.", hint, where="--pos")


def auto_values(grid: Mapping[str, Iterable[Any]], model: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """Find the positions of which an experiment takes the best.

    Args:
        grid: What the experiment varies.
        model: The fields of its model.

    Returns:
        What was written, ``auto`` included; None where ``auto`` is not among the positions.
    """
    written = [value for key in POSITION_KEYS for value in grid.get(key, ())]
    written += [] if written or "position" not in model else [model["position"]]
    return tuple(written) if any(map(is_auto, written)) else None


def tried_positions(written: Iterable[Any]) -> list[Any]:
    """List the positions that are tried.

    >>> tried_positions(["auto", "alibi", "none"])
    ['fourier', 'learned', 'rotary', 'none', 'alibi']

    Args:
        written: Positions, ``auto`` among them.

    Returns:
        Each position once, those of ``auto`` in its place.
    """
    found: list[Any] = []
    for value in written:
        found += [one for one in (AUTO_POSITIONS if is_auto(value) else (value,)) if one not in found]
    return found


def may_be_left_out(position: Any, written: Iterable[Any]) -> bool:
    """Tell whether an attention may do without a position, because nobody asked for it by name.

    Args:
        position: The position.
        written: Positions, ``auto`` among them.

    Returns:
        Whether it is one of those that ``auto`` stands for alone.
    """
    return position in AUTO_POSITIONS and position not in written
