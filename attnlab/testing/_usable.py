"""What must hold before anything is compared: an attention can be built, called and trained.

    build     the constructor accepts its arguments, and no learned weight is complex
    shape     the output has the shape of the input
    lengths   every length is accepted
    changes   equal calls give equal outputs in evaluation mode

Letters  B batch, T tokens, D width.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from attnlab.errors import AttnlabError
from attnlab.plugins import describe_exception, plugin_error
from attnlab.testing._equivalence import LENGTHS
from attnlab.testing._seeds import seeded
from attnlab.testing._subject import Subject, random_inputs, run
from attnlab.testing.changes import NOT_FINITE, changes_from_call_to_call
from attnlab.testing.finding import Fault
from attnlab.testing.trainable import check_real
from attnlab.user_code import code_line

TOKENS = 64
"""Length of the first trial."""


@dataclass(frozen=True)
class Usable:
    """What can be checked."""

    subject: Subject
    """The attention."""
    fault: Fault | None = None
    """Why nothing can be checked: what was found, what would be accepted, what to do next; None if anything can."""
    lengths: str = ""
    """Which lengths it refuses; empty if none."""
    changes: str = ""
    """Why equal calls give different outputs in evaluation mode; empty if they give the same."""
    keeps_state: bool = False
    """Whether they do so with one seed of torch's generator too."""


def prepare(subject: Subject) -> Usable:
    """Build and call an attention.

    Args:
        subject: The attention.

    Returns:
        What can be checked of it.
    """
    fault = _fault(subject)
    if fault:
        return Usable(subject, fault)
    refused = _refused_lengths(subject)
    reason = f"refuses T = {', '.join(map(str, refused))}: {next(iter(refused.values()))}" if refused else ""
    return Usable(subject, lengths=reason, **_changes(subject))


def _fault(subject: Subject) -> Fault | None:
    """Why an attention cannot be built or called, or trained; None if it can."""
    try:
        attention, context = subject.build_with_context(dtype=torch.float32)
        x_BTD = random_inputs(2, TOKENS, width=context.width, dtype=torch.float32)
        with torch.no_grad():
            output_BTD = run(attention, x_BTD)
    except AttnlabError as error:
        return Fault(error.problem, error.where, error.hint)
    except Exception as error:
        found = plugin_error("", error, *_owners(subject))
        return Fault(found.problem, hint=found.hint)
    try:
        check_real(attention)
    except AttnlabError as error:
        return Fault(error.problem, hint=error.hint)
    if output_BTD.shape != x_BTD.shape:
        problem = f"It maps {list(x_BTD.shape)} to {list(output_BTD.shape)}."
        hint = "An attention maps (batch, tokens, width) to the same shape: project its output, and keep every token."
        return Fault(problem, hint="\n".join(filter(None, (code_line(*_owners(subject)), hint))))
    return None


def _owners(subject: Subject) -> tuple[Any, ...]:
    """The code of an attention of the user's own."""
    return (getattr(subject.entry.cls, "adapted", subject.entry.cls),)


@torch.no_grad()
def _refused_lengths(subject: Subject) -> dict[int, str]:
    """The lengths at which a module raises an exception, each with its first line."""
    refused: dict[int, str] = {}
    for tokens in LENGTHS if subject.adapted else ():
        attention, context = subject.build_with_context(dtype=torch.float32)
        try:
            run(attention, random_inputs(1, tokens, width=context.width, dtype=torch.float32))
        except Exception as error:
            refused[tokens] = describe_exception(error).splitlines()[0]
    return refused


def _changes(subject: Subject) -> dict[str, Any]:
    """Why equal calls give different outputs in evaluation mode, and whether they do so with one seed too."""
    attention, context = subject.build_with_context(dtype=torch.float32)
    x_BTD = random_inputs(2, 17, width=context.width, dtype=torch.float32)

    def seeded_call() -> Tensor:
        with seeded(0):
            return run(attention, x_BTD)

    try:
        changes = changes_from_call_to_call(attention, lambda: run(attention, x_BTD))
        keeps_state = bool(changes) and bool(changes_from_call_to_call(attention, seeded_call))
    except Exception:
        return {}  # the checks report it with its line
    return {} if NOT_FINITE in changes else {"changes": changes, "keeps_state": keeps_state}
