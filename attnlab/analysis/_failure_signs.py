"""What a record shows of a failure: a loss that rose, a collapse, gradients, memorized sequences. Text, or nothing.

Each sign is a rule of thumb with a bound; :mod:`attnlab.analysis.failure_modes` takes the first that applies.
"""

from __future__ import annotations

import math

from attnlab.analysis.loss_trend import loss_trend, peak_move, weight_size
from attnlab.formatting import percent
from attnlab.records import Record

COLLAPSED = 0.05
"""The rank has collapsed where the relative residual after the last block is at most this."""
SHARP = 0.05
"""A layer attends to one token where its entropy over its maximum is at most this; all layers must."""
EARLY = 0.1
"""Attention must have been sharp ever since this share of the steps: a model that learns may become sharp later."""
TOO_LARGE = 4.0
"""Initial weights are far too large where their loss is this many times that of a guess."""
ROSE = 2.0
"""A training loss that was this many times the loss of a guess, or of the first step, exploded."""
FELL_BACK = 1.2
"""The loss fell back where it ended at this many times its lowest value."""
FELL_BACK_SHARE = 0.1
"""And lost this share of what it had gained on a guess."""
HELD_SMALL = 0.5
"""The decay is far too large where it holds weights below this share of their usual size."""
PEAK_MOVE = 0.25
"""The rate is far too high where one step may move a weight by this share of its size, and nothing is learned."""
VANISHED = 1e-6
"""The gradient of the queries has vanished where, over their norm, it is at most this in every layer but the last."""
EXPLODED = 1e2
"""A gradient explodes where, over the norm of its weight, it is at least this."""
MEMORIZED = 0.5
"""A run on few sequences is overfit where its training loss over its test loss is at most this."""
GROWN_WORSE = 1.02
"""It is overfit as well where its validation loss ended at this many times its lowest value,"""
BELOW_TEST = 0.9
"""and its training loss over its test loss is at most this."""
DIAGNOSTICS = {"rank": "residual", "gradients": "query-gradient", "attention": "entropy"}
"""The metric that is read of each group of diagnostics."""


def diverged(record: Record) -> str:
    """It diverged, or it began with weights that are far too large."""
    if record.status == "diverged":
        return f"it diverged: {record.reason}"
    start, guess = record.initial_loss or 0.0, guess_loss(record)
    if start >= TOO_LARGE * guess:
        return f"the loss was {start:.3g} at the start, that of a uniform guess is {guess:.3g}; {accuracy_text(record)}"
    return ""


def too_much_decay(record: Record) -> str:
    """The weight decay holds all weights far below their usual size.

    A step takes the share rate times decay of a weight and adds at most about the rate: no weight outgrows 1 / decay.
    """
    decay, size = record.spec.train.weight_decay, weight_size(record)
    if decay * size * HELD_SMALL < 1:
        return ""
    return (
        f"a weight decay of {decay:g} holds weights below {1 / decay / size:.2g} of their size; {accuracy_text(record)}"
    )


def rose(record: Record) -> str:
    """The loss exploded for a while, or the run lost what it had learned."""
    trend, guess = loss_trend(record), guess_loss(record)
    if trend is None or not math.isfinite(guess):
        return ""
    start = max(guess, record.initial_loss or 0.0)
    if trend.highest >= ROSE * start:
        return f"the training loss rose to {trend.highest:.3g} from {start:.3g} at the start"
    lost = trend.end - trend.lowest
    fell_back = trend.end >= FELL_BACK * trend.lowest and lost >= FELL_BACK_SHARE * (guess - trend.lowest)
    if fell_back and record.spec.train.train_examples is None:
        return f"the loss rose again, from {trend.lowest:.3g} to {trend.end:.3g}; {accuracy_text(record)}"
    return ""


