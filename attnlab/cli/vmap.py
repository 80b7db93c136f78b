"""``--vmap``: how many runs of one shape are trained as one vmapped program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnlab.specs import RunSpec
    from attnlab.training.vmap_width import VmapWidth


def parse_vmap(word: str) -> VmapWidth:
    """Read the word of ``--vmap``.

    Args:
        word: ``auto`` or a number.

    Returns:
        The number, or ``auto``.

    Raises:
        InvalidValueError: The word is neither ``auto`` nor a whole number of at least 1.
    """
    from attnlab.errors import InvalidValueError

    if word == "auto":
        return "auto"
    if not (word.isdecimal() and int(word) >= 1):
        problem = f"'{word}' is no number of vmapped runs."
        raise InvalidValueError(problem, "Write auto, or a number such as 8.", where="--vmap")
    return int(word)


def refuse_unvmappable(specs: Iterable[RunSpec], vmap: VmapWidth) -> None:
    """Refuse a number of vmapped runs for an attention that fails the vmap check; with ``auto`` it trains by itself.

    Args:
        specs: The plan.
        vmap: What was asked for.

    Raises:
        InvalidValueError: An attention cannot be vmapped; the message has what the check found.
    """
    if vmap in ("auto", 1):
        return
    from attnlab.errors import InvalidValueError
    from attnlab.testing.check_attention import check_attention

    for part in {str(part): part for spec in specs for part in spec.model.attention}.values():
        for finding in check_attention(part, ["vmap"]).findings:
            if finding.outcome == "fail":
                problem = f"'{part}' cannot be vmapped: {finding.evidence}"
                hint = "Leave --vmap out to train its runs one by one; attnlab check has the details."
                raise InvalidValueError(problem, hint, where=f"--vmap {vmap}")
