"""The catalog of attentions: one family per file."""

from attnlab.attention.adapter import adapt
from attnlab.attention.base import ATTENTIONS, Attention, RowConstraint, register

__all__ = ["ATTENTIONS", "Attention", "RowConstraint", "adapt", "register"]
