"""The jobs of an earlier driver: those that run are watched again, and what is over is taken."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from attnlab.errors import InvalidValueError, PluginError
from attnlab.execution.jobs import Failed, Message, Progressed, Recorded, Saved, Send
from attnlab.execution.slurm.cluster import Cluster, JobState, short_ids
from attnlab.execution.slurm.flight import Flight
from attnlab.execution.slurm.folder import job_folders
from attnlab.execution.slurm.worker import load_checkpoint
from attnlab.storage import Store

LATELY = 60.0
"""Seconds since the last sign of life within which a job is taken to live, where no cluster can be asked."""


@dataclass
class Earlier:
    """What an earlier driver has left."""

    running: list[Flight] = field(default_factory=list)
    over: list[Flight] = field(default_factory=list)
    results: dict[str, Message] = field(default_factory=dict)
    """Run id -> its result or failure, of runs that ended without a driver; not passed on yet."""


def find_earlier(store: Path, cluster: Cluster, known: Collection[Path], send: Send) -> Earlier:
    """Look for the jobs of an earlier driver, and take the weights and checkpoints of those that are over.

    Args:
        store: The folder of results.
        cluster: Where the jobs are.
        known: Folders of jobs that this driver knows.
        send: Receives weights and checkpoints.

    Returns:
        The jobs.

    Raises:
        InvalidValueError: The cluster does not answer, or jobs of another cluster work on this store.
    """
    folders = [one for one in job_folders(store) if one.path not in known]
    flights = [Flight(one, given) for one in folders if (given := one.submission())]
    found = Earlier()
    if not flights:
        return found
    records = Store(store).scan()
    done = {record.id for record in records if record.status != "failed"}
    failed = {record.id for record in records} - done
    states = _states(flights, cluster, store)

    def keep(message: Message) -> None:
        if isinstance(message, Recorded):
            found.results.update({record.id: message for record in message.records})
        elif isinstance(message, Failed):
            found.results.update({spec.id: message for spec in message.job.specs})
        elif not isinstance(message, Progressed):
            send(message)

    for flight in flights:
        flight.known, flight.known_failures, flight.shown = done, failed, ()
        state = states.get(flight.cluster_id)
        if flight.lived_within(cluster.patience) if state is None else not state.ended:
            found.running.append(flight)
            continue
        with suppress(PluginError):  # of a job that could not start; its runs are submitted again
            flight.read(keep)
        take_checkpoints(flight, store, send, done)
        found.over.append(flight)
    return found


def take_checkpoints(flight: Flight, store: Path, send: Send, done: Collection[str] = ()) -> None:
    """Store the checkpoints of a job that is over, where they are further on than those of the store.

    Args:
        flight: The job.
        store: The folder of results.
        send: Receives the checkpoints.
        done: Ids of runs that need none.
    """
    own = Store(store).checkpoints()
    for spec in flight.remaining:
        loaded = load_checkpoint(flight.folder, spec.id) if spec.id not in done else None
        if loaded and (spec.id not in own or own[spec.id].step < int(loaded[1].get("step", 0))):
            send(Saved(spec.id, *loaded))


def working_jobs(store: Path) -> str:
    """Tell which jobs of a cluster work on a store, by their signs of life alone.

    Args:
        store: The folder of results.

    Returns:
        Their ids in a few words; empty where there are none.
    """
    flights = [Flight(one, given) for one in job_folders(store) if (given := one.submission())]
    return short_ids(
        [flight.cluster_id or flight.submission.job_name for flight in flights if flight.lived_within(LATELY)]
    )


def _states(flights: list[Flight], cluster: Cluster, store: Path) -> dict[str, JobState]:
    """Ask for the states of jobs; an id that the earlier driver did not live to know is found by the job's name."""
    for flight in flights:
        other = flight.submission.cluster
        if other != cluster.name and flight.lived_within(LATELY):
            executor = "--executor slurm:cluster=local" if other == "local" else "--executor slurm"
            problem = f"Jobs of another cluster ('{other}') work on this store."
            raise InvalidValueError(problem, f"Come back to them with {executor}.", where=str(store))
    states = cluster.states([flight.cluster_id for flight in flights])
    if states is None:
        problem = "There may be jobs of an earlier command, and the cluster does not answer."
        raise InvalidValueError(problem, "Run the same command again when squeue works.", where="squeue")
    by_name = {(state.job_name, state.index): one for one, state in states.items() if state.job_name}
    for flight in flights:
        given = flight.submission
        if not flight.cluster_id:
            found = by_name.get((given.job_name, given.index), "")
            flight.submission = given.model_copy(update={"cluster_id": found})
    return states
