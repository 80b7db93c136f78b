"""The records of a store, in the order of its plan, as a report needs them."""

from __future__ import annotations

from collections.abc import Container, Sequence
from pathlib import Path

from attnlab.records import Record
from attnlab.storage import Store
from attnlab.storage.status import planned_ids
from attnlab.storage.stored_record import fill


def records(folder: Path, *, history: bool = False) -> list[Record]:
    """Read the records of a store.

    Args:
        folder: The store.
        history: Whether all points of the histories are read, as failure modes need them, or only the last of each,
            which takes a third of the time.

    Returns:
        The records in the order of the plan; records that are not in the plan follow. Runs that were run again with
        another version or other code of a part are left out. Empty without a journal.

    Raises:
        StoreError: The journal cannot be read, or the store has a newer format.
    """
    order = {run: index for index, run in enumerate(planned_ids(folder))}
    journal = Store(folder).journal
    stored = journal.read() if history else journal.scan(history=False)
    fill(stored)
    return sorted(_without_replaced(stored, order), key=lambda record: order.get(record.id, len(order)))


def _without_replaced(stored: Sequence[Record], planned: Container[str]) -> list[Record]:
    """Leave out runs that were run again with another version, or other code, of a part: they are no further seeds.

    Of two such runs the planned one is kept, or else the last. Runs that are all planned need no comparison.
    """
    if all(record.id in planned for record in stored):
        return list(stored)
    runs: dict[tuple[int, ...], bytes] = {}  # what runs that share their sections are, without versions and code
    for record in stored:
        if (key := _sections(record)) not in runs:
            runs[key] = _unversioned(record)
    if len(set(runs.values())) == len(runs):
        return list(stored)
    by_run: dict[tuple[bytes, int, str], Record] = {}
    for record in stored:
        spec = record.spec
        run = runs[_sections(record)], spec.seed, spec.continue_from
        other = by_run.get(run)
        if other is None or record.id in planned or other.id not in planned:
            by_run[run] = record
    kept = {record.id for record in by_run.values()}
    return [record for record in stored if record.id in kept]


def _sections(record: Record) -> tuple[int, ...]:
    """What runs that share their sections have in common, quickly."""
    spec = record.spec
    return id(spec.task), id(spec.model), id(spec.train)


def _unversioned(record: Record) -> bytes:
    spec = record.spec
    return b"\n".join(section.unversioned for section in (spec.model, spec.task, spec.train))
