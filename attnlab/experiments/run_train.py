"""Train the runs of a request, and store their records."""

from __future__ import annotations

from pathlib import Path

from attnlab.choices import Compile
from attnlab.experiments.grouping import groups
from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
from attnlab.records import Record
from attnlab.storage import Store
from attnlab.training.environment import device
from attnlab.training.events import Progress, no_callback
from attnlab.training.loop import group_name
from attnlab.training.precision import check_precision
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
    progress: Progress = no_callback,
) -> list[Record]:
    """Train every run of a request; each is stored as soon as it is finished.

    Args:
        request: What to run.
        store: The folder of results; None stores nothing.
        device_name: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        resume: Whether to take finished runs from the store and to go on from checkpoints.
        vmap: How many runs of one shape are trained as one vmapped program.
        compile: Whether the steps of a run that is trained by itself are compiled.
        progress: Receives every event of the training.

    Returns:
        One record for each variant and seed, in that order.

    Raises:
        AttnlabError: The request cannot be run; nothing was written.
        InterruptedTraining: The user pressed Ctrl-C; finished runs and the checkpoint are stored.
    """
    specs = plan(request)
    where = device(device_name)
    check_precision(specs, where.type)
    results = Store(store) if store is not None else None
    if results:
        results.open()
        results.adopt(specs)
    done = {record.id: record for record in results.records()} if results and resume else {}
    missing = {spec.id: spec for spec in specs if spec.id not in done}
    for group in groups(missing.values(), max_width(vmap, where.type)):
        for records in train_groups(
            group, progress, device=where, checkpointer=results, resume=resume, vmap=vmap, compile=compile
        ):
            if results:
                results.append(records)
                results.drop(group_name([record.spec for record in records]))
            done |= {record.id: record for record in records}
    return [done[spec.id] for spec in specs]
