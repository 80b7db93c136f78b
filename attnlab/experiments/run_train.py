"""Train the runs of a request, and store their records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from attnlab.choices import Compile
from attnlab.errors import InvalidValueError
from attnlab.experiments.continuation import Continued, continued, first_checkpoint, shorter_runs
from attnlab.experiments.grouping import groups
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
from attnlab.records import Record
from attnlab.run_labels import RunLabels
from attnlab.specs import RunSpec
from attnlab.storage import Store
from attnlab.training.environment import device, torch_threads
from attnlab.training.events import Notice, Progress, no_callback
from attnlab.training.precision import check_precision, precision_notice
from attnlab.training.run import train_groups
from attnlab.training.vmap_width import VmapWidth, max_width


def run_train(
    request: Request,
    *,
    store: Path | None,
    device_name: str = "auto",
    resume: bool = False,
    vmap: VmapWidth = "auto",
    compile: Compile = "auto",
    continue_from: str = "",
    threads: int | None = None,
    progress: Progress = no_callback,
) -> list[Record]:
    """Train every run of a request; each is stored as soon as it is finished.

    Each run goes on from its own checkpoint, whatever it was trained beside before.

    Args:
        request: What to run.
        store: The folder of results; None stores nothing.
        device_name: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        resume: Whether to take finished runs from the store and to go on from checkpoints.
        vmap: How many runs of one shape are trained as one vmapped program.
        compile: Whether the steps of a run that is trained by itself are compiled.
        continue_from: The id of a finished run, or the start of it, whose weights and optimizer state the runs begin
            with; see :mod:`attnlab.experiments.continuation`. Empty begins anew.
        threads: Threads of torch; None leaves the number as it is. The record tells it.
        progress: Receives every event of the training.

    Returns:
        One record for each variant and seed, in that order.

    Raises:
        AttnlabError: The request cannot be run; nothing was written.
        LostStoreError: The store was removed meanwhile.
        InterruptedTraining: The user pressed Ctrl-C; finished runs and the checkpoint are stored.
    """
    specs = plan(request, progress=progress)
    where = device(device_name)
    check_precision(specs, where.type)
    if slower := precision_notice(specs, where.type):
        progress(Notice(slower))
    runs = _continued(specs, continue_from, store)
    origins, specs = {run.spec.id: run for run in runs}, [run.spec for run in runs] or specs
    results = Store(store) if store is not None else None
    if results:
        results.open()
        results.adopt(specs)
    stored = {record.id: record for record in results.records()} if results else {}
    done = dict(stored) if resume else {}
    missing = {spec.id: spec for spec in specs if spec.id not in done}
    if results:
        _prepare(results, list(missing.values()), stored, origins, resume, progress)
    with torch_threads(threads):
        for group in groups(missing.values(), max_width(vmap, where.type)):
            for records in train_groups(
                group,
                progress,
                device=where,
                checkpointer=results,
                resume=resume or bool(origins),
                vmap=vmap,
                compile=compile,
            ):
                if results:
                    results.append(records)
                    for record in records:
                        results.drop(record.id)
                done |= {record.id: record for record in records}
    if results:
        results.check_present()
    return [done[spec.id] for spec in specs]


def _continued(specs: Sequence[RunSpec], continue_from: str, store: Path | None) -> list[Continued]:
    """The runs with the finished runs that they continue; empty if they begin anew."""
    if not continue_from:
        return []
    if store is None:
        problem = "A run is continued from its weights and optimizer state, and there is no store to find them in."
        raise InvalidValueError(problem, "Give the store that holds the run.", where="continue_from")
    return continued(specs, continue_from, store)


def _prepare(
    store: Store,
    specs: Sequence[RunSpec],
    stored: Mapping[str, Record],
    origins: Mapping[str, Continued],
    resume: bool,
    progress: Progress,
) -> None:
    """Tidy the checkpoints of a store, make those that continued runs begin with, and tell what is not gone on from."""
    if resume:
        store.drop_finished(stored)
    found, labels = store.checkpoints(), RunLabels(specs)
    begins = [spec for spec in specs if spec.id not in found]
    for spec in specs:
        if spec.id in origins and not (resume and spec.id in found):
            store.save(spec.id, *first_checkpoint(origins[spec.id]))
    if not resume:
        for spec in specs:
            if spec.id in found:
                text = f"its checkpoint at {found[spec.id].progress} is not used; --resume would go on from it"
                progress(Notice(f"{labels.of(spec)}: {text}."))
        return
    if origins:
        return
    for text in shorter_runs(begins, list(stored.values())):
        progress(Notice(text))
    others = found.keys() - {spec.id for spec in specs}
    if begins and others:
        noun = (
            "1 checkpoint of another run stays" if len(others) == 1 else f"{len(others)} checkpoints of other runs stay"
        )
        progress(Notice(f"{noun} in {store.path / 'checkpoints'}; attnlab ls results names them."))
