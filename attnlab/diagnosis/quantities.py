"""The metrics of each diagnosis: those of a trace, and those that are computed in another way.

The others are gradients, the alignment with a support vector machine, and receptive fields.
"""

from __future__ import annotations

from typing import Any, get_args

from attnlab import metrics
from attnlab.choices import DiagnosisKind
from attnlab.errors import UnknownNameError, unknown
from attnlab.metrics import reach, token_selection
from attnlab.metrics.gradients import WEIGHT_KINDS, gradients, query_to_value
from attnlab.metrics.metric import METRICS, Metric, Point

SELECTION = ("score-margin", "peak", "saturation")
"""Metrics of a trace that measure the selection of tokens."""
NOCI = "arXiv:2206.03126"
SVM = "arXiv:2308.16898"


def _computed(
    name: str,
    summary: str,
    formula: str,
    source: str,
    point: Point,
    collapse: str,
    function: Any,
    *,
    geometric: bool = False,
) -> Metric:
    """Describe a quantity as a metric; it is computed by a function of its own, not from one tensor of a trace."""
    return Metric(name, summary, formula, source, point, collapse, function, "geometric" if geometric else "arithmetic")


def _gradient(kind: str) -> Metric:
    """Describe the gradient of one kind of weight, or of the scores."""
    if kind == "scores":
        summary, formula, point = "The norm of the gradient at the scores.", "||dL/dS||_F", Point.SCORES
    else:
        summary = f"The norm of the gradient of {_weights_phrase(kind)}, relative to the norm of the weights."
        formula, point = "||dL/dW||_F / ||W||_F", Point.WEIGHTS
    collapse = {
        "query": "vanishes where tokens are alike, as their distance squared; the gradient of the values does not",
        "key": "vanishes where tokens are alike, as their distance squared; the gradient of the values does not",
        "scores": "vanishes where the values are alike, or where attention has saturated",
    }.get(kind, "unaffected by rank collapse; falls or grows from layer to layer where gradients vanish or explode")
    return _computed(f"{kind}-gradient", summary, formula, NOCI, point, collapse, gradients, geometric=True)


def _noise(kind: str) -> Metric:
    """Describe the gradient noise of one kind of weight."""
    formula = "sqrt(E ||g - E g||^2) / ||E g|| over batches"
    collapse = "large where single batches determine the mean gradient poorly: the direction of steps is random"
    summary = f"The deviation between batches of the gradient of {_weights_phrase(kind)}, relative to its mean."
    source = "arXiv:1812.06162"
    return _computed(f"{kind}-noise", summary, formula, source, Point.WEIGHTS, collapse, gradients, geometric=True)


def _weights_phrase(kind: str) -> str:
    """Name a kind of weights in a sentence."""
    phrases = {"mlp": "the MLP's weights", "extra": "the attention's other weights"}
    return phrases.get(kind, f"the {kind} weights")


