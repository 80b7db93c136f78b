"""Stores of format 1 (attnlab 0.1) -> format 2: the same results under the field's words.

Fields of specs have other names since, and so runs have other ids. A migrated record keeps its old id in its
environment as ``format_1_id``. Every step can be repeated, and the new format is written last: a migration that was
interrupted goes on the next time.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

from attnlab.config.renamed import MODEL, TRAIN, Names
from attnlab.records import OLD_ID, Record
from attnlab.specs import RunSpec
from attnlab.storage.files import write_whole
from attnlab.storage.stored_record import rare_environment

V = TypeVar("V")

RECORD: Names = {
    "stopped": "early_stopped",
    "answers": "exact_match",
    "readings": "evaluations",
    "curve": "history",
    "watched": "diagnostics_history",
}
EVALUATION: Names = {"member": "subtask", "complexity": "level", "answers": "exact_match"}
TASK: Names = {"knob": "complexity"}
PINNED: Names = {"knob": "complexity", "rungs": "levels"}
"""Keys of the subtasks of a mixture."""
RUN: Names = {"curve": "history", "watched": "diagnostics_history", "stopped": "early_stopped"}
"""Keys of a run in a checkpoint."""
ARRAYS = (
    (re.compile(r"\.mlp\.rise\."), ".mlp.up_proj."),
    (re.compile(r"\.mlp\.fall\."), ".mlp.down_proj."),
    (re.compile(r"\.attention\.output\."), ".attention.out_proj."),
    (re.compile(r"\.attention\.wardrobe\."), ".attention.modifiers."),
)
"""Parts of the names of parameters, and what they are now."""


def migrated_record(data: Mapping[str, Any]) -> Record:
    """Translate one record; a record of format 2 stays as it is.

    Args:
        data: A line of a journal, as plain data.

    Returns:
        The record, under the id of its spec.

    Raises:
        ValueError: The data are no record.
    """
    if "exact_match" in data:
        return Record.model_validate_json(json.dumps(data))
    new = _renamed(data, RECORD)
    spec = new["spec"]
    new["spec"] = {
        **spec,
        "task": _task(spec["task"]),
        "model": _renamed(spec["model"], MODEL),
        "train": _renamed(spec["train"], TRAIN),
    }
    new["evaluations"] = [_renamed(one, EVALUATION) for one in new.get("evaluations", [])]
    new["environment"] = {**_renamed(new.get("environment", {}), {"lanes": "vmap"}), OLD_ID: data["id"]}
    record = Record.model_validate_json(json.dumps(new))
    return record.model_copy(update={"id": record.spec.id})


def format_1_id(spec: RunSpec) -> str:
    """Compute the id that a run had in format 1.

    Args:
        spec: The run.

    Returns:
        Twelve hexadecimal digits.
    """
    task = _renamed(spec.task.model_dump(mode="json"), _inverse(TASK))
    if task["name"] == "mixture":
        options = dict(task["options"])
        members = [_renamed(one, _inverse(PINNED)) for one in options.pop("tasks")]
        options |= {"members": members, "tasks": options.pop("count")}
        knob = "tasks" if task["knob"] == "count" else task["knob"]
        task |= {"name": "medley", "options": options, "knob": knob}
    model = _renamed(spec.model.model_dump(mode="json"), _inverse(MODEL))
    train = _renamed(spec.train.model_dump(mode="json"), _inverse(TRAIN))
    data = {"model": model, "seed": spec.seed, "task": task, "train": train}
    return hashlib.sha256(json.dumps(data, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:12]


def migrated_arrays(arrays: Mapping[str, V]) -> dict[str, V]:
    """Translate the names of parameters.

    Args:
        arrays: Arrays by name, of a checkpoint or of a finished run.

    Returns:
        The same arrays under the names that the model has now.
    """
    result = {}
    for name, array in arrays.items():
        for pattern, new in ARRAYS:
            name = pattern.sub(new, name)
        result["runs" if name == "lanes" else name] = array
    return result


def migrated_about(about: Mapping[str, Any], ids: Mapping[str, str]) -> dict[str, Any]:
    """Translate the description of a checkpoint.

    Args:
        about: The description.
        ids: Old id -> new id; an id that is not among them stays.

    Returns:
        The description in the form of format 2.
    """
    if "lanes" not in about:
        return dict(about)
    runs = [{**_renamed(run, RUN), "id": ids.get(run["id"], run["id"])} for run in about["lanes"]]
    return {**{key: value for key, value in about.items() if key != "lanes"}, "runs": runs}


def migrate_files(folder: Path, records: list[Record]) -> None:
    """Rename the weights of migrated records, and translate the plan and the experiment of a store.

    Args:
        folder: The store.
        records: Its records, migrated.

    Raises:
        OSError: A file cannot be written.
    """
    from attnlab.config.experiment import experiment_from_json  # it imports yaml

    ids = old_ids(records)
    for old, new in ids.items():
        path = folder / "weights" / f"{old}.safetensors"
        if path.exists():
            path.replace(path.with_stem(new))
    experiment = folder / "experiment.json"
    if experiment.exists():
        write_whole(
            experiment, experiment_from_json(experiment.read_bytes()).model_dump_json(indent=1).encode() + b"\n"
        )
    (folder / "plan.jsonl").unlink(missing_ok=True)  # the next sweep writes it anew


def old_ids(records: list[Record]) -> dict[str, str]:
    """Map the ids that records had in format 1 to those they have now.

    Args:
        records: Migrated records, among others.

    Returns:
        Old id -> new id.
    """
    return {old: record.id for record in records if (old := rare_environment(record).get(OLD_ID)) is not None}


def _inverse(names: Names) -> Names:
    return {new: old for old, new in names.items()}


def _renamed(data: Mapping[str, Any], names: Names) -> dict[str, Any]:
    return {names.get(key, key): value for key, value in data.items()}


def _task(data: Mapping[str, Any]) -> dict[str, Any]:
    """The section of a task; a mixture was called medley, and its tasks members."""
    new = _renamed(data, TASK)
    if new["name"] != "medley":
        return new
    options = dict(new["options"])
    count = options.pop("tasks", None)
    members = [_renamed(one, PINNED) if isinstance(one, dict) else one for one in options.pop("members", [])]
    order = {"tasks": members, "level": options.pop("level", 0), "count": count, **options}
    complexity = "count" if new["complexity"] == "tasks" else new["complexity"]
    return {**new, "name": "mixture", "options": order, "complexity": complexity}
