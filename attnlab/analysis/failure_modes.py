"""The failure mode of a run: why it solved its level or did not, with the numbers that show it.

    solved                    its own level, and every longer one it was tested on
    no length generalization  its own level, and not every longer one
    optimization failure      it diverged, its loss rose, its gradients vanish or explode, or it stays at a plateau
    rank collapse             after the last block all tokens are nearly the same
    entropy collapse          every layer attends to one token only, and did so too early to have learned which
    overfit                   few training sequences, with a loss far below the test loss
    undertrained              the loss was still falling, or the steps were too few or too small to move the weights
    capacity                  trained to the end without any of these
    inconclusive              no curve to judge by
    failed                    the run raised an exception and has no result

The first that applies is taken, in the order: failed, no length generalization, solved, diverged, a rate or a weight
decay that is far too high, rank collapse, entropy collapse, gradients, a loss that rose, overfit, and then what the
curve shows. Either collapse makes the gradient of the queries vanish, so the collapse is reported and not its
consequence.

                        the steps moved the weights by
    the curve           less than their size                    more
    falls steeply       undertrained                            undertrained
    falls slowly        undertrained                            capacity or undertrained
    flat, above chance  undertrained or capacity                capacity
    flat, at chance     undertrained or optimization failure    optimization failure or capacity

Up to twice their size, more steps may leave a plateau at chance; of a small model, it is first of all one of capacity.
The record of a model at a plateau does not show whether another initialization or more steps would leave it: such a
failure mode names its alternative. Probes (:mod:`attnlab.experiments.probes`) try both and decide:

    more steps                      undertrained, where they lower the loss by much
    another seed, as many steps     optimization failure, where it does
    more steps, few sequences       overfit, where they raise the loss of the validation split
    neither                         capacity; not if the steps moved no weight by its size

A failure mode is a rule of thumb with documented bounds, not a proof: what was not logged cannot be detected, and is
named.

Sources  the rank of attention without residual connections: Dong et al., arXiv:2103.03404; the curve against the rate
         spent (:mod:`attnlab.analysis.loss_trend`) and the bounds: ours, chosen on runs of known causes
         (``benchmarks/failure_modes.py``).
"""

from __future__ import annotations

from dataclasses import dataclass

from attnlab.analysis._failure_signs import (
    DIAGNOSTICS,
    PEAK_MOVE,
    above_chance,
    accuracy_text,
    bad_gradients,
    diverged,
    entropy_collapse,
    guess_loss,
    last_values,
    overfit,
    rank_collapse,
    rate_too_high,
    rose,
    too_much_decay,
)
from attnlab.analysis.loss_trend import LossTrend, loss_trend, peak_move, weight_moved
from attnlab.analysis.probe_signs import by_probes
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
UNMOVED = 1.0
"""The steps were too few or too small where they moved no weight by more than this many times its initial size."""
HARDLY_MOVED = 0.5
"""Where they moved no weight by more than this share of its initial size, nothing else can be concluded."""
YOUNG = 2.0
"""More steps may leave a plateau at chance where they moved no weight by more than this many times its size yet."""
WELL_MOVED = 3.0
"""A loss that falls slowly is first of all short of capacity where the weights moved by this many times their size."""
SMALL_WIDTH = 8
"""A model with one layer, or of at most this width, is small."""
DEEP = 4
"""Layers from which the rank is expected to collapse without residual connections."""
OR = " or "
"""Between the names of two failure modes that cannot be told apart."""


@dataclass(frozen=True)
class FailureMode:
    """The failure mode of a run."""

    name: str
    evidence: str
    missing_diagnostics: tuple[str, ...] = ()
    """Diagnostics that were not logged, so that the failure modes they show could not be detected."""
    alternative: str = ""
    """The failure mode that it cannot be told from; empty where the record shows which it is."""

    @property
    def label(self) -> str:
        """The name, and the alternative where there is one."""
        return OR.join(filter(None, (self.name, self.alternative)))

    def __str__(self) -> str:
        text = f"{self.label}: {self.evidence}"
        return f"{text} (not logged: {', '.join(self.missing_diagnostics)})" if self.missing_diagnostics else text


