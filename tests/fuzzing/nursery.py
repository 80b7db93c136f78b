"""A process that has imported everything and forks a command line on request: 300 starts need no 300 imports.

It reads lines of JSON, the arguments of :func:`child`, and answers the process id and later the exit status, negative
for a signal. A child takes checkpoints at every step; in all else it is the command line as a user starts it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from functools import partial


def child(words: list[str], output: str, token: str) -> None:
    """Become ``attnlab WORDS``, which writes to a file; never returns."""
    os.setsid()
    os.environ["ATTNLAB_KILLS"] = token  # the environment of its workers tells whose they are
    file = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    for stream in (1, 2):
        os.dup2(file, stream)
    from attnlab.cli import main
    from attnlab.execution import executors
    from attnlab.execution.jobs import WorkerSettings

    every_step = partial(WorkerSettings, checkpoint_seconds=0.0)
    executors.WorkerSettings = every_step  # type: ignore[assignment,attr-defined]
    sys.argv = ["attnlab", *words]
    status: object = 0
    try:
        main()
    except SystemExit as end:
        status = end.code
    except KeyboardInterrupt:  # after the command has ended
        status = 130
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(str(status or 0)))


def serve() -> None:
    """Fork for every line that comes."""
    import torch

    import attnlab.cli.sweep
    import attnlab.experiments.run_sweep
    import attnlab.rendering.sweep_progress
    import attnlab.training.run  # noqa: F401

    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    answers = os.fdopen(os.dup(1), "w")
    for line in sys.stdin:
        request = json.loads(line)
        process = os.fork()
        if not process:
            child(**request)
        print(process, file=answers, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), file=answers, flush=True)


if __name__ == "__main__":
    serve()
