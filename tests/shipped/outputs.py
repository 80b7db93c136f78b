"""What every built-in part gives for a fixed seed, as a few numbers; ``outputs.json`` pins them.

    attention, position,   a projection of the initial weights, the mean loss of three steps, the validation loss
    norm, MLP, block, ...
    task                   a digest of its first batches of each split, and its chance accuracy
    metric                 its first and last value in a small fresh model

A change of these numbers is a change of the part: stored runs no longer are what their ids say. Raise the part's
``version``, then write the numbers anew:

    python -m tests.shipped.outputs
    python -m tests.shipped.outputs --reason "Why these numbers changed and every stored run is still right."
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, get_args

import numpy as np

import attnlab
from attnlab.attention import ATTENTIONS
from attnlab.choices import DiagnosisKind
from attnlab.experiments.resolve import REGISTRIES
from attnlab.model.transformer import build
from attnlab.position import POSITIONS
from attnlab.records import Record
from attnlab.registry import Entry, Registry
from attnlab.specs import ModelSpec, Part, TaskSpec
from attnlab.tasks import TASKS
from attnlab.tasks.base import Split
from attnlab.tasks.io.ladders import find_ladder, task_spec
from attnlab.tasks.io.streams import Source

PINNED = Path(__file__).with_name("outputs.json")
MODEL = {"layers": 2, "width": 16, "heads": 2}
TRAIN = {"max_steps": 3, "batch_size": 8, "eval_every": 3, "validation_examples": 16, "test_examples": 4}
TOLERANCE = 1e-4
"""Largest relative difference between the numbers of two machines: three steps in float32."""


class Output(NamedTuple):
    """What a part gives."""

    version: int
    values: list[float | str]


def outputs(folder: Path) -> dict[str, dict[str, Output]]:
    """Compute what every part gives.

    Args:
        folder: An empty folder.

    Returns:
        Kind -> name -> its output.
    """
    return {
        "attention": {entry.name: trained(entry, attention=entry.name) for entry in built_in(ATTENTIONS)},
        "position": {entry.name: trained(entry, position=entry.name) for entry in built_in(POSITIONS)},
        **{
            REGISTRIES[field].kind: {entry.name: trained(entry, **{field: entry.name}) for entry in built_in(registry)}
            for field, registry in REGISTRIES.items()
            if field not in ("attention", "position")
        },
        "task": {entry.name: sampled(entry, folder) for entry in built_in(TASKS) if entry.name not in OF_PACKAGES},
        "metric": dict(measured()),
    }


OF_PACKAGES = ("reasoning-gym",)
"""Tasks whose sequences are those of a package that need not be installed."""


def built_in(registry: Registry[Any]) -> list[Entry[Any]]:
    """The parts of attnlab itself; other tests register further ones."""
    return [entry for entry in registry if not entry.code.digest]


def trained(entry: Entry[Any], attention: str = "softmax", position: str = "learned", **others: str) -> Output:
    """Build a model with a part, and train it for three steps."""
    parts = {"attention": (Part(name=attention),), "position": Part(name=position)}
    spec = ModelSpec.model_validate({**MODEL, **parts, **others})
    state = build(spec, vocabulary=11, length=12, seed=0).state_dict()
    weights = np.concatenate([tensor.double().flatten().numpy() for _, tensor in sorted(state.items())])
    projected = float(np.cos(np.arange(len(weights))) @ weights)
    record: Record
    (record,) = attnlab.train(
        "copy",
        attention,
        position=position,
        complexity=4,
        model={**MODEL, **others},
        train=TRAIN,
        store=None,
        device="cpu",
    )
    point = record.history[-1]
    return Output(entry.version, [projected, point.loss, point.validation_loss or math.nan])


def sampled(entry: Entry[Any], folder: Path) -> Output:
    """Draw the first batches of a task at its default level."""
    spec = default_task(entry.name, folder)
    source = Source(spec, seed=0)
    held_out = [batch for split in (Split.VALIDATION, Split.TEST) for batch in source.iter_held_out(split, 8, 4)]
    digest = hashlib.sha256()
    for batch in (source.training(0, 4), source.training(1, 4), *held_out):
        for array in (batch.inputs_BT, batch.targets_BT, batch.accepted_NW):
            digest.update(b"" if array is None else repr(array.shape).encode() + array.astype("<i8").tobytes())
    return Output(entry.version, [digest.hexdigest()[:16], source.task.chance])


def default_task(name: str, folder: Path) -> TaskSpec:
    """A task at the default level of its ladder; tasks of files take one that is written here.

    The text of the ladder is the standard library, which is another one in each version of Python.
    """
    if name == "text":
        path = folder / "text.txt"
        path.write_text("".join(f"{i} squared is {i * i}, and {i} cubed {i**3}.\n" for i in range(2000)))
        return task_spec(find_ladder(name), {"path": str(path)}, None)
    if name != "file":
        return task_spec(find_ladder(name), {}, None)
    path = folder / "rows.jsonl"
    rows = [{"inputs": [i % 7, i % 5, i % 3], "targets": [None, i % 3, i % 7]} for i in range(40)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return task_spec(find_ladder(name), {"path": str(path)}, None)


def measured() -> Iterator[tuple[str, Output]]:
    """Measure every metric of the diagnoses of a fresh model, on noise or on sequences of recall."""
    for kind in get_args(DiagnosisKind):
        for task in (None, "recall") if kind == "attention" else (None,):
            model, length = {"layers": 3, "width": 8, "position": "learned"}, None if task else 12
            found = attnlab.diagnose(
                None, kind, attention="softmax", seeds=1, batch=2, task=task, model=model, length=length
            )
            for panel in found.panels:
                mean = panel.rows[0].mean
                name = f"{panel.name} of {task}" if task else panel.name
                yield name, Output(1, [mean[0], mean[-1]])


def changed(old: list[float | str], new: list[float | str]) -> bool:
    """Whether two outputs differ by more than machines do."""
    return len(old) != len(new) or any(
        one != other if isinstance(one, str) or isinstance(other, str) else not _close(one, other)
        for one, other in zip(old, new, strict=True)
    )


def _close(one: float, other: float) -> bool:
    return (math.isnan(one) and math.isnan(other)) or math.isclose(one, other, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def main() -> None:
    """Write the numbers; refuse a change of a part whose version is the same, unless a reason is given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reason", default="", help="why parts of the same version give other numbers")
    reason = parser.parse_args().reason
    pinned: dict[str, Any] = json.loads(PINNED.read_text()) if PINNED.exists() else {}
    with TemporaryDirectory() as folder:
        now = outputs(Path(folder))
    result: dict[str, dict[str, Any]] = {}
    refused = []
    for kind, parts in now.items():
        result[kind] = {}
        for name, output in sorted(parts.items()):
            old = pinned.get(kind, {}).get(name)
            if old and not changed(old["values"], output.values) and old["version"] == output.version:
                result[kind][name] = old
                continue
            same = bool(old) and old["version"] == output.version
            if same and not reason:
                refused.append(f"{kind} {name}")
            result[kind][name] = output._asdict() | ({"reason": reason} if same else {})
    if refused:
        sys.exit(f"Raise the version of these parts, or give a --reason: {', '.join(refused)}.")
    PINNED.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
