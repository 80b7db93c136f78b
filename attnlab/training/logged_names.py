"""The names of the diagnostics that a run logs, which claims and reports may take as metrics."""

from __future__ import annotations

from collections.abc import Collection

from attnlab.choices import DiagnosticsKind
from attnlab.metrics.gradients import WEIGHT_KINDS
from attnlab.training._log_diagnostics import ATTENTION_METRICS, RANK_METRICS

ENDS = ("first", "last")
"""The layers whose last value a record keeps."""


def logged_names(kinds: Collection[DiagnosticsKind]) -> list[str]:
    """List the metrics that a run has because it logs diagnostics.

    >>> logged_names(["rank"])[:2]
    ['residual.first', 'residual.last']

    Args:
        kinds: The kinds that it logs.

    Returns:
        Their names in a record; a model may lack some, such as the gradients of a kind of weight that it does not have.
    """
    by_kind: dict[str, tuple[str, ...]] = {
        "rank": RANK_METRICS,
        "attention": ATTENTION_METRICS,
        "gradients": tuple(f"{kind}-gradient" for kind in WEIGHT_KINDS),
    }
    return [f"{name}.{end}" for kind in kinds for name in by_kind[kind] for end in ENDS]
