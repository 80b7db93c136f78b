"""Trackers: a mirror of the runs in the tool that a group uses; the store stays the only source.

base         what a tracker is, and the registry of them; third parties offer more as entry points of this package
points       training events -> names and numbers
mirror       events of a training -> trackers, each on a thread of its own
replay       a finished store -> a tracker
tensorboard  one family per file; its package is imported when a run starts
"""

from attnlab.tracking.base import TRACKERS, TrackedRun, Tracker, register

__all__ = ["TRACKERS", "TrackedRun", "Tracker", "register"]
