"""``--vmap``: how many runs of one shape are trained as one vmapped program."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attnlab.specs import RunSpec
    from attnlab.training.vmap_width import VmapWidth


def parse_vmap(text: str) -> VmapWidth:
    """Parse the value of ``--vmap``.

    Args:
        text: ``auto`` or a number.

    Returns:
        The number, or ``auto``.

    Raises:
        InvalidValueError: The text is neither ``auto`` nor a whole number of at least 1.
    """
    from attnlab.errors import InvalidValueError
    from attnlab.sizes import whole_number

    if text == "auto":
        return "auto"
    if not (number := whole_number(text)):
        problem = f"'{text}' is not a number of runs."
        raise InvalidValueError(problem, "Write auto, or a number such as 8.", where="--vmap")
    return number


def refuse_unvmappable(specs: Iterable[RunSpec], vmap: VmapWidth) -> None:
    """Refuse ``--vmap N`` for an attention or a whole model that fails the vmap check.

    With ``auto`` its runs are trained one by one.

    Args:
        specs: The plan.
        vmap: The number of runs per program, or ``auto``.

    Raises:
        InvalidValueError: An attention cannot be vmapped; the message has the finding of the check.
    """
    if vmap in ("auto", 1):
        return
    specs = list(specs)
    from attnlab.errors import InvalidValueError
    from attnlab.testing.check_attention import check_attention

    for part in {str(part): part for spec in specs for part in spec.model.attention}.values():
        for finding in check_attention(part, ["vmap"]).findings:
            if finding.outcome != "pass":
                problem = f"'{part}' cannot be vmapped: {finding.evidence.rpartition('one by one: ')[2]}"
                hint = "Leave --vmap out to train its runs one by one; attnlab check has the details."
                raise InvalidValueError(problem, hint, where=f"--vmap {vmap}")
    import torch

    from attnlab.training.vmap_width import vmap_obstacle

    for spec in {spec.shape: spec for spec in specs if spec.model.module is not None}.values():
        if obstacle := vmap_obstacle(spec, torch.device("cpu")):
            hint = "Leave --vmap out to train its runs one by one."
            raise InvalidValueError(f"'{spec.variant}' cannot be vmapped: {obstacle}.", hint, where=f"--vmap {vmap}")
