#!/usr/bin/env bash
# CPython 3.11: multiprocessing's resource tracker, when it starts, unblocks SIGINT and SIGTERM that the caller had blocked.
#
# The good guess: a driver that blocks SIGINT around the start of its workers (signal.pthread_sigmask), so that a Ctrl-C of the
# terminal reaches the driver alone, gives every spawned worker that mask.
# The behavior: the first spawned process starts the resource tracker. It blocks the two signals, starts its helper, and
# unblocks them, rather than restoring the mask that was there. The first worker is then spawned without the mask, the
# others with it where the caller blocks again. Starting the tracker before blocking (ensure_running) gives what is expected.
# Output seen: "blocked before: 2 signals, after the tracker started: 0; tracker first: 2".
set -euo pipefail
python3 - <<'PY'
import signal
import sys
from multiprocessing import resource_tracker

if sys.version_info[:2] != (3, 11):
    print("This is about CPython 3.11; another version is not claimed.")
    sys.exit(1)
BLOCKED = {signal.SIGINT, signal.SIGTERM}


def blocked() -> int:
    return len(signal.pthread_sigmask(signal.SIG_BLOCK, ()) & BLOCKED)


signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
before = blocked()
resource_tracker.ensure_running()
after = blocked()
signal.pthread_sigmask(signal.SIG_BLOCK, BLOCKED)
resource_tracker.ensure_running()  # it runs already
again = blocked()
print(f"blocked before: {before} signals, after the tracker started: {after}; tracker first: {again}")
sys.exit(0 if (before, after, again) == (2, 0, 2) else 1)
PY
