"""A verdict per run: why it solved its level or did not, with the numbers that say so.

    solved                 its own level, and every longer one it was tested on
    length only            its own level, and not every longer one
    optimization failure   it diverged, stayed far above a blind guess, or its gradients vanish or explode
    rank collapse          the last block leaves all tokens nearly the same
    entropy collapse       every layer looks at one token only, and did so before it could have learned where
    overfit                few training sequences, told far better than others
    undertrained           the loss was still falling
    capacity               trained to the end without any of these, above chance, unsolved
    unclear                none of these: mostly at chance, for a reason that was not watched
    failed                 it raised, and showed nothing

The first that fits is taken, in the order: failed, length only, solved, diverged, rank collapse, entropy collapse,
gradients, overfit, undertrained, capacity, unclear: either collapse takes the gradient of the queries with it, so the
collapse is told and not what follows from it. A verdict is a rule of thumb with documented bounds, not a proof:
what was not watched cannot be told, and is named.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean

from attnlab.formatting import percent
from attnlab.records import SOLVED, Record

FAILURE_MODES = (
    "solved",
    "length only",
    "undertrained",
    "optimization failure",
    "rank collapse",
    "entropy collapse",
    "overfit",
    "capacity",
    "unclear",
    "failed",
)
COLLAPSED = 0.05
"""Relative residual after the last block from which down the rank has collapsed."""
SHARP = 0.05
"""Entropy over its maximum from which down a layer looks at one token; all layers must."""
EARLY = 0.1
"""Share of the steps after which attention must have been sharp ever since: what learns may become sharp later."""
BLIND = 2.0
"""A training loss this many times that of a blind guess is no learning but a failure."""
VANISHED = 1e-6
"""Gradient of the queries over their norm from which down, in every layer but the last, it has vanished."""
EXPLODED = 1e2
"""Gradient of a weight over its norm from which on it explodes."""
MEMORIZED = 0.5
"""Training loss over test loss from which down a run on few sequences has learned them by heart."""
FALLING = 0.02
"""Share by which the loss fell from one quarter of the looks to the next from which on it is still falling."""
LOOKS = 4
"""Looks below which quarters say nothing; the loss on the validation stream stands in for what comes next."""
WATCHES = {"rank": "residual", "gradients": "query-gradient", "attention": "entropy"}
"""What is read of each thing that may be watched."""


@dataclass(frozen=True)
class FailureMode:
    """What became of a run."""

    name: str
    evidence: str
    missing_diagnostics: tuple[str, ...] = ()
    """What was not watched, and so cannot have been the verdict."""

    def __str__(self) -> str:
        words = f"{self.name}: {self.evidence}"
        return f"{words} (not watched: {', '.join(self.missing_diagnostics)})" if self.missing_diagnostics else words


def failure_mode(record: Record) -> FailureMode:
    """The verdict on a run."""
    rules = (
        ("failed", _failed),
        ("length only", _length_only),
        ("solved", _solved),
        ("optimization failure", _lost),
        ("rank collapse", _same),
        ("entropy collapse", _sharp),
        ("optimization failure", _stuck),
        ("overfit", _by_heart),
        ("undertrained", _falling),
        ("capacity", _plateau),
    )
    assert {*(name for name, _ in rules), "unclear"} == set(FAILURE_MODES), "every verdict has its rule"
    blind = () if record.solved else tuple(name for name, metric in WATCHES.items() if not _last(record, metric))
    for name, rule in rules:
        if evidence := rule(record):
            return FailureMode(name, evidence, () if name in ("failed", "solved", "length only") else blind)
    return FailureMode("unclear", f"{_accuracy(record)}; {_fall_words(record)}", blind)


def longer_unsolved(record: Record) -> list[str]:
    """Levels of longer sequences that a run was tested on and did not solve, with its accuracy there."""
    longer = [reading for reading in record.evaluations if not reading.subtask and reading.length > record.length > 0]
    return [
        f"{reading.level}: {percent(reading.accuracy.mean)}" for reading in longer if reading.accuracy.mean < SOLVED
    ]


def fall(record: Record) -> float:
    """Share by which the loss fell at the end of the training; nan where nothing tells."""
    losses = [point.loss for point in record.history]
    if len(losses) >= LOOKS:
        quarter = len(losses) // 4
        before, after = fmean(losses[-2 * quarter : -quarter]), fmean(losses[-quarter:])
    elif losses and record.history[-1].validation_loss is not None and record.spec.train.train_examples is None:
        # The mean over the steps since the last look, against the loss at their end: on fresh sequences both.
        before, after = losses[-1], record.history[-1].validation_loss
    else:
        return math.nan
    return (before - after) / before if before > 0 else math.nan


def _failed(record: Record) -> str:
    return record.reason or "it raised" if record.status == "failed" else ""


def _length_only(record: Record) -> str:
    missed = longer_unsolved(record) if record.solved else []
    return f"{_accuracy(record)} on its own level, but {', '.join(missed)}" if missed else ""


def _solved(record: Record) -> str:
    return _accuracy(record) if record.solved else ""


def _lost(record: Record) -> str:
    if record.status == "diverged":
        return f"it diverged: {record.reason}"
    blind = -math.log(record.accuracy.chance) if 0 < record.accuracy.chance < 1 else math.inf
    if fall(record) >= FALLING:
        return ""  # a guess over all tokens, where all begin, may be far above one among the answers
    if record.history and record.history[-1].loss > BLIND * blind and not _above_chance(record):
        return f"the training loss ended at {record.history[-1].loss:.3g}, where a blind guess has {blind:.3g}"
    return ""


def _stuck(record: Record) -> str:
    steepest = {name: max(layers) for name, layers in _values(record).items() if name.endswith("-gradient")}
    name = max(steepest, key=lambda name: steepest[name], default="")
    if name and steepest[name] >= EXPLODED:
        return f"gradients explode: {name} up to {steepest[name]:.3g} of the weight"
    queries = _last(record, "query-gradient")
    if queries and max(queries[:-1] or queries) <= VANISHED:
        return f"gradients vanish: query-gradient at most {max(queries[:-1] or queries):.1e} of the weight"
    return ""


def _same(record: Record) -> str:
    residual = _last(record, "residual")
    if residual and residual[-1] <= COLLAPSED and residual[-1] < residual[0]:
        return (
            f"the relative residual falls from {residual[0]:.2g} to {residual[-1]:.2g} over {len(residual) - 1} blocks"
        )
    return ""


def _sharp(record: Record) -> str:
    late = [one.values.get("entropy", ()) for one in record.diagnostics_history if one.step >= EARLY * record.steps]
    sharpest = [max((value for value in layers if math.isfinite(value)), default=math.inf) for layers in late]
    if sharpest and max(sharpest) <= SHARP:
        return f"the entropy of attention is at most {percent(max(sharpest))} of its maximum in every layer, early on"
    return ""


def _by_heart(record: Record) -> str:
    if record.spec.train.train_examples is None or not record.history or record.loss is None:
        return ""
    if record.history[-1].loss > MEMORIZED * record.loss:
        return ""
    reached = f"{record.spec.train.train_examples} training sequences"
    return f"{reached}, training loss {record.history[-1].loss:.3g}, test loss {record.loss:.3g}"


def _falling(record: Record) -> str:
    return f"{_fall_words(record)}; {_accuracy(record)}" if fall(record) >= FALLING else ""


def _plateau(record: Record) -> str:
    flat = fall(record)
    return f"{_accuracy(record)}; {_fall_words(record)}" if _above_chance(record) and not math.isnan(flat) else ""


def _fall_words(record: Record) -> str:
    share = fall(record)
    if math.isnan(share):
        return "too few looks to tell whether the loss was falling"
    loss = f"training loss {record.history[-1].loss:.3g}"
    if share >= FALLING:
        return f"{loss}, still falling by {percent(share)} a {'quarter' if len(record.history) >= LOOKS else 'look'}"
    return f"{loss}, no longer falling"


def _above_chance(record: Record) -> bool:
    return record.accuracy.interval[0] > record.accuracy.chance


def _accuracy(record: Record) -> str:
    return f"accuracy {percent(record.accuracy.mean)}, chance {percent(record.accuracy.chance)}"


def _values(record: Record) -> dict[str, tuple[float, ...]]:
    """What was watched last, numbers only."""
    values = record.diagnostics_history[-1].values if record.diagnostics_history else {}
    return {name: saved for name, layers in values.items() if (saved := tuple(v for v in layers if math.isfinite(v)))}


def _last(record: Record, name: str) -> tuple[float, ...]:
    return _values(record).get(name, ())
