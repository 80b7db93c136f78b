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

The first that applies is taken, in the order: failed, no length generalization, solved, diverged, rank collapse,
entropy collapse, gradients, overfit, and then what the curve shows. Either collapse makes the gradient of the queries
vanish, so the collapse is reported and not its consequence.

    curve \\ weights     moved by less than their size       moved by more
    falling steeply     undertrained                        undertrained
    falling slowly      undertrained                        capacity or undertrained
    flat, above chance  undertrained or capacity            capacity
    flat, at chance     undertrained or optimization failure   optimization failure or capacity (one layer: reversed)

A record of a model at a plateau does not show whether another initialization or more steps would leave it: such a
failure mode names its alternative. A failure mode is a rule of thumb with documented bounds, not a proof: what was not
logged cannot be detected, and is named.

Sources  the rank of attention without residual connections: Dong et al., arXiv:2103.03404; the curve against the rate
         spent (:mod:`attnlab.analysis.loss_trend`) and the bounds: ours, chosen on runs of known causes
         (``benchmarks/failure_modes.py``).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from attnlab.analysis.loss_trend import FALLING, LossTrend, loss_trend, peak_move, weight_moved
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
ROSE = 2.0
"""A training loss that was this many times the loss of a guess, or of the first step, exploded."""
FELL_BACK = 1.2
"""The loss fell back where it ended at this many times its lowest value."""
FELL_BACK_SHARE = 0.1
"""And lost this share of what it had gained on a guess."""
UNMOVED = 1.0
"""The steps were too few or too small where they moved no weight by more than this many times its initial size."""
HARDLY_MOVED = 0.1
"""Where they moved no weight by more than this share of its initial size, nothing else can be concluded."""
WELL_MOVED = 3.0
"""A loss that falls slowly is first of all short of capacity where the weights moved by this many times their size."""
PEAK_MOVE = 0.25
"""The rate is far too high where one step may move a weight by this share of its initial size, and nothing is learned."""
DEEP = 4
"""Layers from which the rank is expected to collapse without residual connections."""
VANISHED = 1e-6
"""The gradient of the queries has vanished where, over their norm, it is at most this in every layer but the last."""
EXPLODED = 1e2
"""A gradient explodes where, over the norm of its weight, it is at least this."""
MEMORIZED = 0.5
"""A run on few sequences is overfit where its training loss over its test loss is at most this."""
DIAGNOSTICS = {"rank": "residual", "gradients": "query-gradient", "attention": "entropy"}
"""The metric that is read of each group of diagnostics."""


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
    missing = tuple(name for name, metric in DIAGNOSTICS.items() if not _last(record, metric))
    shown = (
        ("optimization failure", _diverged),
        ("optimization failure", _rate_too_high),
        ("rank collapse", _rank_collapse),
        ("entropy collapse", _entropy_collapse),
        ("optimization failure", _bad_gradients),
        ("overfit", _overfit),
    )
    for name, rule in shown:
        if evidence := rule(record):
            return FailureMode(name, evidence, missing)
    name, alternative, evidence = _by_curve(record)
    if "rank" in missing and not _above_chance(record) and _expected_to_collapse(record):
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
    return f"{_accuracy(record)} on its own level, but {', '.join(unsolved)}" if unsolved else ""


def _solved(record: Record) -> str:
    return _accuracy(record) if record.solved else ""


def _diverged(record: Record) -> str:
    """It diverged, its loss exploded for a while, or it lost what it had learned."""
    if record.status == "diverged":
        return f"it diverged: {record.reason}"
    trend, guess = loss_trend(record), guess_loss(record)
    if trend is None or not math.isfinite(guess):
        return ""
    start = max(guess, record.initial_loss or 0.0)
    if start >= ROSE * guess and not _above_chance(record):
        return f"the initial weights had a loss of {start:.3g}, a uniform guess has {guess:.3g}; {_accuracy(record)}"
    if trend.highest >= ROSE * start:
        return f"the training loss rose to {trend.highest:.3g} from {start:.3g} at the start"
    lost = trend.end - trend.lowest
    fell_back = trend.end >= FELL_BACK * trend.lowest and lost >= FELL_BACK_SHARE * (guess - trend.lowest)
    if fell_back and record.spec.train.train_examples is None:
        return f"the loss rose again, from {trend.lowest:.3g} to {trend.end:.3g}; {_accuracy(record)}"
    return ""


def _rate_too_high(record: Record) -> str:
    """Single steps may move a weight by much of its size, and the rank, the attention or the gradients collapsed."""
    move = peak_move(record)
    collapsed = _rank_collapse(record) or _entropy_collapse(record) or _bad_gradients(record)
    if move >= PEAK_MOVE and (collapsed or not _above_chance(record)) and record.spec.train.train_examples is None:
        evidence = f"one step may move a weight by {move:.2g} of its initial size; {_accuracy(record)}"
        return f"{evidence}; {collapsed}" if collapsed else evidence
    return ""


def guess_loss(record: Record) -> float:
    """The loss of a model that has learned nothing: of a uniform guess among the vocabulary, in nats.

    A guess at chance accuracy may know much more: in recall, which values stand in the context.

    Args:
        record: The run.

    Returns:
        The loss; that of the first validation in old records, which do not say how large the vocabulary is.
    """
    if record.vocabulary:
        return math.log(record.vocabulary)
    return record.history[0].loss if record.history else math.nan


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


def _by_curve(record: Record) -> tuple[str, str, str]:
    """The failure mode that the curve shows, its alternative, and the evidence."""
    trend = loss_trend(record)
    if trend is None:
        return "inconclusive", "", f"{_accuracy(record)}; too few validations to decide whether the loss was falling"
    moved, evidence = weight_moved(record), f"{_accuracy(record)}; {_loss_text(trend, record)}"
    above = _above_chance(record)
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
    if record.spec.model.layers == 1 and record.spec.model.module is None:
        return "capacity", "optimization failure", evidence
    return "optimization failure", "capacity", evidence


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
    return f"{loss}, falling by {percent(trend.falls[1])} and {percent(trend.falls[2])} in the last quarters of the rate"


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