NOISE_KINDS = tuple(kind for kind in WEIGHT_KINDS if kind != "scores")
RATIO = _computed(
    "query-to-value",
    "Relative gradient of the query weights over that of the value weights.",
    "(||dL/dW_Q|| / ||W_Q||) / (||dL/dW_V|| / ||W_V||)",
    NOCI,
    Point.WEIGHTS,
    "falls towards 0: the signature of rank collapse in the gradient",
    query_to_value,
    geometric=True,
)
QUANTITIES: dict[DiagnosisKind, dict[str, Metric]] = {
    "rank-collapse": {},
    "attention": {},
    "gradients": {
        metric.name: metric
        for metric in (*map(_gradient, WEIGHT_KINDS), RATIO, *(_noise(kind) for kind in NOISE_KINDS))
    },
    "tokens": {
        "weight-norm": _computed(
            "weight-norm",
            "The Frobenius norm of the bilinear form of queries and keys, per head.",
            "||W||_F,  W = W_K^T W_Q / sqrt(C)",
            SVM,
            Point.WEIGHTS,
            "grows without bound as attention saturates along training",
            token_selection.head_selections,
        ),
        "svm-correlation": _computed(
            "svm-correlation",
            "The cosine of a head's weights and the support vector machine (SVM) that selects the same tokens.",
            "<W, W_mm> / (||W||_F ||W_mm||_F),  W_mm by non-negative least squares",
            SVM,
            Point.WEIGHTS,
            "rises towards 1 in the setting of the theory; nan where none select them, or scores are not bilinear",
            token_selection.alignment,
        ),
        "svm-margin": _computed(
            "svm-margin",
            "The least margin of the selected tokens, for weights of norm 1.",
            "min <W, (x_opt - x_t) x_i^T> / ||W||_F",
            SVM,
            Point.WEIGHTS,
            "negative where the key with a row's largest weight does not have the largest score by this form",
            token_selection.alignment,
        ),
        "svm-best": _computed(
            "svm-best",
            "The largest possible margin of the selected tokens, for weights of norm 1.",
            "1 / ||W_mm||_F",
            SVM,
            Point.WEIGHTS,
            "0 where no weights select these tokens; shrinks as tokens become alike",
            token_selection.alignment,
        ),
    },
    "reach": {
        "reach": _computed(
            "reach",
            "The share of pairs of a token and an earlier one (or itself) that are connected (receptive field).",
            "mean of R_l,  R_l = [A_l != 0] R_l-1",
            "arXiv:2006.04862",
            Point.MATRIX,
            "below 1 after the last layer: some tokens cannot influence some predictions",
            reach.measure_reach,
        ),
        "keys": _computed(
            "keys",
            "The number of keys that a row attends to, all heads together.",
            "mean of |{j: A_ij != 0 in any head}|",
            "arXiv:2006.04862",
            Point.MATRIX,
            "(T + 1) / 2 for dense attention; fewer keys need more layers for a complete receptive field",
            reach.measure_reach,
        ),
    },
}


def parse_kind(word: str) -> DiagnosisKind:
    """Parse a kind of diagnosis.

    Args:
        word: Its name.

    Returns:
        The kind.

    Raises:
        UnknownNameError: No kind has the name.
    """
    for kind in get_args(DiagnosisKind):
        if kind == word:
            return kind
    raise unknown("diagnosis", word, get_args(DiagnosisKind), where="diagnose")


def diagnosis_of(metric: Metric) -> DiagnosisKind:
    """Choose the diagnosis that a metric of a trace belongs to.

    Args:
        metric: The metric.

    Returns:
        The kind of diagnosis.
    """
    if metric.point is Point.SCORES or metric.name in SELECTION:
        return "tokens"
    if metric.name.startswith("jacobian"):
        return "gradients"
    if metric.point in (Point.RESIDUAL, Point.BRANCH) or metric.name == "singular-gap":
        return "rank-collapse"
    return "attention"


def all_metrics() -> dict[str, tuple[DiagnosisKind, Metric]]:
    """List every metric by name, with its kind of diagnosis, in the order of the points where they are measured."""
    assert metrics.METRICS is METRICS, "the metrics are registered by importing their package"
    points = list(Point)
    by_point = sorted(METRICS.items(), key=lambda item: points.index(item[1].point))
    traced = {name: (diagnosis_of(metric), metric) for name, metric in by_point}
    return traced | {name: (kind, metric) for kind, computed in QUANTITIES.items() for name, metric in computed.items()}


def requested_metrics(kind: DiagnosisKind, only: tuple[str, ...] = ()) -> list[Metric]:
    """List the metrics of a diagnosis.

    Args:
        kind: The kind of diagnosis.
        only: Names of metrics; none takes all of the kind, but the noise of the query weights alone.

    Returns:
        The metrics.

    Raises:
        UnknownNameError: The diagnosis has no such metric.
    """
    known = all_metrics()
    own = {name: metric for name, (metric_kind, metric) in known.items() if metric_kind == kind}
    for name in only:
        if name in known and name not in own:
            hint = f"It belongs to another diagnosis: attnlab diagnose {known[name][0]} --only {name}"
            raise UnknownNameError(f"The diagnosis '{kind}' has no metric '{name}'.", hint, where="--only")
        if name not in own:
            raise unknown("metric", name, own, owner=f"The diagnosis '{kind}'", where="--only")
    if only:
        return [own[name] for name in only]
    return [metric for name, metric in own.items() if not name.endswith("-noise") or name == "query-noise"]
