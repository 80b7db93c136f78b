"""The registered norms: how a vector of the residual stream is scaled before a branch or after a sum."""

from attnlab.norm.base import NORMS, Norm, register

__all__ = ["NORMS", "Norm", "register"]
