"""The driver of a cluster: submits what is missing, comes back to what runs, and notices what was lost."""

from __future__ import annotations

import re
import secrets
import shutil
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, final

from attnlab.errors import AttnlabError, InvalidValueError, PluginError
from attnlab.execution.jobs import (
    Failed,
    Job,
    Message,
    Progressed,
    Recorded,
    Saved,
    Send,
    Tick,
    WorkerSettings,
    group_name,
)
from attnlab.execution.slurm.cluster import Cluster, JobState, last_line, log_of, short_ids
from attnlab.execution.slurm.flight import Flight
from attnlab.execution.slurm.folder import JOBS, JobFolder, Submission, job_folders
from attnlab.execution.slurm.losses import Loss, judge_loss, stuck_reason
from attnlab.execution.slurm.worker import Work, load_checkpoint
from attnlab.storage import Store, weights
from attnlab.training.events import Notice, Preparing, RunFinished
from attnlab.training.interruption import Interruption

CANCEL_SECONDS = 60.0
"""Seconds in which cancelled jobs may save their checkpoints."""
SILENT_SECONDS = 300.0
"""Seconds without a sign of life after which the user is told."""
NAME = re.compile(r"[^A-Za-z0-9_.-]+")


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
        """Run all jobs, see :meth:`attnlab.execution.jobs.Executor.run`; after Ctrl-C they go on on the cluster."""
        found = self._adopt(send)
        self._prepare(jobs, found, send)
        while True:
            if not interruption.requested:
                self._submit_waiting(send)
            self._receive(send)
            if interruption.requested:
                return self._leave(send, interruption)
            if not (self.flights or self._waiting):
                return None
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
            if flight.settled <= stored:
                keep_log = bool(flight.settled & failed)
                flight.folder.remove()
                for file in () if keep_log else self.cluster.logs.glob(f"{flight.cluster_id or '-'}_*"):
                    file.unlink(missing_ok=True)
        if not job_folders(self.store) and not list(self.cluster.logs.glob("*_log.err")):
            shutil.rmtree(self.store / "slurm", ignore_errors=True)

    # What an earlier driver has left

    def _adopt(self, send: Send) -> dict[str, Message]:
        """Come back to the jobs of an earlier driver: take what is over, go on with what runs.

        Returns:
            Run id -> its result or failure, of the runs that ended meanwhile.
        """
        known = {flight.folder.path for flight in (*self.flights, *self._over)}
        folders = [one for one in job_folders(self.store) if one.path not in known]
        found = [Flight(one, given) for one in folders if (given := one.submission())]
        if not found:
            return {}
        records = Store(self.store).scan()
        done = {record.id for record in records if record.status != "failed"}
        failed = {record.id for record in records} - done
        states = self._states_of(found)
        results: dict[str, Message] = {}

        def keep(message: Message) -> None:
            if isinstance(message, Recorded):
                results.update({record.id: message for record in message.records})
            elif isinstance(message, Failed):
                results.update({spec.id: message for spec in message.job.specs})
            elif not isinstance(message, Progressed):
                send(message)

        for flight in found:
            flight.known, flight.known_failures, flight.shown = done, failed, ()
            state = states.get(flight.cluster_id)
            if (state is not None and not state.ended) or flight.lived_within(self.cluster.patience):
                self.flights.append(flight)
                continue
            with suppress(PluginError):  # of a job that could not start; its runs are submitted again
                flight.read(keep)
            self._take_checkpoints(flight, send, done)
            self._over.append(flight)
        return results

    def _states_of(self, flights: list[Flight]) -> dict[str, JobState]:
        """The states of jobs that an earlier driver submitted, whose ids are completed."""
        for flight in flights:
            if flight.submission.cluster != self.cluster.name and flight.lived_within(self.cluster.patience):
                other = "--executor slurm" + (":cluster=local" if flight.submission.cluster == "local" else "")
                problem = f"Jobs of another cluster ('{flight.submission.cluster}') still work on this store."
                raise InvalidValueError(problem, f"Come back to them with {other}.", where=str(self.store))
        states = self.cluster.states([flight.cluster_id for flight in flights])
        if states is None:
            problem = "There may be jobs of an earlier command, and the cluster does not answer."
            raise InvalidValueError(problem, "Run the same command again when squeue works.", where="squeue")
        by_name = {(state.job_name, state.index): one for one, state in states.items() if state.job_name}
        for flight in flights:
            if not flight.cluster_id:  # the driver died before it knew
                given = flight.submission
                found = by_name.get((given.job_name, given.index)) or by_name.get((given.job_name, None), "")
                flight.submission = given.model_copy(update={"cluster_id": found})
        return states

    def _take_checkpoints(self, flight: Flight, send: Send, done: Collection[str]) -> None:
        """Store the checkpoints of a job that is over, where they are further on than those of the store."""
        own = Store(self.store).checkpoints()
        for spec in flight.remaining:
            loaded = load_checkpoint(flight.folder, spec.id) if spec.id not in done else None
            if loaded and (spec.id not in own or own[spec.id].step < int(loaded[1].get("step", 0))):
                send(Saved(spec.id, *loaded))

    # Submitting

    def _prepare(self, jobs: Iterable[Job], found: dict[str, Message], send: Send) -> None:
        """Write the folders of the jobs that are to be submitted; those that run already are left out."""
        running = {
            run: flight
            for flight in self.flights
            for run in flight.specs.keys() - (flight.failures() & set(flight.known_failures))
        }
        bundle: list[Job] = []
        wanted: set[str] = set()
        for job in jobs:
            wanted |= {spec.id for spec in job.specs}
            rest = tuple(spec for spec in job.specs if spec.id not in found and spec.id not in running)
            if rest:
                bundle.append(replace(job, specs=rest))
            if len(bundle) == self.groups:
                self._waiting.append(self._written(bundle))
                bundle = []
        if bundle:
            self._waiting.append(self._written(bundle))
        for message in {id(message): message for message in found.values()}.values():
            send(message)
            for record in message.records if isinstance(message, Recorded) else ():
                if record.id in wanted:
                    send(Progressed(RunFinished(record)))
        if found:
            send(Progressed(Notice(f"Jobs of an earlier command have ended {_count(len(found), 'run')} meanwhile.")))
        attached = list({id(running[run]): running[run] for run in wanted if run in running}.values())
        for flight in attached:
            flight.shown = wanted & flight.specs.keys()
        if attached:
            ids = short_ids([flight.cluster_id for flight in attached])
            send(Progressed(Notice(f"Back to {_count(len(attached), 'job')} of an earlier command: {ids}.")))

    def _written(self, bundle: list[Job]) -> Flight:
        """Write the folder of a job."""
        groups = tuple(job.specs for job in bundle)
        name, parent = group_name([spec for group in groups for spec in group]), self.store / JOBS
        number = next(number for number in range(1, 10**6) if not (parent / f"{name}-{number}").exists())
        folder = JobFolder(parent / f"{name}-{number}")
        for job in bundle:
            for spec in job.specs:
                if spec.id in job.checkpoints:
                    weights.write(folder.checkpoint(spec.id), *job.checkpoints[spec.id])
        submission = Submission(cluster=self.cluster.name, job_name="", groups=groups)
        folder.write_submission(submission)
        return Flight(folder, submission)

    def _submit_waiting(self, send: Send) -> None:
        """Submit as many waiting jobs as the cluster takes."""
        while self._waiting:
            room = self.cluster.largest_array
            if self.cluster.at_once is not None:
                room = min(room, self.cluster.at_once - len(self.flights))
            if room <= 0:
                return
            now, self._waiting = self._waiting[:room], self._waiting[room:]
            self._submit(now, send)

    def _submit(self, flights: list[Flight], send: Send) -> None:
        """Submit jobs as one array."""
        job_name = f"{NAME.sub('-', self.store.name)[:40]}-{secrets.token_hex(4)}"
        several = len(flights) > 1
        for index, flight in enumerate(flights):
            update: dict[str, Any] = {"job_name": job_name, "index": index if several else None, "cluster_id": ""}
            update |= {"cluster": self.cluster.name, "submitted": time.time()}
            flight.submitted_again(flight.submission.model_copy(update=update))
            flight.folder.write_submission(flight.submission)
        works = [
            Work(str(flight.folder.path), flight.submission.groups, self.settings, self.cpus) for flight in flights
        ]
        try:
            ids = self.cluster.submit(works, job_name)
        except BaseException:
            for flight in flights:
                if not flight.started:
                    flight.folder.remove()
            raise
        for flight, cluster_id in zip(flights, ids, strict=True):
            flight.submission = flight.submission.model_copy(update={"cluster_id": cluster_id})
            flight.folder.write_submission(flight.submission)
        self.flights += flights
        if self.cluster.at_once is None:
            send(Progressed(Notice(f"Submitted {_count(len(ids), 'job')} to SLURM: {short_ids(ids)}.")))

    # Watching

    def _receive(self, send: Send) -> None:
        """Pass on what the jobs have written, and take those that are done from the list."""
        for flight in list(self.flights):
            try:
                flight.read(send)
            except AttnlabError:  # what one job cannot load, no job can
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
        self._again(lost, send)
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

    def _again(self, flights: list[Flight], send: Send) -> None:
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
            self.left_running = _left_running(ids, self.cluster.name)
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
                    self._take_checkpoints(flight, send, ())
                    self._end(flight)

    # Telling

    def _tell_of(self, flight: Flight, state: JobState, send: Send) -> None:
        """Tell what the user should look at."""
        if state.waits and state.reason.startswith(HOPELESS):
            job = flight.cluster_id
            text = f"SLURM keeps job {job} waiting: {state.reason}. See: scontrol show job {job}"
            self._tell_once(text, send, state.reason)
        elif (
            state.word == "RUNNING" and flight.started and not flight.silence_told and flight.silence() > SILENT_SECONDS
        ):
            flight.silence_told = True
            minutes = SILENT_SECONDS / 60
            send(Progressed(Notice(f"Job {flight.cluster_id} has given no sign of life for {minutes:.0f} minutes.")))

    def _show_status(self, states: dict[str, JobState], send: Send) -> None:
        """Show how many jobs run and wait."""
        mine = [states[flight.cluster_id] for flight in self.flights if flight.cluster_id in states]
        waiting = [state for state in mine if state.waits]
        reasons = ", ".join(sorted({state.reason for state in waiting if state.reason}))
        text = f"{sum(not state.waits and not state.ended for state in mine)} jobs running, {len(waiting)} waiting"
        text += f" ({reasons})" if reasons else ""
        if text != self._status:
            self._status = text
            send(Progressed(Preparing(text)))

    def _tell_once(self, text: str, send: Send, key: str = "") -> None:
        if (key or text) not in self._told:
            self._told.add(key or text)
            send(Progressed(Notice(text)))


HOPELESS = (
    "Assoc",
    "BadConstraints",
    "Invalid",
    "JobHeld",
    "NodeDown",
    "Partition",
    "QOSMax",
    "QOSMin",
    "ReqNodeNotAvail",
    "job requeued in held state",
    "launch failed",
)
"""Beginnings of reasons for which a job waits until somebody does something."""


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _left_running(ids: list[str], cluster: str) -> str:
    """Say what goes on, and how to come back to it or to end it."""
    arrays = " ".join(dict.fromkeys(one.partition("_")[0] for one in ids))
    ends = f"scancel {arrays}" if cluster == "slurm" else f"kill {arrays}"
    jobs = "1 job goes on" if len(ids) == 1 else f"{len(ids)} jobs go on"
    it = "it" if len(ids) == 1 else "them"
    return f"{jobs}: {short_ids(ids)}. The same command comes back to {it}; to end {it}: {ends}"
