"""The registered residual streams: what a branch reads of the stream, and how its update is added."""

from attnlab.residual_stream.base import RESIDUAL_STREAMS, ResidualStream, Stream, register

__all__ = ["RESIDUAL_STREAMS", "ResidualStream", "Stream", "register"]