def rate_too_high(record: Record) -> str:
    """Single steps may move a weight by much of its size, and nothing is learned, or rank or attention collapsed.

    Few training sequences are memorized at any rate, and are another sign.
    """
    move = peak_move(record)
    collapsed = rank_collapse(record) or entropy_collapse(record) or bad_gradients(record)
    if move >= PEAK_MOVE and (collapsed or not above_chance(record)) and record.spec.train.train_examples is None:
        evidence = f"one step may move a weight by {move:.2g} of its initial size; {accuracy_text(record)}"
        return f"{evidence}; {collapsed}" if collapsed else evidence
    return ""


def bad_gradients(record: Record) -> str:
    """Gradients vanish or explode."""
    steepest = {name: max(layers) for name, layers in _all_last(record).items() if name.endswith("-gradient")}
    name = max(steepest, key=lambda name: steepest[name], default="")
    if name and steepest[name] >= EXPLODED:
        return f"gradients explode: {name} up to {steepest[name]:.3g} of the weight"
    queries = last_values(record, "query-gradient")
    if queries and max(queries[:-1] or queries) <= VANISHED and not _one_token_only(record):
        return f"gradients vanish: query-gradient at most {max(queries[:-1] or queries):.1e} of the weight"
    return ""


def rank_collapse(record: Record) -> str:
    """After the last block all tokens are nearly the same."""
    residual = last_values(record, "residual")
    if residual and residual[-1] <= COLLAPSED and residual[-1] < residual[0]:
        ends = f"from {residual[0]:.2g} to {residual[-1]:.2g}"
        return f"the relative residual falls {ends} over {len(residual) - 1} blocks"
    return ""


def entropy_collapse(record: Record) -> str:
    """Every layer attends to one token only, from early in training."""
    late = [one.values.get("entropy", ()) for one in record.diagnostics_history if one.step >= EARLY * record.steps]
    largest = [max((value for value in layers if math.isfinite(value)), default=math.inf) for layers in late]
    if largest and max(largest) <= SHARP and not _one_token_only(record):
        share = percent(max(largest))
        return f"the attention entropy is at most {share} of its maximum in every layer, from early in training"
    return ""


def _one_token_only(record: Record) -> bool:
    """Whether no layer may attend to more than one token, as in a window of one.

    Its entropy is exactly 0, and its queries have no gradient: nothing has collapsed.
    """
    entropy = last_values(record, "entropy")
    return bool(entropy) and not any(entropy)


def overfit(record: Record) -> str:
    """The loss on few training sequences is far below that of the test, or below it while that of validation rises."""
    count = record.spec.train.train_examples
    if count is None or not record.history or record.loss is None:
        return ""
    training, validation = record.history[-1].loss, [point.validation_loss for point in record.history]
    evidence = f"{count} training sequences, training loss {training:.3g}, test loss {record.loss:.3g}"
    if training <= MEMORIZED * record.loss:
        return evidence
    known = [loss for loss in validation if loss is not None]
    if training <= BELOW_TEST * record.loss and known and known[-1] >= GROWN_WORSE * min(known):
        return f"{evidence}, validation loss {min(known):.3g} and then {known[-1]:.3g}"
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


def above_chance(record: Record) -> bool:
    """Whether the whole interval of the accuracy is above chance."""
    return record.accuracy.interval[0] > record.accuracy.chance


def accuracy_text(record: Record) -> str:
    """The accuracy beside that of chance."""
    return f"accuracy {percent(record.accuracy.mean)}, chance {percent(record.accuracy.chance)}"


def _all_last(record: Record) -> dict[str, tuple[float, ...]]:
    """The finite values of the diagnostics that were logged last."""
    values = record.diagnostics_history[-1].values if record.diagnostics_history else {}
    return {name: finite for name, layers in values.items() if (finite := tuple(v for v in layers if math.isfinite(v)))}


def last_values(record: Record, name: str) -> tuple[float, ...]:
    """One metric, as it was logged last; empty if it was not."""
    return _all_last(record).get(name, ())
