"""A folder of results: an append-only journal of records, and weights beside it."""

from attnlab.storage._store import FORMAT, PROBES, Store

__all__ = ["FORMAT", "PROBES", "Store"]
