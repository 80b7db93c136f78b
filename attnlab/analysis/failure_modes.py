"""The failure mode of a run: why it solved its level or did not, with the numbers that show it.

    solved                    its own level, and every longer one it was tested on
    no length generalization  its own level, and not every longer one
    optimization failure      it diverged, its loss stayed far above chance, or its gradients vanish or explode
    rank collapse             after the last block all tokens are nearly the same
    entropy collapse          every layer attends to one token only, and did so too early to have learned which
    overfit                   few training sequences, with a loss far below the test loss
    undertrained              the loss was still falling
    capacity                  trained to the end without any of these, above chance, unsolved
    inconclusive              none of these: mostly at chance, for a reason that was not logged
    failed                    the run raised an exception and has no result

The first that applies is taken, in the order: failed, no length generalization, solved, diverged, rank collapse,
entropy collapse, gradients, overfit, undertrained, capacity, inconclusive. Either collapse makes the gradient of the
queries vanish, so the collapse is reported and not its consequence. A failure mode is a rule of thumb with documented
bounds, not a proof: what was not logged cannot be detected, and is named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from attnlab.formatting import percent
from attnlab.records import SOLVED, Record

FAILURE_MODES = (
    "solved",
    "no length generalization",
    "undertrained",
    "optimization failure",
    "rank collapse",
    "entropy collapse",
    "overfit",
    "capacity",
    "inconclusive",
    "failed",
)
COLLAPSED = 0.05
"""The rank has collapsed where the relative residual after the last block is at most this."""
SHARP = 0.05
"""A layer attends to one token where its entropy over its maximum is at most this; all layers must."""
EARLY = 0.1
"""Attention must have been sharp ever since this share of the steps: a model that learns may become sharp later."""
CHANCE_LOSS_RATIO = 2.0
"""A training loss this many times that of a uniform guess is an optimization failure."""
VANISHED = 1e-6
"""The gradient of the queries has vanished where, over their norm, it is at most this in every layer but the last."""
EXPLODED = 1e2
"""A gradient explodes where, over the norm of its weight, it is at least this."""
MEMORIZED = 0.5
"""A run on few sequences is overfit where its training loss over its test loss is at most this."""
FALLING = 0.02
"""The loss is still falling where it fell by at least this share from one quarter of the validations to the next."""
MIN_VALIDATIONS = 4
"""With fewer validations there are no quarters; the validation loss replaces them."""
DIAGNOSTICS = {"rank": "residual", "gradients": "query-gradient", "attention": "entropy"}
"""The metric that is read of each group of diagnostics."""


@dataclass(frozen=True)
class FailureMode:
    """The failure mode of a run."""

    name: str
    evidence: str
    missing_diagnostics: tuple[str, ...] = ()
    """Diagnostics that were not logged, so that the failure modes they show could not be detected."""

    def __str__(self) -> str:
        text = f"{self.name}: {self.evidence}"
        return f"{text} (not logged: {', '.join(self.missing_diagnostics)})" if self.missing_diagnostics else text


def failure_mode(record: Record) -> FailureMode:
    """Find the failure mode of a run.

    Args:
        record: The finished run.

    Returns:
        The first failure mode that applies, with its evidence.
    """
    rules = (
        ("failed", _failed),
        ("no length generalization", _no_length_generalization),
        ("solved", _solved),
        ("optimization failure", _diverged),
        ("rank collapse", _rank_collapse),
        ("entropy collapse", _entropy_collapse),
        ("optimization failure", _bad_gradients),
        ("overfit", _overfit),
        ("undertrained", _undertrained),
        ("capacity", _capacity),
    )
    assert {*(name for name, _ in rules), "inconclusive"} == set(FAILURE_MODES), "every failure mode has its rule"
    missing = () if record.solved else tuple(name for name, metric in DIAGNOSTICS.items() if not _last(record, metric))
    for name, rule in rules:
        if evidence := rule(record):
            certain = name in ("failed", "solved", "no length generalization")
            return FailureMode(name, evidence, () if certain else missing)
    return FailureMode("inconclusive", f"{_accuracy(record)}; {_loss_text(record)}", missing)


def longer_unsolved(record: Record) -> list[str]:
    """List the levels with longer sequences that a run was tested on and did not solve.

    Args:
        record: The finished run.

    Returns:
        The level and the accuracy there, as text.
    """
    longer = [one for one in record.evaluations if not one.subtask and one.length > record.length > 0]
    return [f"{one.level}: {percent(one.accuracy.mean)}" for one in longer if one.accuracy.mean < SOLVED]


def loss_drop(record: Record) -> float:
    """Measure by which share the loss fell at the end of the training.

    Args:
        record: The finished run.

    Returns:
        The drop over the last quarter of the validations, as a share of the loss before; nan where there are too few.
    """
    losses = [point.loss for point in record.history]
    if len(losses) >= MIN_VALIDATIONS:
        quarter = len(losses) // 4
        before, after = fmean(losses[-2 * quarter : -quarter]), fmean(losses[-quarter:])
    elif losses and record.history[-1].validation_loss is not None and record.spec.train.train_examples is None:
        # The mean over the steps since the last validation, against the loss at their end: both on fresh sequences.
        before, after = losses[-1], record.history[-1].validation_loss
    else:
        return math.nan
    return (before - after) / before if before > 0 else math.nan


def _failed(record: Record) -> str:
    return record.reason or "it raised an exception" if record.status == "failed" else ""


def _no_length_generalization(record: Record) -> str:
    unsolved = longer_unsolved(record) if record.solved else []
    return f"{_accuracy(record)} on its own level, but {', '.join(unsolved)}" if unsolved else ""


def _solved(record: Record) -> str:
    return _accuracy(record) if record.solved else ""


def _diverged(record: Record) -> str:
    """It diverged, or its loss ended far above that of a uniform guess."""
    if record.status == "diverged":
        return f"it diverged: {record.reason}"
    chance_loss = -math.log(record.accuracy.chance) if 0 < record.accuracy.chance < 1 else math.inf
    if loss_drop(record) >= FALLING:
        return ""  # the loss begins at a guess over all tokens, which may be far above a guess among the targets
    if record.history and record.history[-1].loss > CHANCE_LOSS_RATIO * chance_loss and not _above_chance(record):
        guess = f"a guess at chance has a loss of {chance_loss:.3g}"
        return f"the training loss ended at {record.history[-1].loss:.3g}; {guess}"
    return ""


def _bad_gradients(record: Record) -> str:
    """Gradients vanish or explode."""
    steepest = {name: max(layers) for name, layers in _last_values(record).items() if name.endswith("-gradient")}
    name = max(steepest, key=lambda name: steepest[name], default="")
    if name and steepest[name] >= EXPLODED:
        return f"gradients explode: {name} up to {steepest[name]:.3g} of the weight"
    queries = _last(record, "query-gradient")
    if queries and max(queries[:-1] or queries) <= VANISHED:
        return f"gradients vanish: query-gradient at most {max(queries[:-1] or queries):.1e} of the weight"
    return ""


def _rank_collapse(record: Record) -> str:
    residual = _last(record, "residual")
    if residual and residual[-1] <= COLLAPSED and residual[-1] < residual[0]:
        ends = f"from {residual[0]:.2g} to {residual[-1]:.2g}"
        return f"the relative residual falls {ends} over {len(residual) - 1} blocks"
    return ""


def _entropy_collapse(record: Record) -> str:
    late = [one.values.get("entropy", ()) for one in record.diagnostics_history if one.step >= EARLY * record.steps]
    largest = [max((value for value in layers if math.isfinite(value)), default=math.inf) for layers in late]
    if largest and max(largest) <= SHARP:
        share = percent(max(largest))
        return f"the attention entropy is at most {share} of its maximum in every layer, from early in training"
    return ""


def _overfit(record: Record) -> str:
    if record.spec.train.train_examples is None or not record.history or record.loss is None:
        return ""
    if record.history[-1].loss > MEMORIZED * record.loss:
        return ""
    sequences = f"{record.spec.train.train_examples} training sequences"
    return f"{sequences}, training loss {record.history[-1].loss:.3g}, test loss {record.loss:.3g}"


def _undertrained(record: Record) -> str:
    return f"{_loss_text(record)}; {_accuracy(record)}" if loss_drop(record) >= FALLING else ""


def _capacity(record: Record) -> str:
    drop = loss_drop(record)
    return f"{_accuracy(record)}; {_loss_text(record)}" if _above_chance(record) and not math.isnan(drop) else ""


def _loss_text(record: Record) -> str:
    """The training loss and whether it was falling."""
    drop = loss_drop(record)
    if math.isnan(drop):
        return "too few validations to decide whether the loss was falling"
    loss = f"training loss {record.history[-1].loss:.3g}"
    if drop >= FALLING:
        period = "quarter" if len(record.history) >= MIN_VALIDATIONS else "validation"
        return f"{loss}, still falling by {percent(drop)} per {period}"
    return f"{loss}, no longer falling"


def _above_chance(record: Record) -> bool:
    return record.accuracy.interval[0] > record.accuracy.chance


def _accuracy(record: Record) -> str:
    return f"accuracy {percent(record.accuracy.mean)}, chance {percent(record.accuracy.chance)}"


def _last_values(record: Record) -> dict[str, tuple[float, ...]]:
    """The finite values of the diagnostics that were logged last."""
    values = record.diagnostics_history[-1].values if record.diagnostics_history else {}
    return {name: finite for name, layers in values.items() if (finite := tuple(v for v in layers if math.isfinite(v)))}


def _last(record: Record, name: str) -> tuple[float, ...]:
    return _last_values(record).get(name, ())
