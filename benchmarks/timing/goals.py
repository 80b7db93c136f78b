"""Goals for the time of a training step of attentions at the textbook shape, as multiples of another attention's."""

from __future__ import annotations

from collections.abc import Mapping

MOST_TIMES_SOFTMAX: Mapping[str, float | None] = {
    "expressive": 1.0,
    "dape": 2.0,
    "linear": None,
    "delta": 1.5,
    "gated-delta": 1.5,
    "kda": 1.5,
    **dict.fromkeys(
        ("wall", "deltaformer", "parallax", "differential:version=2", "knocking-heads", "simplicial"),
        1.5,
    ),
}
"""Over a step of softmax; None is no goal. Of all that form scores of pairs; ``simplicial`` forms those of triples."""
MOST_TIMES_DELTA: Mapping[str, float] = dict.fromkeys(
    (
        "delta:householders=2",
        "mamba3",
        "mesa",
        "gsa",
        "raven",
        "comba",
        "momentum-delta",
        "ttt-linear",
        "gated-delta:precond=true",
        "kda:precond=true",
        "kda:erase=channel,write=channel",
    ),
    2.0,
)
"""Over a step of ``delta``, of those with a recurrence."""