def failure_mode(record: Record) -> FailureMode:
    """Find the failure mode of a run.

    Args:
        record: The finished run, with its whole history.

    Returns:
        The first failure mode that applies, with its evidence and, where the record does not decide, an alternative.
    """
    certain = (("failed", _failed), ("no length generalization", _no_length_generalization), ("solved", _solved))
    for name, rule in certain:
        if evidence := rule(record):
            return FailureMode(name, evidence)
    missing = tuple(name for name, metric in DIAGNOSTICS.items() if not last_values(record, metric))
    shown = (
        ("optimization failure", diverged),
        ("optimization failure", rate_too_high),
        ("optimization failure", too_much_decay),
        ("rank collapse", rank_collapse),
        ("entropy collapse", entropy_collapse),
        ("optimization failure", bad_gradients),
        ("optimization failure", rose),
        ("overfit", overfit),
    )
    for name, rule in shown:
        if evidence := rule(record):
            return FailureMode(name, evidence, missing)
    name, alternative, evidence = _by_curve(record)
    if alternative and record.probes:
        name, alternative, evidence = by_probes(record, name, alternative, evidence)
    if "rank" in missing and not above_chance(record) and _expected_to_collapse(record):
        depth = f"{record.spec.model.layers} layers without residual connections"
        name, alternative, evidence = "rank collapse", name, f"{depth}; {evidence}"
    return FailureMode(name, evidence, missing, alternative)


def longer_unsolved(record: Record) -> list[str]:
    """List the levels with longer sequences that a run was tested on and did not solve.

    Args:
        record: The finished run.

    Returns:
        The level and the accuracy there, as text.
    """
    longer = [one for one in record.evaluations if not one.subtask and one.length > record.length > 0]
    return [f"{one.level}: {percent(one.accuracy.mean)}" for one in longer if one.accuracy.mean < SOLVED]


def _failed(record: Record) -> str:
    return record.reason or "it raised an exception" if record.status == "failed" else ""


def _no_length_generalization(record: Record) -> str:
    unsolved = longer_unsolved(record) if record.solved else []
    return f"{accuracy_text(record)} on its own level, but {', '.join(unsolved)}" if unsolved else ""


def _solved(record: Record) -> str:
    return accuracy_text(record) if record.solved else ""


def _by_curve(record: Record) -> tuple[str, str, str]:
    """The failure mode that the curve shows, its alternative, and the evidence."""
    accuracy, above, trend = accuracy_text(record), above_chance(record), loss_trend(record)
    if trend is None:
        return "inconclusive", "", f"{accuracy}; no curve to decide whether the loss was falling"
    moved, evidence = weight_moved(record), f"{accuracy}; {_loss_text(trend, record)}"
    if moved < UNMOVED:
        evidence += f"; the steps can have moved a weight by {moved:.2g} of its initial size"
        flat = "capacity" if above else "optimization failure"
        sure = trend.falling == "yes" or moved < HARDLY_MOVED
        return "undertrained", "" if sure else flat, evidence
    if trend.steep:
        return "undertrained", "", evidence
    if trend.falling != "no":
        slow = ("undertrained", "capacity") if moved < WELL_MOVED else ("capacity", "undertrained")
        return *slow, evidence
    if above and peak_move(record) >= PEAK_MOVE:
        return "optimization failure", "capacity", f"{evidence}; one step may move a weight by {peak_move(record):.2g}"
    if above:
        return "capacity", "", evidence
    if moved < YOUNG:
        return "undertrained", "optimization failure", evidence
    if _small(record):
        return "capacity", "optimization failure", evidence
    return "optimization failure", "capacity", evidence


def _small(record: Record) -> bool:
    """Whether the model is so small that a plateau is first of all one of capacity."""
    model = record.spec.model
    return model.module is None and (model.layers == 1 or model.width <= SMALL_WIDTH)


def _expected_to_collapse(record: Record) -> bool:
    """Whether the model is deep and without residual connections."""
    model = record.spec.model
    return model.module is None and not model.residual and model.layers >= DEEP


def _loss_text(trend: LossTrend, record: Record) -> str:
    """The loss at the end, beside that of a guess, and whether it was falling."""
    loss = f"loss {trend.end:.3g}"
    if record.vocabulary:
        loss += f", of a uniform guess {guess_loss(record):.3g}"
    if trend.falling == "no":
        return f"{loss}, no longer falling"
    before, last = (percent(fall) for fall in trend.falls[1:])
    return f"{loss}, falling by {before} and {last} in the last quarters of the rate"
