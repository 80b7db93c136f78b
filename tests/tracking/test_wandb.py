"""Weights & Biases offline, read back from its log where the package is installed."""

from __future__ import annotations

import importlib
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from attnlab.specs import RunSpec, TaskSpec
from attnlab.tracking import TRACKERS
from attnlab.tracking.points import tracked_run

pytest.importorskip("wandb", reason="wandb is absent: pip install 'attnlab[wandb]'")

BLOCK, HEADER = 32768, 7
RUN = tracked_run(RunSpec(task=TaskSpec(name="copy")), "mine", {"parameters": 7})


def log_records(path: Path) -> Iterator[Any]:
    """The records of a LevelDB log, whose header has 7 bytes, as wandb's protobufs."""
    record: Any = importlib.import_module("wandb.proto.wandb_internal_pb2").Record  # whose names no type checker sees
    data, place, whole = path.read_bytes(), HEADER, b""
    while place + HEADER <= len(data):
        if BLOCK - place % BLOCK < HEADER:
            place += BLOCK - place % BLOCK
        _, length, kind = struct.unpack("<IHB", data[place : place + HEADER])
        whole += data[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):
            yield record.FromString(whole)
            whole = b""


def finished_log(folder: Path) -> list[Any]:
    """The records of the only run below a folder, once wandb's process has written the last."""
    end = time.monotonic() + 60  # `finish` does not wait for that process
    while True:
        (path,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
        records = list(log_records(path))
        if any(record.WhichOneof("record_type") == "exit" for record in records):
            return records
        assert time.monotonic() < end, f"{path} has no last record after a minute, but {len(records)} records."
        time.sleep(0.05)


def test_the_log_has_every_number_in_any_order_of_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WANDB_MODE", raising=False)
    tracker = TRACKERS.entry("wandb").cls(tmp_path, "mine")
    tracker.start(RUN, 0)
    tracker.log(RUN.spec.id, 20, {"train/loss": 1.5})
    tracker.log(RUN.spec.id, 16, {"a/b": float("nan"), "c": float("inf")})
    assert not tracker.has_finished(RUN)
    tracker.finish(RUN.spec.id, 20, {"test/accuracy": 0.5}, "table")
    assert tracker.has_finished(RUN)
    records = finished_log(tmp_path)
    lines = [
        {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]
    written = [{key: value for key, value in line.items() if not key.startswith("_")} for line in lines]
    assert written == [
        {"train/loss": "1.5", "step": "20"},
        {"a/b": "NaN", "c": "Infinity", "step": "16"},
        {"test/accuracy": "0.5", "step": "20"},
    ]
    (opened, *_) = [record.run for record in records if record.WhichOneof("record_type") == "run"]
    assert (opened.run_id, opened.run_group, opened.display_name) == (RUN.spec.id, "mine", RUN.name)
    config = {item.key: item.value_json for item in opened.config.update}
    assert (config["task"], config["parameters"], config["group"]) == ('"copy"', "7", '"mine"')
