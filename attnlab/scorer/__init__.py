"""The registered scorers: how the answers of a sequence are compared with its targets, as a whole."""

from attnlab.scorer.base import SCORERS, Answers, Scorer, Values, find_scorer, register

__all__ = ["SCORERS", "Answers", "Scorer", "Values", "find_scorer", "register"]
