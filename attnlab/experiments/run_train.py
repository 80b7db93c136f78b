"""Train what a request means, and keep what it showed."""

from __future__ import annotations

from pathlib import Path

from attnlab.experiments.plan import plan
from attnlab.experiments.request import Request
from attnlab.experiments.run_sweep import groups
from attnlab.records import Record
from attnlab.storage import Store
from attnlab.training.compiling import Compile
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
    """Train every run of a request; each is kept as soon as it is finished.

    Args:
        request: What to run.
        store: The folder of results; None keeps nothing.
        device_name: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        vmap: How many runs of one shape are stacked into one program.
        compile: Whether the steps of a run that stands alone are compiled.
        resume: Whether to take finished runs from the store and to go on from checkpoints.
        progress: Takes every event of the training.

    Raises:
        AttnlabError: the request cannot be run; nothing was written.
        InterruptedTraining: the person pressed Ctrl-C; finished runs and the checkpoint are kept.
    """
    specs = plan(request)
    place = device(device_name)
    check_precision(specs, place.type)
    kept = Store(store) if store is not None else None
    if kept:
        kept.open()
    done = {record.id: record for record in kept.records()} if kept and resume else {}
    missing = {spec.id: spec for spec in specs if spec.id not in done}
    for group in groups(missing.values(), max_width(vmap, place.type)):
        for records in train_groups(
            group, progress, device=place, checkpointer=kept, resume=resume, vmap=vmap, compile=compile
        ):
            if kept:
                kept.append(records)
                kept.drop(group_name([record.spec for record in records]))
            done |= {record.id: record for record in records}
    return [done[spec.id] for spec in specs]
