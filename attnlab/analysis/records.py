"""A store's records for a report, read quickly.

A line of the journal is mostly its specification, which many runs share but for the seed, and its curve, of which a
report needs the last point. Both are cut out of the text: a specification seen before is not read again, and of a
curve only the end is. A line that is not as we write it is read whole; a broken one is the store's to complain of.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic_core import from_json

from attnlab.records import Record
from attnlab.specs import ModelSpec, RunSpec, Section, TaskSpec, TrainSpec
from attnlab.storage import Store
from attnlab.storage.status import read_plan

SPEC, SEED, STATUS, CURVE = b'"spec":{"task":', b',"seed":', b'},"status":', b'"history":['
MODEL, TRAIN = b',"model":{', b',"train":{'
"""Outside of words: within a word of JSON, a quotation mark has a backslash before it."""

Sections = dict[bytes, Any]


def records(folder: Path) -> list[Record]:
    """The records of a store in the order of its plan, what is not in the plan after it; of each curve the end.

    Raises:
        StoreError: a line other than a torn last one is no record; a store of a newer format.
    """
    store = Store(folder)
    if not store.journal.path.exists():
        return []
    seen: Sections = {}
    *lines, _torn = store.journal.path.read_bytes().split(b"\n")
    try:
        result = {record.id: record for record in (_read(line, seen) for line in lines)}
    except (ValueError, TypeError):
        result = {record.id: record for record in store.records()}
    places = {planned.id: place for place, planned in enumerate(read_plan(folder))}
    return sorted(result.values(), key=lambda record: places.get(record.id, len(places)))


def _read(line: bytes, seen: Sections) -> Record:
    """One record; sections of the specification that were read before are shared."""
    start, stop = line.find(SPEC), line.find(STATUS)
    seed, curve = line.rfind(SEED, start, stop), line.find(CURVE, stop)
    train = line.rfind(TRAIN, start, seed)
    model = line.rfind(MODEL, start, train)
    if min(start, stop, seed, curve, train, model) < 0:
        return Record.from_line(line.decode())
    spec = RunSpec.model_construct(
        task=_section(TaskSpec, line[start + len(SPEC) : model], seen),
        model=_section(ModelSpec, line[model + len(MODEL) - 1 : train], seen),
        train=_section(TrainSpec, line[train + len(TRAIN) - 1 : seed], seen),
        seed=int(line[seed + len(SEED) : stop]),
    )
    curve += len(CURVE)
    last = max(curve, line.rfind(b"{", curve, line.find(b"]", curve)))
    rest = line[:start] + b'"spec":0' + line[stop + 1 : curve] + line[last:]
    data: dict[str, Any] = from_json(rest, cache_strings="all")
    data["spec"] = spec
    return Record.model_validate(data)


def _section(kind: type[Section], text: bytes, seen: Sections) -> Any:
    result = seen.get(text)
    if result is None:
        result = seen[text] = kind.model_validate_json(text)
    return result
