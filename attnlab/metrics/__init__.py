"""Metrics of an activation trace: rank collapse, gradients, attention patterns, token selection, receptive fields."""

from attnlab.metrics import attention_patterns, collapse, head_kinds, jacobian, token_selection
from attnlab.metrics.decay import Decay, decay
from attnlab.metrics.gradients import Gradient, collect_gradients, gradients, query_to_value, weight_groups
from attnlab.metrics.measure import LayerValue, float_floor, head_outputs, measure_trace, upcast
from attnlab.metrics.metric import FLOAT_FLOOR, METRICS, Metric, Point, metric
from attnlab.metrics.reach import Reach, layers_needed, measure_reach
from attnlab.metrics.token_selection import HeadSelection, head_selections

__all__ = [
    "FLOAT_FLOOR",
    "METRICS",
    "Decay",
    "Gradient",
    "HeadSelection",
    "LayerValue",
    "Metric",
    "Point",
    "Reach",
    "attention_patterns",
    "collapse",
    "collect_gradients",
    "decay",
    "float_floor",
    "gradients",
    "head_kinds",
    "head_outputs",
    "head_selections",
    "jacobian",
    "layers_needed",
    "measure_reach",
    "measure_trace",
    "metric",
    "query_to_value",
    "token_selection",
    "upcast",
    "weight_groups",
]
