"""Where a store stands: which planned runs are done, missing, failed, diverged or stale, and why."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from attnlab.errors import StoreError
from attnlab.records import Record
from attnlab.specs import RunSpec
from attnlab.storage._store import Store
from attnlab.storage.files import write_whole


@dataclass(frozen=True)
class PlannedRun:
    """A run that is wanted."""

    id: str
    unversioned_id: str
    summary: str


@dataclass(frozen=True)
class StoreStatus:
    """The runs of a store by how they stand; each with a few words."""

    path: Path
    records: tuple[Record, ...]
    done: tuple[Record, ...]
    diverged: tuple[Record, ...]
    failed: tuple[Record, ...]
    missing: tuple[PlannedRun, ...]
    """Planned, and never finished."""
    stale: tuple[Record, ...]
    """Finished, but a part of theirs has another version now; they are planned anew."""
    with_checkpoint: frozenset[str]
    """Ids with a checkpoint to go on from."""


def write_plan(store: Path, specs: Sequence[RunSpec]) -> None:
    """Keep the runs that are wanted, so that a listing can tell what is missing without planning anew.

    The first line tells which runs they are; where the same stand there already, nothing is written.

    Raises:
        StoreError: it cannot be written.
    """
    path = store / "plan.jsonl"
    digest = hashlib.sha256("".join(spec.id for spec in specs).encode()).hexdigest()
    first = json.dumps({"runs": len(specs), "digest": digest})
    try:
        if path.exists():
            with path.open() as file:
                if file.readline() == f"{first}\n":
                    return
        lines = (json.dumps({"id": spec.id, "kin": spec.unversioned_id, "words": spec.summary}) for spec in specs)
        write_whole(path, "".join(f"{line}\n" for line in (first, *lines)).encode())
    except OSError as error:
        raise StoreError(f"It cannot be written: {error.strerror}.", where=str(path)) from None


def read_plan(store: Path) -> list[PlannedRun]:
    """The runs that are wanted; none where nothing was ever swept.

    Raises:
        StoreError: the file was damaged.
    """
    path = store / "plan.jsonl"
    if not path.exists():
        return []
    try:
        lines = map(json.loads, path.read_text().splitlines())
        return [PlannedRun(**value) for value in lines if "digest" not in value]
    except (ValueError, TypeError):
        hint = "Move it away; the next sweep writes it anew."
        raise StoreError("This is no plan of attnlab.", hint, where=str(path)) from None


def store_status(path: Path) -> StoreStatus:
    """How the runs of a store stand."""
    store = Store(path)
    records = store.records()
    plan = read_plan(path)
    wanted, kin = {planned.id for planned in plan}, {planned.unversioned_id for planned in plan}
    known = {record.id for record in records}
    stale = [record for record in records if record.id not in wanted and record.spec.unversioned_id in kin]
    old = {record.id for record in stale}
    current = [record for record in records if record.id not in old]
    begun = frozenset(run for runs in store.checkpoints().values() for run in runs)
    by_status = {
        status: tuple(record for record in current if record.status == status)
        for status in ("done", "diverged", "failed")
    }
    missing = tuple(planned for planned in plan if planned.id not in known)
    return StoreStatus(path, tuple(records), **by_status, missing=missing, stale=tuple(stale), with_checkpoint=begun)


def find_stores(path: Path) -> list[Path]:
    """The stores in a folder of results: itself, if it holds records, and those directly below it."""
    below = sorted(folder.parent for folder in path.glob("*/store.json"))
    return [*([path] if (path / "store.json").exists() else []), *below]
