"""trackio, read back with its own interface where the package is installed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

import attnlab
from attnlab.specs import RunSpec, TaskSpec
from attnlab.tracking import TRACKERS, TrackedRun, Tracker
from attnlab.tracking.points import tracked_run
from attnlab.tracking.replay import Replayed, replay

trackio = pytest.importorskip("trackio", reason="trackio is absent: pip install 'attnlab[trackio]'")

RUN = tracked_run(RunSpec(task=TaskSpec(name="copy")), "mine", {"parameters": 7})
OTHER = tracked_run(RUN.spec.model_copy(update={"seed": 1}))
MODEL = {"layers": 1, "width": 8, "heads": 1}
FAST = {"max_steps": 20, "batch_size": 4, "validation_examples": 4, "test_examples": 4, "eval_every": 10}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """trackio's own folder, which it reads from the environment when it is imported."""
    from trackio import sqlite_storage, utils

    place = tmp_path / "of-trackio"
    for module in (utils, sqlite_storage):
        monkeypatch.setattr(module, "TRACKIO_DIR", place)
    monkeypatch.delenv("TRACKIO_PROJECT", raising=False)
    return place


def tracker_of(store: Path, group: str = "mine") -> Tracker:
    return TRACKERS.entry("trackio").cls(store, group)


def rows(run: TrackedRun) -> list[dict[str, Any]]:
    """The rows of a run without their times."""
    found = trackio.sqlite_storage.SQLiteStorage.get_logs("attnlab", run.name, run_id=run.spec.id)
    return [{name: value for name, value in row.items() if name != "timestamp"} for row in found]


def points(run: TrackedRun, name: str) -> list[tuple[int, float]]:
    return [(row["step"], row[name]) for row in rows(run) if name in row]


def test_the_reader_has_numbers_config_group_and_results(
    tmp_path: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tracker = tracker_of(tmp_path)
    tracker.start(RUN, 0)
    tracker.log(RUN.spec.id, 1, {"train/loss": 2.5, "a b=1/é": 0.25})
    tracker.log(RUN.spec.id, 1, {"step/x": 4.0})
    tracker.log(RUN.spec.id, 2, {"train/loss": math.nan})
    tracker.log(RUN.spec.id, 3, {"train/loss": -math.inf})
    assert not tracker.has_finished(RUN)
    tracker.finish(RUN.spec.id, 3, {"test/accuracy": 0.5}, "| a |\n|---|")
    assert tracker.has_finished(RUN)
    (run,) = trackio.Api().runs("attnlab")
    assert (run.name, run.id) == (RUN.name, RUN.spec.id)
    config = {"task": "copy", "parameters": 7, "seed": 0, "run": RUN.spec.id, "_Group": "mine"}
    assert config.items() <= run.config.items()
    first, second, third = points(RUN, "train/loss")
    assert (first, third) == ((1, 2.5), (3, -math.inf))
    assert math.isnan(second[1])
    assert points(RUN, "a b=1/é") == [(1, 0.25)]
    assert points(RUN, "step/x") == [(1, 4.0)]
    assert points(RUN, "test/accuracy") == [(3, 0.5)]
    assert rows(RUN)[-1]["results"]["_value"] == "| a |\n|---|"
    assert list(folder.glob("*.db")) == [folder / "attnlab.db"]
    assert capsys.readouterr() == ("", "")


def test_runs_that_are_open_at_once_do_not_mix(tmp_path: Path) -> None:
    tracker = tracker_of(tmp_path)
    for run in (RUN, OTHER):
        tracker.start(run, 0)
    for run, loss in ((RUN, 1.0), (OTHER, 2.0), (RUN, 3.0)):
        tracker.log(run.spec.id, int(loss), {"train/loss": loss})
    tracker.close()
    assert points(RUN, "train/loss") == [(1, 1.0), (3, 3.0)]
    assert points(OTHER, "train/loss") == [(2, 2.0)]
    assert not tracker.has_finished(RUN)


def test_a_resumed_run_replaces_what_is_beyond_its_checkpoint(tmp_path: Path) -> None:
    first = tracker_of(tmp_path)
    first.start(RUN, 0)
    for step in (10, 20, 30):
        first.log(RUN.spec.id, step, {"train/loss": float(step)})
    first.close()
    second = tracker_of(tmp_path)
    second.start(RUN, 20)
    second.log(RUN.spec.id, 30, {"train/loss": 31.0})
    second.close()
    assert points(RUN, "train/loss") == [(10, 10.0), (20, 20.0), (30, 31.0)]
    (run,) = trackio.Api().runs("attnlab")
    assert run.config["task"] == "copy"


def test_a_run_that_is_trained_again_replaces_all(tmp_path: Path) -> None:
    for loss in (1.0, 2.0):
        tracker = tracker_of(tmp_path)
        tracker.start(RUN, 0)
        tracker.log(RUN.spec.id, 10, {"train/loss": loss})
        tracker.finish(RUN.spec.id, 10, {}, "")
    assert points(RUN, "train/loss") == [(10, 2.0)]


def test_a_sweep_is_one_group_with_every_number(tmp_path: Path) -> None:
    how: dict[str, Any] = {"model": MODEL, "train": FAST, "executor": "inline", "device": "cpu", "track": ["trackio"]}
    records = attnlab.sweep("copy", "softmax", complexity=[2], seeds=2, store=tmp_path / "s", **how)
    runs = {run.id: run for run in trackio.Api().runs("attnlab")}
    assert runs.keys() == {record.id for record in records}
    assert {run.config["_Group"] for run in runs.values()} == {"copy"}
    for record in records:
        tracked = tracked_run(record.spec)
        assert points(tracked, "validation/accuracy") == [(point.step, point.accuracy) for point in record.history]
        assert points(tracked, "test/accuracy") == [(20, record.accuracy.mean)]
        for name in ("train/loss", "train/learning_rate", "train/gradient_norm"):
            assert [step for step, _ in points(tracked, name)] == [10, 20]


def test_a_replay_leaves_alone_what_is_there(tmp_path: Path) -> None:
    records = attnlab.train("copy", model=MODEL, train=FAST, store=tmp_path, device="cpu")
    assert replay(records, "trackio", tmp_path, "") == Replayed(written=1, there=0)
    assert replay(records, "trackio", tmp_path, "") == Replayed(written=0, there=1)


def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path: Path, folder: Path) -> None:
    folder.write_text("a file")
    words: dict[str, Any] = {"model": MODEL, "train": FAST, "device": "cpu", "track": ["trackio"]}
    with pytest.warns(UserWarning, match="trackio failed: .* The runs go on without it") as warned:
        (record,) = attnlab.train("copy", store=tmp_path / "s", **words)
    assert (record.status, len(warned)) == ("done", 1)
