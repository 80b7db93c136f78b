"""What the probes of a run decide: whether more steps, or another seed, would have left its plateau."""

from __future__ import annotations

import math

from attnlab.analysis.loss_trend import weight_moved
from attnlab.formatting import thousands
from attnlab.records import ProbeResult, Record

HELPED = 0.25
"""A probe left the plateau where it lowered the loss of the validation split by at least this share, or was solved."""
WORSENED = 1.1
"""More steps on few training sequences memorized them where they raised the validation loss to this many times."""
MOVED = 1.0
"""Where the steps moved no weight by this many times its initial size, a plateau is not one of capacity."""


def by_probes(record: Record, name: str, alternative: str, evidence: str) -> tuple[str, str, str]:
    """Decide between two failure modes.

    Args:
        record: The run, with its probes.
        name: The likelier failure mode.
        alternative: The other one.
        evidence: The evidence for both.

    Returns:
        The failure mode, what it still cannot be told from, and the evidence; as they were where the run has no
        validation loss above 0 to compare with.
    """
    loss = last_loss(record)
    if not 0 < loss < math.inf:
        return name, alternative, evidence
    said = f"{evidence}; probes: {', '.join(_outcome(probe, loss) for probe in record.probes)}"
    for probe in sorted(record.probes, key=lambda one: one.change != "more steps"):
        if helped(probe, loss):
            return "undertrained" if probe.change == "more steps" else "optimization failure", "", said
    few = record.spec.train.train_examples is not None
    if few and any(one.change == "more steps" and one.validation_loss >= WORSENED * loss for one in record.probes):
        return "overfit", "", said
    tried = {probe.change for probe in record.probes if math.isfinite(probe.validation_loss)}
    if tried == {"more steps", "another seed"} and weight_moved(record) >= MOVED:
        return "capacity", "", said
    return name, alternative, said


def helped(probe: ProbeResult, loss: float) -> bool:
    """Whether a probe left the plateau of its run.

    Args:
        probe: The probe.
        loss: The last validation loss of the run, in nats, above 0.

    Returns:
        Whether it did; a probe that diverged did not.
    """
    return probe.solved or 1 - probe.validation_loss / loss >= HELPED


def last_loss(record: Record) -> float:
    """Tell the loss at the last validation, in nats; nan where it was not measured.

    Args:
        record: The run.

    Returns:
        The loss.
    """
    last = record.history[-1].validation_loss if record.history else None
    return math.nan if last is None else last


def _outcome(probe: ProbeResult, loss: float) -> str:
    """What a probe changed and what came of it."""
    what = f"{thousands(probe.max_steps)} steps" if probe.change == "more steps" else f"seed {probe.seed}"
    if probe.solved:
        return f"{what} solved it"
    if math.isnan(probe.validation_loss):
        return f"{what} diverged"
    return f"{what} loss {probe.validation_loss:.3g} after {loss:.3g}"
