"""The driver of a cluster: submits what is missing, comes back to what runs, and notices what was lost."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import final

from attnlab.errors import AttnlabError, InvalidValueError, PluginError
from attnlab.execution.jobs import Job, Message, Progressed, Recorded, Send, Tick, WorkerSettings
from attnlab.execution.slurm.cluster import Cluster, JobState, last_line, log_of, short_ids
from attnlab.execution.slurm.earlier import find_earlier, take_checkpoints
from attnlab.execution.slurm.flight import Flight
from attnlab.execution.slurm.folder import job_folders
from attnlab.execution.slurm.losses import Loss, judge_loss, stuck_reason
from attnlab.execution.slurm.submitting import submit_jobs, write_job
from attnlab.execution.slurm.telling import count, left_running, status_text, waiting_text
from attnlab.storage import Store
from attnlab.training.events import Notice, Preparing, RunFinished
from attnlab.training.interruption import Interruption

CANCEL_SECONDS = 60.0
"""Seconds in which cancelled jobs may save their checkpoints."""
SILENT_SECONDS = 300.0
"""Seconds without a sign of life after which the user is told."""


@final
class ClusterDriver:
    """An executor whose jobs outlive it.

    Args:
        cluster: Runs the jobs.
        store: The folder of results, which jobs see under the same path.
        settings: How jobs are run.
        parallel: Jobs that run at the same time, at most.
        cpus: Cores of a job.
        groups: Groups of runs that a job trains.
        cancel: Whether Ctrl-C cancels the jobs.
        description: What runs the jobs, for tables and logs.
    """

    def __init__(
        self,
        cluster: Cluster,
        store: Path,
        settings: WorkerSettings,
        *,
        parallel: int,
        cpus: int = 1,
        groups: int = 1,
        cancel: bool = False,
        description: str = "a cluster",
    ) -> None:
        self.cluster, self.store, self.settings = cluster, store.resolve(), settings
        self.num_workers, self.cpus, self.groups, self.cancel = parallel, cpus, groups, cancel
        self.description, self.left_running = description, ""
        self.flights: list[Flight] = []
        """Jobs that are submitted and not over."""
        self._waiting: list[Flight] = []
        """Jobs that are not submitted yet."""
        self._over: list[Flight] = []
        """Jobs that are over, whose folders are removed once their results are in the store."""
        self._any_started = False
        self._asked_at = 0.0
        self._told: set[str] = set()
        self._status = ""

    def run(self, jobs: Iterable[Job], send: Send, interruption: Interruption, /) -> None:
        """Run all jobs, see :meth:`attnlab.execution.jobs.Executor.run`.

        Args:
            jobs: The jobs; all are taken at once.
            send: Receives every message.
            interruption: Once it is requested, the jobs are left running, or cancelled where that was asked for.
        """
        known = {flight.folder.path for flight in (*self.flights, *self._over)}
        earlier = find_earlier(self.store, self.cluster, known, send)
        self.flights += earlier.running
        self._over += earlier.over
        self._prepare(jobs, earlier.results, send)
        while True:
            if not interruption.requested:
                self._submit_waiting(send)
            self._receive(send)
            if interruption.requested:
                return self._leave(send, interruption)
            if not (self.flights or self._waiting):
                return self._show(send, "")
            if time.monotonic() - self._asked_at >= self.cluster.ask_seconds:
                self._watch(send)
            send(Tick())
            time.sleep(self.cluster.read_seconds)

    def close(self) -> None:
        """Remove what jobs whose results are in the store have left; jobs that run go on."""
        self.cluster.close([flight.cluster_id for flight in self.flights])
        over, self._over = self._over, []
        if not over:
            return
        try:
            records = Store(self.store).scan()
        except AttnlabError:
            return  # the next command takes what is in the folders
        stored = {record.id for record in records}
        failed = {record.id for record in records if record.status == "failed"}
        for flight in over:
            if flight.settled <= stored and not flight.abandoned:
                keep_log = bool(flight.settled & failed)
                flight.folder.remove()
                for file in () if keep_log else self.cluster.logs.glob(f"{flight.cluster_id or '-'}_*"):
                    file.unlink(missing_ok=True)
        if not job_folders(self.store) and not list(self.cluster.logs.glob("*_log.err")):
            shutil.rmtree(self.store / "slurm", ignore_errors=True)

    # Submitting

    def _prepare(self, jobs: Iterable[Job], found: dict[str, Message], send: Send) -> None:
        """Write the folders of the jobs that are to be submitted; those that run already are left out."""
        running = {
            run: flight
            for flight in self.flights
            for run in flight.specs.keys() - (flight.failures() & set(flight.known_failures))
        }
        several: list[Job] = []
        wanted: set[str] = set()
        for job in jobs:
            wanted |= {spec.id for spec in job.specs}
            rest = tuple(spec for spec in job.specs if spec.id not in found and spec.id not in running)
            if rest:
                several.append(replace(job, specs=rest))
            if len(several) == self.groups:
                self._waiting.append(write_job(self.store, self.cluster, several))
                several = []
        if several:
            self._waiting.append(write_job(self.store, self.cluster, several))
        for message in {id(message): message for message in found.values()}.values():
            send(message)
            for record in message.records if isinstance(message, Recorded) else ():
                if record.id in wanted:
                    send(Progressed(RunFinished(record)))
        if found:
            send(Progressed(Notice(f"Jobs of an earlier command have ended {count(len(found), 'run')} meanwhile.")))
        attached = list({id(running[run]): running[run] for run in wanted if run in running}.values())
        for flight in attached:
            flight.shown = wanted & flight.specs.keys()
        if attached:
            ids = short_ids([flight.cluster_id for flight in attached])
            send(Progressed(Notice(f"Back to {count(len(attached), 'job')} of an earlier command: {ids}.")))

    def _submit_waiting(self, send: Send) -> None:
        """Submit as many waiting jobs as the cluster takes."""
        while self._waiting:
            room = self.cluster.largest_array
            if self.cluster.at_once is not None:
                room = min(room, self.cluster.at_once - len(self.flights))
            if room <= 0:
                return
            now, self._waiting = self._waiting[:room], self._waiting[room:]
            ids = submit_jobs(now, self.cluster, self.store, self.settings, self.cpus)
            self.flights += now
            if self.cluster.at_once is None:
                send(Progressed(Notice(f"Submitted {count(len(ids), 'job')} to SLURM: {short_ids(ids)}.")))

    # Watching

    def _receive(self, send: Send) -> None:
        """Pass on what the jobs have written, and take those that are done from the list."""
        for flight in list(self.flights):
            try:
                flight.read(send)
            except PluginError:  # what one job cannot load, no job can
                self.cluster.cancel([one.cluster_id for one in self.flights if one.cluster_id])
                raise
            self._any_started |= flight.started
            if flight.outcome == "done" or not flight.remaining:
                self._end(flight)
            elif flight.outcome == "stuck":
                flight.fail(stuck_reason(flight), send)
                self._end(flight)

    def _watch(self, send: Send) -> None:
        """Compare the jobs with what the cluster says of them."""
        self._asked_at = time.monotonic()
        states = self.cluster.states([flight.cluster_id for flight in self.flights])
        if states is None:
            self._tell_once("SLURM does not answer now; the jobs go on.", send)
            return
        lost: list[Flight] = []
        for flight in list(self.flights):
            state = states.get(flight.cluster_id)
            if state is not None and not state.ended:
                flight.missing_since = flight.end = None
                self._tell_of(flight, state, send)
                continue
            flight.end = state or flight.end
            flight.missing_since = flight.missing_since or time.monotonic()
            silent = min(time.monotonic() - flight.missing_since, flight.silence())
            if flight.outcome not in ("asked", "time") and silent < self.cluster.patience:
                continue  # its last words may still be on their way
            loss = judge_loss(flight, self.cluster)
            if self._tell_loss(flight, loss, send):
                lost.append(flight)
        self._again(lost)
        self._show_status(states, send)

    def _tell_loss(self, flight: Flight, loss: Loss, send: Send) -> bool:
        """Decide whether a job that was lost is submitted again; record it as failed otherwise."""
        if not self._any_started and flight.tries > 1:
            self.cluster.cancel([one.cluster_id for one in self.flights])
            log = log_of(self.cluster, flight.cluster_id)
            problem = f"The jobs cannot start: {last_line(log) or 'they leave no log.'}"
            hint = (
                f"Their log: {log}\nThe nodes must see this folder and this Python; --slurm-setup runs commands first."
            )
            raise InvalidValueError(problem, hint, where=f"SLURM job {flight.cluster_id}")
        if not loss.again:
            flight.fail(loss.reason, send)
            self._end(flight)
            return False
        flight.tries = 1 if loss.progress and flight.progressed else flight.tries + 1
        send(Progressed(Notice(f"{loss.reason[0].upper()}{loss.reason[1:]}; it is submitted again.")))
        return True

    def _again(self, flights: list[Flight]) -> None:
        """Submit what is left of jobs again."""
        if flights:
            self.cluster.cancel([flight.cluster_id for flight in flights])  # never two at once, whatever was seen
            self.flights = [flight for flight in self.flights if flight not in flights]
            self._waiting = [*flights, *self._waiting]

    def _end(self, flight: Flight) -> None:
        self.flights.remove(flight)
        self._over.append(flight)

    def _leave(self, send: Send, interruption: Interruption) -> None:
        """Leave the jobs running, or cancel them and wait for their checkpoints."""
        for flight in self._waiting:
            if not flight.started:
                flight.folder.remove()
        self._waiting = []
        ids = [flight.cluster_id for flight in self.flights]
        if not ids:
            return
        if not (self.cancel or interruption.spent):
            self.left_running = left_running(ids, self.cluster.name)
            return
        self.cluster.cancel(ids)
        deadline = time.monotonic() + CANCEL_SECONDS
        while self.flights and time.monotonic() < deadline:
            time.sleep(self.cluster.read_seconds)
            self._receive(send)
            states = self.cluster.states(ids)
            for flight in list(self.flights):
                state = (states or {}).get(flight.cluster_id)
                if states is not None and (state is None or state.ended):
                    flight.read(send)
                    take_checkpoints(flight, self.store, send)
                    self._end(flight)

    # Telling

    def _tell_of(self, flight: Flight, state: JobState, send: Send) -> None:
        """Tell what the user should look at."""
        if text := waiting_text(flight.cluster_id, state):
            self._tell_once(text, send, state.reason)
        silent = state.word == "RUNNING" and flight.started and flight.silence() > SILENT_SECONDS
        if silent and not flight.silence_told:
            flight.silence_told = True
            minutes = SILENT_SECONDS / 60
            send(Progressed(Notice(f"Job {flight.cluster_id} has given no sign of life for {minutes:.0f} minutes.")))

    def _show_status(self, states: dict[str, JobState], send: Send) -> None:
        """Show how many jobs run and wait."""
        self._show(send, status_text([states[one.cluster_id] for one in self.flights if one.cluster_id in states]))

    def _show(self, send: Send, text: str) -> None:
        """Show what the cluster does, where that has changed."""
        if text != self._status:
            self._status = text
            send(Progressed(Preparing(text)))

    def _tell_once(self, text: str, send: Send, key: str = "") -> None:
        if (key or text) not in self._told:
            self._told.add(key or text)
            send(Progressed(Notice(text)))
