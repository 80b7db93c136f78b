"""The checks of an attention, in the order in which they are reported."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection
from functools import partial

from attnlab.attention import ATTENTIONS
from attnlab.attention.named import resolved_attention
from attnlab.errors import AttnlabError
from attnlab.plugins import describe_exception
from attnlab.specs import Part
from attnlab.testing import _causality, _cost, _depth, _equivalence, _numerics, _prefix, _state
from attnlab.testing._subject import Subject
from attnlab.testing._usable import prepare
from attnlab.testing.finding import Conformance, Finding, not_applicable
from attnlab.training.events import Preparing, Progress, no_callback
from attnlab.training.memory import keep_freed_memory

Check = Callable[[Subject], Finding]

CHECKS: dict[str, Check] = {
    "future never seen": _causality.future,
    "prefix equals whole": _prefix.prefix,
    "repeated tokens": _prefix.repeated,
    "row constraint": _numerics.row_constraint,
    "finite at extremes": _numerics.finite,
    "gradients": _numerics.gradients,
    "bfloat16": _numerics.precision,
    "lengths": _equivalence.lengths,
    "batch independence": _equivalence.batches,
    "determinism": _equivalence.determinism,
    "linear in the values": _equivalence.effective_matrix,
    "fast path equals plain": _equivalence.fast_path,
    "query subset": _equivalence.query_subset,
    "vmap": _equivalence.vmapped,
    "second layer": _depth.second_layer,
    "declared parameters": _cost.parameters,
    "long sequences": _cost.long_sequences,
    "decode state": _state.decode_state,
    "cost": _cost.cost,
}


MEANINGFUL = (
    *("future never seen", "determinism", "finite at extremes", "lengths"),
    *("declared parameters", "long sequences", "cost"),
)
"""Checks that compare no outputs of two calls; the first does, with one seed of torch's generator."""


def check_attention(
    part: Part, names: Collection[str] = tuple(CHECKS), progress: Progress = no_callback
) -> Conformance:
    """Check a registered attention with its options.

    Args:
        part: Name and options of the attention.
        names: Names of the checks to run; by default all of :data:`CHECKS`.
        progress: Receives what is checked now.

    Returns:
        The findings, in the order of :data:`CHECKS`; one alone, ``usable``, where there is nothing to check.

    Raises:
        UnknownNameError: There is no such attention or option.
        InvalidValueError: The attention does not accept an option.
    """
    entry = ATTENTIONS.entry(part.name)
    subject = Subject(entry, entry.complete(part.options))
    keep_freed_memory()
    progress(Preparing(f"checking {part}"))
    usable = prepare(subject)
    if usable.fault:
        return Conformance(str(part), [Finding("usable", "fail", str(usable.fault))], usable.fault)
    checks = {name: check for name, check in CHECKS.items() if name in names}
    if usable.lengths:
        checks |= {"lengths": lambda _: Finding("lengths", "fail", usable.lengths)} if "lengths" in checks else {}
    if usable.changes:
        meaningless = not_applicable("", "equal calls give different outputs; see determinism").evidence
        checks = {
            name: check if name in MEANINGFUL[usable.keeps_state :] else partial(_skipped, meaningless, name)
            for name, check in checks.items()
        }
    findings = []
    for count, (name, check) in enumerate(checks.items(), start=1):
        progress(Preparing(f"checking {part}: {name}, {count} of {len(checks)}"))
        findings.append(_run(name, check, usable.subject))
    return Conformance(str(part), findings)


def subject_of(word: str) -> Part:
    """Resolve the attention that a word names; a file is run.

    Args:
        word: ``NAME``, ``FILE.py:Class`` or ``package.module:Class``, with options.

    Returns:
        Name and options of the attention.

    Raises:
        PluginError: The file or module cannot be loaded, or what is named is no class of modules.
        UnknownNameError: There is no such class.
        InvalidValueError: The word is malformed, or a file has no class beside it.
    """
    from attnlab.config.inline_parts import parse_part

    part = parse_part(word, classes=True)
    return part.model_copy(update={"name": resolved_attention(part.name)})


def _skipped(reason: str, name: str, _: Subject) -> Finding:
    return Finding(name, "info", reason)


def _run(name: str, check: Check, subject: Subject) -> Finding:
    """Run a check; an exception inside the variant is a failure with its file and line."""
    try:
        with warnings.catch_warnings():
            # A layer of torch may have no rule for vmap of its own; checks are about results, not about their speed.
            warnings.filterwarnings("ignore", "There is a performance drop", UserWarning)
            return check(subject)
    except AttnlabError as error:
        return Finding(name, "fail", f"{error.problem} {error.hint}")
    except Exception as error:
        return Finding(name, "fail", describe_exception(error))
