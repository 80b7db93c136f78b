"""The work of a worker process: jobs come, messages go."""

from __future__ import annotations

import os
import signal
from multiprocessing.connection import Connection

from attnlab.errors import AttnlabError
from attnlab.execution.jobs import Ready, WorkerSettings, run_job
from attnlab.execution.worker_parts import load_worker_parts


def serve(connection: Connection, settings: WorkerSettings) -> None:
    """Run a worker: load the user's parts, then run jobs until the connection is closed.

    Args:
        connection: The connection to the driver.
        settings: How jobs are run.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the driver receives Ctrl-C and signals the workers
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    if hasattr(os, "setsid"):
        os.setsid()
    try:
        load_worker_parts(settings.parts)
        connection.send(Ready())
    except AttnlabError as error:
        connection.send(Ready((error.problem, error.hint, error.where)))
        return
    except (EOFError, OSError):
        return  # the driver has ended
    if settings.threads is not None:
        import torch

        torch.set_num_threads(settings.threads)
    while True:
        try:
            run_job(connection.recv(), settings, connection.send)
        except (EOFError, OSError):
            return  # the driver has ended
