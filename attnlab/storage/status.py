"""The status of a store: which planned runs are done, missing, failed, diverged or stale, and why.

A run is stale if one of its parts has another version now, or other code: in the plan, or in the file that its record
names. No file is run to tell.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from pydantic_core import from_json

from attnlab.errors import StoreError
from attnlab.part_code import PartCode, code_now
from attnlab.records import Record
from attnlab.run_labels import labels_of, one_of_each
from attnlab.specs import RunSpec
from attnlab.storage._migration import old_ids
from attnlab.storage._store import PROBES, Store
from attnlab.storage.checkpoints import Checkpoint
from attnlab.storage.files import writable, write_whole
from attnlab.storage.journal import uncollected
from attnlab.storage.json_files import read_bounded
from attnlab.storage.stored_record import rare_environment

PLANNED_FROM, FIRST_LINE = "planned_from", 1000
"""A key of the first line of a plan, and the bytes that this line has at most."""
FILES = ("store.json", "records.jsonl")
"""Either of them makes a folder a store."""
PLANNED = re.compile(
    rb'^\{"id": "([0-9a-f]{12})", "unversioned_id": "[0-9a-f]{12}", "summary": "[^"\n]*"\}$', re.MULTILINE
)
"""A line of a plan as :func:`write_plan` writes it, with its id."""
OLD_KEYS = {"kin": "unversioned_id", "words": "summary"}
"""Keys of a plan of format 1, and what they are now."""


class PlannedRun(NamedTuple):
    """A run of the plan."""

    id: str
    unversioned_id: str
    summary: str
    """Its label among the runs of the plan."""


@dataclass(frozen=True)
class StoreStatus:
    """The runs of a store by their status."""

    path: Path
    records: tuple[Record, ...]
    done: tuple[Record, ...]
    diverged: tuple[Record, ...]
    failed: tuple[Record, ...]
    missing: tuple[PlannedRun, ...]
    """Planned and not finished."""
    stale: Mapping[str, str]
    """Id of each finished run of which a part has changed since -> what has changed."""
    replaced: Mapping[str, str]
    """Id of each stale run that was run again -> id of the run with the present version and code."""
    checkpoints: Mapping[str, Checkpoint]
    """Id of each run that can go on from a checkpoint -> the checkpoint; it has no record yet."""


def write_plan(store: Path, specs: Sequence[RunSpec], planned_from: str = "") -> None:
    """Write the planned runs, so that a listing can tell what is missing without planning again.

    The first line has a digest of the plan; where the same plan is there already, nothing is written.

    Args:
        store: The store.
        specs: The plan.
        planned_from: A digest of what it was planned from; empty keeps none.

    Raises:
        StoreError: The file cannot be written.
    """
    path = store / "plan.jsonl"
    # Labels of runs that differ in their seed alone differ in it alone: one of them tells whether it is the same plan.
    known = [*(spec.id for spec in specs), *labels_of(one_of_each(specs))]
    digest = hashlib.sha256("".join(known).encode()).hexdigest()
    first = json.dumps({"runs": len(specs), "digest": digest, **({PLANNED_FROM: planned_from} if planned_from else {})})
    with writable(path):
        if path.exists():
            with path.open("rb") as file:
                if file.readline() == f"{first}\n".encode():
                    return
        labels = labels_of(specs)
        planned = (PlannedRun(spec.id, spec.unversioned_id, label) for spec, label in zip(specs, labels, strict=True))
        lines = (json.dumps(one._asdict()) for one in planned)
        write_whole(path, "".join(f"{line}\n" for line in (first, *lines)).encode())


def plan_digest(store: Path) -> tuple[str, int]:
    """Read what a store was planned from.

    Args:
        store: The store.

    Returns:
        The digest that :func:`write_plan` was given, empty where there is none; and the number of runs.
    """
    try:
        with (store / "plan.jsonl").open("rb") as file:
            first = from_json(file.readline(FIRST_LINE))
        digest, runs = first.get(PLANNED_FROM), first.get("runs")
    except (OSError, ValueError, AttributeError):
        return "", 0
    return (digest, runs) if isinstance(digest, str) and isinstance(runs, int) else ("", 0)


def read_plan(store: Path) -> list[PlannedRun]:
    """Read the planned runs.

    Args:
        store: The store.

    Returns:
        The plan; empty where no sweep has been run.

    Raises:
        StoreError: The file is damaged.
    """
    path = store / "plan.jsonl"
    if not path.exists():
        return []
    try:
        lines = read_bounded(path).splitlines()
        with uncollected():
            found = from_json(b"[%s]" % b",".join(lines))  # at once: ten times as fast as line by line
            if len(found) == len(lines):  # or else a line has several values
                return _planned_runs([data for data in found if "digest" not in data])
    except (OSError, ValueError, TypeError, AttributeError, KeyError):
        pass
    hint = "Move it away; the next sweep writes it anew."
    raise StoreError("This is no plan of attnlab.", hint, where=str(path))


def planned_ids(store: Path) -> list[str]:
    """Read the ids of the planned runs, in a third of the time that :func:`read_plan` takes.

    Args:
        store: The store.

    Returns:
        The ids in the order of the plan; empty where no sweep has been run.

    Raises:
        StoreError: The file is damaged.
    """
    with suppress(OSError, ValueError):  # read_plan tells what is wrong
        first, _, rest = read_bounded(store / "plan.jsonl").partition(b"\n")
        found: list[bytes] = PLANNED.findall(rest)
        if b'"digest": "' in first and len(found) == rest.count(b"\n") and rest.endswith(b"\n"):
            return b" ".join(found).decode().split()
    return [planned.id for planned in read_plan(store)]


def store_status(path: Path, *, whole: bool = True) -> StoreStatus:
    """Compare the records of a store with its plan.

    Args:
        path: The store.
        whole: Whether the records of a large store are read completely, or only as an overview needs them.

    Returns:
        Its runs by their status.

    Raises:
        StoreError: The journal or the plan is damaged.
    """
    store = Store(path)
    records = store.records() if whole else store.scan()
    new_ids = old_ids(records)
    plan = read_plan(path)
    planned_ids = {new_ids.get(planned.id, planned.id) for planned in plan}
    unversioned = {planned.unversioned_id for planned in plan}
    known = {record.id for record in records} | new_ids.keys()
    unplanned = [one for one in records if one.id not in planned_ids] if plan else []
    replanned = [one for one in unplanned if one.spec.unversioned_id in unversioned]
    stale = {one.id: "a part of it has another version or other code by now" for one in replanned}
    stale |= _changed_code(records)
    current = [record for record in records if record.id not in stale]
    by_status = {
        status: tuple(record for record in current if record.status == status)
        for status in ("done", "diverged", "failed")
    }
    finished = [record for record in current if record.status != "failed"] if stale else []
    again = {record.spec.unversioned_id: record.id for record in finished}
    replaced = {one.id: again[key] for one in records if one.id in stale and (key := one.spec.unversioned_id) in again}
    missing = tuple(planned for planned in plan if planned.id not in known)
    checkpoints = {new_ids.get(run, run): one for run, one in store.checkpoints().items() if run not in known}
    return StoreStatus(
        path, tuple(records), **by_status, missing=missing, stale=stale, replaced=replaced, checkpoints=checkpoints
    )


def find_stores(path: Path) -> list[Path]:
    """Find the stores in a folder of results.

    Args:
        path: The folder.

    Returns:
        The folder itself, if it is a store, and the stores directly below it, without that of its probes; those whose
        ``store.json`` is gone have a journal.
    """
    below = sorted({file.parent for name in FILES for file in path.glob(f"*/{name}")} - {path / PROBES})
    return [*([path] if any((path / name).exists() for name in FILES) else []), *below]


def _planned_runs(found: list[dict[str, Any]]) -> list[PlannedRun]:
    """Read planned runs: those of the present format at once, others one by one."""
    if {*map(len, found)} <= {len(PlannedRun._fields)}:
        with suppress(KeyError):
            rows = [*map(_WORDS, found)]
            if {*map(type, chain.from_iterable(rows))} <= {str}:
                return [*map(PlannedRun._make, rows)]
    return [_planned(data) for data in found]


def _planned(data: dict[str, Any]) -> PlannedRun:
    """Read a planned run, whose fields are words."""
    if len(data) != len(PlannedRun._fields) or not data.keys().isdisjoint(OLD_KEYS):
        data = {OLD_KEYS.get(key, key): value for key, value in data.items()}
    run, unversioned_id, summary = _WORDS(data)
    if not (isinstance(run, str) and isinstance(unversioned_id, str) and isinstance(summary, str)):
        raise ValueError("a planned run has words alone")
    return PlannedRun(run, unversioned_id, summary)


_WORDS = itemgetter(*PlannedRun._fields)


def _changed_code(records: Sequence[Record]) -> dict[str, str]:
    """Runs whose own parts have changed in the files that their records name -> what has changed."""
    code = cache(code_now)
    found: dict[str, str] = {}
    for record in records:
        for part in rare_environment(record).get("code", ()):
            now = code(part["path"], part["root"], tuple(part.get("values", {}).items()))
            if now.digest not in ("", part["digest"]):
                found[record.id] = f"the code of the {part['kind']} '{part['name']}' has changed, {_changed(part, now)}"
    return found


def _changed(part: Mapping[str, Any], now: PartCode) -> str:
    """The files of a part that say something else now, are gone or new; the part's own where the record has no list."""
    before, after = part.get("files", {}), dict(now.files)
    names = [name for name in {**before, **after} if before and before.get(name) != after.get(name)]
    lost = {name for name in names if name not in after}
    new = {name for name in names if name not in before}
    paths = {name: str(Path(part["root"]) / name) if name else part["path"] for name in names or [""]}
    # A file that no module names any more is there, but it is not what was changed.
    paths = {name: path for name, path in paths.items() if name not in lost or not Path(path).exists()} or paths
    return ", ".join(
        f"{path}{' (gone)' if name in lost and not Path(path).exists() else ' (new)' if name in new else ''}"
        for name, path in paths.items()
    )
