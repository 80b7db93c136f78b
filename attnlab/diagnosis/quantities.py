"""What a diagnosis tells beside the metrics of a trace: gradients, the view of support vectors, what can be heard."""

from __future__ import annotations

from typing import Any, Literal

from attnlab import metrics
from attnlab.errors import UnknownNameError, unknown
from attnlab.metrics import reach, token_selection
from attnlab.metrics.gradients import WEIGHT_KINDS as WEIGHTS
from attnlab.metrics.gradients import gradients, query_to_value
from attnlab.metrics.metric import METRICS, Metric, Point

DiagnosisKind = Literal["rank-collapse", "gradients", "attention", "tokens", "reach"]
DIAGNOSES: tuple[DiagnosisKind, ...] = ("rank-collapse", "gradients", "attention", "tokens", "reach")
SELECTION = ("score-margin", "peak", "saturation")
"""Metrics of a trace that tell which tokens are selected."""
NOCI = "arXiv:2206.03126"
SVM = "arXiv:2308.16898"


def quantity(
    name: str,
    summary: str,
    formula: str,
    source: str,
    point: Point,
    collapse: str,
    made_by: Any,
    *,
    decades: bool = False,
) -> Metric:
    """What is told like a metric, but comes from a function of its own."""
    return Metric(name, summary, formula, source, point, collapse, made_by, "geometric" if decades else "arithmetic")


def _gradient(kind: str) -> Metric:
    if kind == "scores":
        summary, formula, point = "How much gradient reaches the scores.", "||dL/dS||_F", Point.SCORES
    else:
        summary = f"How much gradient reaches {_written(kind)}, relative to {'it' if kind == 'extra' else 'them'}."
        formula, point = "||dL/dW||_F / ||W||_F", Point.WEIGHTS
    collapse = {
        "query": "vanishes where tokens are alike, as their distance squared; that of the values stays",
        "key": "vanishes where tokens are alike, as their distance squared; that of the values stays",
        "scores": "vanishes where the values are alike, or where attention has hardened",
    }.get(kind, "stays with rank collapse; falls or grows from layer to layer where gradients vanish or explode")
    return quantity(f"{kind}-gradient", summary, formula, NOCI, point, collapse, gradients, decades=True)


def _noise(kind: str) -> Metric:
    formula = "sqrt(E ||g - E g||^2) / ||E g|| over batches"
    collapse = "large where single batches say little of the mean gradient: steps go astray"
    summary = f"How much batches disagree about the gradient of {_written(kind)}."
    source = "arXiv:1812.06162"
    return quantity(f"{kind}-noise", summary, formula, source, Point.WEIGHTS, collapse, gradients, decades=True)


def _written(kind: str) -> str:
    """What is learned, in words."""
    words = {"mlp": "the MLP's weights", "extra": "whatever else the attention learns"}
    return words.get(kind, f"the {kind} weights")


LEARNED = tuple(kind for kind in WEIGHTS if kind != "scores")
RATIO = quantity(
    "query-to-value",
    "Relative gradient of the query weights over that of the value weights.",
    "(||dL/dW_Q|| / ||W_Q||) / (||dL/dW_V|| / ||W_V||)",
    NOCI,
    Point.WEIGHTS,
    "falls towards 0: the signature of rank collapse in the gradient",
    query_to_value,
    decades=True,
)
QUANTITIES: dict[DiagnosisKind, dict[str, Metric]] = {
    "rank-collapse": {},
    "attention": {},
    "gradients": {
        metric.name: metric for metric in (*map(_gradient, WEIGHTS), RATIO, *(_noise(kind) for kind in LEARNED))
    },
    "tokens": {
        "weight-norm": quantity(
            "weight-norm",
            "The size of the bilinear form that queries and keys make, per head.",
            "||W||_F,  W = W_K^T W_Q / sqrt(C)",
            SVM,
            Point.WEIGHTS,
            "grows without bound as attention hardens along training",
            token_selection.chosen,
        ),
        "svm-correlation": quantity(
            "svm-correlation",
            "Whether a head's weights point where the machine that selects its tokens would.",
            "<W, W_mm> / (||W||_F ||W_mm||_F),  W_mm by non-negative least squares",
            SVM,
            Point.WEIGHTS,
            "rises towards 1 in the theory's setting; nan where no weights select these tokens, or positions turn them",
            token_selection.alignment,
        ),
        "svm-margin": quantity(
            "svm-margin",
            "The least margin of the selected tokens, for weights of size 1.",
            "min <W, (x_opt - x_t) x_i^T> / ||W||_F",
            SVM,
            Point.WEIGHTS,
            "negative where a row's largest weight is not its largest score by this form",
            token_selection.alignment,
        ),
        "svm-best": quantity(
            "svm-best",
            "The largest that margin could be.",
            "1 / ||W_mm||_F",
            SVM,
            Point.WEIGHTS,
            "0 where no weights select these tokens; shrinks as tokens become alike",
            token_selection.alignment,
        ),
    },
    "reach": {
        "reach": quantity(
            "reach",
            "What share of all pairs of a token and one not after it can have heard of one another.",
            "mean of R_l,  R_l = [A_l != 0] R_l-1",
            "arXiv:2006.04862",
            Point.MATRIX,
            "below 1 after the last layer: some tokens can never matter to some answers",
            reach.reached,
        ),
        "keys": quantity(
            "keys",
            "How many keys a row attends to, all heads together.",
            "mean of |{j: A_ij != 0 in any head}|",
            "arXiv:2006.04862",
            Point.MATRIX,
            "(T + 1) / 2 for dense attention; where there are fewer, more layers are needed to hear of all",
            reach.reached,
        ),
    },
}


def diagnosis_of(metric: Metric) -> DiagnosisKind:
    """The diagnosis that tells a metric of a trace."""
    if metric.point is Point.SCORES or metric.name in SELECTION:
        return "tokens"
    if metric.name.startswith("jacobian"):
        return "gradients"
    if metric.point in (Point.STREAM, Point.BRANCH) or metric.name == "singular-gap":
        return "rank-collapse"
    return "attention"


def all_metrics() -> dict[str, tuple[DiagnosisKind, Metric]]:
    """Everything that is measured, by name, each with the diagnosis that tells it."""
    assert metrics.METRICS is METRICS, "the metrics are registered by importing their package"
    traced = {name: (diagnosis_of(metric), metric) for name, metric in METRICS.items()}
    return traced | {name: (kind, metric) for kind, stored in QUANTITIES.items() for name, metric in stored.items()}


def requested_metrics(kind: DiagnosisKind, only: tuple[str, ...] = ()) -> list[Metric]:
    """What a diagnosis tells, or the part that was asked for; noise of the queries alone unless it is asked for.

    Raises:
        UnknownNameError: the diagnosis has no such metric.
    """
    known = all_metrics()
    stored = {name: metric for name, (at, metric) in known.items() if at == kind}
    for name in only:
        if name in known and name not in stored:
            hint = f"It is one of another: attnlab diagnose {known[name][0]} --only {name}"
            raise UnknownNameError(f"There is no metric of {kind} '{name}'.", hint, where="--only")
        if name not in stored:
            raise unknown(f"metric of {kind}", name, stored, where="--only")
    if only:
        return [stored[name] for name in only]
    return [metric for name, metric in stored.items() if not name.endswith("-noise") or name == "query-noise"]
