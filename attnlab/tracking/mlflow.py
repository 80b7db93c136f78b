"""MLflow: ``STORE/mlflow/mlflow.db``, a database of SQLite for ``mlflow ui``; MLFLOW_TRACKING_URI names a server.

A sweep is an experiment. MLflow keeps nan; the infinities become the largest float, with their sign. Names have
letters, digits and ``_ - . : /`` alone: see :func:`metric_name`. What a resumed run had beyond its checkpoint stays,
because MLflow deletes no points.

Source: mlflow 3.17, ``mlflow.MlflowClient``; its fluent interface keeps one run for the whole process.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from attnlab.tracking.base import TrackedRun, Tracker, register

EXPERIMENT = "attnlab"
"""The experiment of single runs; that of a sweep has the name of the sweep. MLFLOW_EXPERIMENT_NAME names another."""
RUN = "attnlab.run"
"""The tag with the id of a run."""
FLUSH_SECONDS = 10.0
"""Seconds between two writes: each is a transaction, or a request, of 10 ms and 0.3 ms for each point."""
MOST_METRICS, MOST_PARAMETERS, MOST_CHARACTERS = 1000, 100, 500
"""What one batch may have, and the characters of a parameter that every version accepts."""
LONGEST_NOTE = 5000
"""Characters of the note of a run; a longer table is the file ``results.md`` alone."""


@final
@register("mlflow", source="https://mlflow.org/docs")
class MLflow(Tracker):
    """MLflow: runs in a database below the store, in mlflow/; MLFLOW_TRACKING_URI names a server."""

    extra = package = "mlflow"

    def __init__(self, store: Path, group: str) -> None:
        super().__init__(store, group)
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read at the import, and would use the network
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "WARNING")
        import mlflow
        from mlflow.entities import Metric, Param

        self.metric, self.parameter = Metric, Param
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        self.artifacts: str | None = None
        """Where files of runs are put; None leaves it to the server."""
        if not uri:
            folder = (store / "mlflow").resolve()
            folder.mkdir(parents=True, exist_ok=True)
            uri, self.artifacts = f"sqlite:///{folder / 'mlflow.db'}", (folder / "artifacts").as_uri()
        logging.getLogger("alembic").setLevel(logging.WARNING)  # it tells each step of the making of a database
        self.client = mlflow.MlflowClient(tracking_uri=uri)
        self.runs: dict[str, str] = {}
        """Run id -> MLflow's id."""
        self.waiting: dict[str, list[Any]] = {}
        """Run id -> numbers that are not written yet."""
        self.written = 0.0
        self._experiment = ""

    def start(self, run: TrackedRun, step: int) -> None:
        """Open a run; one that begins anew replaces what MLflow has, and one that is resumed goes on."""
        found = self._found(run)
        if step and found:
            own = found[0].info.run_id
            self.client.update_run(own, status="RUNNING")
            there = found[0].data.params  # one with another value is refused, such as another device
        else:
            for old in found:
                self.client.delete_run(old.info.run_id)
            own = self.client.create_run(self.experiment, run_name=run.name, tags={RUN: run.spec.id}).info.run_id
            there = {}
        self.runs[run.spec.id], self.waiting[run.spec.id] = own, []
        named = {metric_name(name): str(value)[:MOST_CHARACTERS] for name, value in run.config.items()}
        new = [self.parameter(name, value) for name, value in named.items() if name not in there]
        for first in range(0, len(new), MOST_PARAMETERS):
            self.client.log_batch(own, params=new[first : first + MOST_PARAMETERS])

    def log(self, run: str, step: int, values: Mapping[str, float]) -> None:
        """Keep numbers until the next write."""
        now = int(time.time() * 1000)
        self.waiting[run] += [self.metric(metric_name(name), value, now, step) for name, value in values.items()]

    def finish(self, run: str, step: int, values: Mapping[str, float], table: str) -> None:
        """Write the results, as numbers, as the file ``results.md`` and as the note of the run, and end it."""
        self.log(run, step, values)
        self._write(run)
        own = self.runs[run]
        self.client.log_text(own, table, "results.md")
        if len(table) <= LONGEST_NOTE:
            self.client.set_tag(own, "mlflow.note.content", table)
        self.client.set_terminated(own, "FINISHED")
        del self.runs[run]

    def has_finished(self, run: TrackedRun) -> bool:
        """Look for a run of the same id that has ended."""
        return any(found.info.status == "FINISHED" for found in self._found(run))

    def flush(self) -> None:
        """Write what waits, at most once in :data:`FLUSH_SECONDS`."""
        if time.monotonic() - self.written >= FLUSH_SECONDS:
            for run in self.runs:
                self._write(run)
            self.written = time.monotonic()

    def close(self) -> None:
        """Write what waits, and end the runs that are still open."""
        for run, own in self.runs.items():
            self._write(run)
            self.client.set_terminated(own, "KILLED")
        self.runs.clear()

    @property
    def experiment(self) -> str:
        """MLflow's id of the experiment, which is made the first time."""
        if not self._experiment:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or self.group or EXPERIMENT
            found = self.client.get_experiment_by_name(name)
            made = found.experiment_id if found else self.client.create_experiment(name, self.artifacts)
            self._experiment = str(made)
        return self._experiment

    def _found(self, run: TrackedRun) -> list[Any]:
        """The runs of an id in the experiment, the newest first."""
        return list(self.client.search_runs([self.experiment], f"tags.`{RUN}` = '{run.spec.id}'"))

    def _write(self, run: str) -> None:
        """Write what waits of a run."""
        waiting, self.waiting[run] = self.waiting[run], []
        for first in range(0, len(waiting), MOST_METRICS):
            self.client.log_batch(self.runs[run], metrics=waiting[first : first + MOST_METRICS])


def metric_name(name: str) -> str:
    """Write a name as MLflow accepts it; no two names become one.

    >>> metric_name("test/level=8/accuracy")
    'test/level:8/accuracy'
    >>> metric_name("a,b"), metric_name("a@b")
    ('a_b-1eb7', 'a_b-7508')

    Args:
        name: Any name.

    Returns:
        ``=`` as ``:``; other characters as ``_``, with four digits of a digest of the name.
    """
    plain = name.replace("=", ":")
    clean = re.sub(r"[^0-9A-Za-z_./: -]", "_", plain)
    if clean == plain and ":" not in name and len(clean) <= 240:
        return clean
    return f"{clean[:240]}-{hashlib.sha256(name.encode()).hexdigest()[:4]}"
