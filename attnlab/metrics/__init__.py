"""What a model shows of its inside, as numbers: rank collapse, gradients, attention patterns."""

from attnlab.metrics import attention_patterns, collapse, jacobian, token_selection
from attnlab.metrics.decay import Decay, decay
from attnlab.metrics.gradients import Gradient, collect_gradients, gradients, query_to_value, weight_groups
from attnlab.metrics.measure import Reading, floor_of, measured, upcast, written
from attnlab.metrics.metric import FLOOR, METRICS, Metric, Point, metric
from attnlab.metrics.reach import Reach, layers_needed, reached
from attnlab.metrics.token_selection import Choice, chosen

__all__ = [
    "FLOOR",
    "METRICS",
    "Choice",
    "Decay",
    "Gradient",
    "Metric",
    "Point",
    "Reach",
    "Reading",
    "attention_patterns",
    "chosen",
    "collapse",
    "decay",
    "floor_of",
    "collect_gradients",
    "gradients",
    "jacobian",
    "layers_needed",
    "measured",
    "metric",
    "query_to_value",
    "weight_groups",
    "reached",
    "token_selection",
    "upcast",
    "written",
]
