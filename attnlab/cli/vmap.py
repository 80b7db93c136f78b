"""``--lanes``: how many runs of one shape are stacked into one program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from attnlab.specs import RunSpec
    from attnlab.training.vmap_width import VmapWidth

LanesWord = Annotated[
    str,
    typer.Option("--lanes", metavar="N|auto", help="Runs trained as one program; auto: what fits a GPU, 1 on a CPU."),
]


def lanes_of(word: str) -> VmapWidth:
    """The number that a word says, or ``auto``.

    Raises:
        InvalidValueError: it is neither ``auto`` nor a whole number of at least 1.
    """
    from attnlab.errors import InvalidValueError

    if word == "auto":
        return "auto"
    if not (word.isdecimal() and int(word) >= 1):
        raise InvalidValueError(
            f"'{word}' is no number of lanes.", "Write auto, or a number such as 8.", where="--lanes"
        )
    return int(word)


def refuse_unstackable(specs: Iterable[RunSpec], lanes: VmapWidth) -> None:
    """Refuse lanes for an attention that fails the check of them; where nobody asked for lanes it just runs alone.

    Raises:
        InvalidValueError: an attention cannot be stacked; with what the check found.
    """
    if lanes in ("auto", 1):
        return
    from attnlab.errors import InvalidValueError
    from attnlab.testing.check_attention import check_attention

    for part in {str(part): part for spec in specs for part in spec.model.attention}.values():
        for finding in check_attention(part, ["lanes"]).findings:
            if finding.outcome == "fail":
                found = f"'{part}' cannot be stacked: {finding.evidence}"
                hint = "Leave --lanes out to train its runs one by one; attnlab check tells more."
                raise InvalidValueError(found, hint, where=f"--lanes {lanes}")
